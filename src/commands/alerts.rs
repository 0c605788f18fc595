//! `lumora alerts`: what of this server, or of its tenants' domains, receivers find wrong.

use projections::{Alert, Policies};
use serde_json::{Value, json};

use super::{Failure, administration::with_core, print_json, print_line};
use crate::cli::OutputArguments;

pub(super) async fn run(output: OutputArguments) -> Result<(), Failure> {
    let rows = with_core(&output.config, async |core| {
        let alerts = core.read.alerts().all();
        Ok(alerts.iter().map(|alert| row(alert, core.read.policies())).collect::<Vec<Value>>())
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
