//! Read models: everything that can be deleted and folded again from the log.
//!
//! One thread follows the log in large rounds. Each event is decoded once and handed to every
//! projection; each projection writes its rows and its checkpoint in one batch.
//!
//! # Contract
//! - Rows follow from the events alone: made anew, a read model has the same bytes.
//! - [`ReadModels::position`] moves only when every read model has taken the events in, those in
//!   memory too. Who must read their own write waits with [`ReadModels::caught_up`].
//! - An event that cannot be read stops the follower before it ([`Halt`]); nothing is skipped.
//! - No row holds an address, a name, a subject or a text: rows say where the content lies.
//!   Profiles of tenants stand in rows as they stand in events, sealed.
//! - Exactly one alarm stands for every unfinished message.
//!
//! # Why
//! - **A checkpoint holds the log's chain hash**, so read models that come from another log, or run
//!   ahead of one that was restored from a backup, are recognised and made anew.
//! - **Rows of messages hold the events as recorded**, and the logs point at them: no second copy
//!   of what happened, one decoder for all versions of an event, and a row is appended to without
//!   being read as JSON.
//! - **How a message began is kept in a bounded memory, and read from the log again when it is not
//!   there.** Without it, logs and statistics would each keep a row for every open message and
//!   write it twice.
//! - **Recipients count in the hour in which their message was accepted**, so that for every range
//!   what was accepted equals what ended plus what is in flight.
//! - **The audit's rows are lists of positions**, 3 bytes an event in buckets of 1024: the events stand
//!   in the log already, and a page is read from there. One stream has no rows at all, its end is
//!   found by asking the log.
//! - **Tables are flushed every 50 000 events**, not every round: an older table only costs folding
//!   some events again.
//! - **What it costs** (`examples/fold_rate 50000`: one recipient a message, a tenth deferred): 64 to
//!   73 µs of CPU and 1.8 KB of disk an event, the making of the events in memory counted in; 5 400
//!   to 6 500 events a second on two cores that nine other programs wanted as well.

mod alarms;
mod audit;
mod codec;
mod error;
mod fact;
mod folds;
mod follower;
mod keys;
mod logs;
mod messages;
mod origins;
mod policies;
mod projection;
mod read_models;
mod round;
mod sealed;
mod sessions;
mod stats;
mod store;
mod suppressions;
mod templates;

pub use alarms::{Alarm, AlarmCursor, Alarms, MAX_ALARMS};
pub use audit::{Audit, AuditCursor, AuditPage, AuditQuery, AuditRow, MAX_AUDIT_PAGE, event_kinds};
pub use error::{Halt, OpenError, QueryError};
pub use folds::Until;
pub use keys::{KeyStatus, KeyView, Keys, LastUse};
pub use logs::{LogCursor, LogKind, LogQuery, LogRow, Logs, MAX_PAGE, Page};
pub use messages::{EventView, MessageView, Messages};
pub use policies::{AppView, DomainView, Policies, TenantView, UserView};
pub use read_models::{Health, Progress, ReadModels};
pub use sessions::{SessionView, Sessions};
pub use stats::{
    Counts, GroupBy, Interval, Latency, MAX_GROUPS, MAX_POINTS, Point, Statistics, Stats,
    StatsGroup, StatsQuery,
};
pub use suppressions::{MAX_SUPPRESSION_PAGE, SuppressionCursor, SuppressionView, Suppressions};
pub use templates::{MAX_TEMPLATE_PAGE, TemplateView, Templates};
