//! See `targets::rpc_call`.

#![no_main]

commonwatt_fuzz::fuzz!(rpc_call);
