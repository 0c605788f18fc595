//! Long logs, written by the log itself: events as a server would have left them, without the days
//! that they took.

use eventlog::{
    Append, EventLog as _, HashPurpose, Log, LogOptions, MasterKey, NewEvent, Purpose, ReplyKey,
    Vault, Version,
};
use model::{
    After, ApiKeyId, AppId, By, Cause, DomainId, EventId, MessageId, RecipientIndex, StreamId,
    TenantId, Timestamp,
    address::{DomainName, Mailbox},
    content::{Body, Head, Recipient, RecipientKind},
    delivery::{EnhancedCode, Stage},
    event::{KeyedHash, SealedText},
    message::{
        Accepted, AcceptedRecipient, Attempt, Deferred, Delivered, MessageEvent, RecordedAnswer,
        Tag,
    },
};

use crate::{
    Outcome,
    server::{SENDING_DOMAIN, Sender, Site},
};

/// Messages in one append of several streams.
const TOGETHER: usize = 100;
const DOMAINS: u64 = 50;
const DAY_MS: u64 = 24 * 3_600 * 1_000;
/// The days that the events are spread over, when it does not matter.
const DAYS: u64 = 29;

/// Appends so many events, about two a message, up to now; one message in ten is deferred once.
pub(crate) async fn fill(site: &Site, sender: &Sender, events: usize) -> Outcome<()> {
    fill_days(site, sender, events, DAYS).await
}

/// The same, over so many days.
pub(crate) async fn fill_days(
    site: &Site,
    sender: &Sender,
    events: usize,
    days: u64,
) -> Outcome<()> {
    let file = site.data().join("master.key");
    let key = MasterKey::load_or_create(&file)?;
    let vault = Vault::load_or_create(&site.data().join("log"), &file, &key)?;
    let log = Log::open(&site.data().join("log"), LogOptions::default())?;
    let writer = Writer {
        vault,
        tenant: sender.tenant.parse()?,
        app: sender.app.parse()?,
        key: ApiKeyId::from_bytes([3; 16]),
        domain: DomainId::from_bytes([4; 16]),
        step_ms: days * DAY_MS / u64::try_from(events.max(1))?,
        start: now()?.as_millis().saturating_sub(days * DAY_MS),
    };
    writer.write(&log, events).await
}

pub(crate) fn now() -> Outcome<Timestamp> {
    #[expect(clippy::disallowed_methods, reason = "a log ends about now")]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(Timestamp::from_millis(u64::try_from(now.as_millis())?))
}

struct Writer {
    vault: Vault,
    tenant: TenantId,
    app: AppId,
    key: ApiKeyId,
    domain: DomainId,
    step_ms: u64,
    start: u64,
}

impl Writer {
    async fn write(&self, log: &Log, events: usize) -> Outcome<()> {
        let (mut written, mut message) = (0, 0_u64);
        while written < events {
            let numbers: Vec<u64> = (message..).take(TOGETHER).collect();
            message += u64::try_from(TOGETHER)?;
            let at = Timestamp::from_millis(self.start + self.step_ms * u64::try_from(written)?);
            let mut rounds = vec![Vec::new(), Vec::new(), Vec::new()];
            for number in numbers {
                for (round, append) in rounds.iter_mut().zip(self.message(number, at)?) {
                    round.push(append);
                }
            }
            for round in rounds {
                written += round.iter().map(|append| append.events.len()).sum::<usize>();
                log.append_all(round).await?;
            }
        }
        log.close().await?;
        Ok(())
    }

