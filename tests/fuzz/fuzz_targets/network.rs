//! See `targets::network`.

#![no_main]

commonwatt_fuzz::fuzz!(network);
