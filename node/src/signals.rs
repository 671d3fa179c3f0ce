//! The signals that end a process in order.

use std::{fs, future};

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::stop::Stop;

/// What a shell reports for a process that a signal ended, less the signal's number.
const SIGNALLED: i32 = 128;
const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

/// The signals that end a process: Ctrl-C, a supervisor's, the end of the terminal.
///
/// Under `nohup` the end of the terminal is ignored, and stays so.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Option<Signal>,
}

impl Signals {
    /// Listens from now on, within a tokio runtime: none of them ends the process by itself any more.
    pub fn listen() -> Result<Self> {
        let listen =
            |number| signal(SignalKind::from_raw(number)).context("cannot listen for signals");
        Ok(Self {
            interrupt: listen(SIGINT)?,
            terminate: listen(SIGTERM)?,
            hangup: match is_ignored(SIGHUP) {
                true => None,
                false => Some(listen(SIGHUP)?),
            },
        })
    }

    /// Waits for the next signal, and returns the status that a shell reports for a process it ended.
    pub async fn next(&mut self) -> i32 {
        let number = tokio::select! {
            _ = self.interrupt.recv() => SIGINT,
            _ = self.terminate.recv() => SIGTERM,
            () = next(&mut self.hangup) => SIGHUP,
        };
        SIGNALLED + number
    }
}

/// Asks everybody to stop at the first signal; a second one ends the process at once, which loses no block that was
/// announced.
pub async fn ask_on_signal(stop: Stop) -> Result<()> {
    let mut signals = Signals::listen()?;
    tokio::select! {
        _ = signals.next() => {}
        () = stop.asked() => {}
    }
    stop.ask();
    tokio::spawn(async move {
        let status = signals.next().await;
        tracing::warn!("a second signal: ending at once");
        std::process::exit(status);
    });
    Ok(())
}

/// Waits for a signal; for ever when it is not listened for.
async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => future::pending().await,
    }
}

/// Says whether whoever started this process had it ignore a signal. Linux tells; elsewhere the answer is no.
fn is_ignored(number: i32) -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores(&status, number))
}

fn ignores(status: &str, number: i32) -> bool {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
    let bit = u32::try_from(number)
        .ok()
        .and_then(|number| 1_u64.checked_shl(number.checked_sub(1)?));
    mask.zip(bit).is_some_and(|(mask, bit)| mask & bit != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_says_which_signals_are_ignored() {
        // As `nohup` has it, and as a shell has it; SIGPIPE, which is 13, is ignored in both.
        let status =
            |mask| format!("Name:\tcommonwatt\nSigBlk:\tffffffffffffffff\nSigIgn:\t{mask}\n");
        let under_nohup = status("0000000000001001");
        assert!(ignores(&under_nohup, SIGHUP) && !ignores(&under_nohup, SIGTERM));
        let in_a_shell = status("0000000000001000");
        assert!(!ignores(&in_a_shell, SIGHUP) && !ignores(&in_a_shell, SIGINT));
        for unreadable in ["", "SigIgn:\tmany\n"] {
            assert!(!ignores(unreadable, SIGHUP));
        }
    }
}
