//! What is hashed of a message: relaxed header fields and relaxed body (RFC 6376, section 3.4).

use aws_lc_rs::digest::{Context, Digest, SHA256};
use mail_auth::dkim::Canonicalization;

/// Canonical text is handed to the hash in pieces of about this size.
const PIECE_OCTETS: usize = 16 * 1_024;

/// A message as far as all its signatures have it in common.
pub(super) struct Message {
    /// The names in `h=`, with `From` once more than it occurs.
    pub(super) signed_names: Vec<String>,
    /// The signed fields, canonical, in the order of the names.
    pub(super) signed_headers: Vec<u8>,
    /// The hash of the canonical body.
    pub(super) body_hash: Digest,
}

impl Message {
    /// Reads a message, of which the fields `names` are to be signed; `None` when it is none.
    pub(super) fn read(message: &[u8], names: &[&str]) -> Option<Self> {
        let (fields, body) = split(message)?;
        let mut signed_names = Vec::with_capacity(names.len() + 1);
        let mut signed = Vec::with_capacity(names.len());
        for name in names {
            // Of several fields of a name the last is signed first (section 5.4.2).
            let named =
                fields.iter().rev().filter(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()));
            for field in named {
                signed_names.push((*name).to_owned());
                signed.push(*field);
            }
        }
        let author = *names.first()?;
        if signed_names.first().map(String::as_str) != Some(author) {
            return None;
        }
        // A name without a field stands for "and no other".
        signed_names.push(author.to_owned());
        let mut signed_headers = Vec::with_capacity(2_048);
        Canonicalization::Relaxed.canonicalize_headers(signed.into_iter(), &mut signed_headers);
        Some(Self { signed_names, signed_headers, body_hash: relaxed_body_hash(body)? })
    }
}

type FieldSlices<'a> = (&'a [u8], &'a [u8]);

/// The header fields, as name and value with its line end, and the body.
fn split(message: &[u8]) -> Option<(Vec<FieldSlices<'_>>, &[u8])> {
    let mut fields = Vec::with_capacity(16);
    let mut rest = message;
    while !rest.starts_with(b"\r\n") {
        let mut end = 0;
        loop {
            let line = rest.get(end..)?;
            let len = memchr::memchr(b'\n', line)? + 1;
            let text = line.get(..len)?.strip_suffix(b"\r\n")?;
            if text.contains(&b'\r') {
                return None;
            }
            end += len;
            if !matches!(rest.get(end), Some(b' ' | b'\t')) {
                break;
            }
        }
        let (field, after) = rest.split_at_checked(end)?;
        let colon = memchr::memchr(b':', field)?;
        let (name, value) = field.split_at_checked(colon)?;
        if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        fields.push((name, value.get(1..)?));
        rest = after;
    }
    Some((fields, rest.get(2..)?))
}

/// Blanks at line ends and empty lines at the end do not count, other runs of blanks count as one,
/// and a body that is not empty ends CRLF. `None` for a bare CR or LF.
fn relaxed_body_hash(body: &[u8]) -> Option<Digest> {
    let mut hash = Context::new(&SHA256);
    let mut piece = Vec::with_capacity(PIECE_OCTETS + 1_024);
    let mut empty_lines = 0_usize;
    let mut rest = body;
    while !rest.is_empty() {
        let (line, after) = match memchr::memchr(b'\n', rest) {
            Some(at) => (rest.get(..at)?.strip_suffix(b"\r")?, rest.get(at + 1..)?),
            None => (rest, [].as_slice()),
        };
        rest = after;
        if memchr::memchr(b'\r', line).is_some() {
            return None;
        }
        let kept = line.iter().rposition(|octet| !is_blank(*octet)).map_or(0, |last| last + 1);
        if kept == 0 {
            empty_lines += 1;
            continue;
        }
        for _ in 0..std::mem::take(&mut empty_lines) {
            push(&mut hash, &mut piece, b"\r\n");
        }
        squeezed(line.get(..kept)?, |part| push(&mut hash, &mut piece, part));
        push(&mut hash, &mut piece, b"\r\n");
    }
    hash.update(&piece);
    Some(hash.finish())
}

