//! The tree of parts (RFC 2045, RFC 2046, RFC 2387, RFC 2392).

use std::borrow::Cow;

use mail_builder::{
    headers::{HeaderType, content_type::ContentType, message_id::MessageId, raw::Raw},
    mime::{BodyPart, MimePart},
};
use model::content::{Attachment, Body};

use super::{ComposeError, id, one_line};

/// What stands for a media type that is none, or that base64 is not allowed for (RFC 2046,
/// sections 5.1 and 5.2.1: composite types are never encoded).
const OPAQUE: &str = "application/octet-stream";
const MAX_MEDIA_TYPE_OCTETS: usize = 127;
/// Longest piece of a file name on one line.
const SECTION_OCTETS: usize = 56;
/// Longest file name that stands on one line with `Content-Disposition: attachment; filename=""`.
const FILENAME_BESIDE_OCTETS: usize = 33;

/// `mixed(alternative(text, related(html, images)), files)`, without the layers that would hold
/// one part only.
pub(super) fn tree<'a>(body: &'a Body, message_id: &str) -> Result<MimePart<'a>, ComposeError> {
    let mut layers = Layers::new(message_id);
    let text = body.text.as_deref().map(|text| text_part("text/plain", text)).transpose()?;
    let html = body.html.as_deref().map(|html| text_part("text/html", html)).transpose()?;
    // Without HTML nothing can name an image, so it is a file like others.
    let is_image = |file: &&Attachment| file.content_id.is_some() && html.is_some();
    let images = body.attachments.iter().filter(is_image).map(|file| file_part(file, true));
    let images: Vec<_> = images.collect::<Result<_, _>>()?;
    let files = body.attachments.iter().filter(|file| !is_image(file));
    let files: Vec<_> = files.map(|file| file_part(file, false)).collect::<Result<_, _>>()?;

    let html = html.map(|html| layers.wrap("multipart/related", html, images));
    let main = match (text, html) {
        (Some(text), Some(html)) => layers.wrap("multipart/alternative", text, vec![html]),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => return Err(ComposeError::NoBody),
    };
    Ok(layers.wrap("multipart/mixed", main, files))
}

/// Makes the multiparts, each with a boundary of its own.
struct Layers {
    stem: String,
    count: usize,
}

impl Layers {
    /// Boundaries follow from the Message-ID, so that the same message has the same bytes each
    /// time. `=_` occurs in neither quoted-printable nor base64 (RFC 2045, section 6.7).
    fn new(message_id: &str) -> Self {
        let hash = blake3::hash(message_id.as_bytes()).to_hex();
        Self { stem: format!("=_lum_{}", hash.get(..24).unwrap_or_default()), count: 0 }
    }

    /// A multipart of `first` and `others`; just `first` when there are no others.
    fn wrap<'a>(
        &mut self,
        media_type: &'static str,
        first: MimePart<'a>,
        others: Vec<MimePart<'a>>,
    ) -> MimePart<'a> {
        if others.is_empty() {
            return first;
        }
        self.count += 1;
        let mut content_type = ContentType::new(media_type);
        if media_type == "multipart/related" {
            content_type = content_type.attribute("type", "text/html");
        }
        let boundary = format!("{}_{}", self.stem, self.count);
        let parts: Vec<_> = std::iter::once(first).chain(others).collect();
        MimePart::new(content_type.attribute("boundary", boundary), BodyPart::Multipart(parts))
    }
}

fn text_part<'a>(media_type: &'static str, text: &'a str) -> Result<MimePart<'a>, ComposeError> {
    if text.contains('\0') {
        return Err(ComposeError::Nul);
    }
    Ok(MimePart::new(media_type, BodyPart::Text(crlf(text))))
}

/// The text with every line end as CRLF; a lone CR is a line end too.
fn crlf(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let is_clean = memchr::memchr2_iter(b'\r', b'\n', bytes).all(|at| {
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        match bytes.get(at) {
            Some(b'\r') => bytes.get(at + 1) == Some(&b'\n'),
            _ => before == Some(&b'\r'),
        }
    });
    if is_clean {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + text.len() / 16);
    let mut rest = text;
    while let Some(at) = memchr::memchr2(b'\r', b'\n', rest.as_bytes()) {
        let (line, end) = rest.split_at(at);
        clean.push_str(line);
        clean.push_str("\r\n");
        rest = end.strip_prefix("\r\n").or_else(|| end.get(1..)).unwrap_or_default();
    }
    clean.push_str(rest);
    Cow::Owned(clean)
}

