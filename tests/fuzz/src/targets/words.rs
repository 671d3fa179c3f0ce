//! What people type: log filters and command lines.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, sync::Arc, sync::LazyLock};

use clap::Parser;
use commonwatt::{
    cli::Cli,
    logging::{self, LogFilter, LogFormat},
};

/// Words of one command line.
const WORDS_MAX: usize = 64;

/// A log filter: taken or refused, and in either case the first one can be had back.
pub fn log_filter(data: &[u8]) {
    static FILTER: LazyLock<Arc<LogFilter>> = LazyLock::new(|| {
        logging::start(Some("off"), LogFormat::Text).expect("logging starts once");
        logging::filter().expect("logging has started")
    });
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let added = FILTER.add(text);
    FILTER.reset().expect("the first filter is understood");
    if let Err(error) = added {
        assert!(!error.to_string().is_empty());
    }
}

/// A command line, a word a line: understood, or refused with what to do.
pub fn command_line(data: &[u8]) {
    let words = data
        .split(|byte| *byte == b'\n')
        .take(WORDS_MAX)
        .map(OsStr::from_bytes);
    let words = [OsStr::new("commonwatt")].into_iter().chain(words);
    if let Err(error) = Cli::try_parse_from(words) {
        assert!(!error.to_string().is_empty());
    }
}
