//! The processes of a local network: each node one, started, started again when it dies, and ended in order.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};

use super::plan::{PlannedNode, log_bytes};

/// First pause before a node that died is started again; it doubles each time.
const PAUSE_FIRST: Duration = Duration::from_millis(100);

/// Longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// A node that ran for so long begins with the first pause again.
const STEADY: Duration = Duration::from_secs(10);

/// How long a node may take to end after it was asked to.
const ENDING_MAX: Duration = Duration::from_secs(30);

/// Lines of a node's log that are told when it dies.
const LAST_LINES: usize = 6;

/// Bytes of a log that are looked at for its last lines.
const LAST_BYTES: u64 = 16 * 1024;

/// A log larger than this is put aside at a start, in place of the one before.
const LOG_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Whether the network runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It does.
    Run,
    /// Nodes end in order.
    End,
    /// Nodes are killed.
    Kill,
}

/// What becomes of a node that dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// It is started again, later each time.
    WithBackoff,
    /// It stays down.
    Never,
}

/// How a node's process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It runs.
    Running {
        /// Its process.
        pid: u32,
    },
    /// It died and will be started again.
    Restarting {
        /// The pause before.
        after: Duration,
    },
    /// It does not run, and will not.
    Down,
}

/// What the others see of a node's process.
#[derive(Debug)]
pub struct Process {
    /// How it is now.
    pub condition: Condition,
    /// How often it was started again.
    pub restarts: u32,
}

impl Process {
    /// Returns one that was not started yet.
    pub fn new() -> Self {
        Self {
            condition: Condition::Down,
            restarts: 0,
        }
    }
}

/// A node died without being asked to.
#[derive(Debug)]
pub struct Died {
    /// Its place among the nodes.
    pub place: usize,
    /// How it ended.
    pub how: String,
    /// The end of its log.
    pub last_lines: Vec<String>,
}

/// Runs a node until the network ends.
pub struct Keeper {
    /// Its place among the nodes.
    pub place: usize,
    /// The node.
    pub node: PlannedNode,
    /// What runs it: this program.
    pub binary: PathBuf,
    /// What becomes of it when it dies.
    pub restart: Restart,
    /// What the others see.
    pub process: Arc<Mutex<Process>>,
    /// Whether the network runs.
    pub phase: watch::Receiver<Phase>,
    /// Who is told of its death.
    pub deaths: mpsc::UnboundedSender<Died>,
}

impl Keeper {
    /// Runs the node, again and again if need be, until the network ends.
    ///
    /// # Errors
    /// It cannot be started at all.
    pub async fn run(mut self) -> Result<()> {
        let mut pause = PAUSE_FIRST;
        while *self.phase.borrow() == Phase::Run {
            let begin = rotate(&self.node.log())?;
            let mut child = self.start()?;
            let started = Instant::now();
            let pid = child.id().unwrap_or_default();
            self.process.lock().condition = Condition::Running { pid };
            let status = tokio::select! {
                status = child.wait() => status.context("cannot wait for a node")?,
                () = reaches(&mut self.phase, Phase::End) => {
                    self.end(&mut child).await?;
                    break;
                }
            };
            if started.elapsed() >= STEADY {
                pause = PAUSE_FIRST;
            }
            self.note_death(status, begin, pause);
            match self.restart {
                Restart::Never => reaches(&mut self.phase, Phase::End).await,
                Restart::WithBackoff => {
                    tokio::select! {
                        () = sleep(pause) => {}
                        () = reaches(&mut self.phase, Phase::End) => {}
                    }
                    pause = pause.saturating_mul(2).min(PAUSE_MAX);
                }
            }
        }
        self.process.lock().condition = Condition::Down;
        Ok(())
    }

