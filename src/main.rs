//! The `purkinje` program: nothing but the allocator and the command line.

use std::process::ExitCode;

use mimalloc::MiMalloc;
use purkinje::{alloc::CountingAllocator, cli};

#[global_allocator]
static ALLOCATOR: CountingAllocator<MiMalloc> = CountingAllocator(MiMalloc);

fn main() -> ExitCode {
    cli::main()
}
