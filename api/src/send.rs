//! From the body of a send to what is to be sent, or to everything that is wrong with it.

mod attachments;
mod headers;
mod people;
mod template;

use std::collections::BTreeMap;

use actors::{MAX_BATCH, SendRequest};
use model::{
    Timestamp,
    content::Body,
    delivery::TlsDemand,
    message::{MAX_SCHEDULE_AHEAD, MAX_TAGS, Tag},
    retry::Lifetime,
};

use crate::{
    fields::{Fields, read_body, read_tree, text},
    json::Json,
    problem::{Findings, Problem},
};

use people::People;

/// Most values of each email of a batch, on the average: one alone may have more.
const MAX_VALUES_OF_ONE: usize = 1_000;
/// Longest subject, in characters: RFC 5322 (section 2.1.1) allows no longer line.
const MAX_SUBJECT_CHARS: usize = 998;
/// Most entries of `metadata`.
const MAX_METADATA: usize = 50;
/// Longest name in `metadata`, in characters.
const MAX_METADATA_NAME_CHARS: usize = 64;
/// Longest value in `metadata`, in characters.
const MAX_METADATA_VALUE_CHARS: usize = 1_000;

/// Reads a send body at `now`.
pub(crate) fn read(bytes: &[u8], now: Timestamp) -> Result<SendRequest, Problem> {
    read_body(bytes, |fields, findings| read_fields(fields, now, findings))
}

/// Reads the body of a batch at `now`: a list of send bodies.
pub(crate) fn read_batch(bytes: &[u8], now: Timestamp) -> Result<Vec<SendRequest>, Problem> {
    let tree = read_tree(bytes, MAX_BATCH * MAX_VALUES_OF_ONE)?;
    let mut findings = Findings::default();
    if tree == Json::List(Vec::new()) {
        findings.add("body", "must have at least one email");
    }
    let emails: Vec<SendRequest> = match tree {
        Json::List(list) if list.len() <= MAX_BATCH => {
            let places = list.into_iter().enumerate();
            let read = places.filter_map(|(place, email)| {
                let fields = Fields::of(email, &format!("[{place}]"), &mut findings)?;
                read_fields(fields, now, &mut findings)
            });
            read.collect()
        }
        Json::List(_) => {
            findings.add("body", format!("has more than {MAX_BATCH} emails"));
            Vec::new()
        }
        other => {
            findings.add("body", format!("must be a list, not {}", other.kind()));
            Vec::new()
        }
    };
    if findings.is_empty() { Ok(emails) } else { Err(findings.into_problem()) }
}

/// `None` only when a finding says why.
fn read_fields(
    mut fields: Fields<'_>,
    now: Timestamp,
    findings: &mut Findings,
) -> Option<SendRequest> {
    let People { from, to, cc, bcc, reply_to } = people::read(&mut fields, findings);
    let (templated, template) = template::read(&mut fields, findings);
    let subject = subject(&mut fields, templated, findings);
    let body = body(&mut fields, templated, findings);
    let tags = tags(&mut fields, findings);
    let metadata = metadata(&mut fields, findings);
    let bulk = fields.flag("bulk", findings).unwrap_or_default();
    let scheduled_at = scheduled_at(&mut fields, now, findings);
    let expires_after = expires_after(&mut fields, findings);
    let tls = tls(&mut fields, findings);
    fields.finish(findings);
    let subject = subject?;
    Some(SendRequest {
        from,
        to,
        cc,
        bcc,
        reply_to,
        subject,
        body,
        template,
        tags,
        metadata,
        tls,
        bulk,
        scheduled_at,
        expires_after,
        idempotency_key: None,
    })
}

/// With a template it may be absent, and then is empty.
fn subject(fields: &mut Fields<'_>, templated: bool, findings: &mut Findings) -> Option<String> {
    let subject = if templated {
        let Some(given) = fields.take("subject", findings) else { return Some(String::new()) };
        text(given, || fields.path("subject"), findings)?
    } else {
        fields.required_text("subject", findings)?
    };
    let path = fields.path("subject");
    if subject.trim().is_empty() {
        findings.add(path, "must not be empty");
    } else if has_control(&subject) {
        findings.add(path, "must not have line breaks or control characters");
    } else if subject.chars().count() > MAX_SUBJECT_CHARS {
        findings.add(path, format!("must have at most {MAX_SUBJECT_CHARS} characters"));
    } else {
        return Some(subject.into_owned());
    }
    None
}

