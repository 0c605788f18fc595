//! Forgetting people.

use actors::EraseError;
use model::{ErasureId, address::EmailAddress, pause::Who};
use poem::web::Data;
use poem_openapi::{OpenApi, payload::Json};
use projections::{ErasureCursor, ErasureView};

use super::{SharedData, Topic, session::SignedIn};
use crate::{
    body::SmallJsonBody,
    fields::{Fields, read_body},
    operations::{query_problem, unavailable},
    params::{Cursor, InPath, PageSize, Query},
    parts::Shared,
    problem::{Code, Findings, Problem},
    wire::erasures::{ErasureAnswer, ErasureWire, ErasuresAnswer, NewErasure},
};

/// Erasures.
pub(crate) struct Erasures;

#[OpenApi]
impl Erasures {
    /// Forget a person
    ///
    /// In all that your tenant has by now: messages to them, from them or that name their address,
    /// with subject, text, headers, metadata, attachments and what receivers replied; letters that
    /// name their address; their address on suppression lists, which know them by a keyed hash from
    /// then on. Sealed content is overwritten in place. What is still to be delivered to them is
    /// canceled; a message that also goes to others is delivered to those, and its content goes
    /// once it has ended. Events stay, for they hold nothing of anybody.
    #[oai(
        path = "/portal/erasures",
        method = "post",
        operation_id = "createErasure",
        tag = "Topic::Erasures"
    )]
    async fn erase(
        &self,
        signed_in: SignedIn,
        body: SmallJsonBody<NewErasure>,
        Data(shared): SharedData<'_>,
    ) -> Result<ErasureAnswer, Problem> {
        let email = read_body(&body.bytes, person)?;
        let session = &signed_in.session;
        let erased = shared.platform.erase(session.tenant, &email, Who::User(session.user)).await;
        let view = erased.map_err(erase_problem)?;
        let wire = shared.reading(move |shared| wire(shared, &view));
        wire.await.map(Json).map(ErasureAnswer::Accepted)
    }

    /// List the erasures
    ///
    /// All that were requested of your tenant, the newest first.
    #[oai(
        path = "/portal/erasures",
        method = "get",
        operation_id = "listErasures",
        tag = "Topic::Erasures"
    )]
    async fn erasures(
        &self,
        signed_in: SignedIn,
        /// Most erasures wanted.
        limit: Query<PageSize>,
        /// The `nextCursor` of the page before.
        cursor: Query<Cursor>,
        Data(shared): SharedData<'_>,
    ) -> Result<Json<ErasuresAnswer>, Problem> {
        let mut findings = Findings::default();
        let limit = limit.take(&mut findings).unwrap_or(PageSize::DEFAULT).0;
        let cursor = cursor.take_place(&mut findings, ErasureCursor::parse);
        if !findings.is_empty() {
            return Err(findings.into_problem());
        }
        shared.settled().await;
        let tenant = signed_in.session.tenant;
        let page = shared.reading(move |shared| {
            let page = shared.read.erasures().page(tenant, cursor, limit);
            let (found, next) = page.map_err(query_problem)?;
            let data = found.iter().map(|view| wire(shared, view));
            Ok(ErasuresAnswer {
                data: data.collect::<Result<_, _>>()?,
                has_more: next.is_some(),
                next_cursor: next.map(|cursor| cursor.to_string()),
            })
        });
        page.await.map(Json)
    }

    /// Read an erasure
    ///
    /// How it stands and, once it is completed, its certificate.
    #[oai(
        path = "/portal/erasures/:erasureId",
        method = "get",
        operation_id = "getErasure",
        tag = "Topic::Erasures"
    )]
    async fn erasure(
        &self,
        signed_in: SignedIn,
        /// The erasure.
        #[oai(name = "erasureId")]
        erasure: InPath<ErasureId>,
        Data(shared): SharedData<'_>,
    ) -> Result<Json<ErasureWire>, Problem> {
        shared.settled().await;
        let tenant = signed_in.session.tenant;
        let found = shared.reading(move |shared| {
            let found = shared.read.erasures().get(erasure.0).map_err(query_problem)?;
            let view = found.filter(|view| view.requested.tenant == tenant);
            wire(shared, &view.ok_or_else(|| Problem::new(Code::NotFound))?)
        });
        found.await.map(Json)
    }
}

/// As it stands now. Blocks on the disk.
pub(crate) fn wire(shared: &Shared, view: &ErasureView) -> Result<ErasureWire, Problem> {
    let waits_for = shared.platform.erasure_waits_for(view).map_err(query_problem)?;
    let certificate = ::evidence::certify(shared.log.as_ref(), &shared.notary, view.id)
        .map_err(|error| Problem::internal("a certificate could not be made", &error))?;
    // One that was done since it was read is told as it was read.
    let certificate = certificate.filter(|_| view.state.erased().is_some());
    Ok(ErasureWire::of(view, &waits_for, certificate))
}

/// Takes out who is meant.
pub(crate) fn take_person(
    fields: &mut Fields<'_>,
    findings: &mut Findings,
) -> Option<EmailAddress> {
    let email = fields.required_text("email", findings)?;
    let parsed = EmailAddress::parse(email.trim());
    parsed.map_err(|error| findings.add("email", error.to_string())).ok()
}

fn person(mut fields: Fields<'_>, findings: &mut Findings) -> Option<EmailAddress> {
    let email = take_person(&mut fields, findings);
    fields.finish(findings);
    email
}

pub(crate) fn erase_problem(error: EraseError) -> Problem {
    match error {
        EraseError::TooMany => Problem::new(Code::LimitReached),
        EraseError::Unavailable => unavailable(),
        EraseError::Internal => Problem::internal("an erasure failed", &error),
    }
}
