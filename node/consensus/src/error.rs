//! What can go wrong, and whose fault it is.

use commonwatt_primitives::{AccountId, Hash};

use crate::{certificate::CertificateError, signer::SignerError};

/// This node must stop: going on could make it contradict itself or leave the chain.
///
/// No effect of the input that failed was handed out, and the machine takes no more.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// An earlier failure.
    #[error("the agreement stopped after an error; start the node again")]
    Stopped,
    /// Heights must follow each other.
    #[error("height {given} was started, but {expected} comes next; this is a fault of the node")]
    WrongHeight {
        /// The height that comes next.
        expected: u32,
        /// The height given.
        given: u32,
    },
    /// The engine refused to go on.
    #[error(
        "the consensus engine failed at height {height}: {what}; this is a fault of the software"
    )]
    Engine {
        /// The height.
        height: u32,
        /// What it said.
        what: String,
    },
    /// Replaying the write-ahead log led elsewhere.
    #[error(
        "replaying the write-ahead log of height {height} leads to another message than the one that was \
         sent ({what}); keep the log for analysis, and let this validator vote again only from a later height"
    )]
    ReplayDiverged {
        /// The height.
        height: u32,
        /// What differs.
        what: String,
    },
    /// The write-ahead log holds something that was never written into it.
    #[error(
        "the write-ahead log of height {height} holds an impossible entry ({what}); keep it for analysis, and \
         let this validator vote again only from a later height"
    )]
    BadLog {
        /// The height.
        height: u32,
        /// What is wrong.
        what: String,
    },
    /// The engine was about to sign the opposite of what was signed before.
    #[error(
        "refused to sign a second, different {what} for height {height}, round {round}; this is a fault of \
         the software"
    )]
    Contradiction {
        /// A vote or a proposal.
        what: &'static str,
        /// The height.
        height: u32,
        /// The round.
        round: u32,
    },
    /// The keystore did not sign.
    #[error("the vote key did not sign at height {height}: {source}")]
    Signer {
        /// The height.
        height: u32,
        /// Why.
        source: SignerError,
    },
    /// The caller built a block that is not its to build.
    #[error(
        "the block built for height {height}, round {round} is not proposed: {why}; this is a fault of the node"
    )]
    WrongOwnBlock {
        /// The height.
        height: u32,
        /// The round.
        round: u32,
        /// What is wrong with it.
        why: String,
    },
    /// Two thirds hold valid what this node finds invalid.
    #[error(
        "more than two thirds of the validators agreed on block {hash:?} of height {height}, which this node \
         finds invalid: its software or its state differs from theirs; keep the folder, install \
         their version, or restore a copy of the folder or import exported blocks into an empty one"
    )]
    CommittedInvalid {
        /// The height.
        height: u32,
        /// The block.
        hash: Hash,
    },
}

/// Why a message was not taken; the fault is its sender's or of whoever passed it on.
///
/// Messages that are only too old or too early are dropped without a word.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a validator of this height.
    #[error("{0} is no validator of this height")]
    NotAValidator(AccountId),
    /// A signature is not right.
    #[error("a signature of {0} is not right")]
    BadSignature(AccountId),
    /// Somebody else's turn.
    #[error("{actual} proposes in round {round}, whose proposer is {expected}")]
    WrongProposer {
        /// The round.
        round: u32,
        /// Whose turn it is.
        expected: AccountId,
        /// Who proposed.
        actual: AccountId,
    },
    /// A proof of lock must be of an earlier round.
    #[error(
        "a proposal of round {round} names round {pol_round} as its proof of lock, which is not earlier"
    )]
    BadProofOfLock {
        /// The proposal's round.
        round: u32,
        /// The round it names.
        pol_round: u32,
    },
    /// The block is beyond the bounds.
    #[error("a block of {header} and {body} bytes is above the bounds")]
    BlockTooLarge {
        /// Bytes of the header.
        header: usize,
        /// Bytes of the body.
        body: usize,
    },
    /// The block is not the one named.
    #[error("block {expected:?} was announced, {actual:?} was sent")]
    WrongBlock {
        /// The hash in the proposal or certificate.
        expected: Hash,
        /// The hash of the header.
        actual: Hash,
    },
    /// The header cannot be read.
    #[error("the header of block {0:?} cannot be read or has no step digest")]
    UnreadableHeader(Hash),
    /// The header is of another height.
    #[error("the header is of height {actual}, not {expected}")]
    HeaderOfOtherHeight {
        /// The height it was sent for.
        expected: u32,
        /// The height it says.
        actual: u32,
    },
    /// The author may not make this block.
    #[error(
        "a block by {author} as rank {rank} may not be proposed in round {round} (proof of lock: {pol_round:?})"
    )]
    WrongAuthor {
        /// Who made it.
        author: AccountId,
        /// As which rank.
        rank: u32,
        /// The round it is proposed in, or was decided in.
        round: u32,
        /// The round of its proof of lock.
        pol_round: Option<u32>,
    },
    /// More proposals than prove an offence.
    #[error("{0} proposed more than two blocks in one round")]
    TooManyProposals(AccountId),
    /// The body is not the header's.
    #[error("the body that was sent with block {0:?} is not the one its header promises")]
    WrongBody(Hash),
    /// A certificate proves nothing.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// More than its share of the buffer for later heights.
    #[error("it sent more messages for later heights than are kept")]
    BufferFull,
    /// It said it had a block and does not give it.
    #[error("it did not give block {0}, which it said it had")]
    NoAnswer(u32),
    /// An answer nobody asked for.
    #[error("it sent block {0} unasked")]
    Unasked(u32),
}
