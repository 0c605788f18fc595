//! Header fields: folding (RFC 5322, section 2.2.3) and encoded words (RFC 2047).

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use model::address::Mailbox;

/// A line is folded before it grows longer: the limit of lines with encoded words (RFC 2047,
/// section 2), which is below the recommended 78 of all lines.
const LINE_OCTETS: usize = 76;
/// A longer word is encoded, for only then it can be divided: no line may pass 998 octets.
const LONGEST_PLAIN_WORD: usize = 800;
/// Longest encoded word: the standard allows 75, but a whole word must fit behind `Subject: `.
const ENCODED_WORD_OCTETS: usize = 64;
const Q_START: &str = "=?utf-8?Q?";
const B_START: &str = "=?utf-8?B?";
const WORD_END: &str = "?=";

/// A header field that is being written. Its line ends when it is dropped.
pub(super) struct Field<'a> {
    out: &'a mut Vec<u8>,
    column: usize,
    is_empty: bool,
}

impl Drop for Field<'_> {
    fn drop(&mut self) {
        self.out.extend_from_slice(b"\r\n");
    }
}

impl<'a> Field<'a> {
    /// Writes the name, which must be a token.
    pub(super) fn start(out: &'a mut Vec<u8>, name: &str) -> Self {
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        Self { out, column: name.len() + 1, is_empty: true }
    }

    /// Text that reads back as it is, blanks included.
    pub(super) fn exactly(mut self, text: &str) {
        // Readers trim blanks at the ends and squeeze those at a fold.
        if text.starts_with(' ') || text.ends_with(' ') || text.contains("  ") {
            self.encoded(text);
        } else {
            self.words(text);
        }
    }

    /// Words whose number of blanks between them means nothing. Only words that cannot stand as
    /// they are become encoded, so that a list of addresses or links stays one.
    pub(super) fn loosely(mut self, text: &str) {
        let words: Vec<&str> = text.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
        self.words(&words.join(" "));
    }

    /// Words parted by single blanks.
    fn words(&mut self, text: &str) {
        // Blanks between two encoded words vanish when they are decoded, so the blanks between
        // words that need encoding are encoded with them.
        let mut to_encode = String::new();
        for word in text.split(' ').filter(|word| !word.is_empty()) {
            if is_plain(word) {
                self.encoded(&std::mem::take(&mut to_encode));
                self.atom(word);
            } else {
                if !to_encode.is_empty() {
                    to_encode.push(' ');
                }
                to_encode.push_str(word);
            }
        }
        self.encoded(&to_encode);
    }

    /// Words that need no encoding, parted by single blanks.
    pub(super) fn atoms(mut self, words: &str) {
        for word in words.split(' ') {
            self.atom(word);
        }
    }

    /// Addresses with their names (RFC 5322, section 3.4).
    pub(super) fn mailboxes<'m>(mut self, mailboxes: impl IntoIterator<Item = &'m Mailbox>) {
        let mut mailboxes = mailboxes.into_iter().peekable();
        while let Some(mailbox) = mailboxes.next() {
            if let Some(name) = &mailbox.name {
                self.phrase(name.as_str());
            }
            let comma = if mailboxes.peek().is_some() { "," } else { "" };
            self.atom(&format!("<{}>{comma}", mailbox.email));
        }
    }

    /// A display name: plain words, a quoted string or encoded words.
    fn phrase(&mut self, name: &str) {
        let printable = name.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if !printable || name.contains("=?") || name.contains("  ") {
            return self.encoded(name);
        }
        let is_atext =
            |byte: u8| byte.is_ascii_alphanumeric() || b" !#$%&'*+-/=?^_`{|}~".contains(&byte);
        let name = if name.bytes().all(is_atext) {
            Cow::Borrowed(name)
        } else {
            let inside = name.replace('\\', "\\\\").replace('"', "\\\"");
            Cow::Owned(format!("\"{inside}\""))
        };
        // The blanks of a quoted string may be folded at like any others.
        for word in name.split(' ') {
            self.atom(word);
        }
    }

    /// What cannot be divided, after a blank, on a new line if it would not fit.
    fn atom(&mut self, atom: &str) {
        if !self.is_empty && self.column + 1 + atom.len() > LINE_OCTETS {
            self.out.extend_from_slice(b"\r\n");
            self.column = 0;
        }
        self.out.push(b' ');
        self.out.extend_from_slice(atom.as_bytes());
        self.column += 1 + atom.len();
        self.is_empty = false;
    }

    /// Encoded words, in the shorter of the two encodings.
    fn encoded(&mut self, text: &str) {
        let q_len: usize = text.bytes().map(q_octets).sum();
        let use_q = q_len <= text.len().div_ceil(3) * 4;
        let room = ENCODED_WORD_OCTETS - Q_START.len() - WORD_END.len();
        let mut rest = text;
        while !rest.is_empty() {
            let (part, after) = rest.split_at(fitting(rest, room, use_q));
            let word = if use_q {
                format!("{Q_START}{}{WORD_END}", q_encoded(part))
            } else {
                format!("{B_START}{}{WORD_END}", STANDARD.encode(part))
            };
            self.atom(&word);
            rest = after;
        }
    }
}

/// Whether a word can stand as it is.
fn is_plain(word: &str) -> bool {
    word.len() <= LONGEST_PLAIN_WORD
        && word.bytes().all(|byte| byte.is_ascii_graphic())
        && !word.contains("=?")
}

/// How many octets of `text` fit into an encoded word with `room` for them; characters are never
/// divided (RFC 2047, section 5).
fn fitting(text: &str, room: usize, use_q: bool) -> usize {
    let mut taken = 0;
    let mut q_len = 0;
    for character in text.chars() {
        let mut octets = [0; 4];
        let octets = character.encode_utf8(&mut octets).as_bytes();
        q_len += octets.iter().copied().map(q_octets).sum::<usize>();
        let len = if use_q { q_len } else { (taken + octets.len()).div_ceil(3) * 4 };
        if len > room {
            break;
        }
        taken += octets.len();
    }
    taken
}

/// The octets that may stand for themselves even in a display name (RFC 2047, section 5, rule 3).
const fn is_q_literal(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'!' | b'*' | b'+' | b'-' | b'/')
}

const fn q_octets(octet: u8) -> usize {
    if is_q_literal(octet) || octet == b' ' { 1 } else { 3 }
}

fn q_encoded(text: &str) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('0').to_ascii_uppercase();
    let mut encoded = String::with_capacity(text.len() * 3);
    for octet in text.bytes() {
        match octet {
            b' ' => encoded.push('_'),
            literal if is_q_literal(literal) => encoded.push(char::from(literal)),
            other => encoded.extend(['=', digit(other >> 4), digit(other & 15)]),
        }
    }
    encoded
}
