//! A message's content in memory, and the bytes that go over the wire.

use std::{fmt, sync::Arc};

use eventlog::{ContentError, ContentLocation, EventLog, Purpose, Sealed, Vault};
use mail::{
    compose::{Outgoing, compose},
    dkim::{Signer, sha256, sign_all},
    records::return_path_domain,
};
use model::{
    DomainId, MessageId, RecipientIndex, StreamId, TenantId, Timestamp,
    address::{DomainName, EmailAddress},
    content::{Body, Head},
    delivery::Fault,
    domain::{DkimKeyAdded, Domain, Selector},
    message::{Sent, Sha256},
};
use tokio::sync::OnceCell;

use crate::{
    admission::Room, crew::Crew, domain::key_owner, machine::Blocking, node::Node, return_path,
    signed::Signed, sourced::Sourced, unsubscribe,
};

/// Parsed keys that are kept: parsing one costs more than half a signature.
const CACHED_SIGNERS: u64 = 20_000;

/// What a message is made of, while it is in memory.
pub(crate) struct Content {
    pub(crate) head: Head,
    pub(crate) body: Body,
    /// Given back with the content.
    pub(crate) _room: Room,
}

/// Why content cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoContent {
    /// It is gone or unreadable, for good.
    Lost(Fault),
    /// It could not be read now.
    NotNow,
}

impl Content {
    /// Reads both records back. Blocks.
    fn read(
        log: &dyn EventLog,
        vault: &Vault,
        message: MessageId,
        at: &[ContentLocation],
    ) -> Result<(Head, Body), NoContent> {
        let [head, body] = at else { return Err(NoContent::Lost(Fault::ContentGone)) };
        let open = |purpose, location| {
            let sealed = log.read_content(location).map_err(|error| match error {
                ContentError::Forgotten => NoContent::Lost(Fault::ContentGone),
                ContentError::Damaged { .. } => NoContent::Lost(Fault::ContentInvalid),
                ContentError::Io(_) => NoContent::NotNow,
            })?;
            let unreadable = |_| NoContent::Lost(Fault::ContentInvalid);
            vault.open(purpose, message.as_bytes(), &sealed).map_err(unreadable)
        };
        let unreadable = |_| NoContent::Lost(Fault::ContentInvalid);
        let head = Head::from_bytes(&open(Purpose::MessageHead, head)?).map_err(unreadable)?;
        let body = Body::from_bytes(&open(Purpose::MessageBody, body)?).map_err(unreadable)?;
        Ok((head, body))
    }

    /// Reads it back, once there is room for it.
    pub(crate) async fn load(
        node: &Node,
        message: MessageId,
        size: u64,
        at: &[ContentLocation],
    ) -> Result<Self, NoContent> {
        let room = tokio::select! {
            biased;
            () = node.stopped() => return Err(NoContent::NotNow),
            room = node.admission.room(size) => room.ok_or(NoContent::NotNow)?,
        };
        let (vault, at) = (node.vault.clone(), at.to_vec());
        let read = move |log: &dyn EventLog| Self::read(log, &vault, message, &at);
        let (head, body) = node.journal.read(read).await.ok_or(NoContent::NotNow)??;
        Ok(Self { head, body, _room: room })
    }
}

/// Composes and signs where it does not hold up the runtime: as many at once as there are cores.
pub(crate) struct Press {
    crew: Crew,
    signers: moka::sync::Cache<(DomainId, Selector), Signer>,
}

/// Why a message cannot be put on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unprintable {
    /// It never can.
    Never(Fault),
    /// Not now, by a fault of ours: a key that cannot be read.
    NotNow,
}

/// A message as it goes over the wire, the same for every recipient.
pub(crate) struct Printed {
    /// `DKIM-Signature` headers.
    pub(crate) signatures: String,
    /// The message.
    pub(crate) bytes: Vec<u8>,
    /// Whether its headers need SMTPUTF8.
    pub(crate) needs_smtputf8: bool,
    /// What is recorded of it.
    pub(crate) sent: Sent,
}

/// One attempt at a message: composed and signed once, however many sites it goes to.
pub(crate) struct Letter {
    pub(crate) message: MessageId,
    pub(crate) origin: Origin,
    pub(crate) content: Arc<Content>,
    printed: OnceCell<Result<Arc<Printed>, Unprintable>>,
}

/// What the record says of where a letter comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    pub(crate) tenant: TenantId,
    pub(crate) domain: DomainId,
    pub(crate) accepted_at: Timestamp,
    /// From then on nobody wants it any more.
    pub(crate) expires_at: Timestamp,
    /// Whether its recipient can unsubscribe.
    pub(crate) bulk: bool,
}

impl fmt::Debug for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Letter({})", self.message)
    }
}

impl Letter {
    pub(crate) fn new(message: MessageId, origin: Origin, content: Arc<Content>) -> Self {
        Self { message, origin, content, printed: OnceCell::new() }
    }

    /// The bytes for the wire.
    pub(crate) async fn printed(&self, node: &Node) -> Result<Arc<Printed>, Unprintable> {
        self.printed.get_or_init(|| self.print(node)).await.clone()
    }

