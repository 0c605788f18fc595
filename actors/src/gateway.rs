//! The way in: admission, facts, sealing, and the spawn of the message actor.

use std::{collections::HashSet, sync::Arc};

use eventlog::{HashPurpose, Purpose, ReplyKey, Sealed, VaultError};
use model::{
    MessageId, StreamId, Timestamp,
    address::Mailbox,
    content::{Body, Head, Recipient, RecipientKind},
    delivery::TlsDemand,
    domain::DomainStatus,
    event::{KeyedHash, RequestHash},
    message::{
        self, Accept, AcceptedRecipient, Command, Facts, Message, SenderStanding, TemplateUse,
    },
    retry::Jitter,
};
use serde::Serialize;
use tokio::sync::oneshot;

use crate::{
    admission::{Admitted, Overloaded, Room},
    error::{SendError, SendRefusal},
    figures::Stopwatch,
    letter::Content,
    message::{Acceptance, Msg, Standing},
    node::Node,
    registry::{Full, Share},
    request::{Caller, IdempotencyKey, SendRequest, Sent, TemplateRef},
    sourced::Sourced,
    suppressions, templates,
};

/// Content larger than this is sealed where it does not hold up the runtime: 64 KiB take about as
/// long as a hop to another thread and back.
const SEALED_IN_PLACE_OCTETS: u64 = 64 * 1024;

/// Takes a message over; answers once it is durable.
pub(crate) async fn send(
    node: &Arc<Node>,
    caller: &Caller,
    request: SendRequest,
) -> Result<Sent, SendError> {
    let stopwatch = Stopwatch::start();
    let octets = octets(&request);
    let (admitted, room) = node.admission.try_admit(octets).map_err(|_| overloaded(node))?;
    let entry = Entry { node, caller, octets };
    let sent = entry.send(request, admitted, room).await?;
    stopwatch.stop(&node.figures.accept_seconds);
    Ok(sent)
}

pub(crate) fn overloaded(node: &Node) -> SendError {
    node.figures.overloaded.increment(1);
    SendError::Overloaded { retry_after: Overloaded::retry_after(&node.lots) }
}

/// What a request's content takes in memory, about.
pub(crate) fn octets(request: &SendRequest) -> u64 {
    let Body { text, html, headers, attachments } = &request.body;
    let texts = [text, html].into_iter().flatten().map(String::len).sum::<usize>();
    let pairs = headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    let files = attachments.iter().map(|file| file.bytes.len()).sum::<usize>();
    let values = request.metadata.iter().map(|(name, value)| name.len() + value.len());
    let whole = texts + pairs + files + values.sum::<usize>() + request.subject.len();
    u64::try_from(whole).unwrap_or(u64::MAX)
}

/// The people addressed, each once: who stands in several fields stands in the first of them.
fn recipients(request: &SendRequest) -> Vec<Recipient> {
    let mut seen = HashSet::new();
    let fields = [
        (RecipientKind::To, &request.to),
        (RecipientKind::Cc, &request.cc),
        (RecipientKind::Bcc, &request.bcc),
    ];
    let all = fields.into_iter().flat_map(|(kind, field)| field.iter().map(move |m| (kind, m)));
    all.filter(|(_, mailbox)| seen.insert(mailbox.email.canonical()))
        .map(|(kind, mailbox)| Recipient { kind, mailbox: mailbox.clone() })
        .collect()
}

/// By what a message is known before it exists.
pub(crate) struct Named {
    pub(crate) message: MessageId,
    /// Set when the request had an idempotency key.
    pub(crate) request: Option<RequestHash>,
    /// Whether it is known to be there already.
    pub(crate) exists: bool,
}

/// A message that only needs to be recorded.
pub(crate) struct Prepared {
    pub(crate) message: MessageId,
    pub(crate) accept: Command,
    pub(crate) standing: Standing,
    pub(crate) content: Content,
    /// Head, then body.
    pub(crate) sealed: [Sealed; 2],
}

/// A caller's way in with one message.
pub(crate) struct Entry<'a> {
    pub(crate) node: &'a Arc<Node>,
    pub(crate) caller: &'a Caller,
    /// What its content takes in memory, about.
    pub(crate) octets: u64,
}

