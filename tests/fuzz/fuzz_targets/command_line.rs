//! See `targets::command_line`.

#![no_main]

commonwatt_fuzz::fuzz!(command_line);
