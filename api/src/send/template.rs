//! The template that a message is made from.

use actors::{TemplateCall, TemplateRef};
use model::template::{MAX_VERSIONS, Slug};

use crate::{fields::Fields, problem::Findings, variables};

/// Reads `template`: whether it is there, and what it says.
pub(super) fn read(
    fields: &mut Fields<'_>,
    findings: &mut Findings,
) -> (bool, Option<TemplateCall>) {
    let Some(given) = fields.take("template", findings) else { return (false, None) };
    let call = Fields::of(given, &fields.path("template"), findings)
        .and_then(|fields| call(fields, findings));
    (true, call)
}

fn call(mut fields: Fields<'_>, findings: &mut Findings) -> Option<TemplateCall> {
    let id = fields.take("id", findings);
    let slug = fields.take("slug", findings);
    let template = match (id, slug) {
        (Some(_), Some(_)) => {
            findings.add(fields.path("slug"), "must not be given together with id");
            None
        }
        (None, None) => {
            findings.add(fields.path("id"), "is required when there is no slug");
            findings.add(fields.path("slug"), "is required when there is no id");
            None
        }
        (Some(id), None) => {
            let text = crate::fields::text(id, || fields.path("id"), findings);
            text.map(|text| text.parse().map_or(TemplateRef::Unknown, TemplateRef::Id))
        }
        (None, Some(slug)) => {
            let text = crate::fields::text(slug, || fields.path("slug"), findings);
            text.map(|text| Slug::parse(&text).map_or(TemplateRef::Unknown, TemplateRef::Slug))
        }
    };
    let version = fields.whole("version", 1..=MAX_VERSIONS, findings);
    let variables = variables::take(&mut fields, findings);
    fields.finish(findings);
    Some(TemplateCall { template: template?, version, variables })
}
