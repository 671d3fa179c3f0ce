//! # Fuzz targets
//!
//! One function for every decoder that reads bytes or text from outside. Each takes any bytes, and panics when a promise
//! is broken: what is accepted survives its own encoding, what is refused is refused with an error, nothing panics where a
//! panic is not the documented answer, and a stack of 2 MiB and a few seconds are enough.
//!
//! `fuzz_targets/` gives them to libFuzzer, `tests/corpus.rs` to every input that is kept; `docs/fuzzing.md` tells more.
//!
//! ## Not here
//! What a decoded thing means: the crates' own tests.

pub mod fixtures;
pub mod targets;

/// A target: takes any bytes, panics when a promise is broken.
pub type Target = fn(&[u8]);

/// All targets, by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("account_file", targets::account_file),
    ("block_import", targets::block_import),
    ("block_stream", targets::block_stream),
    ("calls", targets::calls),
    ("chain_spec", targets::chain_spec),
    ("command_line", targets::command_line),
    ("community_csv", targets::community_csv),
    ("consensus_log", targets::consensus_log),
    ("consensus_message", targets::consensus_message),
    ("database", targets::database),
    ("database_file", targets::database_file),
    ("extrinsic", targets::extrinsic),
    ("flags_file", targets::flags_file),
    ("header", targets::header),
    ("http", targets::http),
    ("keystore_file", targets::keystore_file),
    ("light", targets::light),
    ("log_filter", targets::log_filter),
    ("network", targets::network),
    ("order_book", targets::order_book),
    ("rpc_body", targets::rpc_body),
    ("rpc_call", targets::rpc_call),
    ("runtime_api", targets::runtime_api),
    ("secret", targets::secret),
    ("wire", targets::wire),
];

/// Hands a function of [`targets`] to libFuzzer.
#[cfg(feature = "libfuzzer")]
#[macro_export]
macro_rules! fuzz {
    ($target:ident) => {
        libfuzzer_sys::fuzz_target!(|data: &[u8]| $crate::targets::$target(data));
    };
}
