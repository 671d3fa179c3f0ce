//! See `targets::wire`.

#![no_main]

commonwatt_fuzz::fuzz!(wire);
