//! The chain's runtime: FRAME pallets wired together, executed natively.
