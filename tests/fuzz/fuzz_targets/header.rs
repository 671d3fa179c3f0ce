//! See `targets::header`.

#![no_main]

commonwatt_fuzz::fuzz!(header);
