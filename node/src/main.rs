//! The `commonwatt` binary.

use std::process::ExitCode;

use commonwatt::cli::Cli;
use mimalloc::MiMalloc;

/// The runtime allocates for each access to the state; this one is quicker at it than the system's.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    match Cli::of_process().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The chain of causes in one line, for a terminal and for a log alike.
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
