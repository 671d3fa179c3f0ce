//! See `targets::light`.

#![no_main]

commonwatt_fuzz::fuzz!(light);
