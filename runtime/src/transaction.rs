//! Making transactions: what wallets, cryptometers and tests sign.

use codec::Encode;
use sp_core::{Pair, ed25519};
use sp_runtime::{
    MultiSignature,
    generic::{Era, SignedPayload},
};

use crate::{
    AccountId, Address, Hash, Nonce, RuntimeCall, Signature, TxExtension, UncheckedExtrinsic,
    VERSION,
};

/// What of the chain a transaction is signed for.
#[derive(Clone, Copy, Debug)]
pub struct SigningContext {
    /// The chain.
    pub genesis_hash: Hash,
    /// For how long the transaction is valid.
    pub era: Era,
    /// Hash of the block the era begins with; the genesis hash for an immortal transaction.
    pub era_hash: Hash,
}

impl SigningContext {
    /// Returns the context of transactions that never expire.
    pub fn immortal(genesis_hash: Hash) -> Self {
        Self {
            genesis_hash,
            era: Era::Immortal,
            era_hash: genesis_hash,
        }
    }
}

/// Returns the extensions of a transaction without a tip.
pub fn extension(era: Era, nonce: Nonce, tip: u128) -> TxExtension {
    (
        frame_system::CheckNonZeroSender::new(),
        frame_system::CheckSpecVersion::new(),
        frame_system::CheckTxVersion::new(),
        frame_system::CheckGenesis::new(),
        frame_system::CheckEra::from(era),
        frame_system::CheckNonce::from(nonce),
        frame_system::CheckWeight::new(),
        pallet_quota::ChargeBeyondQuota::from(tip),
    )
}

/// What the signer signs beside the call and the extensions: versions, chain and era.
pub type Implicit = ((), u32, u32, Hash, Hash, (), (), ());

/// Returns what a node adds to a transaction's own bytes before its signature is checked.
pub fn implicit(genesis_hash: Hash, era_hash: Hash) -> Implicit {
    (
        (),
        VERSION.spec_version,
        VERSION.transaction_version,
        genesis_hash,
        era_hash,
        (),
        (),
        (),
    )
}

/// Returns the signed transaction of any signer.
pub fn sign_with(
    call: RuntimeCall,
    nonce: Nonce,
    tip: u128,
    context: &SigningContext,
    signer: AccountId,
    sign: impl FnOnce(&[u8]) -> MultiSignature,
) -> UncheckedExtrinsic {
    let extension = extension(context.era, nonce, tip);
    let payload = SignedPayload::from_raw(
        call,
        extension,
        implicit(context.genesis_hash, context.era_hash),
    );
    let signature = payload.using_encoded(sign);
    let (call, extension, _) = payload.deconstruct();
    UncheckedExtrinsic::new_signed(call, Address::Id(signer), Signature(signature), extension)
}

/// Returns the encoded transaction of an ed25519 key.
pub fn sign_ed25519(
    call: RuntimeCall,
    nonce: Nonce,
    context: &SigningContext,
    pair: &ed25519::Pair,
) -> Vec<u8> {
    let signer = AccountId::new(pair.public().0);
    sign_with(call, nonce, 0, context, signer, |payload| {
        pair.sign(payload).into()
    })
    .encode()
}
