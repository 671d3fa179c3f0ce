//! The node that is measured: its process, and what that process uses.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use parking_lot::Mutex;
use serde::Serialize;
use tempfile::TempDir;

/// How long the node may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(60);
/// Ticks a second in `/proc`; the same on every Linux that Rust supports.
const TICKS_PER_SECOND: u64 = 100;

/// When the node said that it made the block of a step.
pub type Announcements = Arc<Mutex<BTreeMap<u32, Instant>>>;

/// A development node in a folder of its own. It is killed when it is dropped.
pub struct Node {
    process: Child,
    url: String,
    announcements: Announcements,
    _folder: TempDir,
}

/// What a process has used.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Memory it uses now.
    pub memory_kib: u64,
    /// The most memory it ever used.
    pub memory_peak_kib: u64,
    /// Processor time in ticks.
    #[serde(skip)]
    ticks: u64,
    #[serde(skip, default)]
    at: Option<Instant>,
}

/// What the node uses when nobody asks for anything.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Idle {
    /// Memory in use.
    pub memory_kib: u64,
    /// Part of one core, in percent.
    pub cpu_percent: f64,
}

impl Usage {
    /// Returns the processor time since `earlier` in percent of one core.
    pub fn cpu_since(&self, earlier: &Self) -> f64 {
        let (Some(at), Some(before)) = (self.at, earlier.at) else {
            return 0.0;
        };
        let ticks = self.ticks.saturating_sub(earlier.ticks);
        let seconds = at.duration_since(before).as_secs_f64();
        ticks as f64 / TICKS_PER_SECOND as f64 / seconds * 100.0
    }
}

impl Node {
    /// Starts a development chain on a free port.
    pub fn start(binary: &Path, step_ms: u64) -> Result<Self> {
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let mut process = Command::new(binary)
            .args(["dev", "--rpc-port", "0", "--step-ms", &step_ms.to_string()])
            // Only readings are measured.
            .args(["--trade", "off"])
            .arg("--base-path")
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let output = process
            .stdout
            .take()
            .ok_or_else(|| anyhow!("the node has no output"))?;
        let announcements = Announcements::default();
        let (found, url) = mpsc::channel();
        thread::spawn({
            let announcements = announcements.clone();
            move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if let Some(url) = line
                        .split_whitespace()
                        .find(|word| word.starts_with("ws://"))
                    {
                        // Nobody waits for a second one.
                        let _ = found.send(url.to_owned());
                    }
                    if let Some(step) = announced_step(&line) {
                        announcements.lock().insert(step, Instant::now());
                    }
                }
            }
        });
        // In `Self` from here on, so that no error leaves the process behind.
        let mut node = Self {
            process,
            url: String::new(),
            announcements,
            _folder: folder,
        };
        node.url = url
            .recv_timeout(PATIENCE)
            .context("the node does not say where it listens")?;
        Ok(node)
    }

    /// Returns where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns when the node itself said that it made each block.
    pub fn announcements(&self) -> &Announcements {
        &self.announcements
    }

    /// Returns what it has used so far.
    pub fn usage(&self) -> Result<Usage> {
        let folder = Path::new("/proc").join(self.process.id().to_string());
        let status = std::fs::read_to_string(folder.join("status")).context("the node ended")?;
        let kib = |field: &str| {
            status
                .lines()
                .find_map(|line| {
                    line.strip_prefix(field)?
                        .split_whitespace()
                        .next()?
                        .parse()
                        .ok()
                })
                .ok_or_else(|| anyhow!("/proc does not tell {field}"))
        };
        let stat = std::fs::read_to_string(folder.join("stat")).context("the node ended")?;
        Ok(Usage {
            memory_kib: kib("VmRSS:")?,
            memory_peak_kib: kib("VmHWM:")?,
            ticks: processor_ticks(&stat).ok_or_else(|| anyhow!("/proc does not tell the time"))?,
            at: Some(Instant::now()),
        })
    }

    /// Measures what it uses while nobody asks for anything.
    pub async fn measure_idle(&self, duration: Duration) -> Result<Idle> {
        let before = self.usage()?;
        tokio::time::sleep(duration).await;
        let after = self.usage()?;
        Ok(Idle {
            memory_kib: after.memory_kib,
            cpu_percent: after.cpu_since(&before),
        })
    }

    /// Ends it as a supervisor does.
    pub fn stop(mut self) -> Result<()> {
        let asked = Command::new("kill")
            .args(["-TERM", &self.process.id().to_string()])
            .status()?;
        if !asked.success() {
            bail!("the node ended before it was asked to");
        }
        let (ended, end) = mpsc::channel();
        let announcements = self.announcements.clone();
        let pid = self.process.id();
        thread::spawn(move || {
            // A node that does not stop is killed, which ends the wait below.
            if end.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                let _ = Command::new("kill")
                    .args(["-KILL", &pid.to_string()])
                    .status();
            }
            drop(announcements);
        });
        let status = self.process.wait()?;
        let _ = ended.send(());
        if !status.success() {
            bail!("the node ended with {status}");
        }
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns the step of a line like `step    12  Mon 10:45  generated …`.
fn announced_step(line: &str) -> Option<u32> {
    line.strip_prefix("step ")?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

/// Returns the sum of user and system time; the process' name, in parentheses, may hold anything.
fn processor_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_time_is_found_behind_any_name() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 41 1 0 0 20";
        assert_eq!(processor_ticks(stat), Some(42));
        assert_eq!(processor_ticks("7 (a"), None);
    }

    #[test]
    fn only_lines_about_a_step_announce_one() {
        assert_eq!(
            announced_step("step    12  Mon 10:45  generated 1 Wh"),
            Some(12)
        );
        assert_eq!(
            announced_step("            block 0x12, 58 transactions"),
            None
        );
        assert_eq!(announced_step("steps of 2 s"), None);
    }
}
