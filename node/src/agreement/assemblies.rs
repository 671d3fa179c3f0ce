//! Large proposals that are put together: whose, how many at once, and those that came a block too early.
//!
//! A proposal that travels compact makes every node fetch what it lacks, so a place is given to nobody but the proposer of a
//! round of the next block. Of one proposal several copies may come, from different peers: only who proposes signs, so
//! whoever passes a copy on can have changed what it names.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use commonwatt_chain::{Chain, ChainError, validator_set};
use commonwatt_consensus::{
    Block, Message, Proposal, ProposedBlock, SignedProposal, ValidatorSet,
    limits::FUTURE_HEIGHTS_MAX, verify_message,
};
use commonwatt_engine::read_header;
use commonwatt_network::{MessageId, PeerNumber, compact::CompactBlock};
use commonwatt_primitives::AccountId;
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Large blocks that are put together at the same time.
const ASSEMBLIES_MAX: usize = 6;

/// Copies of one validator's proposals that are put together at the same time, from different peers.
const COPIES_MAX: usize = 2;

/// How often a validator's proposal of one round is put together: what failed is tried again with another copy.
const TRIES_MAX: u32 = 4;

/// Proposals of blocks after the next that are kept, one a validator.
const EARLY_MAX: usize = 32;

/// Bytes of such a proposal: as many short ids as a block can have, and its inherents.
const EARLY_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Who proposes the next block, found out once for each.
pub struct Turns {
    chain: Arc<Chain>,
    known: Mutex<Option<(u32, Arc<ValidatorSet>)>>,
}

impl Turns {
    /// Creates what tells whose turn it is on a chain.
    pub fn new(chain: Arc<Chain>) -> Self {
        let known = Mutex::default();
        Self { chain, known }
    }

    /// Returns the height after the best block and who may propose and vote there. Reads the state once a block.
    ///
    /// # Errors
    /// The chain does not say.
    pub fn next(&self) -> Result<(u32, Arc<ValidatorSet>), ChainError> {
        loop {
            let best = self.chain.best().0;
            let height = best.saturating_add(1);
            if let Some((known, set)) = &*self.known.lock()
                && *known == height
            {
                return Ok((height, set.clone()));
            }
            let lineup = self.chain.next_lineup()?;
            if self.chain.best().0 != best {
                continue;
            }
            let set = Arc::new(validator_set(height, &lineup)?);
            *self.known.lock() = Some((height, set.clone()));
            return Ok((height, set));
        }
    }
}

/// Returns whether a proposal is what the proposer of its round signed about a block that it may make. Everything that needs
/// no more of the block than its header.
pub fn is_rightful(
    set: &ValidatorSet,
    genesis: &commonwatt_runtime::Hash,
    signed: &SignedProposal,
    header: &[u8],
) -> bool {
    let block = Block {
        header: header.to_vec(),
        body: Arc::default(),
    };
    let signed = signed.clone();
    let message = Message::Proposal(ProposedBlock { signed, block });
    verify_message(set, genesis, &message, read_header).is_ok()
}

/// The proposals that are being put together.
#[derive(Default)]
pub struct Assemblies(Mutex<State>);

#[derive(Default)]
struct State {
    going: Vec<Going>,
    next: u64,
    /// How often each validator's newest proposal was begun with.
    tries: BTreeMap<AccountId, (u32, u32, u32)>,
}

struct Going {
    number: u64,
    height: u32,
    round: u32,
    validator: AccountId,
    by: Bringer,
    /// Dropped to end it.
    _ended: oneshot::Sender<()>,
}

/// Who brought a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bringer {
    /// The peer.
    pub peer: PeerNumber,
    /// Whether that is a node of the validator that proposes.
    pub is_proposer: bool,
}

/// A place among those that are put together, until it is dropped.
pub struct Place {
    assemblies: Arc<Assemblies>,
    number: u64,
    /// Is done when another needs the place more.
    pub ended: oneshot::Receiver<()>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.assemblies.0.lock();
        state.going.retain(|going| going.number != self.number);
    }
}

