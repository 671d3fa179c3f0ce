//! Session keys of a validator (PROTOCOL 2).

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// The keys a validator's node signs with, apart from the account that owns the node.
#[derive(
    Clone,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionKeys {
    /// Signs proposals, votes and the seal of a block.
    pub vote: sp_core::ed25519::Public,
    /// Evaluates the verifiable random function of the beacon.
    pub beacon: sp_core::sr25519::Public,
}
