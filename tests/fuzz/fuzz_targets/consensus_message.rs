//! See `targets::consensus_message`.

#![no_main]

commonwatt_fuzz::fuzz!(consensus_message);
