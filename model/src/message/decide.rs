//! What may happen to a message.

use super::{
    MAX_RECIPIENTS, MAX_SCHEDULE_AHEAD, MAX_TAGS,
    events::{
        Accepted, AcceptedRecipient, Attempt, Bounced, CancelReason, Canceled, Complained,
        Deferred, Delivered, Failed, FailureReason, MessageEvent, RecordedAnswer, RetryRequested,
        Returned, Scheduled, Sent, Suppressed, SuppressionReason, Tag, TemplateUse,
    },
    state::{Message, RecipientStatus},
};
use crate::{
    address::DomainName,
    delivery::{
        Answer, BounceRules, Diagnosis, Fault, Outcome, Stage, TlsDemand, Trouble, Verdict,
    },
    event::{RecipientHash, RequestHash, SealedText},
    ids::{ApiKeyId, AppId, DomainId, RecipientIndex, TenantId},
    pause::Who,
    retry::{Jitter, Lifetime, RetryPolicy},
    time::Timestamp,
};

/// What somebody wants of a message.
#[derive(Debug, Clone)]
pub enum Command {
    /// Take it over for delivery.
    Accept(Box<Accept>),
    /// Note what an attempt told, for each recipient that was tried.
    RecordAttempt(Vec<Report>),
    /// Give up on what is open, if its time has run out.
    Expire,
    /// Take it back.
    Cancel,
    /// Take it back from a recipient who is to be forgotten.
    Forget(RecipientHash),
    /// Note that recipients did not get it, as a report says.
    RecordReturn(Vec<Returning>),
    /// Note that recipients complained.
    RecordComplaint(Vec<RecipientIndex>),
    /// Try those again now that wait for another attempt.
    RetryNow(Who),
}

/// A message to be taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accept {
    /// Whose it is.
    pub tenant: TenantId,
    /// The app that sends it.
    pub app: AppId,
    /// The key that the request came with.
    pub key: ApiKeyId,
    /// The domain of the author's address.
    pub from: DomainName,
    /// Who gets it.
    pub recipients: Vec<AcceptedRecipient>,
    /// The caller's labels.
    pub tags: Vec<Tag>,
    /// The template that it was made with.
    pub template: Option<TemplateUse>,
    /// Whether it is bulk mail.
    pub bulk: bool,
    /// Size of the content, in octets.
    pub size: u64,
    /// What is demanded of the way to its receivers.
    pub tls: TlsDemand,
    /// Not before this time.
    pub scheduled_at: Option<Timestamp>,
    /// How long it is worth sending; as long as others when its caller does not say.
    pub expires_after: Option<Lifetime>,
    /// Set when the request had an idempotency key.
    pub request: Option<RequestHash>,
}

/// What one attempt told of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Which recipient.
    pub recipient: RecipientIndex,
    /// What was told.
    pub outcome: Outcome,
    /// The reply's text, sealed under the message's key; empty when there was no reply.
    pub sealed_text: SealedText,
    /// What the transaction was to transmit; `None` when there was none.
    pub sent: Option<Sent>,
}

/// What a report says of one recipient that did not get the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Returning {
    /// Which recipient.
    pub recipient: RecipientIndex,
    /// Why.
    pub diagnosis: Diagnosis,
    /// The words, sealed under the message's key; empty when they could not be.
    pub sealed_text: SealedText,
}

/// Whether the author's domain may be sent from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SenderStanding {
    /// The tenant has proved this domain.
    Verified(DomainId),
    /// It has not, or not any more.
    NotVerified,
}

/// What is known of the outside when a message is decided on.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// How the author's domain stands.
    pub sender: SenderStanding,
    /// Recipients on the suppression list.
    pub suppressed: &'a [(RecipientIndex, SuppressionReason)],
    /// When to try again.
    pub retry: &'a RetryPolicy,
    /// Drawn for this decision.
    pub jitter: Jitter,
    /// Whether an attempt is under way.
    pub in_flight: bool,
    /// Whether a pause of its tenant or its sending domain holds it back.
    pub paused: bool,
}

