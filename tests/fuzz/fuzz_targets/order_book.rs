//! See `targets::order_book`.

#![no_main]

commonwatt_fuzz::fuzz!(order_book);
