//! From what is recorded to what is shown: events and read models joined with content.
//!
//! Everything here blocks shortly on the disk: it runs where blocking is allowed.

use std::{collections::HashMap, sync::Arc};

use eventlog::{ContentError, ContentLocation, EventLog, Purpose, ReplyKey, Sealed, Vault};
use model::{
    EventId, MessageId, RecipientIndex, Timestamp,
    content::Head,
    delivery::{Peer, TlsRule, Verification},
    event::SealedText,
    message::{Attempt, FailureReason, MessageEvent, RecordedAnswer, Returned},
};
use poem_openapi::types::MaybeUndefined;
use projections::MessageView;

use crate::{
    parts::Shared,
    wire::{
        Time,
        message::{
            EventKind, EventWire, MessageAnswer, MessageWire, RecipientWire, ResponseWire,
            SmtpWire, TemplateUsed, TlsRuleWire, TlsWire, VerificationWire,
        },
        pauses::PauseWire,
        send::Sender,
    },
};

/// Opens content for one answer. A head is opened once however many rows show it, and forgotten
/// with the answer: kept longer, it would outlive its own erasure.
pub(crate) struct Reader<'a> {
    log: &'a dyn EventLog,
    vault: &'a Vault,
    heads: HashMap<MessageId, Option<Arc<Head>>>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(shared: &'a Shared) -> Self {
        Self { log: shared.log.as_ref(), vault: &shared.vault, heads: HashMap::new() }
    }

    /// The head of a message; `None` once it was forgotten, or when it cannot be read: one damaged
    /// record must not hide what else is known.
    pub(crate) fn head(&mut self, id: MessageId, location: &ContentLocation) -> Option<Arc<Head>> {
        if let Some(known) = self.heads.get(&id) {
            return known.clone();
        }
        let head = self.open_head(id, location).map(Arc::new);
        self.heads.insert(id, head.clone());
        head
    }

    fn open_head(&self, id: MessageId, location: &ContentLocation) -> Option<Head> {
        let sealed = match self.log.read_content(location) {
            Ok(sealed) => sealed,
            Err(ContentError::Forgotten) => return None,
            Err(error) => {
                tracing::error!(message = %id, %error, "content cannot be read");
                return None;
            }
        };
        let opened = self.vault.open(Purpose::MessageHead, id.as_bytes(), &sealed);
        match opened.map(|bytes| Head::from_bytes(&bytes)) {
            Ok(Ok(head)) => Some(head),
            Ok(Err(error)) => {
                tracing::error!(message = %id, %error, "content cannot be read");
                None
            }
            Err(error) => {
                tracing::error!(message = %id, %error, "content cannot be opened");
                None
            }
        }
    }

    /// A message as it stands at `now`, held back by this pause.
    pub(crate) fn message(
        &mut self,
        view: &MessageView,
        now: Timestamp,
        paused: Option<PauseWire>,
    ) -> MessageAnswer {
        let head = self.head(view.id, &view.head);
        let about = About { id: view.id, head: head.as_deref() };
        let sent_at =
            view.events.iter().find(|event| matches!(event.event, MessageEvent::Delivered(_)));
        let message = MessageWire {
            id: view.id.to_string(),
            status: view.state.status(now).into(),
            subject: head.as_ref().map(|head| head.subject.clone()),
            from: head.as_ref().map(|head| Sender {
                email: head.from.email.to_string(),
                name: head.from.name.as_ref().map(ToString::to_string),
            }),
            created_at: Time(view.accepted_at),
            scheduled_at: view.state.scheduled_until().map(Time),
            sent_at: sent_at.map(|event| Time(event.at)),
            tags: view.accepted.tags.iter().map(ToString::to_string).collect(),
            metadata: head.as_ref().map(|head| head.metadata.clone()),
            template: view
                .accepted
                .template
                .as_ref()
                .map(|used| TemplateUsed { id: used.id.to_string(), version: used.version }),
            size_bytes: view.accepted.size,
            paused,
        };
        let events = view.events.iter();
        MessageAnswer {
            message,
            recipients: recipients(view, &about),
            events: events
                .filter_map(|event| about.event(event.id, event.at, &event.event))
                .collect(),
        }
    }

    /// What an event of a message tells that a server said; `None` when it tells nothing.
    pub(crate) fn said(&mut self, view: &MessageView, event: EventId) -> Option<ResponseWire> {
        let head = self.head(view.id, &view.head);
        let about = About { id: view.id, head: head.as_deref() };
        let event = &view.events.iter().find(|known| known.id == event)?.event;
        let told = match event {
            MessageEvent::Returned(returned) => about.told(returned),
            other => about.smtp(attempt_of(other)?),
        };
        Some(response(told))
    }

    /// One event of a message, with the message's subject; `None` for one that is not shown.
    pub(crate) fn event(
        &mut self,
        message: (MessageId, &ContentLocation),
        id: EventId,
        at: Timestamp,
        event: &MessageEvent,
    ) -> Option<(EventWire, Option<String>)> {
        let (message, location) = message;
        let head = self.head(message, location);
        let about = About { id: message, head: head.as_deref() };
        Some((about.event(id, at, event)?, head.as_ref().map(|head| head.subject.clone())))
    }
}