/// Why a command is not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The tenant has not proved the author's domain.
    #[error("the sender's domain is not verified")]
    SenderDomainNotVerified,
    /// The message exists, made by the same request: answer as then.
    #[error("the request was carried out before")]
    AlreadyAccepted,
    /// The message exists, made by another request with the same idempotency key.
    #[error("the idempotency key was used for another request")]
    IdempotencyConflict,
    /// There is nobody to send to.
    #[error("there is no recipient")]
    NoRecipient,
    /// More than [`MAX_RECIPIENTS`].
    #[error("there are more than 50 recipients")]
    TooManyRecipients,
    /// Each recipient of bulk mail unsubscribes for themselves, by a link of their own.
    #[error("a bulk message has one recipient")]
    BulkToSeveral,
    /// More than [`MAX_TAGS`].
    #[error("there are more than 20 tags")]
    TooManyTags,
    /// More than 30 days ahead.
    #[error("a message can be scheduled at most 30 days ahead")]
    ScheduledTooFarAhead,
    /// There is no such message.
    #[error("there is no such message")]
    Unknown,
    /// It has ended, or is being sent.
    #[error("the message has ended or is being sent")]
    NotCancelable,
}

/// The events that `command` leads to, or why it is refused. No events: nothing changes.
pub fn decide(
    message: &Message,
    command: &Command,
    facts: &Facts<'_>,
    now: Timestamp,
) -> Result<Vec<MessageEvent>, Refusal> {
    match command {
        Command::Accept(accept) => decide_accept(message, accept, facts, now),
        Command::RecordAttempt(reports) => record_attempt(message, reports, facts, now),
        Command::Expire => expire(message, now),
        Command::Cancel => cancel(message, facts, now),
        Command::Forget(person) => forget(message, person, facts),
        Command::RecordReturn(returning) => record_return(message, returning),
        Command::RecordComplaint(recipients) => record_complaint(message, recipients),
        Command::RetryNow(by) => retry_now(message, *by, now),
    }
}

fn decide_accept(
    message: &Message,
    accept: &Accept,
    facts: &Facts<'_>,
    now: Timestamp,
) -> Result<Vec<MessageEvent>, Refusal> {
    if let Some((_, accepted)) = message.accepted() {
        let same = accepted.request.is_some() && accepted.request == accept.request;
        return Err(if same { Refusal::AlreadyAccepted } else { Refusal::IdempotencyConflict });
    }
    let SenderStanding::Verified(domain) = facts.sender else {
        return Err(Refusal::SenderDomainNotVerified);
    };
    if accept.recipients.is_empty() {
        return Err(Refusal::NoRecipient);
    }
    if accept.recipients.len() > MAX_RECIPIENTS {
        return Err(Refusal::TooManyRecipients);
    }
    if accept.bulk && accept.recipients.len() > 1 {
        return Err(Refusal::BulkToSeveral);
    }
    if accept.tags.len() > MAX_TAGS {
        return Err(Refusal::TooManyTags);
    }
    // A time that has passed means now.
    let until = accept.scheduled_at.filter(|until| *until > now);
    if until.is_some_and(|until| until.since(now) > MAX_SCHEDULE_AHEAD) {
        return Err(Refusal::ScheduledTooFarAhead);
    }
    let mut events = vec![MessageEvent::Accepted(Accepted {
        tenant: accept.tenant,
        app: accept.app,
        key: accept.key,
        domain,
        from: accept.from.clone(),
        recipients: accept.recipients.clone(),
        tags: accept.tags.clone(),
        template: accept.template,
        tls: accept.tls,
        bulk: accept.bulk,
        size: accept.size,
        expires_at: facts.retry.expires_at(until.unwrap_or(now), accept.expires_after),
        request: accept.request,
    })];
    events.extend(until.map(|until| MessageEvent::Scheduled(Scheduled { until })));
    for (position, &(recipient, reason)) in facts.suppressed.iter().enumerate() {
        let known = recipient.as_usize() < accept.recipients.len();
        // Listed for two reasons, a recipient still ends once.
        let repeated = facts.suppressed.iter().take(position).any(|(other, _)| *other == recipient);
        if known && !repeated && !reason.lets_through(accept.bulk) {
            events.push(Suppressed { recipient, reason }.into());
        }
    }
    Ok(events)
}

