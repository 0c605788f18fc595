//! Pausing delivery and resuming it.

use actors::ChangeError;
use model::{
    DomainId,
    pause::{Reason, Who},
};
use poem::web::Data;
use poem_openapi::{OpenApi, payload::Json};
use projections::Paused;

use super::{
    SharedData, Topic,
    domains::{own_domain, wire},
    problems::{change_problem, domain_problem},
    session::SignedIn,
};
use crate::{
    body::SmallJsonBody,
    fields::{Fields, read_body},
    params::InPath,
    parts::Shared,
    problem::{Findings, Problem},
    wire::{
        domains::DomainWire,
        pauses::{DeliveryWire, PauseBody, PauseWire},
    },
};

/// Pausing and resuming.
pub(crate) struct Delivery;

#[OpenApi]
impl Delivery {
    /// Read whether delivery is paused
    ///
    /// The pause that holds all of your tenant's mail back, if there is one.
    #[oai(
        path = "/portal/delivery",
        method = "get",
        operation_id = "getDelivery",
        tag = "Topic::Delivery"
    )]
    async fn delivery(
        &self,
        signed_in: SignedIn,
        Data(shared): SharedData<'_>,
    ) -> Result<Json<DeliveryWire>, Problem> {
        shared.settled().await;
        Ok(Json(standing(shared, &signed_in)))
    }

    /// Pause all delivery
    ///
    /// Nothing of your tenant's is delivered from now on, across restarts, until it is resumed.
    /// Messages are accepted as ever and wait; none is lost, but one whose time runs out meanwhile
    /// fails as expired. Attempts that are under way end. While it is paused, a message can be
    /// canceled. Pausing twice is pausing.
    #[oai(
        path = "/portal/delivery/pause",
        method = "post",
        operation_id = "pauseDelivery",
        tag = "Topic::Delivery"
    )]
    async fn pause(
        &self,
        signed_in: SignedIn,
        body: SmallJsonBody<PauseBody>,
        Data(shared): SharedData<'_>,
    ) -> Result<Json<DeliveryWire>, Problem> {
        let reason = read_body(&body.bytes, reason)?;
        let what = Paused::Tenant(signed_in.session.tenant);
        let paused = shared.platform.pause(&what, who(&signed_in), reason.as_ref()).await;
        paused.map_err(change_problem)?;
        Ok(Json(standing(shared, &signed_in)))
    }

    /// Resume delivery
    ///
    /// What waits is delivered, page by page and at the pace that receivers bear.
    #[oai(
        path = "/portal/delivery/resume",
        method = "post",
        operation_id = "resumeDelivery",
        tag = "Topic::Delivery"
    )]
    async fn resume(
        &self,
        signed_in: SignedIn,
        Data(shared): SharedData<'_>,
    ) -> Result<Json<DeliveryWire>, Problem> {
        let what = Paused::Tenant(signed_in.session.tenant);
        let resumed = shared.platform.resume(&what, who(&signed_in)).await;
        resumed.map_err(change_problem)?;
        Ok(Json(standing(shared, &signed_in)))
    }

    /// Pause a domain
    ///
    /// Nothing that the domain sends is delivered from now on, until it is resumed or removed. The
    /// same holds as for pausing all delivery.
    #[oai(
        path = "/portal/domains/:domainId/pause",
        method = "post",
        operation_id = "pauseDomain",
        tag = "Topic::Delivery"
    )]
    async fn pause_domain(
        &self,
        signed_in: SignedIn,
        /// The domain.
        #[oai(name = "domainId")]
        domain: InPath<DomainId>,
        body: SmallJsonBody<PauseBody>,
        Data(shared): SharedData<'_>,
    ) -> Result<Json<DomainWire>, Problem> {
        own_domain(shared, signed_in.session.tenant, domain.0)?;
        let reason = read_body(&body.bytes, reason)?;
        let what = Paused::Domain(domain.0);
        let paused = shared.platform.pause(&what, who(&signed_in), reason.as_ref()).await;
        domain_after(shared, &signed_in, domain.0, paused)
    }

    /// Resume a domain
    ///
    /// What waits is delivered, page by page and at the pace that receivers bear.
    #[oai(
        path = "/portal/domains/:domainId/resume",
        method = "post",
        operation_id = "resumeDomain",
        tag = "Topic::Delivery"
    )]
    async fn resume_domain(
        &self,
        signed_in: SignedIn,
        /// The domain.
        #[oai(name = "domainId")]
        domain: InPath<DomainId>,
        Data(shared): SharedData<'_>,
    ) -> Result<Json<DomainWire>, Problem> {
        own_domain(shared, signed_in.session.tenant, domain.0)?;
        let resumed = shared.platform.resume(&Paused::Domain(domain.0), who(&signed_in)).await;
        domain_after(shared, &signed_in, domain.0, resumed)
    }
}

fn who(signed_in: &SignedIn) -> Who {
    Who::User(signed_in.session.user)
}

fn standing(shared: &Shared, signed_in: &SignedIn) -> DeliveryWire {
    let what = Paused::Tenant(signed_in.session.tenant);
    let pause = shared.read.policies().pauses().of(&what);
    DeliveryWire { paused: pause.map(|view| PauseWire::of(&what, &view)) }
}

fn domain_after(
    shared: &Shared,
    signed_in: &SignedIn,
    domain: DomainId,
    done: Result<(), ChangeError>,
) -> Result<Json<DomainWire>, Problem> {
    done.map_err(domain_problem)?;
    Ok(Json(wire(shared, &*own_domain(shared, signed_in.session.tenant, domain)?)))
}

/// What a body says of the reason. What is wrong with it is among the findings.
#[expect(clippy::option_option, clippy::unnecessary_wraps, reason = "as all that read a body")]
pub(crate) fn reason(mut fields: Fields<'_>, findings: &mut Findings) -> Option<Option<Reason>> {
    let reason = take_reason(&mut fields, findings);
    fields.finish(findings);
    Some(reason)
}

/// Takes out the reason for a pause.
pub(crate) fn take_reason(fields: &mut Fields<'_>, findings: &mut Findings) -> Option<Reason> {
    let text = fields.text("reason", findings)?;
    let reason = Reason::parse(&text);
    reason.map_err(|error| findings.add(fields.path("reason"), error.to_string())).ok()
}