impl Assemblies {
    /// Gives a proposal a place. None has a validator whose newer one is put together, or that has had tries enough; but what
    /// its own node brings always is worth a try. Should all be taken, the one goes that matters least: of an older height, a
    /// further copy, of a later round.
    pub fn begin(self: &Arc<Self>, proposal: &Proposal, by: Bringer) -> Option<Place> {
        let (height, round) = (proposal.height, proposal.round);
        let mut state = self.0.lock();
        let state = &mut *state;
        state.tries.retain(|_, (of, ..)| *of >= height);
        let validator = &proposal.validator;
        let tries = match state.tries.get(validator) {
            Some((of, in_round, _)) if (*of, *in_round) > (height, round) => return None,
            Some((of, in_round, tries)) if (*of, *in_round) == (height, round) => *tries,
            _ => 0,
        };
        // What it proposed before no longer matters.
        state.going.retain(|going| {
            going.validator != *validator || (going.height, going.round) == (height, round)
        });
        let copies = state.going.iter();
        let copies = copies.filter(|going| going.validator == *validator);
        if copies.clone().any(|going| going.by.peer == by.peer) {
            return None;
        }
        let mut copy = copies.count();
        if by.is_proposer {
            let others = |going: &Going| going.validator == *validator && !going.by.is_proposer;
            if copy >= COPIES_MAX
                && let Some(last) = state.going.iter().rposition(others)
            {
                state.going.remove(last);
                copy -= 1;
            }
        } else if tries >= TRIES_MAX {
            return None;
        }
        if copy >= COPIES_MAX {
            return None;
        }
        if state.going.len() >= ASSEMBLIES_MAX {
            let least = state.least()?;
            if least.0 <= (Reverse(height), copy, round) {
                return None;
            }
            state.going.remove(least.1);
        }
        let tries = tries.saturating_add(1);
        state
            .tries
            .insert(validator.clone(), (height, round, tries));
        let number = state.next;
        state.next = state.next.wrapping_add(1);
        let (sender, ended) = oneshot::channel();
        state.going.push(Going {
            number,
            height,
            round,
            validator: validator.clone(),
            by,
            _ended: sender,
        });
        let assemblies = self.clone();
        Some(Place {
            assemblies,
            number,
            ended,
        })
    }
}

#[cfg(test)]
impl Assemblies {
    /// Returns how many are put together.
    pub fn count(&self) -> usize {
        self.0.lock().going.len()
    }
}

#[cfg(test)]
impl EarlyProposals {
    /// Returns how many are kept.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// How little an assembly matters: an older height, a further copy, a later round.
type Rank = (Reverse<u32>, usize, u32);

impl State {
    /// Returns which one matters least, and how little.
    fn least(&self) -> Option<(Rank, usize)> {
        let rank = |(index, going): (usize, &Going)| {
            let before = self.going[..index].iter();
            let copy = before.filter(|other| other.validator == going.validator);
            let rank = (Reverse(going.height), copy.count(), going.round);
            (rank, index)
        };
        self.going.iter().enumerate().map(rank).max()
    }
}

/// A compact proposal, as it came.
pub struct Arrived {
    /// The message it came by.
    pub id: MessageId,
    /// Which repetition that is.
    pub attempt: u32,
    /// What was signed.
    pub signed: SignedProposal,
    /// The block.
    pub block: CompactBlock,
}

/// Proposals of blocks whose parent this node does not have yet: when missed steps are made up for, the next author may be
/// some milliseconds ahead.
#[derive(Default)]
pub struct EarlyProposals(VecDeque<Arrived>);

impl EarlyProposals {
    /// Returns whether proposals of `height` are kept while `next` is agreed on.
    pub fn are_kept(height: u32, next: u32) -> bool {
        height > next && height <= next.saturating_add(FUTURE_HEIGHTS_MAX)
    }

    /// Keeps a proposal, which is known to be signed by its validator; gives back what is not kept.
    pub fn keep(&mut self, arrived: Arrived) -> Option<Arrived> {
        let CompactBlock {
            header,
            whole,
            short_ids,
        } = &arrived.block;
        let whole = whole.iter().map(|whole| whole.bytes.len()).sum::<usize>();
        let bytes = header.len() + whole + short_ids.len() * size_of::<[u8; 8]>();
        if bytes > EARLY_BYTES_MAX {
            return Some(arrived);
        }
        let validator = &arrived.signed.proposal.validator;
        let of_validator = |kept: &Arrived| kept.signed.proposal.validator == *validator;
        let replaced = match self.0.iter().position(of_validator) {
            Some(index) => self.0.remove(index),
            None if self.0.len() >= EARLY_MAX => self.0.pop_front(),
            None => None,
        };
        self.0.push_back(arrived);
        replaced
    }

