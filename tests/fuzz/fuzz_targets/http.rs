//! See `targets::http`.

#![no_main]

commonwatt_fuzz::fuzz!(http);
