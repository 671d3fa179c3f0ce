//! Logs on standard error, and their filter, which can be changed while the node runs.
//!
//! ## Invariants
//! - No secret is logged: what libraries would write of the content of requests is dropped, whatever the filter.
//! - A filter that is not understood changes nothing.

use std::{
    io::{self, IsTerminal},
    sync::{Arc, OnceLock},
};

use anyhow::{Context, Result, anyhow, ensure};
use parking_lot::Mutex;
use tracing::{Level, Metadata, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::filter_fn, fmt, fmt::MakeWriter, prelude::*, reload,
};

/// How logs are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged unless somebody says otherwise. FRAME traces each extrinsic with its bytes at level info, so only our
/// own targets are that loud. Gossip warns that it does not publish again what was published, which is as it should be.
const QUIET: &str = "warn,commonwatt=info,libp2p_gossipsub=error";

/// Longest filter, with all that was added to it.
const FILTER_BYTES_MAX: usize = 8 * 1024;

/// Targets that log, at level trace, what requests hold; and a request may hold the secret of a key.
const TELLTALES: [&str; 6] = ["jsonrpsee", "soketto", "hyper", "h2", "tower", "tokio_util"];

/// The filter of this process.
static FILTER: OnceLock<Arc<LogFilter>> = OnceLock::new();

/// A filter that can be changed.
pub struct LogFilter {
    handle: reload::Handle<EnvFilter, Registry>,
    initial: String,
    current: Mutex<String>,
}

/// Starts logging. `filter` is a list of `target=level`; the environment's `RUST_LOG` is used when it is `None`.
pub fn start(filter: Option<&str>, format: LogFormat) -> Result<()> {
    // Set to nothing it would leave errors alone in the log.
    let from_environment = std::env::var("RUST_LOG")
        .ok()
        .filter(|directives| !directives.trim().is_empty());
    let directives = filter.or(from_environment.as_deref()).unwrap_or(QUIET);
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let has_colors = io::stderr().is_terminal() && !no_color;
    let (subscriber, filter) = subscriber(directives, format, has_colors, io::stderr)?;
    subscriber.try_init().context("logging was started twice")?;
    // What the line above let through is the process's only subscriber.
    let _ = FILTER.set(Arc::new(filter));
    Ok(())
}

/// Returns the filter of this process; `None` before [`start`].
pub fn filter() -> Option<Arc<LogFilter>> {
    FILTER.get().cloned()
}

/// Builds what takes the logs, and the handle on its filter.
fn subscriber<Writer>(
    directives: &str,
    format: LogFormat,
    has_colors: bool,
    writer: Writer,
) -> Result<(impl tracing::Subscriber + Send + Sync, LogFilter)>
where
    Writer: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(parse(directives)?);
    let layer = fmt::layer().with_writer(writer).with_ansi(has_colors);
    let layer = match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().boxed(),
    };
    let subscriber = tracing_subscriber::registry()
        .with(filter)
        .with(filter_fn(|metadata| !is_telltale(metadata)))
        .with(layer);
    let filter = LogFilter {
        handle,
        initial: directives.to_owned(),
        current: Mutex::new(directives.to_owned()),
    };
    Ok((subscriber, filter))
}

/// Returns whether an event may show what a request holds.
fn is_telltale(metadata: &Metadata<'_>) -> bool {
    *metadata.level() == Level::TRACE
        && TELLTALES
            .iter()
            .any(|telltale| metadata.target().starts_with(telltale))
}

fn parse(directives: &str) -> Result<EnvFilter> {
    ensure!(
        directives.len() <= FILTER_BYTES_MAX,
        "the log filter has {} bytes, at most {FILTER_BYTES_MAX} are taken: go back to the first one with \
         system_resetLogFilter, or name fewer targets",
        directives.len()
    );
    // The parser cuts between bytes, which panics within a letter of several.
    ensure!(
        directives.is_ascii(),
        "the log filter {directives:?} has letters that no target has: write it in ASCII, like commonwatt=debug,warn"
    );
    // Taken for a part of the target's name, which nothing has.
    ensure!(
        !directives.trim().contains(char::is_whitespace),
        "the log filter {directives:?} has spaces: separate target=level by commas alone, like commonwatt=debug,warn"
    );
    // Expressions in filters would run over whatever is logged.
    EnvFilter::builder()
        .with_regex(false)
        .parse(directives)
        .map_err(|error| {
            anyhow!(
                "the log filter {directives:?} is not a list of target=level like commonwatt=debug,warn ({error}); \
                 levels are off, error, warn, info, debug and trace"
            )
        })
}

impl LogFilter {
    /// Adds to the filter; what is added goes before what was said of the same target.
    pub fn add(&self, directives: &str) -> Result<()> {
        // Alone first, so that an error speaks of what was given.
        parse(directives)?;
        let mut current = self.current.lock();
        let together = format!("{current},{directives}");
        self.replace(&together)?;
        *current = together;
        Ok(())
    }

    /// Goes back to the filter the node was started with.
    pub fn reset(&self) -> Result<()> {
        let mut current = self.current.lock();
        self.replace(&self.initial)?;
        current.clone_from(&self.initial);
        Ok(())
    }