    fn start(&self) -> Result<Child> {
        let path = self.node.log();
        let open = || File::options().create(true).append(true).open(&path);
        let log = open().with_context(|| format!("cannot open {}", path.display()))?;
        let errors = log
            .try_clone()
            .with_context(|| format!("cannot open {}", path.display()))?;
        Command::new(&self.binary)
            .args(&self.node.flags)
            // Not the ones of whoever starts the network: its flags say all.
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            // Ctrl-C in a terminal is for the network, which ends its nodes in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| {
                format!(
                    "cannot start {} for {}",
                    self.binary.display(),
                    self.node.name
                )
            })
    }

    fn note_death(&self, status: ExitStatus, begin: u64, pause: Duration) {
        let mut process = self.process.lock();
        process.condition = match self.restart {
            Restart::Never => Condition::Down,
            Restart::WithBackoff => {
                process.restarts = process.restarts.saturating_add(1);
                Condition::Restarting { after: pause }
            }
        };
        drop(process);
        let died = Died {
            place: self.place,
            how: status.to_string(),
            last_lines: read_last_lines(&self.node.log(), begin).unwrap_or_default(),
        };
        // Nobody listens any more once the network ends.
        let _ = self.deaths.send(died);
    }

    /// Asks a node to end, and kills it when it does not, or when there is no time for that.
    async fn end(&mut self, child: &mut Child) -> Result<()> {
        if *self.phase.borrow() < Phase::Kill {
            ask_to_end(child);
            let ended = tokio::select! {
                ended = timeout(ENDING_MAX, child.wait()) => ended.is_ok(),
                () = reaches(&mut self.phase, Phase::Kill) => false,
            };
            if ended {
                return Ok(());
            }
            tracing::warn!(
                node = self.node.name,
                "does not end when asked to, and is killed"
            );
        }
        child.kill().await.context("cannot end a node")
    }
}

/// Asks a process to end that was not waited for yet, so that its number is still its own. As service managers do: what runs
/// in the background may have been told to ignore Ctrl-C's signal.
fn ask_to_end(child: &Child) {
    let pid = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    if let Some(pid) = pid
        && let Err(error) = kill_process(pid, Signal::TERM)
    {
        tracing::warn!(%error, "a node cannot be asked to end");
    }
}

/// Waits until the network is in a phase, or past it.
pub async fn reaches(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    // Whoever ends the network without a word has it killed: the sender is gone.
    let _ = phase.wait_for(|phase| *phase >= wanted).await;
}

/// Puts a log aside that has grown large; returns where in it the next start begins.
fn rotate(log: &Path) -> Result<u64> {
    let bytes = log_bytes(log);
    if bytes <= LOG_BYTES_MAX {
        return Ok(bytes);
    }
    let aside = log.with_extension("old");
    fs::rename(log, &aside).with_context(|| format!("cannot rename {}", log.display()))?;
    Ok(0)
}

