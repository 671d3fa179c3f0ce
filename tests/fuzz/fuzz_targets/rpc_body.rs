//! See `targets::rpc_body`.

#![no_main]

commonwatt_fuzz::fuzz!(rpc_body);
