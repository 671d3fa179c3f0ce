//! The market step: its number, its closing time, and whether its block came late.
