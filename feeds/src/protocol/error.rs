//! Why a frame could not be decoded, and what it was about as far as that could be told.

use thiserror::Error;

use crate::json::JsonError;
use crate::topic::Channel;

/// What kind of error a frame has.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DecodeErrorKind {
    /// The frame ends inside a value.
    #[error("the frame is truncated")]
    Truncated,
    /// Not JSON, or not the kind of value every frame of the venue is.
    #[error("the frame is not what frames of this venue are")]
    Malformed,
    /// A field the message cannot do without.
    #[error("field {0:?} is missing")]
    MissingField(&'static str),
    /// A field holds something else than it should.
    #[error("field {0:?} does not hold what it should")]
    BadField(&'static str),
    /// Update ids that cannot be true.
    #[error("the update ids contradict each other")]
    BadIds,
}

impl From<JsonError> for DecodeErrorKind {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::Truncated => Self::Truncated,
            JsonError::Malformed | JsonError::TooDeep => Self::Malformed,
        }
    }
}

/// What a frame was about, as far as could be told: so that one instrument can be repaired instead of
/// all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subject<'a> {
    /// The symbol; the case may differ from the venue's spelling (stream names are lower-case).
    pub symbol: Option<&'a [u8]>,
    /// The channel.
    pub channel: Option<Channel>,
}

/// Why a frame could not be decoded.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{kind}")]
pub struct DecodeError<'a> {
    /// What is wrong.
    pub kind: DecodeErrorKind,
    /// What the frame was about, as far as could be told.
    pub subject: Subject<'a>,
}
