//! Texts that people choose.

use crate::{fields::Fields, problem::Findings, send::has_control};

/// Longest name of a tenant, an app or a key, in characters.
const MAX_NAME_CHARS: usize = 100;

/// Takes out a name that must be there.
pub(super) fn required_name(
    fields: &mut Fields<'_>,
    field: &str,
    findings: &mut Findings,
) -> Option<String> {
    let name = fields.required_text(field, findings)?;
    checked(&name, fields.path(field), findings)
}

/// Takes out a name.
pub(super) fn name(
    fields: &mut Fields<'_>,
    field: &str,
    findings: &mut Findings,
) -> Option<String> {
    let name = fields.text(field, findings)?;
    checked(&name, fields.path(field), findings)
}

fn checked(name: &str, path: String, findings: &mut Findings) -> Option<String> {
    let name = name.trim();
    if name.is_empty() {
        findings.add(path, "must not be empty");
    } else if has_control(name) {
        findings.add(path, "must not have line breaks or control characters");
    } else if name.chars().count() > MAX_NAME_CHARS {
        findings.add(path, format!("must have at most {MAX_NAME_CHARS} characters"));
    } else {
        return Some(name.to_owned());
    }
    None
}
