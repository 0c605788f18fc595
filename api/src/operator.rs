//! What those who run the server ask of it while it runs: the queue, trying again, pauses, to forget
//! a person, what led to an event, the events for a backup, and to make the read models anew.
//!
//! Not in the document: `lumora queue`, `lumora erase`, `lumora log why`, `lumora backup` and `lumora
//! read` are the callers, and they come with the server. They show a token that the server writes at
//! each start into its data directory, in a file that only its owner reads, and they must come from
//! this very host.
//!
//! # Why
//! - **A token in a file rather than an account**: whoever may read the data directory holds every
//!   key already, so nothing is given away, and there is no password to set up or to leak.
//! - **Who has no token, or comes from elsewhere, is answered as everywhere where nothing is**: 404.
//! - Recipients are told by their domains alone, and servers' words without addresses: looking after
//!   the queue needs no more.

mod answers;
mod backup;
mod erasures;

use std::{net::IpAddr, sync::Arc};

use actors::{CancelError, ChangeError, MAX_QUEUE_PAGE, MAX_RETRIES, QueueFilter};
use eventlog::HashPurpose;
use model::{
    DomainId, MessageId, TenantId, Timestamp,
    address::DomainName,
    pause::{Reason, Who},
};
use poem::{Endpoint, Request, RequestBody, Response, Route, get, http::header, post};
use projections::{Alarm, AlarmCursor, Paused, RebuildError};
use serde_json::{Value, json};

pub use self::erasures::erasure_answer;
use crate::{
    body::{SMALL_BODY, Unread},
    fields::{Fields, read_body},
    json::Json,
    operations::{overloaded, query_problem, unavailable},
    parts::Shared,
    portal::{
        delivery::take_reason,
        problems::{change_problem, domain_problem},
    },
    problem::{Code, Findings, Problem},
    reading::Reader,
};

/// Where most of it is.
const PREFIX: &str = "/operator/queue";
/// Where it is told what led to an event.
const LOG_WHY: &str = "/operator/log/why/:event";
/// Where people are forgotten.
const ERASURES: &str = "/operator/erasures";
/// Where backups get what they cannot read from files.
const BACKUP: &str = "/operator/backup";
/// Where the read models are made anew.
const REBUILD: &str = "/operator/read/rebuild";
/// Rows without a wish.
const DEFAULT_ROWS: usize = 50;
/// Most sites of an answer.
const MAX_SITES: usize = 1_000;

/// The secret by which operators are known: made at each start, and told by a file.
#[derive(Clone)]
pub struct OperatorToken(String);

impl OperatorToken {
    /// The token with this text.
    pub const fn new(text: String) -> Self {
        Self(text)
    }
}

// Printed by mistake, it must not become a leak.
impl std::fmt::Debug for OperatorToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OperatorToken(…)")
    }
}

/// Adds the paths.
pub(crate) fn routes(route: Route) -> Route {
    route
        .at(PREFIX, get(Ask::List))
        .at(format!("{PREFIX}/sites"), get(Ask::Sites))
        .at(format!("{PREFIX}/messages/:message"), get(Ask::Why))
        .at(LOG_WHY, get(Ask::Causes))
        .at(format!("{PREFIX}/retry"), post(Ask::Retry))
        .at(format!("{PREFIX}/pause"), post(Ask::Pause))
        .at(format!("{PREFIX}/resume"), post(Ask::Resume))
        .at(ERASURES, post(Ask::Erase))
        .at(format!("{ERASURES}/:erasure"), get(Ask::Erasure))
        .at(format!("{BACKUP}/checkpoint"), post(Ask::Checkpoint))
        .at(format!("{BACKUP}/events"), get(backup::Events))
        .at(REBUILD, get(Ask::Rebuilding).post(Ask::Rebuild))
}

/// What is asked.
#[derive(Clone, Copy)]
enum Ask {
    List,
    Sites,
    Why,
    Causes,
    Retry,
    Pause,
    Resume,
    Erase,
    Erasure,
    Checkpoint,
    Rebuild,
    Rebuilding,
}

