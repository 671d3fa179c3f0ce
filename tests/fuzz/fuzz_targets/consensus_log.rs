//! See `targets::consensus_log`.

#![no_main]

commonwatt_fuzz::fuzz!(consensus_log);
