//! See `targets::community_csv`.

#![no_main]

commonwatt_fuzz::fuzz!(community_csv);