impl Endpoint for Ask {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let (request, mut body, shared) = from_operator(request).await?;
        shared.settled().await;
        let answer = match self {
            Self::List => list(&request, &shared).await?,
            Self::Sites => sites(&request, &shared).await?,
            Self::Why => why(&request, &shared).await?,
            Self::Causes => causes(&request, &shared).await?,
            Self::Retry => {
                retry(read(&request, &mut body, &shared, Order::retry).await?, &shared).await?
            }
            Self::Pause => {
                pause(read(&request, &mut body, &shared, Order::pause).await?, &shared).await?
            }
            Self::Resume => {
                resume(read(&request, &mut body, &shared, Order::resume).await?, &shared).await?
            }
            Self::Erase => {
                let order = read(&request, &mut body, &shared, erasures::order).await?;
                erasures::erase(order, &shared).await?
            }
            Self::Erasure => erasures::show(&request, &shared).await?,
            Self::Checkpoint => backup::checkpoint(&shared).await?,
            Self::Rebuild => {
                read(&request, &mut body, &shared, |_, _| Some(())).await?;
                rebuild(&shared)?
            }
            Self::Rebuilding => answers::rebuilding(&shared.read.rebuilding()),
        };
        Ok(Response::builder().content_type("application/json").body(answer.to_string()))
    }
}

/// A request of an operator. To anybody else there is nothing here.
async fn from_operator(request: Request) -> poem::Result<(Request, RequestBody, Arc<Shared>)> {
    let (request, mut body) = request.split();
    let shared = Arc::clone(Shared::of(&request)?);
    if !is_operator(&request, &shared) {
        Unread::of(&request, &mut body).discard(&shared.options).await;
        return Err(Problem::new(Code::NotFound).into());
    }
    Ok((request, body, shared))
}

/// Whether it is shown the token, by somebody on this host. What differs in time says nothing: keyed
/// hashes are compared.
fn is_operator(request: &Request, shared: &Shared) -> bool {
    let Some(OperatorToken(known)) = &shared.options.operator else { return false };
    let mut given = request.headers().get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (given.next(), given.next()) else { return false };
    let Some(token) = value.to_str().ok().and_then(|value| value.strip_prefix("Bearer ")) else {
        return false;
    };
    let hash = |text: &str| shared.vault.keyed_hash(HashPurpose::ApiKey, text.as_bytes());
    is_local(request, shared) && hash(token) == hash(known)
}

/// Whether the other end is on this host: at a loopback address, or at the one that is served.
fn is_local(request: &Request, shared: &Shared) -> bool {
    let own = match request.local_addr().0 {
        poem::Addr::SocketAddr(address) => Some(address.ip().to_canonical()),
        _ => None,
    };
    let local = |ip: IpAddr| ip.is_loopback() || Some(ip) == own;
    // Nothing is served without a connection: who asks without one asks in this very process.
    crate::caller::address(request, shared).is_none_or(local)
}

/// What a body says.
#[derive(Default)]
struct Order {
    messages: Vec<MessageId>,
    filter: QueueFilter,
    after: Option<AlarmCursor>,
    reason: Option<Reason>,
}

impl Order {
    /// Messages, or which of those who wait.
    #[expect(clippy::unnecessary_wraps, reason = "as all that read a body")]
    fn retry(fields: &mut Fields<'_>, findings: &mut Findings) -> Option<Self> {
        let messages = fields.list("messages", MAX_RETRIES, findings);
        let named = messages.into_iter().filter_map(|(at, value)| {
            if let Json::Text(text) = value {
                return parsed(&text, &at, "must be the id of a message", findings);
            }
            findings.add(at, "must be the id of a message");
            None
        });
        let messages = named.collect();
        let after = fields.text("after", findings).and_then(|text| {
            let cursor = read_cursor(&text);
            if cursor.is_none() {
                findings.add("after", "must be the next of an answer");
            }
            cursor
        });
        Some(Self { messages, after, filter: take_filter(fields, findings), reason: None })
    }

    fn pause(fields: &mut Fields<'_>, findings: &mut Findings) -> Option<Self> {
        let reason = take_reason(fields, findings);
        Some(Self { reason, ..Self::resume(fields, findings)? })
    }

    /// What is meant: one thing.
    #[expect(clippy::unnecessary_wraps, reason = "as all that read a body")]
    fn resume(fields: &mut Fields<'_>, findings: &mut Findings) -> Option<Self> {
        let filter = take_filter(fields, findings);
        let named = [filter.tenant.is_some(), filter.domain.is_some(), filter.site.is_some()];
        if named.into_iter().filter(|named| *named).count() != 1 && findings.is_empty() {
            findings.add("body", "must name a tenant, a domain or a site, and only one of them");
        }
        Some(Self { filter, ..Self::default() })
    }

    fn what(self) -> Result<(Paused, Option<Reason>), Problem> {
        let QueueFilter { tenant, domain, site } = self.filter;
        let what = tenant.map(Paused::Tenant).or(domain.map(Paused::Domain));
        let what = what.or(site.map(Paused::Site)).ok_or_else(|| Problem::new(Code::NotFound))?;
        Ok((what, self.reason))
    }
}

