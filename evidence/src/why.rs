//! Why something happened: an event's causes, walked back to who or what began it.

use std::{fmt, str::FromStr};

use eventlog::{EventLog, MAX_READ_EVENTS, Position, ReadError, Recorded, Version};
use model::{
    After, By, Cause, Event, EventId, StreamId, TenantId, Timestamp, message::MessageEvent,
    suppression::SuppressionEvent, template::TemplateEvent, tenant::TenantEvent, user::UserEvent,
};
use serde::Serialize;

use crate::bundle::written;

/// Most steps of a walk: a week of attempts at one recipient has a third of it.
pub const MAX_STEPS: usize = 1_000;
/// How long after the time in its id an event may have been recorded. It is decided, named and
/// written within moments; a log that does not write is waited for.
const WRITTEN_WITHIN_MS: u64 = 24 * 60 * 60 * 1_000;

/// An event as somebody names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// By its place in the log.
    Position(Position),
    /// By its id.
    Id(EventId),
}

/// The text names no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected the id of an event, or a position")]
pub struct InvalidName;

impl FromStr for Named {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        let position = text.parse().ok().filter(|position| *position > 0);
        position.map(|position| Self::Position(Position::new(position))).ok_or(InvalidName)
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Position(position) => position.fmt(f),
            Self::Id(id) => id.fmt(f),
        }
    }
}

/// Why the causes of an event cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum WhyError {
    /// An event is not what was written.
    #[error("position {0}: the event is not readable")]
    Unreadable(Position),
    /// It was pruned.
    #[error("the event at position {0} was pruned: its message ended long ago")]
    Pruned(Position),
    /// More than [`MAX_STEPS`].
    #[error("it has more than {MAX_STEPS} causes")]
    TooMany,
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// One event on the way back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Its place in the log.
    pub position: u64,
    /// Whose event.
    pub stream: StreamId,
    /// Its place in the stream.
    pub version: u64,
    /// Its id.
    pub id: EventId,
    /// When it was recorded.
    pub at: String,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: String,
    /// Who or what it came of; absent when that was not recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<By>,
    /// The event that led to it, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<After>,
    /// Whether that event is not in the log: the server stopped between the two. The walk goes on
    /// with the first event of that stream.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub lost: bool,
    /// Whether that event was of a message that was pruned.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pruned: bool,
}

/// An event, what led to it, what led to that, and so on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trail {
    /// The event that was asked about first; last who or what began it all, or the oldest event
    /// whose cause is known.
    pub steps: Vec<Step>,
}

/// The causes of an event; `None` when there is no such event. Blocks on the disk.
///
/// # Errors
/// The log, or an event on the way, cannot be read.
pub fn why(log: &dyn EventLog, named: Named) -> Result<Option<Trail>, WhyError> {
    let mut next = find(log, named)?;
    let mut steps: Vec<Step> = Vec::new();
    while let Some(recorded) = next.take() {
        // A log that somebody wrote by hand might lead around in circles.
        if steps.iter().any(|step| step.position == recorded.position.get()) {
            break;
        }
        if steps.len() >= MAX_STEPS {
            return Err(WhyError::TooMany);
        }
        let event = decode(&recorded)?;
        let cause = cause(&recorded, &event)?;
        let (mut lost, mut pruned) = (false, false);
        if let Some(Cause { by, after }) = cause {
            next = match after {
                Some(after) => {
                    let led = follow(log, recorded.stream, after)?;
                    (lost, pruned) = (led.lost, led.pruned);
                    led.event
                }
                None => maker(log, &recorded, &event, by)?,
            };
        }
        steps.push(Step { lost, pruned, ..step(&recorded, &event, cause) });
    }
    if let (true, Named::Position(position)) = (steps.is_empty(), named)
        && log.is_pruned(position)?
    {
        return Err(WhyError::Pruned(position));
    }
    Ok((!steps.is_empty()).then_some(Trail { steps }))
}

fn decode(recorded: &Recorded) -> Result<Event, WhyError> {
    let unreadable = |_| WhyError::Unreadable(recorded.position);
    Event::decode(recorded.stream, &recorded.data).map_err(unreadable)
}

fn step(recorded: &Recorded, event: &Event, cause: Option<Cause>) -> Step {
    Step {
        position: recorded.position.get(),
        stream: recorded.stream,
        version: recorded.version.get(),
        id: recorded.id,
        at: written(recorded.at),
        kind: event.kind().to_owned(),
        cause: cause.map(|cause| cause.by),
        after: cause.and_then(|cause| cause.after),
        lost: false,
        pruned: false,
    }
}

/// What an event came of: as recorded, or, of before that was recorded, as far as it says itself.
fn cause(recorded: &Recorded, event: &Event) -> Result<Option<Cause>, WhyError> {
    let told = Cause::read(&recorded.data).map_err(|_| WhyError::Unreadable(recorded.position))?;
    let by = match event {
        Event::Message(MessageEvent::Accepted(accepted)) => By::Key(accepted.key),
        Event::Message(MessageEvent::RetryRequested(asked)) => asked.by.into(),
        Event::Tenant(TenantEvent::TenantPaused(paused)) => paused.by.into(),
        Event::Tenant(TenantEvent::TenantResumed(resumed)) => resumed.by.into(),
        _ => return Ok(told),
    };
    Ok(told.or(Some(by.into())))
}

struct Led {
    event: Option<Recorded>,
    lost: bool,
    pruned: bool,
}

