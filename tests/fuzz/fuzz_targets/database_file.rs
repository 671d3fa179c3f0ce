//! See `targets::database_file`.

#![no_main]

commonwatt_fuzz::fuzz!(database_file);
