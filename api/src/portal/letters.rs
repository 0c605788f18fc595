//! Letters to the offices of a domain.

use model::{
    By, DomainId, LetterId, StreamId,
    reading::{ContentRead, Shown},
};
use poem::web::Data;
use poem_openapi::{OpenApi, payload::Json};
use projections::LetterCursor;

use super::{SharedData, Topic, domains::own_domain, problems::change_problem, session::SignedIn};
use crate::{
    operations::query_problem,
    params::{Cursor, InPath, PageSize, Query},
    parts::Shared,
    problem::{Code, Findings, Problem},
    wire::letters::{LetterAnswer, LetterWire, LettersAnswer},
};

/// Letters.
pub(crate) struct Letters;

#[OpenApi]
impl Letters {
    /// List the letters to a domain's offices
    ///
    /// Mail that people and machines wrote to `postmaster@`, `abuse@` or `fbl@` at the domain's
    /// return path, the newest first; what says something of a message of yours is recorded with
    /// that message instead. Kept as long as other content, and of an hour no more than 20 letters
    /// and 1 MiB. That they were shown to you is recorded; while that cannot be done, this answers 503.
    #[oai(
        path = "/portal/domains/:domainId/letters",
        method = "get",
        operation_id = "listLetters",
        tag = "Topic::Domains"
    )]
    async fn letters(
        &self,
        signed_in: SignedIn,
        /// The domain.
        #[oai(name = "domainId")]
        domain: InPath<DomainId>,
        /// Most letters wanted.
        limit: Query<PageSize>,
        /// The `nextCursor` of the page before.
        cursor: Query<Cursor>,
        Data(shared): SharedData<'_>,
    ) -> Result<Json<LettersAnswer>, Problem> {
        let mut findings = Findings::default();
        let limit = limit.take(&mut findings).unwrap_or(PageSize::DEFAULT).0;
        let cursor = cursor.take_place(&mut findings, LetterCursor::parse);
        if !findings.is_empty() {
            return Err(findings.into_problem());
        }
        shared.settled().await;
        let domain = own_domain(shared, signed_in.session.tenant, domain.0)?.id;
        let page = shared.reading(move |shared| {
            let page = shared.read.letters().page(Some(domain), cursor, limit);
            let (found, next) = page.map_err(query_problem)?;
            let wire = |view| LetterWire::of(view, shared.platform.letter_head(view));
            Ok(LettersAnswer {
                data: found.iter().map(wire).collect(),
                has_more: next.is_some(),
                next_cursor: next.map(|cursor| cursor.to_string()),
            })
        });
        let page = page.await?;
        if page.data.iter().any(|letter| letter.from.is_some() || letter.subject.is_some()) {
            record(shared, &signed_in, Shown::LetterList, StreamId::Domain(domain)).await?;
        }
        Ok(Json(page))
    }

    /// Read a letter
    ///
    /// With all that it says, as long as its content is kept. That it was shown to you is recorded
    /// (`content.read` in the audit); while that cannot be done, this answers 503.
    #[oai(
        path = "/portal/domains/:domainId/letters/:letterId",
        method = "get",
        operation_id = "getLetter",
        tag = "Topic::Domains"
    )]
    async fn letter(
        &self,
        signed_in: SignedIn,
        /// The domain.
        #[oai(name = "domainId")]
        domain: InPath<DomainId>,
        /// The letter.
        #[oai(name = "letterId")]
        letter: InPath<LetterId, 1>,
        Data(shared): SharedData<'_>,
    ) -> Result<Json<LetterAnswer>, Problem> {
        shared.settled().await;
        let domain = own_domain(shared, signed_in.session.tenant, domain.0)?.id;
        let found = shared.reading(move |shared| {
            let found = shared.read.letters().get(letter.0).map_err(query_problem)?;
            let view = found.filter(|view| view.received.domain == Some(domain));
            let view = view.ok_or_else(|| Problem::new(Code::NotFound))?;
            let source = shared.platform.letter_source(&view);
            Ok(LetterAnswer {
                letter: LetterWire::of(&view, shared.platform.letter_head(&view)),
                source: source.map(|octets| String::from_utf8_lossy(&octets).into_owned()),
            })
        });
        let found = found.await?;
        let LetterWire { from, subject, .. } = &found.letter;
        if found.source.is_some() || from.is_some() || subject.is_some() {
            record(shared, &signed_in, Shown::Letter, StreamId::Letter(letter.0)).await?;
        }
        Ok(Json(found))
    }
}

/// Records a look before it is answered: what is not on record is not shown.
async fn record(
    shared: &Shared,
    signed_in: &SignedIn,
    shown: Shown,
    of: StreamId,
) -> Result<(), Problem> {
    let read = ContentRead { tenant: Some(signed_in.session.tenant), shown, of };
    let by = By::User(signed_in.session.user);
    shared.platform.record_reading(by, read).await.map_err(change_problem)
}
