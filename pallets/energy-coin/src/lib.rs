//! The energy coin's treasury: mints and burns the native balance.
