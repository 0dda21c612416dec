//! The `purkinje` program: nothing but the allocator, one signal and the command line.

use std::process::ExitCode;

use mimalloc::MiMalloc;
use purkinje::{alloc::CountingAllocator, cli, files};

#[global_allocator]
static ALLOCATOR: CountingAllocator<MiMalloc> = CountingAllocator(MiMalloc);

fn main() -> ExitCode {
    files::fail_writes_beyond_the_size_limit();
    cli::main()
}
