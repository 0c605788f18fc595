//! Sending domains.

use std::{sync::Arc, time::Duration};

use model::{
    DomainId, TenantId, Timestamp,
    address::DomainName,
    domain::compliance::{self, Known},
};
use poem::web::Data;
use poem_openapi::{OpenApi, payload::Json};
use projections::{DomainView, GroupBy, Interval, Past, Paused, Policies, StatsQuery};

use super::{SharedData, Topic, problems::domain_problem, session::SignedIn};
use crate::{
    body::SmallJsonBody,
    fields::{Fields, read_body},
    operations::query_problem,
    params::{InPath, Query},
    parts::Shared,
    past,
    problem::{Code, Findings, Problem},
    wire::{
        compliance::ComplianceAnswer,
        domains::{DomainWire, DomainsAnswer, NewDomainAnswer, NewDomainBody, RemovedAnswer},
        pauses::PauseWire,
    },
};

/// Sending domains.
pub(crate) struct Domains;

#[OpenApi]
impl Domains {
    /// Add a domain
    ///
    /// Answers with the DNS records to publish. Once the required ones are there, ask for
    /// verification; messages are sent from verified domains alone, and no subdomain inherits.
    #[oai(
        path = "/portal/domains",
        method = "post",
        operation_id = "addDomain",
        tag = "Topic::Domains"
    )]
    async fn add(
        &self,
        signed_in: SignedIn,
        body: SmallJsonBody<NewDomainBody>,
        Data(shared): SharedData<'_>,
    ) -> Result<NewDomainAnswer, Problem> {
        let name = read_body(&body.bytes, domain_name)?;
        let tenant = signed_in.session.tenant;
        let domain = shared
            .platform
            .add_domain(signed_in.by(), tenant, name)
            .await
            .map_err(domain_problem)?;
        let view = own_domain(shared, tenant, domain)?;
        Ok(NewDomainAnswer::Created(Json(wire(shared, &view))))
    }

    /// List the domains
    ///
    /// All sending domains of your tenant, with their records as they were last seen in the DNS.
    #[oai(
        path = "/portal/domains",
        method = "get",
        operation_id = "listDomains",
        tag = "Topic::Domains"
    )]
    async fn domains(
        &self,
        signed_in: SignedIn,
        Data(shared): SharedData<'_>,
    ) -> Result<Json<DomainsAnswer>, Problem> {
        shared.settled().await;
        let domains = shared.read.policies().domains_of(signed_in.session.tenant);
        Ok(Json(DomainsAnswer { data: domains.iter().map(|view| wire(shared, view)).collect() }))
    }

    /// Read a domain
    ///
    /// The records to publish, and how each was when the DNS was last asked.
    #[oai(
        path = "/portal/domains/:domainId",
        method = "get",
        operation_id = "getDomain",
        tag = "Topic::Domains"
    )]
    async fn domain(
        &self,
        signed_in: SignedIn,
        /// The domain.
        #[oai(name = "domainId")]
        domain: InPath<DomainId>,
        /// As it was at this time, instead of now, also when it was removed since. 404 when it was
        /// not added yet.
        at: Query<Timestamp>,
        Data(shared): SharedData<'_>,
    ) -> Result<Json<DomainWire>, Problem> {
        let at = past::asked(at, shared.clock.now())?;
        shared.settled().await;
        let (tenant, domain) = (signed_in.session.tenant, domain.0);
        let Some(at) = at else {
            return Ok(Json(wire(shared, &*own_domain(shared, tenant, domain)?)));
        };
        let reading = shared.reading(move |shared| {
            let past = Past::of_domain(shared.log.as_ref(), &shared.vault, domain, at);
            past.map_err(query_problem)
        });
        let past = reading.await?;
        let view = owned(past.policies(), tenant, domain)?;
        Ok(Json(wire_of(shared, past.policies(), &view)))
    }

    /// Remove a domain
    ///
    /// Nothing more can be sent from it. What was accepted before is still delivered, also what a
    /// pause of the domain held back.
    #[oai(
        path = "/portal/domains/:domainId",
        method = "delete",
        operation_id = "removeDomain",
        tag = "Topic::Domains"
    )]
    async fn remove(
        &self,
        signed_in: SignedIn,
        /// The domain.
        #[oai(name = "domainId")]
        domain: InPath<DomainId>,
        Data(shared): SharedData<'_>,
    ) -> Result<RemovedAnswer, Problem> {
        let removed =
            shared.platform.remove_domain(signed_in.by(), signed_in.session.tenant, domain.0).await;
        removed.map_err(domain_problem)?;
        Ok(RemovedAnswer::Removed)
    }

    /// Verify a domain
    ///
    /// Asks the DNS now, past every cache, and tells of each record what was found, what was
    /// expected and how to mend it.
    #[oai(
        path = "/portal/domains/:domainId/verify",
        method = "post",
        operation_id = "verifyDomain",
        tag = "Topic::Domains"
    )]
    async fn verify(
        &self,
        signed_in: SignedIn,
        /// The domain.
        #[oai(name = "domainId")]
        domain: InPath<DomainId>,
        Data(shared): SharedData<'_>,
    ) -> Result<Json<DomainWire>, Problem> {
        let tenant = signed_in.session.tenant;
        let view = shared.platform.verify_domain(signed_in.by(), tenant, domain.0).await;
        Ok(Json(wire(shared, &*view.map_err(domain_problem)?)))
    }

    /// Read how a domain meets the rules for bulk senders
    ///
    /// The rules that Google, Yahoo and Microsoft have in common: of each, what was found when the
    /// DNS was last asked or in the last 30 days, and what to do.
    #[oai(
        path = "/portal/domains/:domainId/compliance",
        method = "get",
        operation_id = "getCompliance",
        tag = "Topic::Domains"
    )]
    async fn compliance(
        &self,
        signed_in: SignedIn,
        /// The domain.
        #[oai(name = "domainId")]
        domain: InPath<DomainId>,
        Data(shared): SharedData<'_>,
    ) -> Result<Json<ComplianceAnswer>, Problem> {
        shared.settled().await;
        let view = own_domain(shared, signed_in.session.tenant, domain.0)?;
        let reverse_dns = shared.platform.reverse_dns().await;
        let answer = shared.reading(move |shared| {
            let (delivered, complained) = last_days(shared, &view)?;
            let known = Known {
                links_are_https: shared.options.public_url.starts_with("https://"),
                takes_complaints: shared.platform.inbound_hostname().is_some(),
                delivered,
                complained,
                reverse_dns,
            };
            let findings = compliance::report(&view.records, &known);
            Ok(ComplianceAnswer::of(view.id.to_string(), view.name.to_string(), findings))
        });
        answer.await.map(Json)
    }

    /// Rotate the DKIM key
    ///
    /// Makes a second key under a second selector. The first signs on until the record of the
    /// second is seen, so that there is no gap.
    #[oai(
        path = "/portal/domains/:domainId/dkim/rotate",
        method = "post",
        operation_id = "rotateDkim",
        tag = "Topic::Domains"
    )]
    async fn rotate(
        &self,
        signed_in: SignedIn,
        /// The domain.
        #[oai(name = "domainId")]
        domain: InPath<DomainId>,
        Data(shared): SharedData<'_>,
    ) -> Result<Json<DomainWire>, Problem> {
        let tenant = signed_in.session.tenant;
        shared
            .platform
            .rotate_dkim(signed_in.by(), tenant, domain.0)
            .await
            .map_err(domain_problem)?;
        Ok(Json(wire(shared, &*own_domain(shared, tenant, domain.0)?)))
    }
}

