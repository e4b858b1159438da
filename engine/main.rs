//! Hands over to the command line.

use std::process::ExitCode;

#[global_allocator]
static MEMORY: engine::cli::memory::Telling = engine::cli::memory::Telling;

fn main() -> ExitCode {
    engine::cli::main()
}