/// The event that led to one of `stream`.
fn follow(log: &dyn EventLog, stream: StreamId, after: After) -> Result<Led, WhyError> {
    match after {
        After::Own(version) => {
            let before = Version::new(version.saturating_sub(1));
            let event = log.read_stream(stream, before, 1)?.into_iter().next();
            Ok(Led { lost: event.is_none(), event, pruned: false })
        }
        After::Other(stream, id) => {
            if let Some(event) = in_stream(log, stream, |one, _| one.id == id)? {
                return Ok(Led { event: Some(event), lost: false, pruned: false });
            }
            let event = first(log, stream)?;
            // Messages are pruned as a whole.
            let pruned = event.is_none() && log.pruned()?.is_some();
            Ok(Led { event, lost: !pruned, pruned })
        }
    }
}

/// How whoever asked came to be: the key or the user that was made.
fn maker(
    log: &dyn EventLog,
    recorded: &Recorded,
    event: &Event,
    by: By,
) -> Result<Option<Recorded>, WhyError> {
    if !matches!(by, By::Key(_) | By::User(_)) {
        return Ok(None);
    }
    let tenant = match owner(recorded.stream, event) {
        Some(tenant) => Some(tenant),
        // It stands where the stream began.
        None => match first(log, recorded.stream)? {
            Some(first) => owner(first.stream, &decode(&first)?),
            None => None,
        },
    };
    let Some(tenant) = tenant else { return Ok(None) };
    in_stream(log, StreamId::Tenant(tenant), |_, event| match (event, by) {
        (Event::Tenant(TenantEvent::ApiKeyCreated(made)), By::Key(key)) => made.key == key,
        (Event::Tenant(TenantEvent::UserAdded(added)), By::User(user)) => added.user == user,
        _ => false,
    })
}

/// Whose event it is, as far as it says.
fn owner(stream: StreamId, event: &Event) -> Option<TenantId> {
    match (stream, event) {
        (StreamId::Tenant(tenant), _) => Some(tenant),
        (_, Event::Domain(model::domain::DomainEvent::DomainAdded(added))) => Some(added.tenant),
        (_, Event::Message(MessageEvent::Accepted(accepted))) => Some(accepted.tenant),
        (_, Event::Template(TemplateEvent::TemplateCreated(created))) => Some(created.tenant),
        (_, Event::Suppression(SuppressionEvent::SuppressionAdded(added))) => Some(added.tenant),
        (_, Event::Suppression(SuppressionEvent::SuppressionRemoved(gone))) => Some(gone.tenant),
        (_, Event::User(UserEvent::SessionStarted(started))) => Some(started.tenant),
        (_, Event::User(UserEvent::PasswordChanged(changed))) => Some(changed.tenant),
        (_, Event::User(UserEvent::PasswordRehashed(rehashed))) => Some(rehashed.tenant),
        _ => None,
    }
}

fn first(log: &dyn EventLog, stream: StreamId) -> Result<Option<Recorded>, WhyError> {
    Ok(log.read_stream(stream, Version::NONE, 1)?.into_iter().next())
}

/// The first event of a stream that is meant.
fn in_stream(
    log: &dyn EventLog,
    stream: StreamId,
    is_meant: impl Fn(&Recorded, &Event) -> bool,
) -> Result<Option<Recorded>, WhyError> {
    let mut after = Version::NONE;
    loop {
        let page = log.read_stream(stream, after, MAX_READ_EVENTS)?;
        let Some(last) = page.last() else { return Ok(None) };
        after = last.version;
        for recorded in page {
            if is_meant(&recorded, &decode(&recorded)?) {
                return Ok(Some(recorded));
            }
        }
    }
}

/// The event that is named.
fn find(log: &dyn EventLog, named: Named) -> Result<Option<Recorded>, WhyError> {
    match named {
        Named::Position(position) => at(log, position.get()),
        Named::Id(id) => find_id(log, id),
    }
}

fn at(log: &dyn EventLog, position: u64) -> Result<Option<Recorded>, WhyError> {
    let before = Position::new(position.saturating_sub(1));
    Ok(log.read_all(before, 1)?.into_iter().find(|found| found.position.get() == position))
}

/// There is no index by ids: an id begins with a time, and times never go backwards in the log, so
/// what is looked through is the little that was recorded since.
fn find_id(log: &dyn EventLog, id: EventId) -> Result<Option<Recorded>, WhyError> {
    let named_at = named_at(id);
    // Everything up to `low` was recorded before that; something beyond `high` was not.
    let (mut low, mut high) = (0, log.head().borrow().get());
    while low < high {
        let middle = low + (high - low) / 2;
        // The next one that there is, where some were pruned.
        let next = log.read_all(Position::new(middle), 1)?;
        let earlier = next.first().is_some_and(|event| event.at.as_millis() < named_at);
        if earlier {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    let mut after = Position::new(low);
    loop {
        let page = log.read_all(after, MAX_READ_EVENTS)?;
        let Some(last) = page.last() else { return Ok(None) };
        after = last.position;
        let over = last.at.as_millis() > named_at.saturating_add(WRITTEN_WITHIN_MS);
        if let Some(found) = page.into_iter().find(|recorded| recorded.id == id) {
            return Ok(Some(found));
        }
        if over {
            return Ok(None);
        }
    }
}

/// The milliseconds that an id begins with.
fn named_at(id: EventId) -> u64 {
    let time = id.as_bytes().iter().take(6);
    let millis = time.fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    millis.min(Timestamp::MAX.as_millis())
}

#[cfg(test)]
mod tests;
