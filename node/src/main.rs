//! The `commonwatt` binary.

use std::process::ExitCode;

use commonwatt::cli::Cli;

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
