//! See `targets::extrinsic`.

#![no_main]

commonwatt_fuzz::fuzz!(extrinsic);