/// Returns the last lines of a log, of those after `begin`.
fn read_last_lines(log: &Path, begin: u64) -> io::Result<Vec<String>> {
    let mut file = File::open(log)?;
    let from = begin.max(log_bytes(log).saturating_sub(LAST_BYTES));
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(LAST_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut lines: Vec<_> = text
        .lines()
        .rev()
        .filter(|line| !line.trim().is_empty())
        .take(LAST_LINES)
        .map(ToOwned::to_owned)
        .collect();
    lines.reverse();
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::localnet::plan::Ports;
    use std::os::unix::fs::PermissionsExt;

    const PATIENCE: Duration = Duration::from_secs(30);

    struct Kept {
        process: Arc<Mutex<Process>>,
        phase: watch::Sender<Phase>,
        deaths: mpsc::UnboundedReceiver<Died>,
        keeper: tokio::task::JoinHandle<Result<()>>,
        folder: tempfile::TempDir,
    }

    /// Keeps a shell script as if it were a node.
    fn keep(script: &str, restart: Restart) -> Kept {
        let folder = tempfile::tempdir().unwrap();
        let binary = folder.path().join("script");
        fs::write(&binary, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
        let (phase, watched) = watch::channel(Phase::Run);
        let (sender, deaths) = mpsc::unbounded_channel();
        let process = Arc::new(Mutex::new(Process::new()));
        let keeper = Keeper {
            place: 3,
            node: PlannedNode {
                number: 4,
                name: "node4".into(),
                validator: None,
                folder: folder.path().to_owned(),
                ports: Ports {
                    rpc: 1,
                    network: 2,
                    metrics: 3,
                },
                peer_id: String::new(),
                flags: Vec::new(),
            },
            binary,
            restart,
            process: process.clone(),
            phase: watched,
            deaths: sender,
        };
        Kept {
            process,
            phase,
            deaths,
            keeper: tokio::spawn(keeper.run()),
            folder,
        }
    }

    impl Kept {
        async fn death(&mut self) -> Died {
            timeout(PATIENCE, self.deaths.recv())
                .await
                .unwrap()
                .unwrap()
        }

        /// Waits until the script has written a line.
        async fn wait_for_line(&self, line: &str) {
            let log = self.folder.path().join("log");
            let is_there = async {
                while !read_last_lines(&log, 0).is_ok_and(|lines| lines.iter().any(|l| l == line)) {
                    tokio::task::yield_now().await;
                }
            };
            timeout(PATIENCE, is_there).await.unwrap();
        }

        async fn end(self, phase: Phase) -> Result<()> {
            self.phase.send(phase).unwrap();
            timeout(PATIENCE, self.keeper).await.unwrap().unwrap()
        }
    }

    #[tokio::test]
    async fn a_node_that_dies_is_named_with_its_last_words_and_started_again() {
        let mut kept = keep("echo one; echo two >&2; exit 7", Restart::WithBackoff);
        for restarts in 1..3 {
            let died = kept.death().await;
            assert_eq!(died.place, 3);
            assert!(died.how.contains('7'), "{}", died.how);
            // Of this start alone.
            assert_eq!(died.last_lines, ["one", "two"]);
            assert!(kept.process.lock().restarts >= restarts);
        }
        kept.end(Phase::End).await.unwrap();
    }

    #[tokio::test]
    async fn without_restarts_it_stays_down() {
        let mut kept = keep("exit 1", Restart::Never);
        kept.death().await;
        assert_eq!(kept.process.lock().condition, Condition::Down);
        assert_eq!(kept.process.lock().restarts, 0);
        kept.end(Phase::End).await.unwrap();
    }

    #[tokio::test]
    async fn nodes_are_asked_to_end() {
        let script = "trap 'echo asked; exit 0' TERM; echo ready; while :; do sleep 0.05; done";
        let kept = keep(script, Restart::WithBackoff);
        kept.wait_for_line("ready").await;
        let log = kept.folder.path().join("log");
        let folder = kept.folder.path().to_owned();
        kept.phase.send(Phase::End).unwrap();
        timeout(PATIENCE, kept.keeper)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert!(folder.is_dir());
        assert_eq!(read_last_lines(&log, 0).unwrap(), ["ready", "asked"]);
        assert_eq!(kept.process.lock().condition, Condition::Down);
    }

    #[tokio::test]
    async fn nodes_that_do_not_end_are_killed() {
        let kept = keep(
            "trap '' TERM; echo ready; while :; do sleep 0.05; done",
            Restart::Never,
        );
        kept.wait_for_line("ready").await;
        kept.end(Phase::Kill).await.unwrap();
    }

    #[test]
    fn a_large_log_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        assert_eq!(rotate(&log).unwrap(), 0);
        fs::write(&log, "some").unwrap();
        assert_eq!(rotate(&log).unwrap(), 4);
        File::options()
            .write(true)
            .open(&log)
            .unwrap()
            .set_len(LOG_BYTES_MAX + 1)
            .unwrap();
        assert_eq!(rotate(&log).unwrap(), 0);
        assert!(!log.exists() && folder.path().join("log.old").exists());
    }
}
