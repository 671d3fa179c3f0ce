//! What a node does when the chain names other validators than before.
//!
//! The agreement of this version knows one validator and reads its key once, when the node starts. The registry takes a
//! change at once, so the block after the registration needs another key. A validator that has made the block with the
//! change stops, since whatever it made next nobody would accept; it goes on when it is started again.

use anyhow::{Result, anyhow, bail};
use commonwatt_chain::Chain;
use commonwatt_primitives::{AccountId, keys::SessionKeys};

/// Validators and their keys, as the chain names them.
pub type Validators = Vec<(AccountId, SessionKeys)>;

/// Blocks that are looked at for the one that changed the number of validators. A node stops right after it, so it is
/// the last one.
const BLOCKS_LOOKED_AT_MAX: u32 = 256;

/// Checks that the chain still names the validators it named `before`.
pub fn verify_unchanged(chain: &Chain, before: &Validators) -> Result<()> {
    let now = chain.validators()?;
    if now == *before {
        return Ok(());
    }
    let [(account, keys)] = now.as_slice() else {
        bail!(explain_number(chain, &now));
    };
    let (number, _) = chain.best();
    let vote = hex::encode(keys.vote.0);
    bail!(
        "block {number} has changed the validator: from the next block on it is {account} with the vote key 0x{vote}. See \
         that the keystore holds this key (`commonwatt key list`; `commonwatt key insert --purpose vote` puts it there), and \
         start the node again"
    )
}

/// Says why a chain with none or several validators gets no blocks from this version, how that came about, and what to do.
pub fn explain_number(chain: &Chain, now: &Validators) -> String {
    let (best, count) = (chain.best().0, now.len());
    let only_one = format!(
        "this chain has {count} validators, and this version makes blocks only for chains that have one"
    );
    if best == 0 {
        return format!(
            "{only_one}: before the first block give the chain spec one validator; start without --validator to serve what \
             the database holds"
        );
    }
    let Some((back, (account, _))) = find_single(chain) else {
        return format!(
            "{only_one}: restore a copy of the database from before that, or import exported blocks up to there into an \
             empty one; start without --validator to serve what the database holds"
        );
    };
    let number = best.saturating_sub(back).saturating_add(1);
    let cause = match now.is_empty() {
        true => format!("block {number} removed the only one, {account}"),
        false => format!(
            "block {number} registered another beside {account} (registry.registerValidator replaces keys only under the \
             account that has them)"
        ),
    };
    format!(
        "{only_one}: {cause}. With the node stopped, take that back with `commonwatt revert {back} --yes`, start again, and \
         have the DSO register new keys for {account} itself"
    )
}

/// Returns how many blocks to go back to a state with a single validator, and that one.
fn find_single(chain: &Chain) -> Option<(u32, (AccountId, SessionKeys))> {
    let best = chain.best().0;
    (1..=best.min(BLOCKS_LOOKED_AT_MAX)).find_map(|back| {
        let mut then = validators_after(chain, best.saturating_sub(back)).ok()?;
        let single = then.pop()?;
        then.is_empty().then_some((back, single))
    })
}

/// Returns the validators that the state after a block names, if that state is kept.
fn validators_after(chain: &Chain, number: u32) -> Result<Validators> {
    let hash = chain
        .db()
        .hash_of(number)?
        .ok_or_else(|| anyhow!("there is no block {number}"))?;
    let state = chain.state(Some(hash))?;
    Ok(chain
        .executor()
        .call(&state, "RegistryApi_validators", ())?)
}