fn take_filter(fields: &mut Fields<'_>, findings: &mut Findings) -> QueueFilter {
    let tenant = fields.text("tenant", findings);
    let domain = fields.text("domain", findings);
    let site = fields.text("site", findings);
    read_filter(tenant.as_deref(), domain.as_deref(), site.as_deref(), findings)
}

fn read_filter(
    tenant: Option<&str>,
    domain: Option<&str>,
    site: Option<&str>,
    findings: &mut Findings,
) -> QueueFilter {
    let tenant: Option<TenantId> =
        tenant.and_then(|text| parsed(text, "tenant", "must be the id of a tenant", findings));
    let domain: Option<DomainId> =
        domain.and_then(|text| parsed(text, "domain", "must be the id of a domain", findings));
    let site = site.and_then(|text| {
        let name = DomainName::parse(text);
        name.map_err(|error| findings.add("site", error.to_string())).ok()
    });
    QueueFilter { tenant, domain, site }
}

fn parsed<T: std::str::FromStr>(
    text: &str,
    field: &str,
    words: &'static str,
    findings: &mut Findings,
) -> Option<T> {
    let value = text.parse().ok();
    if value.is_none() {
        findings.add(field, words);
    }
    value
}

async fn read<T>(
    request: &Request,
    body: &mut RequestBody,
    shared: &Shared,
    take: fn(&mut Fields<'_>, &mut Findings) -> Option<T>,
) -> Result<T, Problem> {
    let mut unread = Unread::of(request, body);
    let bytes = unread.json(request, &shared.options, SMALL_BODY).await?;
    read_body(&bytes, |mut fields, findings| {
        let order = take(&mut fields, findings);
        fields.finish(findings);
        order
    })
}

/// Where a page ended: a time and a message.
fn cursor_text(cursor: AlarmCursor) -> String {
    let Alarm { at, message } = cursor.alarm();
    format!("{}.{message}", at.as_millis())
}

fn read_cursor(text: &str) -> Option<AlarmCursor> {
    let (at, message) = text.split_once('.')?;
    let at = Timestamp::from_millis(at.parse().ok()?);
    Some(Alarm { at, message: message.parse().ok()? }.cursor())
}

/// The parameters of the query string, each once.
fn parameters(request: &Request, known: &[&str]) -> Result<Vec<(String, String)>, Problem> {
    let given: Vec<(String, String)> = request.params().unwrap_or_default();
    let mut findings = Findings::default();
    for (place, (name, _)) in given.iter().enumerate() {
        if !known.contains(&name.as_str()) {
            findings.add(name, "is not a known parameter");
        } else if given.iter().take(place).any(|(other, _)| other == name) {
            findings.add(name, "is given more than once");
        }
    }
    if findings.is_empty() { Ok(given) } else { Err(findings.into_problem()) }
}

fn value<'a>(parameters: &'a [(String, String)], name: &str) -> Option<&'a str> {
    parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn rows(parameters: &[(String, String)], most: usize, findings: &mut Findings) -> usize {
    let Some(text) = value(parameters, "limit") else { return DEFAULT_ROWS };
    let number = text.parse().ok().filter(|number| (1..=most).contains(number));
    number.unwrap_or_else(|| {
        findings.add("limit", format!("must be a whole number from 1 to {most}"));
        DEFAULT_ROWS
    })
}

async fn list(request: &Request, shared: &Arc<Shared>) -> Result<Value, Problem> {
    let given = parameters(request, &["limit", "after", "tenant", "domain", "site"])?;
    let mut findings = Findings::default();
    let limit = rows(&given, MAX_QUEUE_PAGE, &mut findings);
    let of = |name| value(&given, name);
    let filter = read_filter(of("tenant"), of("domain"), of("site"), &mut findings);
    let after = of("after").and_then(|text| {
        let cursor = read_cursor(text);
        if cursor.is_none() {
            findings.add("after", "must be the next of an answer");
        }
        cursor
    });
    if !findings.is_empty() {
        return Err(findings.into_problem());
    }
    let answer = shared.reading(move |shared| {
        let page = shared.platform.queue(&filter, after, limit).map_err(query_problem)?;
        Ok(json!({
            "waiting": shared.platform.queue_len().map_err(query_problem)?,
            "pauses": answers::pauses(shared.read.policies()),
            "data": page.rows.iter().map(answers::queued).collect::<Vec<_>>(),
            "next": page.next.map(cursor_text),
        }))
    });
    answer.await
}

