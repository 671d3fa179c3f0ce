//! The targets, by what they read.

mod chain;
mod consensus;
mod files;
mod keys;
mod light;
mod network;
mod rpc;
mod storage;
mod words;

pub use chain::{
    block_import, block_stream, calls, extrinsic, header, runtime_api, runtime_functions,
};
pub use consensus::{GENESIS, account, consensus_log, consensus_message, pair};
pub use files::{MECHANISMS, SEPARATOR, chain_spec, community_csv, flags_file, order_book};
pub use keys::{PASSWORD, account_file, keystore_file, named_secret, password, secret};
pub use light::{light, light_block, mend};
pub use network::{frame, network, part, wire};
pub use rpc::{http, methods, rpc_body, rpc_call};
pub use storage::{database, database_file};
pub use words::{command_line, log_filter};
