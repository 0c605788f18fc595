//! The feed of an app's events, by number.

use poem_openapi::{Object, types::Example};

use super::message::{EXAMPLE_ID, EventWire};

/// Events by number, the oldest first.
#[derive(Object)]
#[oai(rename = "EventFeed", rename_all = "camelCase", example)]
pub(crate) struct FeedAnswer {
    /// The events, each with the number after that of the one before.
    pub data: Vec<FeedEventWire>,
    /// The number to remember: give it as `after` to go on.
    pub last_seq: u64,
    /// The number of your app's newest event; 0 when there is none.
    pub head_seq: u64,
    /// Whether there are more by now.
    pub has_more: bool,
    /// Which history the numbers belong to: remember it with the number. Another one than before
    /// says that the server was put back to a backup.
    pub epoch: String,
}

/// One event, with its number and the message that it is about.
#[derive(Object)]
#[oai(rename = "FeedEvent", rename_all = "camelCase", example)]
pub(crate) struct FeedEventWire {
    /// Its number among the events of your app, from 1 and without gaps. It never changes.
    pub seq: u64,
    /// The event.
    #[oai(flatten)]
    pub event: EventWire,
    /// The message.
    pub message_id: String,
}

impl Example for FeedAnswer {
    fn example() -> Self {
        let event = FeedEventWire::example();
        let (last_seq, epoch) = (event.seq, "0".to_owned());
        Self { last_seq, head_seq: 1043, has_more: true, data: vec![event], epoch }
    }
}

impl Example for FeedEventWire {
    fn example() -> Self {
        Self { seq: 1042, event: EventWire::example(), message_id: EXAMPLE_ID.into() }
    }
}
