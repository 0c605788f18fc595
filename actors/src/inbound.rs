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
//! - **What comes to an office and says nothing of a message of ours is kept for people**, also when
//!   a machine wrote it: an abuse desk's complaint without a token, a feedback loop's confirmation.

use std::{sync::Arc, time::Duration};

use mail::report::{self, Action, Complaint, Fate, FeedbackKind, Report};
use metrics::counter;
use model::{
    DomainId, MessageId,
    address::{DomainName, EmailAddress},
    event::RecipientHash,
    letter::Office,
};
use tokio::sync::oneshot;

use crate::{
    Platform,
    letters::{self, Desk},
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

/// An address that mail is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InboundAddress {
    /// One that this server signed.
    Returned(Signed),
    /// An office, of this sending domain; without one, the operator's.
    Office(Office, Option<DomainId>),
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
    /// Mail for people at an office; it was kept for them.
    Letter,
    /// Mail for people at an address that only takes reports. Nobody reads it.
    Stray,
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
            Self::Stray => "stray",
        }
    }
}

/// Why a message is not taken. The sender may come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// The record could not be written in time.
    #[error("the record cannot be written now")]
    Now,
    /// Strangers have written as much in this hour as is kept.
    #[error("no more letters are kept in this hour")]
    Full,
}

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
            return Some(InboundAddress::Office(Office::Postmaster, None));
        }
        let (local, domain) = address.rsplit_once('@')?;
        let office = Office::of(local)?;
        let domain = domain.to_ascii_lowercase();
        if domain == own.as_str() {
            return Some(InboundAddress::Office(office, None));
        }
        let name = DomainName::parse(domain.strip_prefix("bounces.")?).ok()?;
        let policies = node.read.policies();
        // Who has only claimed the name reads nothing that comes to it.
        let owner = policies.owner(&name).map(|view| view.id);
        let ours = owner.is_some() || policies.is_sending_domain(&name);
        ours.then_some(InboundAddress::Office(office, owner))
    }

    /// Takes a message for these addresses. What it says of messages of ours, or the letter that it
    /// is, is durable by then.
    pub async fn take_mail(
        &self,
        to: Vec<InboundAddress>,
        octets: Vec<u8>,
    ) -> Result<MailTaken, NotTaken> {
        let node = Arc::clone(self.node());
        let desks = desks(&to);
        let octets: Arc<[u8]> = octets.into();
        let reading = {
            let (node, octets) = (Arc::clone(&node), Arc::clone(&octets));
            self.node().blocking.run(move || read(&node, &to, &octets))
        };
        let taken = match reading.await.ok_or(NotTaken::Now)? {
            Read::Nothing(taken) if desks.is_empty() => Ok(taken),
            Read::Nothing(_) => self.keep(desks, octets).await,
            Read::Claims(message, claims) => self.note(message, claims).await,
        };
        let kind = match taken {
            Ok(taken) => taken.as_str(),
            Err(NotTaken::Now) => "not_now",
            Err(NotTaken::Full) => "full",
        };
        counter!("lumora_inbound_messages_total", "kind" => kind).increment(1);
        taken
    }

    /// Has what is claimed of a message recorded.
    async fn note(&self, message: MessageId, claims: Vec<Claim>) -> Result<MailTaken, NotTaken> {
        let (reply, answer) = oneshot::channel();
        let report = Msg::Report { claims, reply };
        let cast = self.node().messages.cast(&message, report, Share::Whole);
        cast.map_err(|_| NotTaken::Now)?;
        let recorded = tokio::time::timeout(PATIENCE, answer).await;
        match recorded.map_err(|_| NotTaken::Now)?.map_err(|_| NotTaken::Now)? {
            0 => Ok(MailTaken::NothingNew),
            _ => Ok(MailTaken::Recorded),
        }
    }

    /// Keeps a letter for each of these.
    async fn keep(&self, desks: Vec<Desk>, octets: Arc<[u8]>) -> Result<MailTaken, NotTaken> {
        let keeping = async {
            let mut taken = MailTaken::NothingNew;
            for desk in desks {
                if letters::keep(self, desk, Arc::clone(&octets)).await? {
                    taken = MailTaken::Letter;
                }
            }
            Ok(taken)
        };
        tokio::time::timeout(PATIENCE, keeping).await.map_err(|_| NotTaken::Now)?
    }
}

/// Where a letter lies afterwards: once for each domain, however many of its offices it names.
fn desks(to: &[InboundAddress]) -> Vec<Desk> {
    let mut desks: Vec<Desk> = Vec::new();
    for address in to {
        if let InboundAddress::Office(office, domain) = *address
            && desks.iter().all(|desk| desk.domain != domain)
        {
            desks.push(Desk { office, domain });
        }
    }
    desks
}

fn read(node: &Node, to: &[InboundAddress], octets: &[u8]) -> Read {
    let returned = to.iter().find_map(|address| match address {
        InboundAddress::Returned(path) => Some(*path),
        InboundAddress::Office(..) => None,
    });
    match report::read(octets) {
        Report::Delivery(fates) => match returned {
            Some(path) => returns(node, path, fates),
            None => Read::Nothing(MailTaken::Unproven),
        },
        Report::Feedback(complaint) => feedback(node, returned, &complaint),
        Report::AutomaticReply => Read::Nothing(MailTaken::AutomaticReply),
        Report::Other => Read::Nothing(MailTaken::Stray),
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
