//! The pure core: what Lumora knows and decides, without doing anything.
//!
//! Nothing in this room performs IO, reads a clock or draws randomness. Time, identifiers and
//! what is known of the outside come in as arguments, so every rule can be
//! tested as a value. A decision cannot fail for technical reasons: it yields events or refuses
//! with a named reason.
//!
//! # Contract
//! - `decide(&State, Command, &Facts, now) -> Result<Vec<Event>, Refusal>` never changes state.
//! - `evolve(&mut State, &Event)` never refuses: an event is a fact.
//! - Events hold no personal data. A recipient is named by its [`RecipientIndex`] and its mail
//!   domain; addresses, names, subjects, headers and bodies live in [`content`] alone.

pub mod address;
pub mod cause;
pub mod conservation;
pub mod content;
pub mod delivery;
pub mod domain;
pub mod erasure;
pub mod event;
pub mod ids;
pub mod instance;
pub mod letter;
pub mod message;
pub mod pause;
pub mod profile;
pub mod reading;
pub mod reclassification;
pub mod retry;
pub mod routing;
pub mod shaping;
pub mod source;
pub mod stream;
pub mod suppression;
pub mod template;
pub mod tenant;
pub mod time;
pub mod tls_report;
pub mod user;

pub use cause::{After, By, Cause};
pub use event::Event;
pub use ids::{
    ApiKeyId, AppId, DomainId, ErasureId, EventId, InstanceId, LetterId, MessageId, ReadingId,
    RecipientIndex, SuppressionId, TemplateId, TenantId, UserId,
};
pub use stream::StreamId;
pub use time::Timestamp;
