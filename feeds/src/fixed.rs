//! Fixed-point numbers parsed from their text.
