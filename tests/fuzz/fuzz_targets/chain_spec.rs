//! See `targets::chain_spec`.

#![no_main]

commonwatt_fuzz::fuzz!(chain_spec);
