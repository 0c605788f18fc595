//! Read models: everything that can be deleted and folded again from the log.
//!
//! One thread follows the log in rounds. Each event is decoded once, as far as folds need it, and
//! handed to every projection. What they change gathers in memory, where readers see it at once; each
//! so many events it goes down into the tables, with its checkpoint in the same batch.
//!
//! # Contract
//! - Rows follow from the events alone: made anew, a read model has the same bytes.
//! - [`ReadModels::position`] moves only when every read model has taken the events in, those in
//!   memory too. Who must read their own write waits with [`ReadModels::caught_up`].
//! - An event that cannot be read stops the follower before it ([`Halt`]); nothing is skipped. Of a
//!   message's events what folds do not need is read when somebody asks for it.
//! - No row holds an address, a name, a subject or a text. Profiles of tenants stand in rows as they
//!   stand in events, sealed.
//! - Exactly one alarm stands for every unfinished message.
//! - A crash costs folding again what was in memory, and nothing else.
//! - They can be made anew beside those that serve ([`ReadModels::rebuild_beside`]), and take their
//!   place at once.
//!
//! # Why
//! - **A checkpoint holds the log's chain hash**, so read models that come from another log, or run
//!   ahead of one that was restored from a backup, are recognised and made anew.
//! - **Changed rows stay in memory for up to 200 000 events.** sled takes some 55 000 rows a second,
//!   a tenth of the events that are to be folded in one. In memory the counts of an hour are added
//!   up, lists grow at their ends, and the alarm of a message that is delivered a moment later
//!   comes and goes; only what is left is written. A single event costs no write at all.
//! - **Messages have no rows: the log's own index finds their events**, at a block or two each. A
//!   second copy was two thirds of the disk that read models took.
//! - **Logs and audit are lists of places**, some 4 bytes an event, in pieces of 256 to a row; pages
//!   read the events from the log. Pieces are cut by their entries, not by positions, so an app with
//!   one event in ten thousand has full pieces, too.
//! - **The feed is a list of its own**, cut by number: the logs' pieces are found by their places,
//!   and the nth event of an app could only be found by counting.
//! - **Recipients share 4096 lists**, marked by 4 bytes of who it is: a list each would be a row for
//!   each, and a search goes through a 4096th of all events.
//! - **Of templates and suppression lists the past has rows**, one for each version and for each time
//!   that somebody was listed; of statistics it is folded anew, for a sum does not say since when.
//! - **Statistics are packed by hour**: all recipient domains of an hour in one row.
//! - **How a message began is kept in a bounded memory, and read from the log again when it is not
//!   there.** Without it, logs and statistics would each keep a row for every open message.
//! - **The alarms count, too**: recipients that were accepted, that ended and that are open, by app
//!   and hour. Two read models that count by different ways show that nobody is lost.
//! - **Recipients count in the hour in which their message was accepted**, so that for every range
//!   what was accepted equals what ended plus what is in flight.
//! - **Far from the log's end all cores read ahead**: blocks are decompressed, their chain is
//!   checked and events are decoded beside the one thread that folds.
//! - **What it costs** (`examples/fold_rate`: a recipient a message, a tenth deferred): 7.3 µs of CPU
//!   and 116 bytes of disk an event, 2 µs of it to read, check and decode the event; on two cores
//!   that twenty other programs wanted as well. The rest is alarms that outlive their time in
//!   memory (3.4), the logs' lists (1.4), counts (0.7) and messages (0.6).

mod ahead;
mod alarms;
mod alerts;
mod audit;
mod codec;
mod erasures;
mod error;
mod events;
mod fact;
mod feed;
mod folds;
mod follower;
mod keys;
mod layer;
mod letters;
mod lists;
mod logs;
mod messages;
mod origins;
mod past;
mod pauses;
mod policies;
mod projection;
mod read_models;
mod sealed;
mod sessions;
mod stats;
mod store;
mod suppressions;
mod template_history;
mod templates;
mod tls_sessions;

pub use alarms::{
    Alarm, AlarmCursor, Alarms, Conservation, MAX_ALARMS, OVERDUE_AFTER, OVERDUE_TO_DO, Overdue,
    WaitingMessage,
};
pub use alerts::{Affected, Alert, Alerts};
pub use audit::{Audit, AuditCursor, AuditPage, AuditQuery, AuditRow, MAX_AUDIT_PAGE, event_kinds};
pub use erasures::{ErasureCursor, ErasureView, Erasures, MAX_ERASURE_PAGE};
pub use error::{Halt, OpenError, QueryError};
pub use feed::{Feed, FeedPage, FeedRow, MAX_FEED_PAGE, News};
pub use folds::Until;
pub use keys::{KeyStatus, KeyView, Keys, LastUse};
pub use letters::{LetterCursor, LetterView, Letters, MAX_LETTER_PAGE};
pub use logs::{LogCursor, LogKind, LogQuery, LogRow, Logs, MAX_PAGE, Page};
pub use messages::{EventView, MessageView, Messages};
pub use past::Past;
pub use pauses::{PauseView, Paused, Pauses};
pub use policies::{AppView, DomainView, Policies, TenantView, UserView};
pub use read_models::{Health, Progress, ReadModels, RebuildError, Rebuilding};
pub use sessions::{SessionView, Sessions};
pub use stats::{
    Counts, GroupBy, Interval, Latency, MAX_GROUPS, MAX_POINTS, Point, Statistics, Stats,
    StatsGroup, StatsQuery,
};
pub use suppressions::{MAX_SUPPRESSION_PAGE, SuppressionCursor, SuppressionView, Suppressions};
pub use template_history::TemplateHistory;
pub use templates::{MAX_TEMPLATE_PAGE, TemplateView, Templates};
pub use tls_sessions::TlsSessions;