fn recipients(view: &MessageView, about: &About<'_>) -> Vec<RecipientWire> {
    let accepted = view.accepted.recipients.iter();
    let states = view.state.recipients().iter();
    let mut recipients: Vec<RecipientWire> = (0_u8..)
        .zip(accepted.zip(states))
        .map(|(place, (accepted, state))| RecipientWire {
            email: about.email(RecipientIndex(place)),
            kind: accepted.kind.into(),
            status: state.status.into(),
            attempts: state.attempts,
            next_attempt_at: (!state.status.is_final()).then_some(Time(state.next_attempt_at)),
            last_response: None,
        })
        .collect();
    for event in &view.events {
        let (of, told) = match &event.event {
            MessageEvent::Returned(returned) => (returned.recipient, about.told(returned)),
            other => match attempt_of(other) {
                Some(attempt) => (attempt.recipient, about.smtp(attempt)),
                None => continue,
            },
        };
        if let Some(recipient) = recipients.get_mut(of.as_usize()) {
            recipient.last_response = Some(response(told));
        }
    }
    recipients
}

fn response(told: SmtpWire) -> ResponseWire {
    let SmtpWire { code, enhanced_code, message, mx, .. } = told;
    ResponseWire { code, enhanced_code, message, mx }
}

const fn attempt_of(event: &MessageEvent) -> Option<&Attempt> {
    match event {
        MessageEvent::Delivered(event) => Some(&event.attempt),
        MessageEvent::Deferred(event) => Some(&event.attempt),
        MessageEvent::Bounced(event) => Some(&event.attempt),
        _ => None,
    }
}

/// A message with what is still known of its people.
struct About<'a> {
    id: MessageId,
    head: Option<&'a Head>,
}

