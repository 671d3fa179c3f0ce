//! The chain on the real runtime and database.
