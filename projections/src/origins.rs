//! How messages began, kept in memory for the events that follow.

use std::{collections::HashMap, sync::Arc};

use eventlog::{EventLog, Recorded, Version};
use model::{
    MessageId, StreamId,
    message::{Scheduled, Step},
};

use crate::{
    error::Halt,
    fact::{Known, Origin},
};

/// Weight of one generation: messages count 8 and a recipient 1. About 30 MB.
const GENERATION_WEIGHT: usize = 600_000;
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
        known: &Known,
    ) -> Result<Option<Arc<Origin>>, Halt> {
        let StreamId::Message(message) = recorded.stream else { return Ok(None) };
        let origin = match known {
            Known::Other(_) => return Ok(None),
            Known::Began(origin) => Arc::clone(origin),
            Known::Went(Step::Scheduled(scheduled)) => {
                Arc::new(go_on(&*self.find(log, message, recorded)?, scheduled))
            }
            Known::Went(_) => return self.find(log, message, recorded).map(Some),
        };
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
    let Known::Began(origin) = Known::of(accepted)? else {
        return Err(without_beginning(accepted));
    };
    match events.next().map(Known::of).transpose()? {
        Some(Known::Went(Step::Scheduled(scheduled))) => Ok(go_on(&origin, &scheduled)),
        _ => Ok(Arc::unwrap_or_clone(origin)),
    }
}

fn go_on(origin: &Origin, scheduled: &Scheduled) -> Origin {
    Origin { send_from: scheduled.until.max(origin.at), ..origin.clone() }
}

const fn without_beginning(recorded: &Recorded) -> Halt {
    Halt::Impossible {
        position: recorded.position,
        stream: recorded.stream,
        what: "the message was never accepted",
    }
}