    async fn print(&self, node: &Node) -> Result<Arc<Printed>, Unprintable> {
        let signers = node.press.signers(node, self).await?;
        let content = Arc::clone(&self.content);
        let (message, accepted_at, now) = (self.message, self.origin.accepted_at, node.now());
        let unsubscribe = self.origin.bulk.then(|| unsubscribe::link(node, message));
        let printing = node.press.crew.run(move || {
            let outgoing = Outgoing {
                head: &content.head,
                body: &content.body,
                message_id: &format!("{message}@{}", content.head.from.email.domain()),
                date: accepted_at,
                unsubscribe: unsubscribe.as_deref(),
            };
            print(&outgoing, message, &signers, now)
        });
        printing.await.ok_or(Unprintable::NotNow)?
    }
}

fn print(
    outgoing: &Outgoing<'_>,
    message: MessageId,
    signers: &[Signer],
    now: Timestamp,
) -> Result<Arc<Printed>, Unprintable> {
    let composed = compose(outgoing).map_err(|_| Unprintable::Never(Fault::ContentInvalid))?;
    let signatures = sign_all(signers, &composed.bytes, now).map_err(|error| {
        tracing::error!(%message, %error, "a message could not be signed");
        Unprintable::NotNow
    })?;
    let (bytes, needs_smtputf8) = (composed.bytes, composed.needs_smtputf8);
    let from = outgoing.head.from.email.domain();
    let of_sender = signers.iter().filter(|signer| signer.domain() == from);
    let sent = Sent {
        sha256: Sha256(sha256(&[signatures.as_bytes(), &bytes])),
        octets: (signatures.len() + bytes.len()) as u64,
        dkim: of_sender.map(|signer| signer.selector().clone()).collect(),
    };
    Ok(Arc::new(Printed { signatures, bytes, needs_smtputf8, sent }))
}

impl Press {
    pub(crate) fn new(blocking: Blocking) -> Self {
        Self {
            crew: Crew::start(blocking),
            signers: moka::sync::Cache::builder().max_capacity(CACHED_SIGNERS).build(),
        }
    }

    /// What signs a letter: the keys of its sender's domain now, and that of this server.
    async fn signers(&self, node: &Node, letter: &Letter) -> Result<Vec<Signer>, Unprintable> {
        let domain = letter.origin.domain;
        let name = letter.content.head.from.email.domain();
        let chosen: Vec<DkimKeyAdded> = if let Some(view) = node.read.policies().domain(domain) {
            view.signers().into_iter().cloned().collect()
        } else {
            // The tenant gave the domain up after the message was accepted from it. What was
            // accepted is delivered; the record still holds the key.
            let stream = StreamId::Domain(domain);
            let loaded = Sourced::<Domain>::load(&node.journal, stream).await;
            let given_up = loaded.map_err(|error| {
                tracing::error!(%domain, %error, "a domain's keys could not be read");
                Unprintable::NotNow
            })?;
            given_up.state().signers().into_iter().cloned().collect()
        };
        if chosen.is_empty() {
            tracing::error!(%domain, "a domain has no key to sign with");
            return Err(Unprintable::NotNow);
        }
        let own = node.options.own_signer.as_ref().filter(|own| own.domain() != name).cloned();
        let of_sender = chosen.iter().map(|key| self.signer(node, domain, name, key));
        of_sender.chain(own.map(Ok)).collect()
    }

    fn signer(
        &self,
        node: &Node,
        domain: DomainId,
        name: &DomainName,
        key: &DkimKeyAdded,
    ) -> Result<Signer, Unprintable> {
        let cache_key = (domain, key.selector.clone());
        if let Some(signer) = self.signers.get(&cache_key) {
            return Ok(signer);
        }
        let private = Sealed::from_base64(&key.private_key.0).ok().and_then(|sealed| {
            let owner = key_owner(domain, &key.selector);
            node.vault.open(Purpose::DkimPrivateKey, &owner, &sealed).ok()
        });
        let signer = private
            .and_then(|private| Signer::new(name, &key.selector, key.algorithm, &private).ok())
            .ok_or_else(|| {
                tracing::error!(%domain, "a signing key does not open");
                Unprintable::NotNow
            })?;
        self.signers.insert(cache_key, signer.clone());
        Ok(signer)
    }
}

/// The sender in the envelope: where bounces go. An address that names the message, below the
/// sending domain where that sends its bounces here, which aligns for SPF; or else at this server,
/// where it takes mail; or else the author.
pub(crate) fn envelope_sender(
    node: &Node,
    letter: &Letter,
    recipient: Option<RecipientIndex>,
) -> EmailAddress {
    let view = node.read.policies().domain(letter.origin.domain);
    let below = view.filter(|view| view.returns_bounces).map(|view| return_path_domain(&view.name));
    let here = || Some(node.options.inbound.as_ref()?.hostname.to_string());
    let path = Signed { message: letter.message, recipient };
    let domain = below.or_else(here);
    let address = domain.and_then(|domain| return_path::address(path, &node.vault, &domain));
    address.unwrap_or_else(|| letter.content.head.from.email.clone())
}
