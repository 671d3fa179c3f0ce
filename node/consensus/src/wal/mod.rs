//! The write-ahead log: what a validator must remember to never contradict itself.
//!
//! It holds one height: every vote, proposal, block, verdict, proof of lock and timeout in the order in which
//! the engine took them. After a crash they are fed again, the engine comes to the same messages, and what was
//! sent is sent again unchanged. When the next height begins the block below is on disk and the log is emptied.
//!
//! [`codec`] says how a log looks as bytes, [`file`] keeps it in a file.

pub mod codec;
pub mod file;

use ::codec::{Decode, Encode};
use commonwatt_primitives::Hash;

use crate::{
    block::Block,
    effect::Effect,
    messages::{PolkaCertificate, Proposal, SignedProposal, SignedVote},
};

pub use codec::{Contents, WalError, decode, encode_batch, encode_header};
pub use file::FileLog;

/// One thing to remember.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum WalEntry {
    /// A block that was executed and is valid, or that this node built. Kept whole: when all nodes lose power
    /// after deciding, nobody else has it.
    #[codec(index = 1)]
    Block(Block),
    /// A proposal, own or not.
    #[codec(index = 2)]
    Proposal(SignedProposal),
    /// The verdict about a proposed block.
    #[codec(index = 3)]
    Judged {
        /// The proposal that brought the block.
        proposal: Proposal,
        /// The verdict.
        judgement: Judgement,
    },
    /// A vote, own or not.
    #[codec(index = 4)]
    Vote(SignedVote),
    /// A proof of lock.
    #[codec(index = 5)]
    Polka(PolkaCertificate),
    /// A timeout that took effect.
    #[codec(index = 6)]
    Timeout {
        /// The round.
        round: u32,
        /// Which.
        kind: LoggedTimeout,
    },
    /// A vote or proposal of this validator came in that it does not know: whoever reads this does not vote at
    /// this height any more.
    #[codec(index = 7)]
    Silenced,
}

/// What the engine was told about a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Judgement {
    /// It may be voted for.
    #[codec(index = 1)]
    Valid,
    /// It may not.
    #[codec(index = 2)]
    Invalid,
}

/// The timeouts that change the engine's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum LoggedTimeout {
    /// No proposal.
    #[codec(index = 1)]
    Propose,
    /// No majority of prevotes.
    #[codec(index = 2)]
    Prevote,
    /// No majority of precommits.
    #[codec(index = 3)]
    Precommit,
}

/// The height of a log that was closed for good: no height is voted at any more.
pub const NEVER: u32 = u32::MAX;

/// What a log held when the node started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The height it is of.
    pub height: u32,
    /// What is in it, in order.
    pub entries: Vec<WalEntry>,
}

/// Where the log is kept. After an error the log takes nothing more, and the node must stop: what is on disk
/// is then unknown.
pub trait Log {
    /// Empties the log and begins that of `height`; on disk when done.
    fn reset(&mut self, height: u32) -> Result<(), WalError>;

    /// Appends an entry, which may still be lost.
    fn append(&mut self, entry: &WalEntry) -> Result<(), WalError>;

    /// Brings everything that was appended to disk.
    fn sync(&mut self) -> Result<(), WalError>;
}

/// Carries out `effect` when it is about the log; tells whether it was.
pub fn apply(log: &mut dyn Log, effect: &Effect) -> Result<bool, WalError> {
    match effect {
        Effect::ResetWal { height } => log.reset(*height)?,
        Effect::AppendWal(entry) => log.append(entry)?,
        Effect::SyncWal => log.sync()?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// Names the chain a log belongs to in messages.
fn short(genesis: &Hash) -> String {
    format!("{genesis:?}")
}
