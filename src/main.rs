//! The `purkinje` program: nothing but the allocator and the command line.

use std::process::ExitCode;

use purkinje::{alloc::CountingAllocator, cli};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn main() -> ExitCode {
    cli::main()
}
