//! `lumora alerts`: what of this server, or of its tenants' domains, receivers find wrong.

use actors::Clock as _;
use model::{DomainId, TenantId};
use projections::{Alert, OVERDUE_TO_DO, Overdue, Policies};
use serde_json::{Value, json};

use super::{Failure, administration::with_core, print_json, print_line};
use crate::{cli::OutputArguments, clock::SystemClock};

pub(super) async fn run(output: OutputArguments) -> Result<(), Failure> {
    let rows = with_core(&output.config, async |core| {
        let overdue = core.read.alarms().overdue(SystemClock.now()).map_err(Failure::failed)?;
        let mut rows: Vec<Value> = Vec::new();
        for (tenant, overdue) in &overdue {
            rows.push(overdue_row(*tenant, overdue, core.read.policies()));
        }
        let alerts = core.read.alerts().all();
        rows.extend(alerts.iter().map(|alert| row(alert, core.read.policies())));
        Ok(rows)
    })
    .await?;
    if output.json {
        return print_json(&Value::Array(rows));
    }
    if rows.is_empty() {
        return print_line("no alert is open").map(|_| ());
    }
    rows.iter().try_for_each(|row| print_line(&words(row)).map(|_| ()))
}

/// The messages of one tenant that have expired and not ended.
fn overdue_row(tenant: TenantId, overdue: &Overdue, policies: &Policies) -> Value {
    let oldest = &overdue.oldest;
    let domain = |id: &DomainId| {
        let name = policies.domain(*id).map(|view| view.name.to_string());
        json!({ "domain": id, "name": name, "tenant": tenant })
    };
    json!({
        "kind": "overdue",
        "site": oldest.receivers.first().map(|(name, _)| name),
        "since": oldest.expires_at.to_string(),
        "lastSeenAt": overdue.newest_expired_at.to_string(),
        "count": overdue.count,
        "message": oldest.alarm.message,
        "domains": overdue.domains.iter().map(domain).collect::<Value>(),
        "toDo": OVERDUE_TO_DO,
    })
}

fn row(alert: &Alert, policies: &Policies) -> Value {
    let domain = |affected: &projections::Affected| {
        json!({
            "domain": affected.domain,
            "name": policies.domain(affected.domain).map(|view| view.name.to_string()),
            "tenant": affected.tenant,
            "count": affected.count,
            "lastSeenAt": affected.last_at.to_string(),
            "message": affected.message,
        })
    };
    json!({
        "kind": alert.trouble,
        "site": alert.site,
        "since": alert.first_at.to_string(),
        "lastSeenAt": alert.last_at.to_string(),
        "count": alert.count,
        "domains": alert.affected.iter().map(domain).collect::<Value>(),
        "toDo": alert.trouble.to_do(),
    })
}

fn words(row: &Value) -> String {
    let word = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or("-");
    let count = row.get("count").and_then(Value::as_u64).unwrap_or_default();
    let domains = row.get("domains").and_then(Value::as_array).map_or(0, Vec::len);
    format!(
        "{:<15} {:<24} {count} times since {}, last {}, {domains} domains\n{:<15} {}",
        word("kind"),
        word("site"),
        word("since"),
        word("lastSeenAt"),
        "",
        word("toDo"),
    )
}
