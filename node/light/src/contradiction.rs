//! Evidence that the validators contradicted themselves.

use std::collections::BTreeSet;

use codec::Encode;
use commonwatt_chain::LightBlock;
use commonwatt_primitives::AccountId;
use commonwatt_runtime::Hash;
use serde_json::{Value, json};

use crate::{Breach, verify::read_header};

/// What the validators signed and must not have, with the blocks that show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// What is wrong.
    pub breach: Breach,
    /// The chain.
    pub genesis: Hash,
    /// What was verified before: the block of the same height, or the one before. `None` at the first block.
    pub before: Option<LightBlock>,
    /// What contradicts it.
    pub against: LightBlock,
}

impl Contradiction {
    /// Returns who signed both blocks' certificates.
    pub fn signed_both(&self) -> Vec<AccountId> {
        let signers = |block: &LightBlock| -> BTreeSet<AccountId> {
            let signatures = block.certificate.signatures.iter();
            signatures.map(|one| one.validator.clone()).collect()
        };
        let Some(before) = &self.before else {
            return Vec::new();
        };
        let (first, second) = (signers(before), signers(&self.against));
        first.intersection(&second).cloned().collect()
    }

    /// Returns it for a file: everything that is needed to check it again, and for people to read.
    pub fn to_json(&self) -> Value {
        let block = |block: &LightBlock| {
            let read = read_header(&block.header).ok();
            json!({
                "number": read.as_ref().map(|(header, _)| header.number),
                "hash": read.as_ref().map(|(_, hash)| format!("{hash:?}")),
                "header": format!("0x{}", hex::encode(&block.header)),
                "certificate": format!("0x{}", hex::encode(block.certificate.encode())),
                "signedBy": block.certificate.signatures.iter().map(|one| one.validator.to_string()).collect::<Vec<_>>(),
            })
        };
        let both = self.signed_both();
        json!({
            "what": self.breach.to_string(),
            "genesis": format!("{:?}", self.genesis),
            "before": self.before.as_ref().map(block),
            "against": block(&self.against),
            "signedBoth": both.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    }
}
