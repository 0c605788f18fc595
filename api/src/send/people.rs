use model::{
    address::{DisplayName, EmailAddress, Mailbox},
    message::MAX_RECIPIENTS,
};

use crate::{
    fields::{Fields, text},
    problem::Findings,
};

/// Most addresses in `replyTo`.
const MAX_REPLY_TO: usize = 10;

/// From whom, and to whom.
pub(crate) struct People {
    pub from: Option<Mailbox>,
    pub to: Vec<Mailbox>,
    pub cc: Vec<Mailbox>,
    pub bcc: Vec<Mailbox>,
    pub reply_to: Vec<Mailbox>,
}

/// Reads `from`, `to`, `cc`, `bcc` and `replyTo`.
pub(crate) fn read(fields: &mut Fields<'_>, findings: &mut Findings) -> People {
    let from = from(fields, findings);
    let to = to(fields, findings);
    let cc = mailboxes(fields, "cc", MAX_RECIPIENTS, findings);
    let bcc = mailboxes(fields, "bcc", MAX_RECIPIENTS, findings);
    if to.len() + cc.len() + bcc.len() > MAX_RECIPIENTS {
        let words = format!("has, with cc and bcc, more than {MAX_RECIPIENTS} recipients");
        findings.add(fields.path("to"), words);
    }
    let reply_to = mailboxes(fields, "replyTo", MAX_REPLY_TO, findings);
    People { from, to, cc, bcc, reply_to }
}

fn from(fields: &mut Fields<'_>, findings: &mut Findings) -> Option<Mailbox> {
    let from = fields.take("from", findings)?;
    let mut fields = Fields::of(from, &fields.path("from"), findings)?;
    let email = fields.required_text("email", findings).and_then(|email| {
        let parsed = EmailAddress::parse(&email);
        parsed.map_err(|error| findings.add(fields.path("email"), error.to_string())).ok()
    });
    let name = fields.text("name", findings).and_then(|name| {
        let parsed = DisplayName::parse(&name);
        let parsed = parsed.map_err(|error| findings.add(fields.path("name"), error.to_string()));
        parsed.ok().flatten()
    });
    fields.finish(findings);
    Some(Mailbox { email: email?, name })
}

fn to(fields: &mut Fields<'_>, findings: &mut Findings) -> Vec<Mailbox> {
    let Some(value) = fields.required("to", findings) else { return Vec::new() };
    let path = fields.path("to");
    if value == crate::json::Json::List(Vec::new()) {
        findings.add(path, "must have at least one recipient");
        return Vec::new();
    }
    parse(crate::fields::entries(value, &path, MAX_RECIPIENTS, findings), findings)
}

fn mailboxes(
    fields: &mut Fields<'_>,
    name: &str,
    most: usize,
    findings: &mut Findings,
) -> Vec<Mailbox> {
    parse(fields.list(name, most, findings), findings)
}

fn parse(entries: Vec<(String, crate::json::Json<'_>)>, findings: &mut Findings) -> Vec<Mailbox> {
    let mut mailboxes = Vec::with_capacity(entries.len());
    for (path, value) in entries {
        let Some(written) = text(value, || path.clone(), findings) else { continue };
        match Mailbox::parse(&written) {
            Ok(mailbox) => mailboxes.push(mailbox),
            Err(error) => findings.add(path, error.to_string()),
        }
    }
    mailboxes
}
