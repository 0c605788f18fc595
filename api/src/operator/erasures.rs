//! Forgetting a person, on behalf of a tenant.

use std::sync::Arc;

use model::{ErasureId, MessageId, TenantId, address::EmailAddress, pause::Who};
use poem::Request;
use poem_openapi::types::ToJSON as _;
use projections::ErasureView;
use serde_json::Value;

use super::parsed;
use crate::{
    fields::Fields,
    operations::query_problem,
    parts::Shared,
    portal::erasures::{erase_problem, take_person, wire},
    problem::{Code, Findings, Problem},
    wire::erasures::ErasureWire,
};

/// Who is to be forgotten, and in whose data.
pub(super) fn order(
    fields: &mut Fields<'_>,
    findings: &mut Findings,
) -> Option<(TenantId, EmailAddress)> {
    let tenant = fields.required_text("tenant", findings);
    let tenant =
        tenant.and_then(|text| parsed(&text, "tenant", "must be the id of a tenant", findings));
    let email = take_person(fields, findings);
    Some((tenant?, email?))
}

pub(super) async fn erase(
    (tenant, email): (TenantId, EmailAddress),
    shared: &Arc<Shared>,
) -> Result<Value, Problem> {
    if shared.read.policies().tenant(tenant).is_none() {
        return Err(Problem::field("tenant", "is no tenant of this server"));
    }
    let view = shared.platform.erase(tenant, &email, Who::Operator).await;
    let view = view.map_err(erase_problem)?;
    shared.reading(move |shared| wire(shared, &view).map(|wire| json(&wire))).await
}

pub(super) async fn show(request: &Request, shared: &Arc<Shared>) -> Result<Value, Problem> {
    let unknown = || Problem::new(Code::NotFound).saying("There is no such erasure.");
    let erasure = request.raw_path_param("erasure").unwrap_or_default();
    let erasure: ErasureId = erasure.parse().map_err(|_| unknown())?;
    let answer = shared.reading(move |shared| {
        let view = shared.read.erasures().get(erasure).map_err(query_problem)?;
        wire(shared, &view.ok_or_else(unknown)?).map(|wire| json(&wire))
    });
    answer.await
}

/// An erasure as it is told: what the command shows, whether a server runs or not.
pub fn erasure_answer(
    view: &ErasureView,
    waits_for: &[MessageId],
    certificate: Option<String>,
) -> Value {
    json(&ErasureWire::of(view, waits_for, certificate))
}

fn json(wire: &ErasureWire) -> Value {
    wire.to_json().unwrap_or_default()
}
