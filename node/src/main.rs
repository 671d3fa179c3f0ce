//! The `commonwatt` binary.

use std::process::ExitCode;

use commonwatt::{
    cli::Cli,
    report::{describe_error, is_output_closed},
};
use mimalloc::MiMalloc;

/// The runtime allocates for each access to the state; this one is quicker at it than the system's.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    match Cli::of_process().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_output_closed(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // One line, for a terminal and for a log alike.
            eprintln!("Error: {}", describe_error(&error));
            ExitCode::FAILURE
        }
    }
}
