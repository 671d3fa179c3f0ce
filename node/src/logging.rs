//! Logs on standard error.

use std::io::IsTerminal;

use anyhow::{Context, Result};
use tracing_subscriber::{EnvFilter, fmt, prelude::*};

/// How logs are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging. `filter` is a list of `target=level`; the environment's `RUST_LOG` is used when it is
/// `None`.
///
/// FRAME traces each extrinsic with its bytes at level info, so only our own targets are that loud.
pub fn start(filter: Option<&str>, format: LogFormat) -> Result<()> {
    const QUIET: &str = "warn,commonwatt=info";
    let from_environment = std::env::var("RUST_LOG").ok();
    let directives = filter.or(from_environment.as_deref()).unwrap_or(QUIET);
    let filter = EnvFilter::try_new(directives).with_context(|| {
        format!("the log filter {directives:?} is not a list like commonwatt=debug,warn")
    })?;
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => registry.with(layer).try_init(),
        LogFormat::Json => registry.with(layer.json()).try_init(),
    }
    .context("logging was started twice")
}