pub(super) fn wire(shared: &Shared, view: &DomainView) -> DomainWire {
    wire_of(shared, shared.read.policies(), view)
}

fn wire_of(shared: &Shared, policies: &Policies, view: &DomainView) -> DomainWire {
    let what = Paused::Domain(view.id);
    let pause = policies.pauses().of(&what);
    let paused = pause.map(|pause| PauseWire::of(&what, &pause));
    DomainWire { paused, ..DomainWire::of(view, shared.platform.expected_records(view)) }
}

/// Who got messages of this domain in the last 30 days, from all apps, and how many complained.
fn last_days(shared: &Shared, view: &DomainView) -> Result<(u64, u64), Problem> {
    const DAYS: Duration = Duration::from_hours(30 * 24);
    let to = shared.clock.now();
    let query =
        StatsQuery { from: to.minus(DAYS), to, interval: Interval::Day, group_by: GroupBy::Domain };
    let (mut delivered, mut complained) = (0_u64, 0_u64);
    for app in shared.read.policies().apps_of(view.tenant) {
        let stats = shared.read.stats().query(app.id, &query).map_err(query_problem)?;
        let own = stats.groups.iter().filter(|group| group.key == view.name.as_str());
        for group in own {
            delivered = delivered.saturating_add(group.counts.delivered);
            complained = complained.saturating_add(group.counts.complained);
        }
    }
    Ok((delivered, complained))
}

/// Somebody else's domain is one that is not there.
pub(super) fn own_domain(
    shared: &Shared,
    tenant: TenantId,
    domain: DomainId,
) -> Result<Arc<DomainView>, Problem> {
    owned(shared.read.policies(), tenant, domain)
}

fn owned(
    policies: &Policies,
    tenant: TenantId,
    domain: DomainId,
) -> Result<Arc<DomainView>, Problem> {
    let view = policies.domain(domain);
    view.filter(|view| view.tenant == tenant).ok_or_else(|| Problem::new(Code::NotFound))
}

fn domain_name(mut fields: Fields<'_>, findings: &mut Findings) -> Option<DomainName> {
    let name = fields.required_text("domain", findings).and_then(|name| {
        let parsed = DomainName::parse(name.trim());
        parsed.map_err(|error| findings.add("domain", error.to_string())).ok()
    });
    fields.finish(findings);
    name
}