fn body(fields: &mut Fields<'_>, templated: bool, findings: &mut Findings) -> Body {
    let mut wrong = false;
    let mut part = |name: &str| {
        let given = fields.take(name, findings)?;
        let part = text(given, || fields.path(name), findings);
        wrong |= part.is_none();
        let part = part?;
        if templated {
            findings.add(fields.path(name), "must not be given together with a template");
            return None;
        }
        if part.contains('\0') {
            wrong = true;
            findings.add(fields.path(name), "must not have NUL characters");
            return None;
        }
        (!part.is_empty()).then(|| part.into_owned())
    };
    let (html, text) = (part("html"), part("text"));
    if html.is_none() && text.is_none() && !wrong && !templated {
        findings.add("html", "is required when there is no text");
        findings.add("text", "is required when there is no html");
    }
    let headers = headers::read(fields, findings);
    let attachments = attachments::read(fields, findings);
    Body { text, html, headers, attachments }
}

fn tags(fields: &mut Fields<'_>, findings: &mut Findings) -> Vec<Tag> {
    let mut tags: Vec<Tag> = Vec::new();
    for (path, value) in fields.list("tags", MAX_TAGS, findings) {
        let Some(tag) = text(value, || path.clone(), findings) else { continue };
        match Tag::parse(&tag) {
            // Said twice, it still counts once.
            Some(tag) if tags.contains(&tag) => {}
            Some(tag) => tags.push(tag),
            None => findings.add(
                path,
                "must have 1 to 64 octets, no control characters and no spaces at its ends",
            ),
        }
    }
    tags
}

fn metadata(fields: &mut Fields<'_>, findings: &mut Findings) -> BTreeMap<String, String> {
    let mut metadata = BTreeMap::new();
    for (path, name, value) in fields.texts("metadata", MAX_METADATA, findings) {
        if name.is_empty() || name.chars().count() > MAX_METADATA_NAME_CHARS || has_control(&name) {
            findings.add(path, "must have a name of 1 to 64 characters without control characters");
        } else if value.chars().count() > MAX_METADATA_VALUE_CHARS || value.contains('\0') {
            findings.add(path, "must have at most 1000 characters and no NUL");
        } else {
            metadata.insert(name.into_owned(), value.into_owned());
        }
    }
    metadata
}

fn scheduled_at(
    fields: &mut Fields<'_>,
    now: Timestamp,
    findings: &mut Findings,
) -> Option<Timestamp> {
    let given = fields.text("scheduledAt", findings)?;
    let path = fields.path("scheduledAt");
    match crate::params::rfc_3339(&given) {
        None => findings.add(path, "must be an RFC 3339 time such as 2026-01-31T09:00:00Z"),
        Some(at) if at.since(now) > MAX_SCHEDULE_AHEAD => {
            findings.add(path, "must be at most 30 days ahead");
        }
        Some(at) => return Some(at),
    }
    None
}

fn expires_after(fields: &mut Fields<'_>, findings: &mut Findings) -> Option<Lifetime> {
    let given = fields.text("expiresAfter", findings)?;
    let path = fields.path("expiresAfter");
    Lifetime::parse(&given).map_err(|error| findings.add(path, error.to_string())).ok()
}

fn tls(fields: &mut Fields<'_>, findings: &mut Findings) -> TlsDemand {
    match fields.text("tls", findings).as_deref() {
        None | Some("opportunistic") => TlsDemand::Opportunistic,
        Some("required") => TlsDemand::Required,
        Some(_) => {
            findings.add(fields.path("tls"), "must be `opportunistic` or `required`");
            TlsDemand::Opportunistic
        }
    }
}

/// Control characters, and the two of Unicode that break lines in some programs.
pub(crate) fn has_control(text: &str) -> bool {
    text.contains(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
}

#[cfg(test)]
mod tests;
