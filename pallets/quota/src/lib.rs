//! Registered accounts transact free of charge within a quota for each step; unregistered accounts are refused.