/// A file, always base64: it arrives byte for byte. Its media type is written raw, for that is
/// what makes mail-builder encode text files like any others.
fn file_part(file: &Attachment, inline: bool) -> Result<MimePart<'_>, ComposeError> {
    let kind = if inline { "inline" } else { "attachment" };
    let disposition = format!("{kind}{}", filename_parameter(one_line(&file.filename)?));
    let mut headers: Vec<(Cow<'_, str>, HeaderType<'_>)> = vec![
        ("Content-Type".into(), Raw::new(media_type(&file.content_type)).into()),
        ("Content-Disposition".into(), Raw::new(disposition).into()),
    ];
    if let Some(content_id) = &file.content_id {
        let bare = content_id.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
        let content_id = id(bare.unwrap_or(content_id))?;
        headers.push(("Content-ID".into(), MessageId::new(content_id).into()));
    }
    Ok(MimePart { headers, contents: BodyPart::Binary(Cow::Borrowed(&file.bytes)) })
}

/// The name of a file as a parameter: quoted when it is short and plain, otherwise percent-encoded
/// in sections (RFC 2231). Readers differ in how they take a quoted string that is folded, so
/// none ever is.
fn filename_parameter(name: &str) -> String {
    if name.is_empty() {
        return String::new();
    }
    let plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    let is_plain = name.len() <= SECTION_OCTETS && name.bytes().all(plain);
    if is_plain && name.trim() == name && !name.contains("=?") {
        // Folded before, it is short enough not to be folded within.
        let fold = if name.len() > FILENAME_BESIDE_OCTETS { "\r\n" } else { "" };
        return format!(";{fold} filename=\"{name}\"");
    }
    let mut sections = vec![String::from("UTF-8''")];
    for character in name.chars() {
        let encoded = percent_encoded(character);
        match sections.last_mut() {
            Some(section) if section.len() + encoded.len() <= SECTION_OCTETS => {
                section.push_str(&encoded);
            }
            _ => sections.push(encoded),
        }
    }
    if let [only] = sections.as_slice() {
        return format!("; filename*={only}");
    }
    let numbered = sections.iter().enumerate();
    let parameters: Vec<String> =
        numbered.map(|(number, section)| format!("; filename*{number}*={section}")).collect();
    parameters.concat()
}

fn percent_encoded(character: char) -> String {
    if character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_') {
        return character.to_string();
    }
    let mut octets = [0; 4];
    let octets = character.encode_utf8(&mut octets).bytes();
    let encoded: Vec<String> = octets.map(|octet| format!("%{octet:02X}")).collect();
    encoded.concat()
}

/// The media type with its well-formed parameters, or [`OPAQUE`].
fn media_type(text: &str) -> Cow<'_, str> {
    let is_token = |text: &str| {
        let allowed = |byte: u8| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&byte);
        !text.is_empty() && text.bytes().all(allowed)
    };
    let mut parts = text.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let well_formed = essence.len() <= MAX_MEDIA_TYPE_OCTETS
        && essence
            .split_once('/')
            .is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype));
    if !well_formed || essence.starts_with("multipart/") || essence.starts_with("message/") {
        return Cow::Borrowed(OPAQUE);
    }
    let mut media_type = essence;
    for parameter in parts {
        let Some((name, value)) = parameter.split_once('=') else { continue };
        let bare = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let value = bare.unwrap_or(value);
        let plain =
            value.bytes().all(|byte| matches!(byte, b' '..=b'~' if byte != b'"' && byte != b'\\'));
        let fits = media_type.len() + parameter.len() < 2 * MAX_MEDIA_TYPE_OCTETS;
        // The name of the file stands in Content-Disposition.
        if is_token(name) && plain && fits && !name.eq_ignore_ascii_case("name") {
            media_type.push_str("; ");
            media_type.push_str(name);
            media_type.push_str("=\"");
            media_type.push_str(value);
            media_type.push('"');
        }
    }
    Cow::Owned(media_type)
}
