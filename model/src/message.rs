//! A message: one email to up to fifty recipients, from acceptance to its end.
//!
//! Every recipient ends exactly once: delivered, bounced, failed, suppressed or canceled. Only one
//! end is ever corrected, and once: a receiver that took a message may report later that it could
//! not deliver it, and then who counted as delivered counts as bounced. Until all have ended, the
//! message has exactly one time at which it must be looked at again ([`Message::next_alarm`]), so
//! that no crash can leave it waiting for ever.

mod decide;
mod events;
mod state;
mod step;
mod tried;

pub use decide::{Accept, Command, Facts, Refusal, Report, Returning, SenderStanding, decide};
pub use events::{
    Accepted, AcceptedRecipient, Attempt, Bounced, CancelReason, Canceled, Complained, Deferred,
    Delivered, Failed, FailureReason, MessageEvent, RecordedAnswer, RetryRequested, Returned,
    Scheduled, Sent, Sha256, Suppressed, SuppressionReason, Tag, TemplateUse,
};
pub use state::{Message, MessageStatus, RecipientState, RecipientStatus};
pub use step::{End, Step};
pub use tried::Tried;

/// Most recipients of one message: to, cc and bcc together.
pub const MAX_RECIPIENTS: usize = 50;
/// Most tags of one message.
pub const MAX_TAGS: usize = 20;
/// How far ahead a message may be scheduled.
pub const MAX_SCHEDULE_AHEAD: std::time::Duration = std::time::Duration::from_hours(30 * 24);
