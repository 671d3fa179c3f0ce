//! What the auction of a height and its neighbours tell each other (PROTOCOL 6, 7, 8).

use alloc::vec::Vec;
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use sp_runtime::DispatchResult;

use crate::{BlockNumber, Hash, beacon::BeaconProof, keys::SessionKeys, time::Step, units::Wh};

/// Fewest validators that tolerate a faulty one, and from which nobody authors twice in a row.
pub const VALIDATORS_TOLERANT: usize = 4;

/// A member of the validator set of a height.
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
)]
pub struct Validator<AccountId> {
    /// Who owns the node.
    pub account: AccountId,
    /// The keys it signs with at that height.
    pub keys: SessionKeys,
}

/// What the header of a block claims about its author.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TypeInfo)]
pub struct BlockClaim<AccountId> {
    /// Who made the block.
    pub author: AccountId,
    /// The author's place in the ranking of the height.
    pub author_rank: u32,
    /// Who won the auction of the height.
    pub winner: AccountId,
    /// The author's turn of the beacon.
    pub beacon: BeaconProof,
}

/// Reads the claim out of the header of the block under construction.
pub trait ClaimSource<AccountId> {
    /// Returns the claim; `None` when the header has none, or more than one.
    fn claim() -> Option<BlockClaim<AccountId>>;
}

/// Who may validate, with the keys registered now. Answered by `pallet-registry`.
pub trait ValidatorRegistry<AccountId> {
    /// Returns every registered validator, in any order.
    fn validators() -> Vec<Validator<AccountId>>;

    /// Returns whether an account is registered as a validator.
    fn is_validator(who: &AccountId) -> bool;

    /// Replaces the registered keys of a validator.
    ///
    /// # Errors
    /// The account is not a registered validator, or another validator uses one of the keys.
    fn replace_keys(who: &AccountId, keys: &SessionKeys) -> DispatchResult;
}

/// How far an account is trusted, relative to others. Answered by `pallet-reputation`.
pub trait Reputation<AccountId> {
    /// Returns `R` of an account.
    fn reputation_of(who: &AccountId) -> u16;
}

/// Is told who made a block and who should have. Answered by `pallet-reputation`.
pub trait OnBlockAuthored<AccountId> {
    /// Block `height` was made by `author`, after everyone in `missed` had let its turn pass.
    fn on_block_authored(height: Step, author: &AccountId, missed: &[AccountId]);
}

impl<AccountId> OnBlockAuthored<AccountId> for () {
    fn on_block_authored(_: Step, _: &AccountId, _: &[AccountId]) {}
}

/// How long ago a miner made its last block. Answered by `pallet-miner-auction`.
pub trait MinerAge<AccountId> {
    /// Returns the steps since the account's last block, or since it joined the validators; `None` when
    /// it is not one.
    fn age_of(who: &AccountId) -> Option<u32>;
}

/// What a member's meters and trades say about a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// What it used: a consumer's consumption, a prosumer's own use.
    pub used: Wh,
    /// What it offered to others.
    pub offered: Wh,
}

/// What members really used and offered. Answered by `pallet-virtual-meter` and the market.
pub trait Deliveries<AccountId> {
    /// Returns what is known of an account in `step`; `None` when nothing was measured in clear.
    fn delivery_of(who: &AccountId, step: Step) -> Option<Delivery>;
}

/// Why evidence of an equivocation proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvidenceFlaw {
    /// The two messages say the same, or belong to different heights, rounds or types.
    NoConflict,
    /// A signature is not that of the named key on this chain.
    BadSignature,
}

/// Two signed messages of one validator that contradict each other. The encoding of votes and proposals
/// belongs to the consensus crate, which implements this for its own evidence.
pub trait Equivocation {
    /// Returns the height both messages speak of.
    fn height(&self) -> BlockNumber;

    /// Returns the vote key that signed both.
    fn signer(&self) -> sp_core::ed25519::Public;

    /// Checks that the messages differ, that height, round and type are the same, and that both
    /// signatures are the signer's on the chain with this genesis block.
    ///
    /// # Errors
    /// What is wrong with the evidence.
    fn verify(&self, genesis: &Hash) -> Result<(), EvidenceFlaw>;
}

/// Prefix of what a validator signs with new keys to show that it holds them.
const POSSESSION_DOMAIN: &[u8] = b"commonwatt/keys/1";

/// Returns what both new keys of a validator sign. Chain and account are part of it, so that nobody can
/// use the proof elsewhere or for another account.
pub fn possession_message<AccountId: Encode>(
    genesis: &Hash,
    who: &AccountId,
    keys: &SessionKeys,
) -> Vec<u8> {
    let mut message = POSSESSION_DOMAIN.to_vec();
    (genesis, who, keys).encode_to(&mut message);
    message
}
