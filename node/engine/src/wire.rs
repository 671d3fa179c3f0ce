//! Messages as bytes.

use codec::{Decode, DecodeAll, Encode};
use commonwatt_consensus::{CertifiedBlock, Message, MessageError, limits::MESSAGE_BYTES_MAX};

/// Bytes around a [`Message`] or block: kind, counters, an option's mark.
const ENVELOPE_BYTES: usize = 64;

/// What engines tell each other. Votes and proposals go to everybody, a status to neighbours alone.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum EngineMessage {
    /// A vote, proposal or proof of the agreement.
    #[codec(index = 1)]
    Agreement {
        /// Counts repetitions, so that a network that drops what it has seen lets them pass.
        attempt: u32,
        /// The message.
        message: Message,
    },
    /// How far a node is. Says nothing about its sender but what the connection says.
    #[codec(index = 2)]
    Status {
        /// Its last block; zero is genesis.
        decided: u32,
    },
}

/// How a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// Small and urgent: votes and proofs, passed on by everybody.
    Votes,
    /// Large: proposals with their blocks, passed on by everybody.
    Proposals,
    /// Between neighbours, not passed on.
    Status,
}

/// Why bytes are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Too many bytes.
    #[error("{0} bytes are more than a message or answer can have")]
    TooLong(usize),
    /// Not the encoding of a message.
    #[error("it cannot be decoded: {0}")]
    Malformed(codec::Error),
    /// What it holds is beyond its own bounds.
    #[error(transparent)]
    Content(#[from] MessageError),
}

impl EngineMessage {
    /// The greatest number of bytes of one.
    pub const BYTES_MAX: usize = MESSAGE_BYTES_MAX + ENVELOPE_BYTES;

    /// Decodes a message, within its bounds.
    ///
    /// # Errors
    /// Why the bytes are none.
    pub fn decode_bounded(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.len() > Self::BYTES_MAX {
            return Err(WireError::TooLong(bytes.len()));
        }
        let message = Self::decode_all(&mut &bytes[..]).map_err(WireError::Malformed)?;
        if let Self::Agreement { message, .. } = &message {
            message.verify_bounds()?;
        }
        Ok(message)
    }

    /// Returns how it travels.
    pub fn channel(&self) -> Channel {
        match self {
            Self::Agreement {
                message: Message::Proposal(_),
                ..
            } => Channel::Proposals,
            Self::Agreement { .. } => Channel::Votes,
            Self::Status { .. } => Channel::Status,
        }
    }
}

/// Asks for a decided block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct BlockRequest {
    /// Which.
    pub height: u32,
}

impl BlockRequest {
    /// Decodes a request.
    ///
    /// # Errors
    /// Why the bytes are none.
    pub fn decode_bounded(bytes: &[u8]) -> Result<Self, WireError> {
        Self::decode_all(&mut &bytes[..]).map_err(WireError::Malformed)
    }
}

/// Answers a [`BlockRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct BlockAnswer {
    /// The height asked for.
    pub height: u32,
    /// The block; `None` when it is not there.
    pub block: Option<CertifiedBlock>,
}

impl BlockAnswer {
    /// The greatest number of bytes of one.
    pub const BYTES_MAX: usize = MESSAGE_BYTES_MAX + ENVELOPE_BYTES;

    /// Decodes an answer, within its bounds.
    ///
    /// # Errors
    /// Why the bytes are none.
    pub fn decode_bounded(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.len() > Self::BYTES_MAX {
            return Err(WireError::TooLong(bytes.len()));
        }
        let answer = Self::decode_all(&mut &bytes[..]).map_err(WireError::Malformed)?;
        if let Some(certified) = &answer.block {
            certified.verify_bounds()?;
        }
        Ok(answer)
    }
}
