use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use model::content::Attachment;

use super::has_control;
use crate::{fields::Fields, json::Json, problem::Findings};

/// Most files.
const MAX_ATTACHMENTS: usize = 100;
/// Longest file name, in characters.
const MAX_FILENAME_CHARS: usize = 255;
/// Longest media type, in octets.
const MAX_CONTENT_TYPE_OCTETS: usize = 127;
/// Longest content id, in octets.
const MAX_CONTENT_ID_OCTETS: usize = 128;

/// Padding may be left out, as some programs do; bits that mean nothing may not be set.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads `attachments`.
pub(crate) fn read(fields: &mut Fields<'_>, findings: &mut Findings) -> Vec<Attachment> {
    let entries = fields.list("attachments", MAX_ATTACHMENTS, findings);
    entries.into_iter().filter_map(|(path, value)| one(value, &path, findings)).collect()
}

fn one(value: Json<'_>, path: &str, findings: &mut Findings) -> Option<Attachment> {
    let mut fields = Fields::of(value, path, findings)?;
    let filename = fields.required_text("filename", findings).and_then(|name| {
        let fits = !name.trim().is_empty() && name.chars().count() <= MAX_FILENAME_CHARS;
        if fits && !has_control(&name) {
            return Some(name.into_owned());
        }
        let words = "must have 1 to 255 characters and no line breaks or control characters";
        findings.add(fields.path("filename"), words);
        None
    });
    let bytes = fields.required_text("content", findings).and_then(|content| {
        let decoded = BASE64.decode(content.as_bytes());
        decoded.map_err(|_| findings.add(fields.path("content"), "must be base64")).ok()
    });
    let content_type = fields.text("contentType", findings);
    let content_type = match content_type.as_deref().map(media_type) {
        Some(None) => {
            let words = "must be a media type such as application/pdf, not multipart or message";
            findings.add(fields.path("contentType"), words);
            None
        }
        Some(known) => known,
        None => Some("application/octet-stream".to_owned()),
    };
    let content_id = fields.text("contentId", findings);
    if content_id.as_deref().is_some_and(|id| !is_content_id(id)) {
        let words = "must have 1 to 128 letters, digits and . _ - + @";
        findings.add(fields.path("contentId"), words);
    }
    fields.finish(findings);
    Some(Attachment {
        filename: filename?,
        content_type: content_type?,
        content_id: content_id.map(Into::into),
        bytes: bytes?,
    })
}

/// The text, when it is a media type (RFC 6838, section 4.2), with parameters or without. Types
/// that are messages in themselves would be read as parts of this one.
fn media_type(text: &str) -> Option<String> {
    let essence = text.split(';').next()?.trim_matches(' ').to_ascii_lowercase();
    let (kind, subtype) = essence.split_once('/')?;
    let token = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    let printable = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let plain = text.len() <= MAX_CONTENT_TYPE_OCTETS && printable;
    let allowed = !matches!(kind, "multipart" | "message");
    (plain && token(kind) && token(subtype) && allowed).then(|| text.trim_matches(' ').to_owned())
}

fn is_content_id(id: &str) -> bool {
    (1..=MAX_CONTENT_ID_OCTETS).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-+@".contains(&byte))
}
