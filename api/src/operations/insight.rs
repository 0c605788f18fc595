//! The log of an app, and its sums.

use std::time::Duration;

use eventlog::HashPurpose;
use model::{MessageId, Timestamp, address::EmailAddress, event::KeyedHash, message};
use poem::web::Data;
use poem_openapi::{OpenApi, payload::Json};
use projections::{LogCursor, LogKind, LogQuery, Past, StatsQuery};

use super::{SharedData, Topic, query_problem};
use crate::{
    caller::{Allowed, Reading},
    params::{Cursor, PageSize, Query},
    past,
    problem::{Findings, Problem},
    reading::Reader,
    wire::{
        logs::{LogWire, LogsAnswer},
        message::EventKind,
        stats::{GroupName, IntervalName, StatsAnswer},
    },
};

/// What `from` is when it is not given: so long before `to`.
const DEFAULT_SPAN: Duration = Duration::from_hours(30 * 24);
const HOUR_MS: u64 = 3_600_000;

/// To read the log and its sums.
pub(crate) struct InsightOperations;

#[OpenApi]
impl InsightOperations {
    /// Read the log
    ///
    /// Every event of your app, the newest first. Pages stay as they are while new events come.
    /// With filters that fit rarely a page can be short, even empty, and still have a next one.
    #[oai(
        path = "/v1/emails/logs",
        method = "get",
        operation_id = "listLogs",
        tag = "Topic::Insight"
    )]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the query string")]
    async fn logs(
        &self,
        allowed: Allowed<Reading>,
        /// Most events wanted.
        limit: Query<PageSize>,
        /// The `nextCursor` of the page before.
        cursor: Query<Cursor>,
        /// Only events of this message.
        #[oai(name = "messageId")]
        message_id: Query<MessageId>,
        /// Only events about this recipient.
        recipient: Query<EmailAddress>,
        /// Only events of this type.
        #[oai(name = "type")]
        kind: Query<EventKind>,
        /// Only events of messages with this tag.
        tag: Query<message::Tag>,
        /// Only events at or after this time.
        from: Query<Timestamp>,
        /// Only events before this time.
        to: Query<Timestamp>,
        Data(shared): SharedData<'_>,
    ) -> Result<Json<LogsAnswer>, Problem> {
        let app = allowed.caller.app;
        let mut findings = Findings::default();
        let limit = limit.take(&mut findings).unwrap_or(PageSize::DEFAULT).0;
        let cursor = cursor.take_place(&mut findings, |text| LogCursor::parse(app, text));
        let recipient = recipient.take(&mut findings).map(|address| {
            let canonical = address.canonical();
            let hash = shared.vault.keyed_hash(HashPurpose::Recipient, canonical.as_bytes());
            first_half(hash)
        });
        let message = message_id.take(&mut findings);
        let kind = kind.take(&mut findings).map(log_kind);
        let tag = tag.take(&mut findings);
        let (from, to) = (from.take(&mut findings), to.take(&mut findings));
        if from.zip(to).is_some_and(|(from, to)| from > to) {
            findings.add("from", "must not be after to");
        }
        if !findings.is_empty() {
            return Err(findings.into_problem());
        }
        let query = LogQuery { limit, cursor, message, recipient, kind, tag, from, to };
        shared.settled().await;
        let page = shared.reading(move |shared| {
            let page = shared.read.logs().page(app, &query).map_err(query_problem)?;
            let mut reader = Reader::new(shared);
            let rows = page.rows.iter().filter_map(|row| {
                let message = (row.message, &row.head);
                let (event, subject) = reader.event(message, row.id, row.at, &row.event)?;
                Some(LogWire { event, message_id: row.message.to_string(), subject })
            });
            Ok(LogsAnswer {
                data: rows.collect(),
                has_more: page.next.is_some(),
                next_cursor: page.next.map(|cursor| cursor.to_string()),
            })
        });
        page.await.map(Json)
    }

    /// Read statistics
    ///
    /// What became of the recipients of the messages that your app sent in a time, in full hours.
    /// A message counts in the hour in which it was accepted, so that
    /// `accepted = delivered + bounced + failed + suppressed + canceled + inFlight` always holds.
    ///
    /// With `at`, what had become of them by then. That is counted anew from the events of your app
    /// since `from`, of which there may be 100000 until then.
    #[oai(
        path = "/v1/emails/stats",
        method = "get",
        operation_id = "getStats",
        tag = "Topic::Insight"
    )]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the query string")]
    async fn stats(
        &self,
        allowed: Allowed<Reading>,
        /// Where the time begins; 30 days before `to` if absent.
        from: Query<Timestamp>,
        /// Where the time ends; the end of this hour if absent.
        to: Query<Timestamp>,
        /// The width of a bucket in `series`; `day` if absent.
        interval: Query<IntervalName>,
        /// What `groups` are made by; `none` if absent.
        #[oai(name = "groupBy")]
        group_by: Query<GroupName>,
        /// Show them as they were at this time, which must not be in the future.
        at: Query<Timestamp>,
        Data(shared): SharedData<'_>,
    ) -> Result<Json<StatsAnswer>, Problem> {
        let app = allowed.caller.app;
        let mut findings = Findings::default();
        // The hour that has begun counts.
        let at = past::asked(at, shared.clock.now())?;
        let shown = at.unwrap_or_else(|| shared.clock.now());
        let now = || shown.floor_to(HOUR_MS).plus(Duration::from_hours(1));
        let to = to.take(&mut findings).unwrap_or_else(now);
        let from = from.take(&mut findings).unwrap_or_else(|| to.minus(DEFAULT_SPAN));
        let interval = interval.take(&mut findings).unwrap_or(IntervalName::Day);
        let group_by = group_by.take(&mut findings).unwrap_or(GroupName::None);
        if findings.is_empty() && from > to {
            findings.add("from", "must not be after to");
        }
        if !findings.is_empty() {
            return Err(findings.into_problem());
        }
        let (interval, group_by) = (interval.into(), group_by.into());
        let query = StatsQuery { from, to, interval, group_by };
        shared.settled().await;
        let stats = shared.reading(move |shared| {
            if let Some(at) = at {
                let (log, logs) = (shared.log.as_ref(), shared.read.logs());
                let past = Past::statistics(log, logs, app, &query, at).map_err(query_problem)?;
                return Ok(StatsAnswer::of(past.0, past.1));
            }
            let stats = shared.read.stats().query(app, &query).map_err(query_problem)?;
            let conservation = shared.read.alarms().conservation_of(app, stats.from, stats.to);
            Ok(StatsAnswer::of(stats, conservation.map_err(query_problem)?))
        });
        stats.await.map(Json)
    }
}

fn first_half(hash: [u8; 32]) -> KeyedHash<16> {
    let [first, ..] = hash.as_chunks::<16>().0 else { return KeyedHash([0; 16]) };
    KeyedHash(*first)
}

/// The read model's kind.
const fn log_kind(kind: EventKind) -> LogKind {
    match kind {
        EventKind::Accepted => LogKind::Accepted,
        EventKind::Scheduled => LogKind::Scheduled,
        EventKind::Deferred => LogKind::Deferred,
        EventKind::Delivered => LogKind::Delivered,
        EventKind::Bounced => LogKind::Bounced,
        EventKind::Failed => LogKind::Failed,
        EventKind::Suppressed => LogKind::Suppressed,
        EventKind::Canceled => LogKind::Canceled,
        EventKind::Complained => LogKind::Complained,
    }
}
