//! Mail that comes in: reports of messages that this server sent, and mail to its offices.
//!
//! # Contract
//! - Mail is taken for addresses that this server signed, and for the offices of its own domains;
//!   nothing is ever passed on.
//! - What a report says is durable when [`Platform::take_mail`] answers, with all that follows
//!   from it. The same report again changes nothing.
//!
//! # Why
//! - **Only a signature connects a report with a message.** A Message-ID is known to everybody who
//!   got the message and to whoever they showed it to; with it alone anybody could have anybody
//!   suppressed. A feedback report must tell the signed envelope sender, in a field of its own or in
//!   the copy's `Return-Path`. Who holds a token still can lie about the recipients of that one
//!   transaction, and about nobody else.
//! - **A machine's "I am away" and a person's answer are taken and end here.** Refusing them would
//!   make the other server send a bounce of its own to nobody.

use std::{sync::Arc, time::Duration};

use mail::report::{self, Action, Complaint, Fate, FeedbackKind, Report};
use metrics::counter;
use model::{
    MessageId,
    address::{DomainName, EmailAddress},
    event::RecipientHash,
};
use tokio::sync::oneshot;

use crate::{
    Platform,
    message::{Claim, Msg, Said, Whom},
    node::Node,
    registry::Share,
    return_path,
    signed::Signed,
};

/// How long the record may take before the sender is asked to come again.
const PATIENCE: Duration = Duration::from_secs(60);

/// The mail that is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboundOptions {
    /// This server's name as a mail host: offices stand at it, and bounces come to it of sending
    /// domains that have no return path of their own.
    pub hostname: DomainName,
}

/// Whom everybody may write to (RFC 5321, section 4.5.1; RFC 2142).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Office {
    /// `postmaster@`
    Postmaster,
    /// `abuse@`
    Abuse,
    /// `fbl@`: where feedback loops are subscribed for.
    Feedback,
}

/// An address that mail is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InboundAddress {
    /// One that this server signed.
    Returned(Signed),
    /// An office.
    Office(Office),
}

/// What a message was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MailTaken {
    /// It says what became of a message of ours, and something was recorded.
    Recorded,
    /// It says what was known, or what does not end anything, such as a delay.
    NothingNew,
    /// A machine answers for somebody.
    AutomaticReply,
    /// A report about no message of ours, as far as it can prove.
    Unproven,
    /// Mail for people.
    Letter,
}

impl MailTaken {
    /// The name in figures.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::NothingNew => "nothing_new",
            Self::AutomaticReply => "automatic_reply",
            Self::Unproven => "unproven",
            Self::Letter => "letter",
        }
    }
}

/// The record could not be written in time; the sender may come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record cannot be written now")]
pub struct NotTaken;

/// What a message says of messages of ours.
#[derive(Debug, PartialEq, Eq)]
enum Read {
    Claims(MessageId, Vec<Claim>),
    Nothing(MailTaken),
}

impl Platform {
    /// This server's name as a mail host, where mail is taken.
    pub fn inbound_hostname(&self) -> Option<&DomainName> {
        self.node().options.inbound.as_ref().map(|inbound| &inbound.hostname)
    }

    /// What an address means; `None` when mail for it is not taken.
    pub fn inbound_address(&self, address: &str) -> Option<InboundAddress> {
        let node = self.node();
        let own = self.inbound_hostname()?;
        if let Some(path) = return_path::read(&node.vault, address) {
            return Some(InboundAddress::Returned(path));
        }
        // The one name that needs no domain (RFC 5321, section 4.1.1.3).
        if address.eq_ignore_ascii_case("postmaster") {
            return Some(InboundAddress::Office(Office::Postmaster));
        }
        let (local, domain) = address.rsplit_once('@')?;
        let office = match local.to_ascii_lowercase().as_str() {
            "postmaster" => Office::Postmaster,
            "abuse" => Office::Abuse,
            "fbl" => Office::Feedback,
            _ => return None,
        };
        let domain = domain.to_ascii_lowercase();
        let is_return_path = || {
            let name = domain.strip_prefix("bounces.").and_then(|n| DomainName::parse(n).ok());
            name.is_some_and(|name| node.read.policies().is_sending_domain(&name))
        };
        let ours = domain == own.as_str() || is_return_path();
        ours.then_some(InboundAddress::Office(office))
    }

    /// Takes a message for these addresses. What it says of messages of ours is durable by then.
    pub async fn take_mail(
        &self,
        to: Vec<InboundAddress>,
        octets: Vec<u8>,
    ) -> Result<MailTaken, NotTaken> {
        let node = Arc::clone(self.node());
        let reading = {
            let node = Arc::clone(&node);
            self.node().blocking.run(move || read(&node, &to, &octets))
        };
        let taken = match reading.await.ok_or(NotTaken)? {
            Read::Nothing(taken) => taken,
            Read::Claims(message, claims) => {
                let (reply, answer) = oneshot::channel();
                let report = Msg::Report { claims, reply };
                node.messages.cast(&message, report, Share::Whole).map_err(|_| NotTaken)?;
                let recorded = tokio::time::timeout(PATIENCE, answer).await;
                match recorded.map_err(|_| NotTaken)?.map_err(|_| NotTaken)? {
                    0 => MailTaken::NothingNew,
                    _ => MailTaken::Recorded,
                }
            }
        };
        counter!("lumora_inbound_messages_total", "kind" => taken.as_str()).increment(1);
        Ok(taken)
    }
}

fn read(node: &Node, to: &[InboundAddress], octets: &[u8]) -> Read {
    let returned = to.iter().find_map(|address| match address {
        InboundAddress::Returned(path) => Some(*path),
        InboundAddress::Office(_) => None,
    });
    match report::read(octets) {
        Report::Delivery(fates) => match returned {
            Some(path) => returns(node, path, fates),
            None => Read::Nothing(MailTaken::Unproven),
        },
        Report::Feedback(complaint) => feedback(node, returned, &complaint),
        Report::AutomaticReply => Read::Nothing(MailTaken::AutomaticReply),
        Report::Other => Read::Nothing(MailTaken::Letter),
    }
}

fn returns(node: &Node, path: Signed, fates: Vec<Fate>) -> Read {
    let failed = fates.into_iter().filter(|fate| fate.action == Action::Failed);
    let claims: Vec<Claim> = failed
        .map(|Fate { addresses, diagnosis, .. }| Claim {
            whom: whom(node, path, &addresses),
            said: Said::Returned(diagnosis),
        })
        .collect();
    if claims.is_empty() {
        return Read::Nothing(MailTaken::NothingNew);
    }
    Read::Claims(path.message, claims)
}

fn feedback(node: &Node, returned: Option<Signed>, complaint: &Complaint) -> Read {
    if complaint.kind != FeedbackKind::Unwanted {
        return Read::Nothing(MailTaken::NothingNew);
    }
    let told = complaint.senders.iter();
    let mut told = told.filter_map(|sender| return_path::read(&node.vault, &sender.to_string()));
    let Some(path) = told.next().or(returned) else {
        return Read::Nothing(MailTaken::Unproven);
    };
    let whom = whom(node, path, &complaint.recipients);
    Read::Claims(path.message, vec![Claim { whom, said: Said::Complained }])
}

fn whom(node: &Node, path: Signed, addresses: &[EmailAddress]) -> Whom {
    match path.recipient {
        Some(recipient) => Whom::Recipient(recipient),
        None => Whom::Among(addresses.iter().map(|address| hash(node, address)).collect()),
    }
}

fn hash(node: &Node, address: &EmailAddress) -> RecipientHash {
    crate::suppressions::recipient_hash(node, address)
}