    fn replace(&self, directives: &str) -> Result<()> {
        let filter = parse(directives)?;
        let most = filter.max_level_hint();
        self.handle
            .reload(filter)
            .context("the log filter cannot be changed any more")?;
        // Records of the `log` crate are dropped by a level of its own before they come to the filter.
        log::set_max_level(match most {
            Some(LevelFilter::OFF) => log::LevelFilter::Off,
            Some(LevelFilter::ERROR) => log::LevelFilter::Error,
            Some(LevelFilter::WARN) => log::LevelFilter::Warn,
            Some(LevelFilter::INFO) => log::LevelFilter::Info,
            Some(LevelFilter::DEBUG) => log::LevelFilter::Debug,
            _ => log::LevelFilter::Trace,
        });
        tracing::info!(filter = directives, "the log filter was changed");
        Ok(())
    }
}

impl commonwatt_rpc::LogFilter for LogFilter {
    fn add(&self, directives: &str) -> std::result::Result<(), String> {
        Self::add(self, directives).map_err(|error| format!("{error:#}"))
    }

    fn reset(&self) -> std::result::Result<(), String> {
        Self::reset(self).map_err(|error| format!("{error:#}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps what is logged.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Kept {
        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut *self.0.lock())).unwrap()
        }
    }

    /// Logs to memory while `task` runs, with the filter it is given.
    fn logged(directives: &str, format: LogFormat, task: impl FnOnce(&LogFilter, &Kept)) {
        let kept = Kept::default();
        let writer = kept.clone();
        let (subscriber, filter) =
            subscriber(directives, format, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || task(&filter, &kept));
    }

    #[test]
    fn the_filter_is_changed_and_reset_while_the_node_runs() {
        logged("warn", LogFormat::Text, |filter, kept| {
            let say = || tracing::debug!(target: "energy", "nineteen kilowatt-hours");
            say();
            assert_eq!(kept.take(), "");
            filter.add("energy=debug").unwrap();
            say();
            assert!(kept.take().contains("nineteen"));
            filter.reset().unwrap();
            kept.take();
            say();
            assert_eq!(kept.take(), "");
        });
    }

    #[test]
    fn unless_told_otherwise_gossip_does_not_warn_of_what_is_as_it_should_be() {
        logged(QUIET, LogFormat::Text, |_, kept| {
            tracing::warn!(target: "libp2p_gossipsub::behaviour", "not published again");
            assert_eq!(kept.take(), "");
            tracing::warn!(target: "libp2p_swarm", "a connection was cut");
            assert!(kept.take().contains("was cut"));
        });
    }

    #[test]
    fn a_filter_that_is_not_understood_says_so_and_changes_nothing() {
        logged("energy=info", LogFormat::Text, |filter, kept| {
            let said = filter.add("energy=loud").unwrap_err().to_string();
            assert!(
                said.contains("energy=loud") && said.contains("target=level"),
                "{said}"
            );
            let said = filter.add("commonwatt debug").unwrap_err().to_string();
            assert!(said.contains("spaces"), "{said}");
            let long = "a".repeat(FILTER_BYTES_MAX + 1);
            assert!(filter.add(&long).is_err());
            // The parser would panic over these.
            let said = filter.add("::!\u{582}of=").unwrap_err().to_string();
            assert!(said.contains("ASCII"), "{said}");
            tracing::info!(target: "energy", "still here");
            assert!(kept.take().contains("still here"));
        });
    }

    #[test]
    fn a_filter_cannot_grow_for_ever() {
        logged("warn", LogFormat::Text, |filter, _| {
            let refused = (0..FILTER_BYTES_MAX).find_map(|_| filter.add("energy=debug").err());
            let said = refused.unwrap().to_string();
            assert!(said.contains("system_resetLogFilter"), "{said}");
            filter.reset().unwrap();
            filter.add("energy=debug").unwrap();
        });
    }

    #[test]
    fn what_requests_hold_is_never_logged() {
        logged("trace", LogFormat::Text, |filter, kept| {
            filter
                .add("jsonrpsee=trace,jsonrpsee-server=trace")
                .unwrap();
            kept.take();
            tracing::trace!(target: "jsonrpsee-server", "recv: author_insertKey //Secret");
            tracing::trace!(target: "hyper::proto", "//Secret");
            assert_eq!(kept.take(), "");
            tracing::debug!(target: "jsonrpsee-server", "a connection");
            assert!(kept.take().contains("a connection"));
        });
    }

    #[test]
    fn json_is_one_object_a_line_and_text_has_no_colours_off_terminals() {
        logged("info", LogFormat::Json, |_, kept| {
            tracing::info!(step = 7, "closed");
            let line: serde_json::Value = serde_json::from_str(&kept.take()).unwrap();
            assert_eq!(line["fields"]["step"], 7);
        });
        logged("info", LogFormat::Text, |_, kept| {
            tracing::info!(step = 7, "closed");
            assert!(!kept.take().contains('\u{1b}'));
        });
    }
}
