//! See `targets::block_import`.

#![no_main]

commonwatt_fuzz::fuzz!(block_import);
