//! How messages began, kept in memory for the events that follow.

use std::{collections::HashMap, sync::Arc};

use eventlog::{EventLog, Recorded, Version};
use model::{Event, MessageId, StreamId, message::MessageEvent};

use crate::{error::Halt, fact::Origin};

/// Weight of one generation: messages count 8 and a recipient 1. About 20 MB.
const GENERATION_WEIGHT: usize = 200_000;
const MESSAGE_WEIGHT: usize = 8;

/// A bounded memory of how messages began. What is not in it is read from the log again, so that
/// no table has to keep it.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    young: HashMap<MessageId, Arc<Origin>>,
    old: HashMap<MessageId, Arc<Origin>>,
    weight: usize,
}

impl Origins {
    /// How the message of this event began; `None` when the event is not of a message.
    pub(crate) fn of(
        &mut self,
        log: &dyn EventLog,
        recorded: &Recorded,
        event: &Event,
    ) -> Result<Option<Arc<Origin>>, Halt> {
        let (StreamId::Message(message), Event::Message(event)) = (recorded.stream, event) else {
            return Ok(None);
        };
        let origin = match event {
            MessageEvent::Accepted(_) => begin(recorded, event)?,
            MessageEvent::Scheduled(_) => {
                let before = self.find(log, message, recorded)?;
                go_on(&before, event)
            }
            _ => return self.find(log, message, recorded).map(Some),
        };
        let origin = Arc::new(origin);
        self.keep(message, Arc::clone(&origin));
        Ok(Some(origin))
    }

    fn find(
        &mut self,
        log: &dyn EventLog,
        message: MessageId,
        recorded: &Recorded,
    ) -> Result<Arc<Origin>, Halt> {
        if let Some(origin) = self.young.get(&message) {
            return Ok(Arc::clone(origin));
        }
        let origin = match self.old.remove(&message) {
            Some(origin) => origin,
            None => Arc::new(read(log, recorded)?),
        };
        self.keep(message, Arc::clone(&origin));
        Ok(origin)
    }

    fn keep(&mut self, message: MessageId, origin: Arc<Origin>) {
        self.weight += MESSAGE_WEIGHT + origin.accepted.recipients.len();
        self.young.insert(message, origin);
        if self.weight > GENERATION_WEIGHT {
            self.old = std::mem::take(&mut self.young);
            self.weight = 0;
        }
    }
}

/// The first two events of a stream say how a message began: accepted, and perhaps scheduled.
fn read(log: &dyn EventLog, later: &Recorded) -> Result<Origin, Halt> {
    let first = log.read_stream(later.stream, Version::NONE, 2)?;
    let mut events = first.iter();
    let accepted = events.next().ok_or_else(|| without_beginning(later))?;
    let origin = begin(accepted, &decode(accepted)?)?;
    match events.next() {
        Some(second) => Ok(go_on(&origin, &decode(second)?)),
        None => Ok(origin),
    }
}

fn decode(recorded: &Recorded) -> Result<MessageEvent, Halt> {
    match crate::folds::decode(recorded)? {
        Event::Message(event) => Ok(event),
        _ => Err(without_beginning(recorded)),
    }
}

fn begin(recorded: &Recorded, event: &MessageEvent) -> Result<Origin, Halt> {
    let MessageEvent::Accepted(accepted) = event else { return Err(without_beginning(recorded)) };
    let [head, body, ..] = *recorded.content else {
        return Err(Halt::Impossible {
            position: recorded.position,
            stream: recorded.stream,
            what: "an accepted message has no content beside it",
        });
    };
    let (accepted, at) = (accepted.clone(), recorded.at);
    Ok(Origin { accepted, at, send_from: at, head, body })
}

fn go_on(origin: &Origin, event: &MessageEvent) -> Origin {
    let mut origin = origin.clone();
    if let MessageEvent::Scheduled(scheduled) = event {
        origin.send_from = scheduled.until.max(origin.at);
    }
    origin
}

const fn without_beginning(recorded: &Recorded) -> Halt {
    Halt::Impossible {
        position: recorded.position,
        stream: recorded.stream,
        what: "the message was never accepted",
    }
}