    /// What is appended for one message, one after the other.
    fn message(&self, number: u64, at: Timestamp) -> Outcome<Vec<Append>> {
        let id = MessageId::new(at, spread(number));
        let reply_key = ReplyKey::generate()?;
        let mailbox = Mailbox::parse(&format!("reader{number}@{}", domain(number)))?;
        let hash = self.vault.keyed_hash(HashPurpose::Recipient, &number.to_be_bytes());
        let hash = *hash.first_chunk().ok_or("a hash is too short")?;
        let head = Head {
            from: Mailbox::parse(&format!("bench@{SENDING_DOMAIN}"))?,
            recipients: vec![Recipient { kind: RecipientKind::To, mailbox }],
            reply_to: Vec::new(),
            subject: format!("Message {number}"),
            metadata: std::collections::BTreeMap::new(),
            reply_key: *reply_key.as_bytes(),
        };
        let body = Body { text: Some("A short text.".to_owned()), ..Body::default() };
        let content = vec![
            self.vault.seal(Purpose::MessageHead, id.as_bytes(), &head.to_bytes())?,
            self.vault.seal(Purpose::MessageBody, id.as_bytes(), &body.to_bytes())?,
        ];
        let tags = Tag::parse(if number.is_multiple_of(3) { "receipt" } else { "welcome" });
        let accepted = Accepted {
            tenant: self.tenant,
            app: self.app,
            key: self.key,
            domain: self.domain,
            from: DomainName::parse(SENDING_DOMAIN)?,
            recipients: vec![AcceptedRecipient {
                kind: RecipientKind::To,
                domain: DomainName::parse(&domain(number))?,
                hash: KeyedHash(hash),
            }],
            tags: tags.into_iter().collect(),
            template: None,
            tls: model::delivery::TlsDemand::Opportunistic,
            bulk: false,
            size: 2_000,
            expires_at: at.plus(std::time::Duration::from_hours(48)),
            request: None,
        };
        let text = reply_key.seal(id.as_bytes(), b"2.0.0 Ok: queued as 4TzN8x0vZ2z9rX")?;
        let attempt = |number| Attempt {
            recipient: RecipientIndex(0),
            attempt: number,
            stage: Stage::EndOfData,
            answer: RecordedAnswer::Reply {
                code: if number == 1 { 451 } else { 250 },
                enhanced: EnhancedCode::parse("2.0.0"),
                text: SealedText(text.to_base64().into()),
            },
            peer: None,
            sent: None,
        };
        let mut events: Vec<MessageEvent> = vec![accepted.into()];
        if number.is_multiple_of(10) {
            let next_attempt_at = at.plus(std::time::Duration::from_mins(5));
            let deferred = Deferred {
                attempt: attempt(1),
                next_attempt_at,
                outcome_unknown: false,
                trouble: None,
            };
            events.push(deferred.into());
        }
        events.push(Delivered { attempt: attempt(2) }.into());
        let mut content = Some(content);
        let append = |(version, event): (usize, MessageEvent)| {
            let at = Timestamp::from_millis(at.as_millis() + u64::try_from(version)? * 40);
            let version = u64::try_from(version)?;
            let id_bytes = spread(number.wrapping_mul(4) + version);
            Ok(Append {
                stream: StreamId::Message(id),
                expected: Version::new(version),
                at,
                events: vec![NewEvent {
                    id: EventId::new(at, id_bytes),
                    data: event.encode(&cause(&event, version)),
                }],
                content: content.take().unwrap_or_default(),
            })
        };
        events.into_iter().enumerate().map(append).collect()
    }
}

/// What an event comes of that stands after version `before`.
fn cause(event: &MessageEvent, before: u64) -> Cause {
    match event {
        MessageEvent::Accepted(accepted) => By::Key(accepted.key).into(),
        _ => Cause { by: By::Attempt, after: Some(After::Own(before)) },
    }
}

fn domain(number: u64) -> String {
    format!("d{}.receiver.test", number % DOMAINS)
}

/// Ten bytes that look drawn and are the same at each run (Fibonacci hashing).
fn spread(number: u64) -> [u8; 10] {
    let mut bytes = [0; 10];
    let spread = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    bytes.iter_mut().zip(spread).for_each(|(byte, spread)| *byte = spread);
    bytes
}
