//! See `targets::flags_file`.

#![no_main]

commonwatt_fuzz::fuzz!(flags_file);
