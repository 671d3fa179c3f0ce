//! See `targets::block_stream`.

#![no_main]

commonwatt_fuzz::fuzz!(block_stream);
