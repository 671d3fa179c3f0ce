//! See `targets::keystore_file`.

#![no_main]

commonwatt_fuzz::fuzz!(keystore_file);