async fn sites(request: &Request, shared: &Arc<Shared>) -> Result<Value, Problem> {
    let given = parameters(request, &["limit"])?;
    let mut findings = Findings::default();
    let limit = rows(&given, MAX_SITES, &mut findings);
    if !findings.is_empty() {
        return Err(findings.into_problem());
    }
    let answer = shared.reading(move |shared| {
        let sites = shared.platform.sites(limit).map_err(query_problem)?;
        Ok(json!({ "data": sites.iter().map(answers::site).collect::<Vec<_>>() }))
    });
    answer.await
}

async fn why(request: &Request, shared: &Arc<Shared>) -> Result<Value, Problem> {
    let message = request.raw_path_param("message").unwrap_or_default();
    let unknown = || Problem::new(Code::NotFound).saying("There is no such message.");
    let message: MessageId = message.parse().map_err(|_| unknown())?;
    let answer = shared.reading(move |shared| {
        let explained = shared.platform.explain(message).map_err(query_problem)?;
        let explained = explained.ok_or_else(unknown)?;
        let now = shared.clock.now();
        let shown = Reader::new(shared).message(&explained.view, now, None);
        Ok(answers::why(&explained, &shown.recipients, now))
    });
    answer.await
}

async fn causes(request: &Request, shared: &Arc<Shared>) -> Result<Value, Problem> {
    let event = request.raw_path_param("event").unwrap_or_default();
    let unknown = || Problem::new(Code::NotFound).saying("There is no such event.");
    let event: evidence::Named = event.parse().map_err(|_| unknown())?;
    let answer = shared.reading(move |shared| {
        let trail = evidence::why(shared.log.as_ref(), event)
            .map_err(|error| Problem::internal("the causes of an event cannot be told", &error))?;
        let trail = trail.ok_or_else(unknown)?;
        serde_json::to_value(trail).map_err(|error| Problem::internal("no JSON", &error))
    });
    answer.await
}

/// Begins; one that is under way goes on.
fn rebuild(shared: &Shared) -> Result<Value, Problem> {
    match shared.read.begin_rebuild() {
        Ok(()) | Err(RebuildError::UnderWay) => Ok(answers::rebuilding(&shared.read.rebuilding())),
        Err(error) => Err(Problem::internal("the read models cannot be made anew", &error)),
    }
}

async fn retry(order: Order, shared: &Arc<Shared>) -> Result<Value, Problem> {
    let Order { messages, filter, after, .. } = order;
    if messages.is_empty() {
        if filter == QueueFilter::default() {
            return Err(Problem::field("body", "must name messages, a tenant, a domain or a site"));
        }
        let retried = shared.platform.retry_all(&filter, after, Who::Operator).await;
        let retried = retried.map_err(query_problem)?;
        return Ok(json!({ "retried": retried.retried, "next": retried.next.map(cursor_text) }));
    }
    let mut retried = 0_usize;
    for (place, message) in messages.into_iter().enumerate() {
        let unknown = format!("messages[{place}]");
        match shared.platform.retry(message, Who::Operator).await {
            Ok(waited) => retried += usize::from(waited),
            Err(CancelError::Unknown) => {
                return Err(Problem::field(&unknown, "is no message of this server"));
            }
            Err(CancelError::Overloaded { retry_after }) => return Err(overloaded(retry_after)),
            Err(CancelError::Unavailable) => return Err(unavailable()),
            Err(error) => return Err(Problem::internal("a retry failed", &error)),
        }
    }
    Ok(json!({ "retried": retried, "next": null }))
}

async fn pause(order: Order, shared: &Arc<Shared>) -> Result<Value, Problem> {
    let (what, reason) = order.what()?;
    let paused = shared.platform.pause(&what, Who::Operator, reason.as_ref()).await;
    paused.map_err(problem)?;
    Ok(json!({ "pauses": answers::pauses(shared.read.policies()) }))
}

async fn resume(order: Order, shared: &Arc<Shared>) -> Result<Value, Problem> {
    let (what, _) = order.what()?;
    let held = shared.read.policies().pauses().of(&what).is_some();
    shared.platform.resume(&what, Who::Operator).await.map_err(problem)?;
    let pauses = answers::pauses(shared.read.policies());
    Ok(json!({ "wasPaused": held, "pauses": pauses }))
}

fn problem(error: ChangeError) -> Problem {
    match error {
        ChangeError::Domain(_) => domain_problem(error),
        ChangeError::Instance(_) => Problem::new(Code::LimitReached),
        error => change_problem(error),
    }
}
