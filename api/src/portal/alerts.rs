//! Alerts.

use std::sync::Arc;

use poem::web::Data;
use poem_openapi::{OpenApi, payload::Json};
use projections::{Alert, OVERDUE_TO_DO, Overdue};

use super::{SharedData, Topic, session::SignedIn};
use crate::{
    operations::query_problem,
    parts::Shared,
    problem::Problem,
    reading::Reader,
    wire::{
        Time,
        alerts::{AlertKind, AlertWire, AlertsAnswer},
    },
};

/// Alerts.
pub(crate) struct Alerts;

#[OpenApi]
impl Alerts {
    /// List what keeps receivers from taking your mail
    ///
    /// The open alerts that concern your sending domains. One is open for each thing to mend and
    /// receiver, and closes by itself once that receiver takes your mail again. They are about set-up
    /// and standing, never about recipients. `overdue` tells that messages of yours have expired and
    /// not ended 15 minutes later.
    #[oai(
        path = "/portal/alerts",
        method = "get",
        operation_id = "listAlerts",
        tag = "Topic::Domains"
    )]
    async fn alerts(
        &self,
        signed_in: SignedIn,
        Data(shared): SharedData<'_>,
    ) -> Result<Json<AlertsAnswer>, Problem> {
        let tenant = signed_in.session.tenant;
        shared.settled().await;
        let answer = shared.reading(move |shared| {
            let mut reader = Reader::new(shared);
            let alerts = shared.read.alerts().of(tenant);
            let overdue = shared.read.alarms().overdue(shared.clock.now());
            let overdue = overdue.map_err(query_problem)?.remove(&tenant);
            let overdue = overdue.map(|overdue| Ok(overdue_wire(shared, &overdue)));
            let troubles = alerts.iter().map(|alert| wire(shared, &mut reader, alert));
            let data = overdue.into_iter().chain(troubles);
            Ok(AlertsAnswer { data: data.collect::<Result<_, Problem>>()? })
        });
        answer.await.map(Json)
    }
}

fn overdue_wire(shared: &Shared, overdue: &Overdue) -> AlertWire {
    let policies = shared.read.policies();
    let domains = overdue.domains.iter().filter_map(|domain| policies.domain(*domain));
    let site = overdue.oldest.receivers.first();
    AlertWire {
        kind: AlertKind::Overdue,
        site: site.map(|(domain, _)| domain.to_string()).unwrap_or_default(),
        since: Time(overdue.oldest.expires_at),
        last_seen_at: Time(shared.clock.now()),
        count: overdue.count,
        domains: domains.map(|view| view.name.to_string()).collect(),
        to_do: OVERDUE_TO_DO.to_owned(),
        message_id: overdue.oldest.alarm.message.to_string(),
        last_response: None,
    }
}

fn wire(shared: &Shared, reader: &mut Reader<'_>, alert: &Alert) -> Result<AlertWire, Problem> {
    let last = alert.affected.iter().max_by_key(|affected| affected.last_at);
    let message = last.map(|last| shared.read.messages().get(last.message)).transpose();
    let message = message.map_err(query_problem)?.flatten();
    let said = message.as_ref().zip(last).and_then(|(view, last)| reader.said(view, last.event));
    let policies = shared.read.policies();
    // One that was removed since has no name any more.
    let domains = alert.affected.iter().filter_map(|affected| policies.domain(affected.domain));
    Ok(AlertWire {
        kind: alert.trouble.into(),
        site: alert.site.to_string(),
        since: Time(alert.first_at),
        last_seen_at: Time(alert.last_at),
        count: alert.count,
        domains: domains.map(|view: Arc<_>| view.name.to_string()).collect(),
        to_do: alert.trouble.to_do().to_owned(),
        message_id: last.map(|last| last.message.to_string()).unwrap_or_default(),
        last_response: said,
    })
}
