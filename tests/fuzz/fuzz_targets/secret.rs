//! See `targets::secret`.

#![no_main]

commonwatt_fuzz::fuzz!(secret);
