//! Who is let in, and how this node introduces itself. Both are the caller's knowledge.

use crate::p2p::PeerId;
use commonwatt_primitives::AccountId;

use crate::hello::{Claim, Hello};

/// What the caller decides about a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admit {
    /// A validator of the on-chain set, with this account.
    Validator(AccountId),
    /// A full node.
    Full,
    /// Not let in, for a reason that the peer is told. Nothing counts against it.
    Refused(String),
    /// Not let in, since the signature is not by the vote key of the account it claims: the peer is banned.
    Forged,
}

/// Decides who is let in. Called from the network's task: it must answer at once, from memory.
pub trait Admission: Send + Sync + 'static {
    /// Judges a hello whose version and chain are right.
    ///
    /// For [`Claim::Validator`] it checks that the account is in the on-chain set and that the vote key of that
    /// account there made the claim's signature over `signed`. Full nodes that the configuration names are let in
    /// without being asked about.
    fn admit(&self, peer: &PeerId, hello: &Hello, signed: &[u8]) -> Admit;
}

/// Says who this node is.
pub trait Introduction: Send + Sync + 'static {
    /// Claims to be a validator by signing `payload` with the vote key, or to be a full node.
    fn claim(&self, payload: &[u8]) -> Claim;
}
