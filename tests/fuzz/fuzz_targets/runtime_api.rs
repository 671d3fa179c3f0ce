//! See `targets::runtime_api`.

#![no_main]

commonwatt_fuzz::fuzz!(runtime_api);