impl About<'_> {
    fn email(&self, recipient: RecipientIndex) -> Option<String> {
        let recipient = self.head?.recipients.get(recipient.as_usize())?;
        Some(recipient.mailbox.email.to_string())
    }

    fn event(&self, id: EventId, at: Timestamp, event: &MessageEvent) -> Option<EventWire> {
        let wire = EventWire {
            id: id.to_string(),
            kind: EventKind::Accepted,
            occurred_at: Time(at),
            recipient: MaybeUndefined::Undefined,
            recipient_index: None,
            attempt: None,
            next_attempt_at: None,
            reason: None,
            suppression_reason: None,
            smtp: None,
        };
        Some(match event {
            MessageEvent::Accepted(_) => wire,
            MessageEvent::Scheduled(event) => EventWire {
                kind: EventKind::Scheduled,
                next_attempt_at: Some(Time(event.until)),
                ..wire
            },
            MessageEvent::Suppressed(event) => EventWire {
                kind: EventKind::Suppressed,
                reason: Some("recipient_suppressed".into()),
                suppression_reason: Some(event.reason.into()),
                ..self.with_recipient(wire, event.recipient)
            },
            MessageEvent::Delivered(event) => {
                EventWire { kind: EventKind::Delivered, ..self.with_attempt(wire, &event.attempt) }
            }
            MessageEvent::Deferred(event) => EventWire {
                kind: EventKind::Deferred,
                next_attempt_at: Some(Time(event.next_attempt_at)),
                ..self.with_attempt(wire, &event.attempt)
            },
            MessageEvent::Bounced(event) => EventWire {
                kind: EventKind::Bounced,
                reason: Some(event.class.as_str().into()),
                ..self.with_attempt(wire, &event.attempt)
            },
            MessageEvent::Failed(event) => EventWire {
                kind: EventKind::Failed,
                attempt: (event.attempt > 0).then_some(event.attempt),
                reason: Some(failure(event.reason).into()),
                ..self.with_recipient(wire, event.recipient)
            },
            MessageEvent::Canceled(event) => EventWire {
                kind: EventKind::Canceled,
                ..self.with_recipient(wire, event.recipient)
            },
            MessageEvent::Returned(event) => EventWire {
                kind: EventKind::Bounced,
                reason: Some(event.class.as_str().into()),
                smtp: Some(self.told(event)),
                ..self.with_recipient(wire, event.recipient)
            },
            MessageEvent::Complained(event) => EventWire {
                kind: EventKind::Complained,
                ..self.with_recipient(wire, event.recipient)
            },
            // That it is tried earlier says nothing that the attempt does not.
            MessageEvent::RetryRequested(_) => return None,
        })
    }

    fn with_recipient(&self, wire: EventWire, recipient: RecipientIndex) -> EventWire {
        let email = self.email(recipient);
        EventWire {
            recipient: email.map_or(MaybeUndefined::Null, MaybeUndefined::Value),
            recipient_index: Some(recipient.0),
            ..wire
        }
    }

    fn with_attempt(&self, wire: EventWire, attempt: &Attempt) -> EventWire {
        EventWire {
            attempt: Some(attempt.attempt),
            smtp: Some(self.smtp(attempt)),
            ..self.with_recipient(wire, attempt.recipient)
        }
    }

    /// What an attempt told. Without a reply it is we who speak, in the same fields: whoever reads
    /// them sees why, and the missing code tells that no server said it.
    fn smtp(&self, attempt: &Attempt) -> SmtpWire {
        let (code, enhanced, message) = match &attempt.answer {
            RecordedAnswer::Reply { code, enhanced, text } => {
                (Some(*code), *enhanced, self.reply_text(text))
            }
            RecordedAnswer::Fault(fault) => {
                (None, Some(fault.enhanced()), Some(fault.words().to_owned()))
            }
        };
        let peer = attempt.peer.as_ref();
        SmtpWire {
            code,
            enhanced_code: enhanced.map(|code| code.to_string()),
            message,
            mx: peer.map(|peer| peer.mx.to_string()),
            ip: peer.and_then(|peer| peer.ip).map(|ip| ip.to_string()),
            tls: peer.and_then(tls),
            tls_rule: peer.and_then(|peer| peer.tls_rule).map(rule),
            tls_failure: peer
                .and_then(|peer| peer.tls_failure)
                .map(|failure| failure.result_type().to_owned()),
            way: peer.and_then(|peer| peer.way.as_ref()).map(ToString::to_string),
            source_ip: peer.and_then(|peer| peer.from).map(|ip| ip.to_string()),
        }
    }

    /// What a report told: of the server that refused it is known what it said, and no more.
    fn told(&self, returned: &Returned) -> SmtpWire {
        SmtpWire {
            code: returned.code,
            enhanced_code: returned.enhanced.map(|code| code.to_string()),
            message: self.reply_text(&returned.text),
            mx: None,
            ip: None,
            tls: None,
            tls_rule: None,
            tls_failure: None,
            way: None,
            source_ip: None,
        }
    }

    fn reply_text(&self, text: &SealedText) -> Option<String> {
        let head = self.head?;
        if text.0.is_empty() {
            return Some(String::new());
        }
        let sealed = Sealed::from_base64(&text.0).ok()?;
        match ReplyKey::from_bytes(head.reply_key).open(self.id.as_bytes(), &sealed) {
            Ok(plain) => Some(String::from_utf8_lossy(&plain).into_owned()),
            Err(error) => {
                tracing::error!(message = %self.id, %error, "a reply text cannot be opened");
                None
            }
        }
    }
}

fn tls(peer: &Peer) -> Option<TlsWire> {
    let tls = peer.tls.as_ref()?;
    Some(TlsWire {
        version: tls.version.to_string(),
        cipher: tls.cipher.to_string(),
        verified: tls.verified,
        verification: match tls.verification() {
            Verification::None => VerificationWire::None,
            Verification::Pkix => VerificationWire::Pkix,
            Verification::MtaSts => VerificationWire::MtaSts,
            Verification::Dane => VerificationWire::Dane,
        },
        certificate_sha256: tls.certificate_sha256.as_deref().map(ToOwned::to_owned),
    })
}

const fn rule(rule: TlsRule) -> TlsRuleWire {
    match rule {
        TlsRule::Required => TlsRuleWire::Required,
        TlsRule::MtaSts => TlsRuleWire::MtaSts,
        TlsRule::MtaStsTesting => TlsRuleWire::MtaStsTesting,
        TlsRule::Dane => TlsRuleWire::Dane,
    }
}

const fn failure(reason: FailureReason) -> &'static str {
    match reason {
        FailureReason::Expired => "expired",
        FailureReason::ContentGone => "content_gone",
        FailureReason::ContentInvalid => "content_invalid",
    }
}
