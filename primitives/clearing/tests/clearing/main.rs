//! What the clearing promises: books with known figures, the thesis' words, a plain clearing unit by unit, and that a proof
//! allows nothing else.

// What `clippy.toml` allows in tests, for their helpers too.
#![allow(clippy::unwrap_used)]

mod books;
mod continuous;
mod members;
mod proofs;
mod properties;
mod support;
mod thesis;
