//! What was recorded of a tenant.

use model::{By, StreamId, Timestamp};
use poem::web::Data;
use poem_openapi::{OpenApi, payload::Json};
use projections::{AuditCursor, AuditQuery, AuditRow};
use serde_json::Value;

use super::{SharedData, Topic, session::SignedIn};
use crate::{
    operations::query_problem,
    params::{Cursor, PageSize, Query, RecordedKind},
    problem::{Findings, Problem},
    wire::{
        Time,
        audit::{AuditAnswer, AuditWire},
    },
};

/// The audit.
pub(crate) struct Audit;

#[OpenApi]
impl Audit {
    /// Read the audit
    ///
    /// Every event of your tenant as it was recorded, the newest first: of the tenant itself with
    /// its apps and keys, of its users, domains, templates, messages and suppression lists; also who
    /// was not signed in, and to whom letters were shown. What identifies a person is sealed.
    ///
    /// Pages stay as they are while new events come. With a `type` or `actor` that is rare a page can be
    /// short, even empty, and still have a next one. A `cursor` serves the `stream` that it was
    /// given for.
    #[oai(
        path = "/portal/audit/events",
        method = "get",
        operation_id = "listAuditEvents",
        tag = "Topic::Audit"
    )]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the query string")]
    async fn events(
        &self,
        signed_in: SignedIn,
        /// Most events wanted.
        limit: Query<PageSize>,
        /// The `nextCursor` of the page before.
        cursor: Query<Cursor>,
        /// Only events of this: the id of your tenant, or of a user, domain, template or message
        /// of yours.
        stream: Query<StreamId>,
        /// Only events of this type.
        #[oai(name = "type")]
        kind: Query<RecordedKind>,
        /// Only what this did: an API key, a user, or one of `registration`, `visitor`, `operator`,
        /// `command_line`, `configuration`, `attempt`, `alarm`, `dns`, `report`, `letter`,
        /// `unsubscribe`.
        actor: Query<By>,
        /// Only events at or after this time.
        from: Query<Timestamp>,
        /// Only events before this time.
        to: Query<Timestamp>,
        Data(shared): SharedData<'_>,
    ) -> Result<Json<AuditAnswer>, Problem> {
        let tenant = signed_in.session.tenant;
        let mut findings = Findings::default();
        let limit = limit.take(&mut findings).unwrap_or(PageSize::DEFAULT).0;
        let stream = stream.take(&mut findings);
        let kind = kind.take(&mut findings).map(|RecordedKind(kind)| kind.to_owned());
        let cursor = cursor.take(&mut findings).and_then(|Cursor(text)| {
            let cursor = AuditCursor::parse(tenant, stream, &text);
            if cursor.is_none() {
                findings.add("cursor", "must be the nextCursor of an answer for this stream");
            }
            cursor
        });
        let by = actor.take(&mut findings);
        let (from, to) = (from.take(&mut findings), to.take(&mut findings));
        if from.zip(to).is_some_and(|(from, to)| from > to) {
            findings.add("from", "must not be after to");
        }
        if !findings.is_empty() {
            return Err(findings.into_problem());
        }
        let query = AuditQuery { limit, cursor, stream, kind, by, from, to };
        shared.settled().await;
        let page = shared.reading(move |shared| {
            let page = shared.read.audit().page(tenant, &query).map_err(query_problem)?;
            Ok(AuditAnswer {
                data: page.rows.into_iter().map(AuditWire::from).collect(),
                has_more: page.next.is_some(),
                next_cursor: page.next.map(|cursor| cursor.to_string()),
            })
        });
        page.await.map(Json)
    }
}

impl From<AuditRow> for AuditWire {
    fn from(row: AuditRow) -> Self {
        let AuditRow { kind, recorded } = row;
        Self {
            id: recorded.id.to_string(),
            kind: kind.to_owned(),
            stream: recorded.stream.to_string(),
            version: recorded.version.get(),
            position: recorded.position.get(),
            occurred_at: Time(recorded.at),
            hash: recorded.hash.to_string(),
            // It was decoded a moment ago: it is JSON.
            data: serde_json::from_slice(&recorded.data).unwrap_or(Value::Null),
        }
    }
}
