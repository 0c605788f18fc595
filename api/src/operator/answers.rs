//! What operators are shown, as JSON.

use actors::{
    Explanation, LastReply, QueuedMessage, RecipientHold, SiteReport, Waits, without_addresses,
};
use model::{
    Timestamp,
    delivery::Stage,
    message::{MessageStatus, RecipientStatus},
    pause::Who,
};
use projections::{PauseView, Paused, Policies, Rebuilding};
use serde_json::{Value, json};

use crate::wire::message::{RecipientWire, ResponseWire};

/// Everything that is paused.
pub(super) fn pauses(policies: &Policies) -> Vec<Value> {
    policies.pauses().all().iter().map(|(paused, view)| pause(paused, view)).collect()
}

/// How making the read models anew goes, or went.
pub(super) fn rebuilding(state: &Rebuilding) -> Value {
    match state {
        Rebuilding::Never => json!({ "status": "never" }),
        Rebuilding::Running(at) => json!({
            "status": "running", "position": at.position.get(), "head": at.head.get(),
        }),
        Rebuilding::Done(position) => json!({ "status": "done", "position": position.get() }),
        Rebuilding::Failed(reason) => json!({ "status": "failed", "reason": &**reason }),
    }
}

fn pause(paused: &Paused, view: &PauseView) -> Value {
    let (scope, of) = match paused {
        Paused::Tenant(tenant) => ("tenant", tenant.to_string()),
        Paused::Domain(domain) => ("domain", domain.to_string()),
        Paused::Site(site) => ("site", site.to_string()),
    };
    json!({
        "scope": scope,
        scope: of,
        "since": time(view.since),
        "by": match view.by {
            Who::Operator => "operator".to_owned(),
            Who::User(user) => user.to_string(),
        },
        "reason": view.reason,
    })
}

fn time(at: Timestamp) -> String {
    at.to_string()
}

/// A message that waits.
pub(super) fn queued(row: &QueuedMessage) -> Value {
    let waiting = &row.waiting;
    let receivers = waiting.receivers.iter();
    let receivers =
        receivers.map(|(domain, count)| json!({ "domain": domain, "recipients": count }));
    let (waits_for, paused) = match &row.waits {
        Waits::Paused(paused, view) => ("pause", Some(pause(paused, view))),
        Waits::Turn => ("turn", None),
        Waits::Time => ("time", None),
    };
    json!({
        "id": waiting.alarm.message,
        "tenant": waiting.tenant,
        "domain": waiting.domain,
        "receivers": receivers.collect::<Vec<_>>(),
        "dueAt": time(waiting.alarm.at),
        "expiresAt": time(waiting.expires_at),
        "waitsFor": waits_for,
        "paused": paused,
    })
}

/// A site.
pub(super) fn site(report: &SiteReport) -> Value {
    json!({
        "site": report.site,
        "hosts": report.hosts,
        "domains": report.domains,
        "waiting": report.waiting,
        "due": report.due,
        "nextAt": report.next_at.map(time),
        "inLane": report.in_lane,
        "restingUntil": report.resting_until.map(time),
        "lastReply": report.last_reply.as_ref().map(last_reply),
        "paused": report.paused.as_ref().map(|(paused, view)| pause(paused, view)),
    })
}

fn last_reply(reply: &LastReply) -> Value {
    json!({
        "at": time(reply.at),
        "stage": stage(reply.stage),
        "code": reply.code,
        "enhancedCode": reply.enhanced,
        "message": reply.words,
        "mx": reply.mx,
    })
}

fn stage(stage: Stage) -> Value {
    serde_json::to_value(stage).unwrap_or_default()
}

/// Why a message waits.
pub(super) fn why(explained: &Explanation, shown: &[RecipientWire], now: Timestamp) -> Value {
    let view = &explained.view;
    let recipients = explained.recipients.iter().enumerate().map(|(place, hold)| {
        let response = shown.get(place).and_then(|shown| shown.last_response.as_ref());
        recipient(explained, hold, response, now)
    });
    json!({
        "id": view.id,
        "status": status(explained.status),
        "tenant": view.tenant,
        "domain": view.accepted.domain,
        "acceptedAt": time(view.accepted_at),
        "scheduledAt": view.state.scheduled_until().map(time),
        "expiresAt": time(view.accepted.expires_at),
        "paused": explained.paused.as_ref().map(|(paused, view)| pause(paused, view)),
        "recipients": recipients.collect::<Vec<_>>(),
    })
}

fn status(status: MessageStatus) -> Value {
    serde_json::to_value(status).unwrap_or_default()
}

fn recipient(
    explained: &Explanation,
    hold: &RecipientHold,
    response: Option<&ResponseWire>,
    now: Timestamp,
) -> Value {
    let (waits_for, words) = words(explained, hold, now);
    json!({
        "recipient": hold.recipient,
        "domain": hold.domain,
        "status": hold.status,
        "attempts": hold.attempts,
        "nextAttemptAt": hold.next_attempt_at.map(time),
        "site": hold.site,
        "waitsFor": waits_for,
        "why": words,
        "lastResponse": response.map(|response| json!({
            "code": response.code,
            "enhancedCode": response.enhanced_code,
            "message": response.message.as_deref().map(without_addresses),
            "mx": response.mx,
        })),
    })
}

/// What a recipient waits for, as a name and in words.
fn words(
    explained: &Explanation,
    hold: &RecipientHold,
    now: Timestamp,
) -> (Option<&'static str>, String) {
    let Some(due_at) = hold.next_attempt_at else {
        return (None, "it has ended".to_owned());
    };
    if let Some((paused, view)) = explained.paused.as_ref().or(hold.paused.as_ref()) {
        return (Some("pause"), pause_words(paused, view));
    }
    if due_at > now {
        let scheduled = explained.view.state.scheduled_until().is_some_and(|until| until > now);
        return if scheduled && hold.status == RecipientStatus::Queued {
            (Some("time"), format!("it is scheduled for {due_at}"))
        } else {
            (Some("time"), format!("attempt {} failed; the next is due at {due_at}", hold.attempts))
        };
    }
    if let Some(until) = hold.resting_until {
        let words =
            format!("the mail host closed its door or cannot be reached: it rests until {until}");
        return (Some("site"), words);
    }
    match hold.lane {
        Some((taken, places)) if !explained.in_memory => (
            Some("turn"),
            format!("it waits for a place: {taken} of {places} are taken at its site"),
        ),
        _ if explained.in_memory => (Some("turn"), "it is being delivered".to_owned()),
        _ => (Some("turn"), "it is due and will be taken up".to_owned()),
    }
}

fn pause_words(paused: &Paused, view: &PauseView) -> String {
    let what = match paused {
        Paused::Tenant(tenant) => format!("the tenant {tenant}"),
        Paused::Domain(domain) => format!("the sending domain {domain}"),
        Paused::Site(site) => format!("the receiver {site}"),
    };
    let by = match view.by {
        Who::Operator => "an operator".to_owned(),
        Who::User(user) => user.to_string(),
    };
    let why = view.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("{what} is paused since {} by {by}{why}", view.since)
}
