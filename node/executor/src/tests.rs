//! The executor against the real runtime.
