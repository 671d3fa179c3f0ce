//! See `targets::account_file`.

#![no_main]

commonwatt_fuzz::fuzz!(account_file);