fn push(hash: &mut Context, piece: &mut Vec<u8>, part: &[u8]) {
    piece.extend_from_slice(part);
    if piece.len() >= PIECE_OCTETS {
        hash.update(piece);
        piece.clear();
    }
}

/// The line with each run of blanks as one.
fn squeezed(line: &[u8], mut write: impl FnMut(&[u8])) {
    let mut rest = line;
    while let Some(at) = memchr::memchr2(b' ', b'\t', rest) {
        let (word, blanks) = rest.split_at(at);
        write(word);
        write(b" ");
        let run = blanks.iter().take_while(|octet| is_blank(**octet)).count();
        rest = blanks.get(run..).unwrap_or_default();
    }
    write(rest);
}

const fn is_blank(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash_of(canonical: &[u8]) -> Vec<u8> {
        aws_lc_rs::digest::digest(&SHA256, canonical).as_ref().to_vec()
    }

    #[test]
    fn bodies_are_canonicalized_as_the_standard_says() {
        for (body, canonical) in [
            (&b""[..], &b""[..]),
            (b"\r\n", b""),
            (b"\r\n\r\n\r\n", b""),
            (b" \r\n\t \r\n", b""),
            (b"  ", b""),
            (b" C \r\nD \t E\r\n\r\n\r\n", b" C\r\nD E\r\n"),
            (b"a", b"a\r\n"),
            (b"a\r\n \r\n\r\nb  \r\n \t\r\n  ", b"a\r\n\r\n\r\nb\r\n"),
            (b"\t\ta\t\r\n", b" a\r\n"),
            (b"\r\n\r\na\r\n", b"\r\n\r\na\r\n"),
            ("Grüße \u{a0} x\r\n".as_bytes(), "Grüße \u{a0} x\r\n".as_bytes()),
        ] {
            let hash = relaxed_body_hash(body).unwrap();
            assert_eq!(hash.as_ref(), hash_of(canonical), "{:?}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn long_bodies_are_hashed_in_pieces_without_a_seam() {
        let line = "word  word\tword \r\n".repeat(10_000);
        let canonical = "word word word\r\n".repeat(10_000);
        let hash = relaxed_body_hash(line.as_bytes()).unwrap();
        assert_eq!(hash.as_ref(), hash_of(canonical.as_bytes()));
    }

    #[test]
    fn bare_line_ends_and_broken_headers_are_refused() {
        for message in [
            &b""[..],
            b"\r\nbody",
            b"From: a\r\n",
            b"From: a\n\nbody\r\n",
            b"From: a\r\n\r\nbo\ndy\r\n",
            b"From: a\r\n\r\nbo\rdy\r\n",
            b"From: a\r\n\r\nbody\r",
            b"From: a\rb\r\n\r\nbody\r\n",
            b"Fr\xc3\xb6m: a\r\n\r\nbody\r\n",
            b"no colon\r\n\r\nbody\r\n",
            b" From: a\r\n\r\nbody\r\n",
            b"Subject: nobody\r\n\r\nbody\r\n",
        ] {
            assert!(Message::read(message, &["From"]).is_none(), "{message:?}");
        }
        assert!(Message::read(b"From: a\r\n\r\n", &["From"]).is_some());
    }

    #[test]
    fn the_author_is_signed_once_more_and_the_last_field_of_a_name_first() {
        let message = b"To: one\r\nFROM: a\r\nto:  two\r\n\tmore \r\nX: y\r\n\r\n";
        let read = Message::read(message, &["From", "To", "Cc"]).unwrap();
        assert_eq!(read.signed_names, ["From", "To", "To", "From"]);
        assert_eq!(read.signed_headers, b"from:a\r\nto:two more\r\nto:one\r\n");
    }
}
