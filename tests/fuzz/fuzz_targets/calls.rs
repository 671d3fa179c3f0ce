//! See `targets::calls`.

#![no_main]

commonwatt_fuzz::fuzz!(calls);