fn record_attempt(
    message: &Message,
    reports: &[Report],
    facts: &Facts<'_>,
    now: Timestamp,
) -> Result<Vec<MessageEvent>, Refusal> {
    let (_, accepted) = message.accepted().ok_or(Refusal::Unknown)?;
    let mut events: Vec<MessageEvent> = Vec::with_capacity(reports.len());
    for (position, report) in reports.iter().enumerate() {
        let Some(recipient) = message.recipients().get(report.recipient.as_usize()) else {
            continue;
        };
        // Who has ended does not end again, whatever a late report says.
        let earlier = reports.iter().take(position);
        let repeated = earlier.into_iter().any(|other| other.recipient == report.recipient);
        if recipient.status.is_final() || repeated {
            continue;
        }
        let attempt = recipient.attempts.saturating_add(1);
        events.push(settle(report, attempt, accepted, facts, now));
    }
    Ok(events)
}

fn settle(
    report: &Report,
    number: u16,
    accepted: &Accepted,
    facts: &Facts<'_>,
    now: Timestamp,
) -> MessageEvent {
    let outcome = &report.outcome;
    let answer = match &outcome.answer {
        Answer::Fault(fault) => RecordedAnswer::Fault(*fault),
        Answer::Reply(reply) => RecordedAnswer::Reply {
            code: reply.code,
            enhanced: reply.enhanced,
            text: report.sealed_text.clone(),
        },
    };
    let attempt = Attempt {
        recipient: report.recipient,
        attempt: number,
        stage: outcome.stage,
        answer,
        peer: outcome.peer.clone(),
        // Before the final dot, the receiver has not got it.
        sent: report.sent.clone().filter(|_| outcome.stage == Stage::EndOfData),
    };
    let rules = Some(BounceRules::shipped().version);
    let trouble = Trouble::of(outcome);
    match outcome.verdict() {
        Verdict::Delivered => Delivered { attempt }.into(),
        Verdict::Bounced(class) => Bounced { attempt, class, rules, trouble }.into(),
        Verdict::Failed => Failed {
            recipient: report.recipient,
            attempt: number,
            reason: match outcome.answer {
                Answer::Fault(Fault::ContentGone) => FailureReason::ContentGone,
                _ => FailureReason::ContentInvalid,
            },
        }
        .into(),
        verdict @ (Verdict::Deferred | Verdict::OutcomeUnknown) => {
            let next = facts.retry.next_attempt_at(number, outcome, now, facts.jitter);
            Deferred {
                attempt,
                // At its expiry a message is looked at once more, and given up.
                next_attempt_at: next.min(accepted.expires_at),
                outcome_unknown: verdict == Verdict::OutcomeUnknown,
                trouble,
            }
            .into()
        }
    }
}

fn expire(message: &Message, now: Timestamp) -> Result<Vec<MessageEvent>, Refusal> {
    let (_, accepted) = message.accepted().ok_or(Refusal::Unknown)?;
    if now < accepted.expires_at {
        return Ok(Vec::new());
    }
    let failed = |(recipient, state): (RecipientIndex, &super::RecipientState)| {
        Failed { recipient, attempt: state.attempts, reason: FailureReason::Expired }.into()
    };
    Ok(message.open().map(failed).collect())
}

