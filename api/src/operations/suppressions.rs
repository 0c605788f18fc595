//! Whom an app does not write to.

use model::{Timestamp, address::EmailAddress, message::SuppressionReason};
use poem::web::Data;
use poem_openapi::{OpenApi, payload::Json};
use projections::SuppressionCursor;

use super::{SharedData, Topic, change_problem, query_problem, read};
use crate::{
    body::JsonBody,
    caller::{Allowed, SuppressionReading, SuppressionWriting},
    fields::{Fields, read_body},
    params::{Cursor, InPath, PageSize, Query},
    past,
    problem::{Findings, Problem},
    wire::{
        suppressions::{
            NewSuppressionBody, Reason, SuppressionAnswer, SuppressionWire, SuppressionsAnswer,
        },
        templates::Deleted,
    },
};

/// To look after the suppression list.
pub(crate) struct SuppressionOperations;

#[OpenApi]
impl SuppressionOperations {
    /// List the suppressed addresses
    ///
    /// Whom your app does not write to, the newest first. With `at`, whom it did not write to then:
    /// where much was taken off since, a page can be short, even empty, and still have a next one.
    /// Who was forgotten has no address in the past either.
    #[oai(
        path = "/v1/suppressions",
        method = "get",
        operation_id = "listSuppressions",
        tag = "Topic::Suppressions"
    )]
    async fn list(
        &self,
        allowed: Allowed<SuppressionReading>,
        /// Most addresses wanted.
        limit: Query<PageSize>,
        /// The `nextCursor` of the page before.
        cursor: Query<Cursor>,
        /// Show it as it was at this time, which must not be in the future.
        at: Query<Timestamp>,
        Data(shared): SharedData<'_>,
    ) -> Result<Json<SuppressionsAnswer>, Problem> {
        let app = allowed.caller.app;
        let mut findings = Findings::default();
        let limit = limit.take(&mut findings).unwrap_or(PageSize::DEFAULT).0;
        let cursor = cursor.take_place(&mut findings, SuppressionCursor::parse);
        if !findings.is_empty() {
            return Err(findings.into_problem());
        }
        let at = past::asked(at, shared.clock.now())?;
        shared.settled().await;
        let page = shared.reading(move |shared| {
            let page = match at {
                Some(at) => shared.read.suppressions().page_at(app, at, cursor, limit),
                None => shared.read.suppressions().page(app, cursor, limit),
            };
            let (found, next) = page.map_err(query_problem)?;
            Ok(SuppressionsAnswer {
                data: found.into_iter().map(SuppressionWire::from).collect(),
                has_more: next.is_some(),
                next_cursor: next.map(|cursor| cursor.to_string()),
            })
        });
        page.await.map(Json)
    }

    /// Suppress an address
    ///
    /// From now on your app does not write to it: a message to it is taken, and this recipient of
    /// it ends as `suppressed`. Upper and lower case of the domain are one address; parts after a
    /// plus are another one.
    #[oai(
        path = "/v1/suppressions",
        method = "post",
        operation_id = "addSuppression",
        tag = "Topic::Suppressions"
    )]
    async fn add(
        &self,
        allowed: Allowed<SuppressionWriting>,
        body: JsonBody<NewSuppressionBody>,
        Data(shared): SharedData<'_>,
    ) -> Result<SuppressionAnswer, Problem> {
        let wanted = read(shared, body.bytes, |bytes| read_body(bytes, suppression)).await?;
        let (email, reason) = wanted;
        let added = shared.platform.suppress(&allowed.caller, email, reason).await;
        let (view, new) = added.map_err(change_problem)?;
        let view = Json(SuppressionWire::from(view));
        Ok(if new { SuppressionAnswer::Added(view) } else { SuppressionAnswer::Listed(view) })
    }

    /// Write to an address again
    ///
    /// Takes it off the list.
    #[oai(
        path = "/v1/suppressions/:email",
        method = "delete",
        operation_id = "removeSuppression",
        tag = "Topic::Suppressions"
    )]
    async fn remove(
        &self,
        allowed: Allowed<SuppressionWriting>,
        /// The address, percent-encoded.
        email: InPath<EmailAddress>,
        Data(shared): SharedData<'_>,
    ) -> Result<Deleted, Problem> {
        let removed = shared.platform.unsuppress(&allowed.caller, &email.0).await;
        removed.map_err(change_problem)?;
        Ok(Deleted::Done)
    }
}

fn suppression(
    mut fields: Fields<'_>,
    findings: &mut Findings,
) -> Option<(EmailAddress, SuppressionReason)> {
    let email = fields.required_text("email", findings).and_then(|email| {
        let parsed = EmailAddress::parse(&email);
        parsed.map_err(|error| findings.add("email", error.to_string())).ok()
    });
    let reason = fields.text("reason", findings).and_then(|reason| {
        let parsed = Reason::parse(&reason);
        if parsed.is_none() {
            findings.add("reason", "must be manual, complaint, bounce or unsubscribe");
        }
        parsed
    });
    fields.finish(findings);
    Some((email?, reason.unwrap_or(SuppressionReason::Manual)))
}
