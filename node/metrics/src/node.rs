//! The process: what it is, since when it runs, what it takes.

use std::{fs, time::SystemTime};

use prometheus::{Gauge, IntGauge};

use crate::{
    About, COMMIT,
    register::{Registrar, shown},
};

/// Substrate's bit of a node that follows the chain.
const ROLE_FULL: i64 = 1;
/// Substrate's bit of a node that makes blocks.
const ROLE_AUTHORITY: i64 = 4;

/// Figures of the process. Those that Linux tells stay 0 elsewhere.
pub(crate) struct NodeFigures {
    resident_bytes: IntGauge,
    threads: IntGauge,
    open_files: IntGauge,
    open_files_max: IntGauge,
}

impl NodeFigures {
    pub(crate) fn register(
        registrar: &mut Registrar<'_>,
        about: &About,
    ) -> Result<Self, prometheus::Error> {
        let build = registrar.gauges(
            "substrate_build_info",
            "Always 1; the labels say what runs: the software's name, its version and the commit it is built from",
            &["name", "version", "commit"],
        )?;
        build
            .get_metric_with_label_values(&[&about.name, &about.version, COMMIT])?
            .set(1);
        let roles = registrar.gauge(
            "substrate_node_roles",
            "What the node does, in Substrate's bits: 1 follows the chain, 4 makes blocks",
        )?;
        roles.set(if about.is_authority {
            ROLE_AUTHORITY
        } else {
            ROLE_FULL
        });
        let started: Gauge = registrar.gauge_of_reals(
            "substrate_process_start_time_seconds",
            "When the process started, in seconds since the Unix epoch",
        )?;
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        started.set(since_epoch.unwrap_or_default().as_secs_f64());
        Ok(Self {
            resident_bytes: registrar.gauge(
                "process_resident_memory_bytes",
                "Memory of the process that is in RAM, in bytes",
            )?,
            threads: registrar.gauge("process_threads", "Threads of the process")?,
            open_files: registrar.gauge(
                "process_open_fds",
                "Files and connections that the process has open",
            )?,
            open_files_max: registrar.gauge(
                "process_max_fds",
                "Files and connections that the process may have open",
            )?,
        })
    }

    /// Asks the operating system.
    pub(crate) fn refresh(&self) {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        if let Some(kibibytes) = number_after(&status, "VmRSS:") {
            self.resident_bytes
                .set(shown(kibibytes.saturating_mul(1_024)));
        }
        if let Some(threads) = number_after(&status, "Threads:") {
            self.threads.set(shown(threads));
        }
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        if let Some(files) = number_after(&limits, "Max open files") {
            self.open_files_max.set(shown(files));
        }
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            // One of them is the folder that is being read.
            self.open_files.set(shown(files.count().saturating_sub(1)));
        }
    }
}

/// Returns the number that follows a name at the beginning of a line.
fn number_after(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_is_read() {
        let status = "Name:\tcommonwatt\nVmPeak:\t  9 kB\nVmRSS:\t  20480 kB\nThreads:\t17\n";
        assert_eq!(number_after(status, "VmRSS:"), Some(20_480));
        assert_eq!(number_after(status, "Threads:"), Some(17));
        assert_eq!(number_after(status, "VmSwap:"), None);
        let limits = "Max open files            1024                 524288               files\n";
        assert_eq!(number_after(limits, "Max open files"), Some(1_024));
        assert_eq!(
            number_after("Max open files  unlimited", "Max open files"),
            None
        );
    }
}
