//! The actors: messages, tenants, domains and sites, and the way in before them.
//!
//! [`Platform`] takes messages over and delivers them.
//!
//! ```text
//! send ─► gateway ─► message actor ─► append 1 ─► answer
//!          permit      decide           │ durable
//!          facts                        ▼
//!          sealing     site actor ◄── hop 1: a place in the lane, the recipients of one site
//!                         │ worker: compose and sign once, connection, MAIL RCPT DATA
//!                         └───────────► hop 2: decide ─► append 2 ─► leave memory
//! ```
//!
//! # Contract
//! - [`Platform::send`] answers [`Sent`] only once the message is durable. From then on it ends in
//!   the record: delivered, bounced, failed, suppressed or canceled, each recipient once. A crash
//!   between a receiver's 250 and its record delivers again: at least once, with the same
//!   Message-ID.
//! - A state changes only by an event that is durable. An outcome is appended again and again until
//!   it is written or the node stops.
//! - One actor at the most owns a message. Casts to one that leaves reach its successor.
//! - Everything is bounded: requests being recorded, content in memory, live messages, places in a
//!   lane, connections to a site, transactions at once. Beyond a bound a request is answered with
//!   [`SendError::Overloaded`], and a message waits on disk for its alarm.
//! - No address, subject, text, secret or key is logged.
//!
//! # Why
//! - **A message leaves memory as soon as nothing is under way.** A million deferred messages cost
//!   rows on disk. The alarm goes through the rows that are due and wakes their messages.
//! - **Actors are spawned at once, with a mailbox before a state** (`spawn_instant`), so a slot of
//!   the registry is never "starting", and the lock of its shard is held for a push only.
//! - **`drain()` and a waiting list in the slot instead of a retry loop**: what comes for an actor
//!   that leaves waits in its slot and is handed to the successor when the state of the one before
//!   is dropped. Nobody spins, and two owners cannot be.
//! - **The registry's slot is emptied by a drop of the actor's state**, so a panic empties it too.
//! - **Answers owed are values with a drop**: a site that crashes with a message in its hands
//!   still tells it what is true then, `not tried` or `outcome unknown`.
//! - **A site is paused, not its messages.** A 421 or a site that cannot be reached pauses it, 5 s
//!   doubling to 10 min. Within half a minute messages wait in the lane; for longer pauses they are
//!   deferred with what the site said last, as Postfix does with a dead destination. After a pause
//!   one message goes first.
//! - **What a receiver bears belongs to a gate, not to a site.** Sites that a rule makes one receiver
//!   (a host name for each customer, one provider behind all of them) pass the same gate: they share
//!   connections and rate, and one that is told 421 or 4.7.x slows all of them down. Connections that
//!   wait for more mail count; one is closed when another site needs its turn.
//! - **Less is halved, more comes by hundredths** (`model::shaping::Pace`): there is no telling from
//!   outside how much a receiver takes from us today, so it is found out as TCP finds a path's rate.
//! - **Tenants take turns in a lane and none can fill it.** A tenant may take one more place while it
//!   holds fewer than are free; so a backlog of one is no delay of another's, however it came about.
//!   Who finds no place is turned away before its content is read from the disk.
//! - **A pause is looked at, never waited in.** Policies in memory say what is paused; a message that
//!   is held back leaves memory with its alarm where it was, and the alarm passes it over by what its
//!   row tells, without a look at the message. So neither the pause nor its end writes anything for
//!   each message.
//! - **Two workers for each connection**: while one is on the wire the next is composed and signed
//!   (0.3 ms with RSA-2048), as many at once as there are cores.

mod accounts;
mod admission;
mod alarm;
mod batch;
mod book;
mod clock;
mod crew;
mod domain;
mod entropy;
mod erasing;
mod error;
mod figures;
#[doc(hidden)]
pub mod fuzzing;
mod gateway;
mod governed;
mod guardian;
mod inbound;
mod instance;
mod letter;
mod letters;
mod machine;
mod message;
mod node;
mod options;
mod password;
mod pausing;
mod platform;
mod queue;
mod rates;
mod readings;
mod recheck;
mod refusals;
mod registry;
mod request;
mod return_path;
mod reverse_dns;
mod sessions;
mod signed;
mod site;
mod sourced;
mod suppressions;
mod templates;
mod tenant;
mod throttle;
mod tls_reports;
mod unsubscribe;

pub use ::templates::{Fault, Field, RenderFailure, Rendered, Source};
pub use accounts::{AppChange, NewApiKey, NewApp, NewKey, Secret};
pub use batch::MAX_BATCH;
pub use book::{LastReply, without_addresses};
pub use clock::{Clock, TestClock};
pub use entropy::{Chance, NoEntropy, OsChance};
pub use erasing::{EraseError, MAX_OPEN_ERASURES};
pub use error::{
    BatchError, CancelError, ChangeError, SendError, SendRefusal, StartError, TemplateError,
};
pub use figures::{PlatformFigures, SiteFigures};
pub use inbound::{InboundAddress, InboundOptions, MailTaken, NotTaken};
pub use machine::{Blocking, Machine};
pub use mail::records::ExpectedRecord;
pub use model::user::SESSION_LIFETIME;
pub use options::{PlatformOptions, PlatformParts};
pub use password::{MAX_PASSWORD_CHARACTERS, MIN_PASSWORD_CHARACTERS, Password, WeakPassword};
pub use platform::{Platform, Stopped};
pub use projections::SessionView;
pub use queue::{
    Explanation, MAX_QUEUE_PAGE, MAX_RETRIES, QueueFilter, QueuePage, QueuedMessage, RecipientHold,
    Retried, SiteReport, Waits,
};
pub use rates::RateDecision;
pub use request::{Caller, IdempotencyKey, SendRequest, Sent, TemplateCall, TemplateRef};
pub use sessions::{SessionSecret, SignInError, SignedIn};
pub use signed::Signed;
pub use templates::{TemplateChange, TemplateDraft};
pub use throttle::network;
pub use unsubscribe::{UNSUBSCRIBE_PATH, UnsubscribeToken};
