//! See `targets::database`.

#![no_main]

commonwatt_fuzz::fuzz!(database);