impl Entry<'_> {
    async fn send(
        &self,
        request: SendRequest,
        admitted: Admitted,
        room: Room,
    ) -> Result<Sent, SendError> {
        let node = self.node;
        let key = request.idempotency_key.as_ref();
        let message = self.message_id(key, node.now())?;
        let named = Named {
            message,
            request: key.map(|_| self.request_hash(&request)),
            // A template may be gone by now; a repetition is answered all the same.
            exists: key.is_some() && request.template.is_some() && self.exists(message).await?,
        };
        let prepared = self.prepare(request, &named, room).await?;
        let (reply, answer) = oneshot::channel();
        let acceptance = Acceptance { prepared, by: self.caller.by(), reply, admitted };
        let told = node.messages.cast(&message, Msg::Accept(Box::new(acceptance)), Share::Whole);
        told.map_err(|Full| overloaded(node))?;
        // No answer: the actor crashed, before or after its append.
        answer.await.unwrap_or(Err(SendError::Unknown))
    }

    async fn exists(&self, message: MessageId) -> Result<bool, SendError> {
        let stream = StreamId::Message(message);
        let loaded = Sourced::<Message>::load(&self.node.journal, stream).await;
        let loaded = loaded.map_err(|_| SendError::Internal)?;
        Ok(loaded.state().accepted().is_some())
    }

    /// Everything about a message that is found out before it is recorded.
    pub(crate) async fn prepare(
        &self,
        mut request: SendRequest,
        named: &Named,
        room: Room,
    ) -> Result<Prepared, SendError> {
        let node = self.node;
        let now = node.now();
        let policies = node.read.policies();
        let default = || policies.app(self.caller.app).and_then(|app| app.default_sender.clone());
        let from = request.from.clone().or_else(default);
        let from = from.ok_or(SendError::Refused(SendRefusal::NoDefaultSender))?;
        let key = node.read.keys().get(self.caller.key);
        if key.is_some_and(|key| !key.may_send_as(from.email.domain())) {
            return Err(SendError::Refused(SendRefusal::SenderDomainNotAllowed));
        }
        let sender = match policies.sender(self.caller.tenant, from.email.domain()) {
            Some(view) if view.status == DomainStatus::Verified => {
                SenderStanding::Verified(view.id)
            }
            _ => SenderStanding::NotVerified,
        };
        let recipients = recipients(&request);
        let mut accept = self.accept(&request, &from, &recipients, named.request);
        // A refusal is found before anything is rendered or sealed. With an idempotency key the
        // message may exist, and then the answer is another one: its actor knows.
        if named.request.is_none() {
            self.check(&accept, sender, now)?;
        }
        if !named.exists {
            accept.template = self.render(&mut request).await?;
        }
        let suppressed = suppressions::among(node, self.caller.app, &accept.recipients).await?;
        let reply_key = ReplyKey::generate().map_err(|_| SendError::Internal)?;
        let head = Head {
            from,
            recipients,
            reply_to: request.reply_to,
            subject: request.subject,
            metadata: request.metadata,
            reply_key: *reply_key.as_bytes(),
        };
        let (head, body, sealed) = self.seal(named.message, head, request.body).await?;
        accept.size = sealed.octets;
        Ok(Prepared {
            message: named.message,
            accept: Command::Accept(Box::new(accept)),
            standing: Standing { sender, suppressed },
            content: Content { head, body, _room: room },
            sealed: sealed.records,
        })
    }

    /// Puts what the template becomes in the place of subject and texts.
    async fn render(&self, request: &mut SendRequest) -> Result<Option<TemplateUse>, SendError> {
        let Some(call) = request.template.take() else { return Ok(None) };
        let (used, rendered) = templates::render(self.node, self.caller.app, call).await?;
        if request.subject.is_empty() {
            request.subject = rendered.subject.unwrap_or_default();
        }
        if request.subject.is_empty() {
            return Err(SendError::Refused(SendRefusal::NoSubject));
        }
        (request.body.html, request.body.text) = (rendered.html, rendered.text);
        Ok(Some(used))
    }

    fn accept(
        &self,
        request: &SendRequest,
        from: &Mailbox,
        recipients: &[Recipient],
        request_hash: Option<RequestHash>,
    ) -> Accept {
        let accepted = |recipient: &Recipient| AcceptedRecipient {
            kind: recipient.kind,
            domain: recipient.mailbox.email.domain().clone(),
            hash: suppressions::recipient_hash(self.node, &recipient.mailbox.email),
        };
        // Beyond the limit it is refused, however many there are.
        let counted = recipients.iter().take(message::MAX_RECIPIENTS + 1);
        Accept {
            tenant: self.caller.tenant,
            app: self.caller.app,
            key: self.caller.key,
            from: from.email.domain().clone(),
            recipients: counted.map(accepted).collect(),
            tags: request.tags.clone(),
            template: None,
            bulk: request.bulk,
            size: self.octets,
            tls: request.tls,
            scheduled_at: request.scheduled_at,
            expires_after: request.expires_after,
            request: request_hash,
        }
    }

    fn check(
        &self,
        accept: &Accept,
        sender: SenderStanding,
        now: Timestamp,
    ) -> Result<(), SendError> {
        let facts = Facts {
            sender,
            suppressed: &[],
            retry: &self.node.options.retry,
            jitter: Jitter::default(),
            in_flight: false,
            paused: false,
        };
        let command = Command::Accept(Box::new(accept.clone()));
        message::decide(&Message::default(), &command, &facts, now)?;
        Ok(())
    }

    /// With an idempotency key the id is made from it: "expecting no stream" is then the whole
    /// check, across restarts and races.
    pub(crate) fn message_id(
        &self,
        key: Option<&IdempotencyKey>,
        now: Timestamp,
    ) -> Result<MessageId, SendError> {
        let Some(key) = key else {
            let random = self.node.lots.bytes().map_err(|_| SendError::Internal)?;
            return Ok(MessageId::new(now, random));
        };
        let named = [self.caller.app.as_bytes(), &[0][..], key.as_str().as_bytes()].concat();
        let hash = self.node.vault.keyed_hash(HashPurpose::IdempotencyKey, &named);
        Ok(MessageId::from_bytes(first_half(hash)))
    }

    /// By which a repetition is told from another request. The author counts as it was given, so
    /// that a change of the app's default sender does not make a repetition another request.
    pub(crate) fn request_hash(&self, request: &SendRequest) -> RequestHash {
        #[derive(Serialize)]
        struct Canonical<'a> {
            from: &'a Option<Mailbox>,
            to: &'a [Mailbox],
            cc: &'a [Mailbox],
            bcc: &'a [Mailbox],
            reply_to: &'a [Mailbox],
            subject: &'a str,
            tags: &'a [message::Tag],
            metadata: &'a std::collections::BTreeMap<String, String>,
            scheduled_at: Option<Timestamp>,
            // Absent when absent, so that requests of before have the same hash.
            #[serde(skip_serializing_if = "Option::is_none")]
            expires_after: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            template: Option<CanonicalCall<'a>>,
            #[serde(skip_serializing_if = "TlsDemand::is_opportunistic")]
            tls: TlsDemand,
            #[serde(skip_serializing_if = "std::ops::Not::not")]
            bulk: bool,
        }
        // What was asked, not what it became: a newer version does not make it another request.
        let template = request.template.as_ref().map(|call| CanonicalCall {
            template: match &call.template {
                TemplateRef::Id(id) => id.to_string(),
                TemplateRef::Slug(slug) => slug.to_string(),
                TemplateRef::Unknown => String::new(),
            },
            version: call.version,
            variables: &call.variables,
        });
        let canonical = Canonical {
            from: &request.from,
            to: &request.to,
            cc: &request.cc,
            bcc: &request.bcc,
            reply_to: &request.reply_to,
            subject: &request.subject,
            tags: &request.tags,
            metadata: &request.metadata,
            scheduled_at: request.scheduled_at,
            expires_after: request.expires_after.map(|lifetime| lifetime.to_string()),
            template,
            tls: request.tls,
            bulk: request.bulk,
        };
        // Plain structs of texts always have a JSON form.
        let mut bytes = serde_json::to_vec(&canonical).unwrap_or_default();
        bytes.extend_from_slice(blake3::hash(&request.body.to_bytes()).as_bytes());
        let hash = self.node.vault.keyed_hash(HashPurpose::Request, &bytes);
        KeyedHash(first_half(hash))
    }

    async fn seal(
        &self,
        message: MessageId,
        head: Head,
        body: Body,
    ) -> Result<(Head, Body, SealedContent), SendError> {
        let vault = self.node.vault.clone();
        let seal = move || {
            let seal = |purpose, plain: &[u8]| vault.seal(purpose, message.as_bytes(), plain);
            let (head_bytes, body_bytes) = (head.to_bytes(), body.to_bytes());
            let octets = u64::try_from(head_bytes.len() + body_bytes.len()).unwrap_or(u64::MAX);
            let records = [
                seal(Purpose::MessageHead, &head_bytes)?,
                seal(Purpose::MessageBody, &body_bytes)?,
            ];
            Ok((head, body, SealedContent { records, octets }))
        };
        let sealed: Result<_, VaultError> = if self.octets > SEALED_IN_PLACE_OCTETS {
            self.node.blocking.run(seal).await.ok_or(SendError::Internal)?
        } else {
            seal()
        };
        sealed.map_err(|error| {
            tracing::error!(%message, %error, "content could not be sealed");
            SendError::Internal
        })
    }
}

#[derive(Serialize)]
struct CanonicalCall<'a> {
    template: String,
    version: Option<u32>,
    variables: &'a serde_json::Map<String, serde_json::Value>,
}

struct SealedContent {
    /// Head, then body.
    records: [Sealed; 2],
    octets: u64,
}

pub(crate) fn first_half(hash: [u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(hash.first_chunk::<16>().unwrap_or(&[0; 16]));
    half
}
