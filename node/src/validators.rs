//! What a node without a network says when others decide with it.

use commonwatt_chain::{Chain, ChainError, lineup_of};
use commonwatt_storage::StateError;

/// Blocks that are looked at for the one that changed the number of validators. A node stops right after it, so it is
/// the last one.
const BLOCKS_LOOKED_AT_MAX: u32 = 256;

/// Says why a chain with several validators gets no blocks from a node on its own, how that came about, and what to do.
pub fn explain_number(chain: &Chain, count: usize) -> String {
    let best = chain.best().0;
    let only_one = format!(
        "this chain has {count} validators, and this node has no network to agree with the others"
    );
    if best == 0 {
        return format!(
            "{only_one}: before the first block give the chain spec one validator; start without --validator to serve what \
             the database holds"
        );
    }
    let Some(back) = find_single(chain) else {
        return format!(
            "{only_one}: restore a copy of the database from before that, or import exported blocks up to there into an \
             empty one; start without --validator to serve what the database holds"
        );
    };
    let number = best.saturating_sub(back).saturating_add(1);
    format!(
        "{only_one}: with block {number} an epoch began in which the registry's validators act. With the node stopped, go \
         back to the epoch before, `commonwatt revert N --yes` with N at least {back}; start again, and have the DSO take the \
         others out (registry.removeValidator) before that epoch ends"
    )
}

/// Returns how many blocks to go back to a state that names a single validator for its next block.
fn find_single(chain: &Chain) -> Option<u32> {
    let best = chain.best().0;
    (1..=best.min(BLOCKS_LOOKED_AT_MAX))
        .find(|back| count_after(chain, best.saturating_sub(*back)).is_ok_and(|count| count == 1))
}

/// Returns how many validators the block after `number` has, if the state after `number` is kept.
fn count_after(chain: &Chain, number: u32) -> Result<usize, ChainError> {
    let unknown = || StateError::UnknownBlock {
        hash: Default::default(),
    };
    let hash = chain.db().hash_of(number)?.ok_or_else(unknown)?;
    let state = chain.state(Some(hash))?;
    let lineup = lineup_of(chain.executor(), &state, number.saturating_add(1))?;
    Ok(lineup.validators.len())
}