    /// Takes out what is for block `next` or before; what is for later ones stays.
    pub fn take_due(&mut self, next: u32) -> Vec<Arrived> {
        let kept = std::mem::take(&mut self.0).into_iter();
        let (due, later): (Vec<_>, Vec<_>) =
            kept.partition(|arrived| arrived.signed.proposal.height <= next);
        self.0 = later.into();
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonwatt_consensus::Signature;
    use commonwatt_network::Topic;
    use commonwatt_runtime::Hash;

    fn proposal(validator: u8, height: u32, round: u32) -> Proposal {
        Proposal {
            height,
            round,
            block: Hash::repeat_byte(validator),
            pol_round: None,
            validator: AccountId::new([validator; 32]),
        }
    }

    fn is_ended(place: &mut Place) -> bool {
        !matches!(
            place.ended.try_recv(),
            Err(oneshot::error::TryRecvError::Empty)
        )
    }

    fn relay(peer: u64) -> Bringer {
        let peer = PeerNumber(peer);
        let is_proposer = false;
        Bringer { peer, is_proposer }
    }

    #[test]
    fn copies_that_others_changed_are_not_in_the_way_of_the_proposers_own() {
        let assemblies = Arc::new(Assemblies::default());
        let of = proposal(1, 9, 0);
        let mut changed: Vec<_> = (0..2)
            .map(|peer| assemblies.begin(&of, relay(peer)).unwrap())
            .collect();
        let own = Bringer {
            peer: PeerNumber(7),
            is_proposer: true,
        };
        let mut place = assemblies.begin(&of, own).unwrap();
        assert!(!is_ended(&mut changed[0]) && is_ended(&mut changed[1]));
        assert!(!is_ended(&mut place));
        drop((changed, place));
        while assemblies.begin(&of, relay(1)).is_some() {}
        assert!(assemblies.begin(&of, own).is_some());
    }

    #[test]
    fn one_validator_never_has_all_places() {
        let assemblies = Arc::new(Assemblies::default());
        let begin = |validator, height, round, peer| {
            assemblies.begin(&proposal(validator, height, round), relay(peer))
        };
        let mut first: Vec<_> = (0..8).map(|peer| begin(4, 9, 3, peer)).collect();
        assert!(first[..COPIES_MAX].iter().all(Option::is_some));
        assert!(first[COPIES_MAX..].iter().all(Option::is_none));
        // A later proposal of it ends what it proposed before.
        let later = begin(4, 9, 7, 0).unwrap();
        assert!(first.iter_mut().flatten().all(is_ended));
        assert!(begin(4, 9, 3, 9).is_none());
        assert!(begin(1, 9, 0, 0).is_some());
        drop(later);
        // What nobody can put together is not tried for ever.
        let tries = (0..20).filter(|_| begin(4, 9, 11, 0).is_some()).count();
        assert_eq!(tries, usize::try_from(TRIES_MAX).unwrap());
        assert!(begin(4, 10, 0, 0).is_some());
    }

    #[test]
    fn what_matters_most_has_a_place() {
        let assemblies = Arc::new(Assemblies::default());
        let begin =
            |validator, round, peer| assemblies.begin(&proposal(validator, 9, round), relay(peer));
        let mut copies = [begin(1, 5, 0).unwrap(), begin(1, 5, 1).unwrap()];
        let mut others: Vec<_> = (2..6)
            .map(|validator| begin(validator, 100 + u32::from(validator), 0).unwrap())
            .collect();
        assert!(!copies.iter_mut().chain(&mut others).any(is_ended));
        // The second copy goes first, then the latest round.
        let _sixth = begin(6, 1, 0).unwrap();
        assert!(!is_ended(&mut copies[0]) && is_ended(&mut copies[1]));
        let _seventh = begin(7, 2, 0).unwrap();
        let ended: Vec<bool> = others.iter_mut().map(is_ended).collect();
        assert_eq!(ended, [false, false, false, true]);
        assert!(begin(8, 1_000_000, 0).is_none());
        drop(copies);
        assert!(begin(8, 1_000_000, 0).is_some());
    }

    fn arrived(validator: u8, height: u32, ids: usize) -> Arrived {
        Arrived {
            id: MessageId {
                topic: Topic::Proposals,
                peer: PeerNumber(1),
                hash: [validator; 32],
            },
            attempt: 0,
            signed: SignedProposal {
                proposal: proposal(validator, height, 0),
                signature: Signature::default(),
            },
            block: CompactBlock {
                header: vec![1; 100],
                whole: Vec::new(),
                short_ids: vec![commonwatt_network::compact::ShortId([0; 8]); ids],
            },
        }
    }

    #[test]
    fn a_proposal_of_a_later_block_waits_for_its_parent() {
        let mut early = EarlyProposals::default();
        assert!(EarlyProposals::are_kept(11, 10) && !EarlyProposals::are_kept(10, 10));
        assert!(!EarlyProposals::are_kept(1_000_000_000, 10));
        assert!(early.keep(arrived(1, 11, 5)).is_none());
        assert!(early.keep(arrived(2, 12, 5)).is_none());
        let replaced = early.keep(arrived(1, 12, 6)).unwrap();
        assert_eq!(replaced.signed.proposal.height, 11);
        assert!(early.keep(arrived(3, 11, 400_000)).is_some(), "too long");
        assert!(early.take_due(11).is_empty());
        assert_eq!(early.take_due(12).len(), 2);
    }
}
