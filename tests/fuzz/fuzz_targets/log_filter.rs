//! See `targets::log_filter`.

#![no_main]

commonwatt_fuzz::fuzz!(log_filter);
