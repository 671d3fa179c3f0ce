//! A node as its operator runs it: set up, started, stopped, looked at.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use super::{PATIENCE, binary, rpc};

/// Length of a step, in milliseconds: the shortest in which a debug build makes its block with time to spare.
const STEP_MS: u64 = 500;

/// Runs the binary to its end.
pub fn commonwatt(arguments: &[&str]) -> Output {
    Command::new(binary())
        .args(arguments)
        .stdin(Stdio::null())
        .env_remove("RUST_LOG")
        .env_remove("COMMONWATT_PASSWORD")
        .output()
        .expect("the binary starts")
}

/// Runs a command that must succeed and returns what it printed.
pub fn succeed(arguments: &[&str]) -> String {
    let output = commonwatt(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

/// Runs a command that must be refused and returns what it said.
pub fn refused(arguments: &[&str]) -> String {
    let output = commonwatt(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{arguments:?} should be refused");
    assert!(!said.contains("panicked"), "{said}");
    said
}

/// An operator's folder: a base path, and the chain spec beside it.
pub struct Site {
    folder: tempfile::TempDir,
    /// The chain spec.
    pub spec: PathBuf,
}

impl Site {
    /// Sets up a validator of a chain whose first step begins now.
    pub fn validator() -> Self {
        Self::validator_in(Self::empty(), &[])
    }

    /// The same in a folder that is there, with further arguments for `init`.
    pub fn validator_in(site: Self, arguments: &[&str]) -> Self {
        let spec = Self::example();
        let id = spec["id"].as_str().expect("an id").to_owned();
        let init = ["init", "--chain", &id];
        let said = site.run(&[&init, arguments].concat());
        let keys = said
            .lines()
            .find_map(|line| line.trim().strip_prefix("\"keys\": "))
            .expect("init prints the keys");
        let keys: Value = serde_json::from_str(keys).expect("keys as the spec has them");
        site.write_spec(|spec| {
            spec["genesis"]["validators"][0]["keys"] = keys;
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .expect("a clock after 1970");
            let now_ms = u64::try_from(now.as_millis()).expect("a time in this era");
            spec["genesis"]["timing"] = json!({
                // On the grid of steps, as the spec of a live chain must be.
                "genesisMs": now_ms - now_ms % STEP_MS,
                "stepMs": STEP_MS,
                "meteredMs": 900_000,
                "gateOpenMs": 50,
                "gateCloseMs": 50,
                "settleDelayMs": 100,
            });
        });
        let init = ["init", "--chain", site.spec()];
        site.run(&[&init, arguments].concat());
        site
    }

    /// Sets up another node of the same chain, with keys of its own that are not a validator's.
    pub fn another(&self) -> Self {
        let site = Self::empty();
        fs::copy(&self.spec, &site.spec).expect("the spec is copied");
        let said = site.run(&["init", "--chain", site.spec()]);
        assert!(said.contains("makes no blocks"), "{said}");
        site
    }

    /// An empty folder.
    pub fn empty() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let spec = folder.path().join("village.json");
        Self { folder, spec }
    }

    /// The example that `chain-specs` holds.
    pub fn example() -> Value {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../chain-specs/example-community.json");
        serde_json::from_slice(&fs::read(path).expect("the example is there")).expect("JSON")
    }

    /// Writes the example, changed, as this site's spec.
    pub fn write_spec(&self, change: impl FnOnce(&mut Value)) {
        let mut spec = Self::example();
        change(&mut spec);
        fs::write(&self.spec, spec.to_string()).expect("the spec is written");
    }

    /// Returns the path of the chain spec.
    pub fn spec(&self) -> &str {
        self.spec.to_str().expect("a path in UTF-8")
    }

    /// Returns a path in this site's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the base path.
    pub fn base(&self) -> PathBuf {
        self.path("base")
    }

    /// Returns the chain's folder.
    pub fn chain(&self) -> PathBuf {
        self.base().join("chains/example-community")
    }

    /// Returns a command line on this site: the subcommand, `--base-path`, and the rest.
    fn on_site(&self, arguments: &[&str]) -> Vec<String> {
        let (first, rest) = arguments.split_first().expect("a subcommand");
        let base = self.base();
        let base = base.to_str().expect("a path in UTF-8");
        [*first, "--base-path", base]
            .iter()
            .chain(rest)
            .map(|word| (*word).to_owned())
            .collect()
    }

    /// Runs a subcommand on this site, which must succeed.
    pub fn run(&self, arguments: &[&str]) -> String {
        let words = self.on_site(arguments);
        succeed(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Runs a subcommand on this site, which must be refused.
    pub fn refused(&self, arguments: &[&str]) -> String {
        let words = self.on_site(arguments);
        refused(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Returns what `chain-info` says of the stopped node.
    pub fn info(&self) -> Value {
        serde_json::from_str(&self.run(&["chain-info", "--json"])).expect("JSON")
    }

    /// Returns the command that starts a node, without arguments that others would quarrel over.
    pub fn node(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .args(["--rpc-port", "0", "--no-prometheus", "--base-path"])
            .arg(self.base())
            .args(arguments)
            .env_remove("RUST_LOG")
            .env_remove("COMMONWATT_PASSWORD");
        command
    }

    /// Starts a node and waits until it serves.
    pub fn start(&self, arguments: &[&str]) -> Node {
        Node::start(self.node(arguments))
    }
}

/// A node that runs.
pub struct Node {
    child: Child,
    log: Receiver<String>,
    /// Where its JSON-RPC listens.
    pub url: String,
}

impl Node {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let output = child.stderr.take().expect("the log is piped");
        let (sender, log) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut node = Self {
            child,
            log,
            url: String::new(),
        };
        let line = node.expect_log("JSON-RPC is listening");
        let address = line.split("address=").nth(1).expect("an address");
        node.url = format!("ws://{}", address.trim());
        node
    }

    /// Waits for a line of the log that contains `what`.
    pub fn expect_log(&self, what: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.log.recv_timeout(left) {
                Ok(line) if line.contains(what) => return line,
                Ok(line) => seen.push(line),
                Err(_) => panic!("no line of the log has {what:?}: {seen:#?}"),
            }
        }
    }

    /// Waits until the node has block `number`.
    pub fn wait_for_block(&self, number: u32) {
        rpc::wait_for_block(&self.url, number, PATIENCE);
    }

    /// Asks for the hash of a block.
    pub fn block_hash(&self, number: u32) -> Option<String> {
        rpc::block_hash(&self.url, number)
    }

    /// Sends a signal and waits for the end; returns how it ended, and the rest of the log.
    pub fn end(mut self, signal: &str) -> (ExitStatus, Vec<String>) {
        let sent = Command::new("kill")
            .args([&format!("-{signal}"), &self.child.id().to_string()])
            .status()
            .expect("kill runs");
        assert!(sent.success());
        let mut log = Vec::new();
        while let Ok(line) = self.log.recv_timeout(PATIENCE) {
            log.push(line);
        }
        (self.child.wait().expect("the node ends"), log)
    }

    /// Stops the node as a supervisor does; it must end well.
    pub fn stop(self) {
        let (status, log) = self.end("TERM");
        assert!(status.success(), "{log:#?}");
        assert!(
            log.iter()
                .any(|line| line.contains("everything is on disk")),
            "{log:#?}"
        );
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A scenario that failed must not leave its node behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
