//! The Commonwatt node.
