//! Runs the native runtime over a state: builds, executes and validates, and survives its panics.
