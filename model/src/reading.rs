//! Readings: somebody looked at what people wrote.
//!
//! Each look is a stream of its own with one event: nothing has to be read to record it, and no
//! stream grows with the number of looks. It names what was looked at by its id and nobody but by
//! ids; who looked is the event's cause.

use serde::{Deserialize, Serialize};

use crate::{event::events, ids::TenantId, stream::StreamId};

events! {
    /// An event of a reading.
    ReadingEvent {
        /// Content was shown to somebody.
        ContentRead = "content.read" v 1,
    }
}

/// What was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shown {
    /// A letter, with all that it says.
    Letter,
    /// Who wrote the letters of a list, and what about.
    LetterList,
    /// What mail hosts said of a message, in evidence of it.
    Evidence,
}

/// See [`ReadingEvent::ContentRead`]. The same reader, again at the same within an hour, has no event:
/// who reloads a page must not fill the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentRead {
    /// Whose content it is; absent: the operator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// What was shown.
    pub shown: Shown,
    /// Of what: a letter, the domain whose letters were listed (the instance for those to the
    /// operator), a message.
    pub of: StreamId,
}