fn cancel(
    message: &Message,
    facts: &Facts<'_>,
    now: Timestamp,
) -> Result<Vec<MessageEvent>, Refusal> {
    message.accepted().ok_or(Refusal::Unknown)?;
    let open: Vec<RecipientIndex> = message.open().map(|(index, _)| index).collect();
    // Who is paused waits, too, whatever the time.
    let waiting =
        facts.paused || message.open().all(|(_, recipient)| recipient.next_attempt_at > now);
    if open.is_empty() || facts.in_flight || !waiting {
        return Err(Refusal::NotCancelable);
    }
    let canceled = |recipient| Canceled { recipient, reason: None }.into();
    Ok(open.into_iter().map(canceled).collect())
}

/// Also of what is due: only an attempt that is under way is waited for, for nobody knows yet how it
/// ends. The other recipients get theirs.
fn forget(
    message: &Message,
    person: &RecipientHash,
    facts: &Facts<'_>,
) -> Result<Vec<MessageEvent>, Refusal> {
    let (_, accepted) = message.accepted().ok_or(Refusal::Unknown)?;
    let is_person = |index: &RecipientIndex| {
        accepted.recipients.get(index.as_usize()).is_some_and(|known| known.hash == *person)
    };
    let open: Vec<RecipientIndex> =
        message.open().map(|(index, _)| index).filter(is_person).collect();
    if !open.is_empty() && facts.in_flight {
        return Err(Refusal::NotCancelable);
    }
    let reason = Some(CancelReason::Erasure);
    Ok(open.into_iter().map(|recipient| Canceled { recipient, reason }.into()).collect())
}

/// A report can come before our own record of the delivery, or where the outcome was unknown: it
/// proves that somebody had the message, so it ends who is open, too. Who ended otherwise was not
/// sent to, or bounced already.
fn record_return(message: &Message, returning: &[Returning]) -> Result<Vec<MessageEvent>, Refusal> {
    message.accepted().ok_or(Refusal::Unknown)?;
    let mut events: Vec<MessageEvent> = Vec::new();
    for (position, one) in returning.iter().enumerate() {
        let status = message.recipients().get(one.recipient.as_usize()).map(|known| known.status);
        let was_delivered = match status {
            Some(RecipientStatus::Delivered) => true,
            Some(RecipientStatus::Queued | RecipientStatus::Deferred) => false,
            _ => continue,
        };
        if returning.iter().take(position).any(|other| other.recipient == one.recipient) {
            continue;
        }
        let Diagnosis { code, enhanced, .. } = one.diagnosis;
        let (recipient, text) = (one.recipient, one.sealed_text.clone());
        let (class, rules) = (one.diagnosis.class(), Some(BounceRules::shipped().version));
        let trouble = Trouble::of_report(&one.diagnosis);
        let returned =
            Returned { recipient, class, rules, trouble, code, enhanced, text, was_delivered };
        events.push(returned.into());
    }
    Ok(events)
}

/// Whoever was sent to may complain, once.
fn record_complaint(
    message: &Message,
    recipients: &[RecipientIndex],
) -> Result<Vec<MessageEvent>, Refusal> {
    message.accepted().ok_or(Refusal::Unknown)?;
    let mut events: Vec<MessageEvent> = Vec::new();
    for (position, recipient) in recipients.iter().enumerate() {
        let Some(known) = message.recipients().get(recipient.as_usize()) else { continue };
        let unsent =
            matches!(known.status, RecipientStatus::Suppressed | RecipientStatus::Canceled);
        if unsent || known.complained || recipients.iter().take(position).any(|r| r == recipient) {
            continue;
        }
        events.push(Complained { recipient: *recipient }.into());
    }
    Ok(events)
}

/// What was never tried is due anyway; what waits for the time that its caller named goes on waiting.
fn retry_now(message: &Message, by: Who, now: Timestamp) -> Result<Vec<MessageEvent>, Refusal> {
    message.accepted().ok_or(Refusal::Unknown)?;
    let waits = message.open().any(|(_, recipient)| {
        recipient.status == RecipientStatus::Deferred && recipient.next_attempt_at > now
    });
    let waits = waits && message.scheduled_until().is_none_or(|until| until <= now);
    Ok(waits.then(|| RetryRequested { by }.into()).into_iter().collect())
}
