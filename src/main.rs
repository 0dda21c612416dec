//! The purkinje command line.
fn main() {}
