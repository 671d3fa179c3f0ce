//! Blocks, state trie and indexes behind a Store trait, with two back ends: sled and redb.
