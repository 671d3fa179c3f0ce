//! The transaction pool: validated by the runtime, bounded, fair between lanes.
