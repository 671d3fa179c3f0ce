//! A development node as its users run it: a process with arguments, output and signals.

// Each scenario is a program of its own and uses its own part of this.
#![allow(dead_code)]

pub mod operator;
pub mod rpc;

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

/// Longest wait for anything that must happen; a build machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// Returns the binary under test: the one cargo built, or the one `COMMONWATT_BIN` names.
pub fn binary() -> PathBuf {
    std::env::var_os("COMMONWATT_BIN").map_or_else(
        || PathBuf::from(env!("CARGO_BIN_EXE_commonwatt")),
        PathBuf::from,
    )
}

/// A block as the node announced it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// Its step.
    pub step: u32,
    /// Its hash, with `0x`.
    pub hash: String,
}

/// A running development node.
pub struct DevNode {
    child: Child,
    lines: Receiver<String>,
    /// Where its JSON-RPC listens.
    pub url: String,
    /// What it printed before its first step.
    pub greeting: Vec<String>,
}

impl DevNode {
    /// Starts a node that keeps its chain in `base` and waits until it serves.
    pub fn start(base: &Path, arguments: &[&str]) -> Self {
        let mut child = command(base, arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the binary starts");
        let output = child.stdout.take().expect("the output is piped");
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut node = Self {
            child,
            lines,
            url: String::new(),
            greeting: Vec::new(),
        };
        node.read_greeting();
        node
    }

    fn read_greeting(&mut self) {
        loop {
            let line = self.next_line(PATIENCE).expect("the node greets");
            if let Some(rest) = line.trim_start().strip_prefix("JSON-RPC") {
                let url = rest.trim().split(' ').next().unwrap_or_default();
                self.url = url.to_owned();
            }
            if line.contains("stop with Ctrl-C") {
                return;
            }
            self.greeting.push(line);
        }
    }

    /// Returns the next line of output; `None` when there is none in time or the node ended.
    fn next_line(&self, patience: Duration) -> Option<String> {
        self.lines.recv_timeout(patience).ok()
    }

    /// Waits for the next block that is announced with its energy; `None` when the node ended or `within`
    /// is over.
    pub fn next_block(&self, within: Duration) -> Option<Announced> {
        let deadline = Instant::now() + within;
        let mut step = None;
        loop {
            let line = self.next_line(deadline.saturating_duration_since(Instant::now()))?;
            let words: Vec<_> = line.split_whitespace().collect();
            match words.as_slice() {
                ["step", number, ..] => step = number.parse().ok(),
                ["block", hash, ..] => {
                    if let Some(step) = step {
                        return Some(Announced {
                            step,
                            hash: hash.trim_end_matches(',').into(),
                        });
                    }
                }
                _ => {}
            }
        }
    }

    /// Waits for a block as long as it may take.
    pub fn expect_block(&self) -> Announced {
        self.next_block(PATIENCE).expect("the next block comes")
    }

    /// Asks for the hash of the block of a step.
    pub fn block_hash(&self, step: u32) -> Option<String> {
        rpc::block_hash(&self.url, step)
    }

    /// Ends the node without warning, as a power cut would end its process.
    pub fn kill(mut self) -> Vec<Announced> {
        self.child.kill().expect("the node can be killed");
        self.child.wait().expect("the node ends");
        let mut announced = Vec::new();
        while let Some(block) = self.next_block(Duration::from_secs(10)) {
            announced.push(block);
        }
        announced
    }

    /// Presses Ctrl-C and returns how the node ended and what it said.
    pub fn interrupt(mut self) -> (ExitStatus, Vec<String>) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .expect("kill runs");
        assert!(sent.success());
        let mut last = Vec::new();
        while let Some(line) = self.next_line(PATIENCE) {
            last.push(line);
        }
        (self.child.wait().expect("the node ends"), last)
    }
}

impl Drop for DevNode {
    fn drop(&mut self) {
        // A scenario that failed must not leave its node behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the command that starts a development node on a free port.
pub fn command(base: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command
        .arg("dev")
        .args(["--rpc-port", "0", "--base-path"])
        .arg(base)
        .args(arguments)
        .env_remove("RUST_LOG");
    command
}

/// Runs a command that is expected to fail and returns what it said.
pub fn expect_failure(mut command: Command) -> String {
    let output = command.output().expect("the binary starts");
    assert!(!output.status.success(), "it should have refused");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!text.contains("panicked"), "{text}");
    text
}
