//! The log of an app's events, page by page.

use poem_openapi::{Object, types::Example};

use super::message::{EXAMPLE_ID, EventWire};

/// One page of events, the newest first.
#[derive(Object)]
#[oai(rename = "LogPage", rename_all = "camelCase", example)]
pub(crate) struct LogsAnswer {
    /// The events.
    pub data: Vec<LogWire>,
    /// Whether there are older ones.
    pub has_more: bool,
    /// Give it as `cursor` to get them; absent when there are none.
    #[oai(skip_serializing_if_is_none)]
    pub next_cursor: Option<String>,
}

/// One event, with the message that it is about.
#[derive(Object)]
#[oai(rename = "LogEntry", rename_all = "camelCase", example)]
pub(crate) struct LogWire {
    /// The event.
    #[oai(flatten)]
    pub event: EventWire,
    /// The message.
    pub message_id: String,
    /// The message's subject; `null` once its content was forgotten.
    #[oai(nullable)]
    pub subject: Option<String>,
}

impl Example for LogsAnswer {
    fn example() -> Self {
        Self {
            data: vec![LogWire::example()],
            has_more: true,
            next_cursor: Some("AZrAV3tPAAAAAAAAAAAAAAAq".into()),
        }
    }
}

impl Example for LogWire {
    fn example() -> Self {
        Self {
            event: EventWire::example(),
            message_id: EXAMPLE_ID.into(),
            subject: Some("Your invoice 1042".into()),
        }
    }
}
