//! Replies (RFC 5321, section 4.2): read strictly, kept as text that can be shown.

use model::delivery::{EnhancedCode, MAX_REPLY_OCTETS, Reply};

/// Longest line of a reply, in octets; RFC 5321 allows 512.
pub(super) const MAX_LINE_OCTETS: usize = 2 * 1024;
/// Most lines of one reply.
const MAX_LINES: usize = 128;
/// Most octets of one reply.
const MAX_OCTETS: usize = 64 * 1024;

/// The peer's octets are not a reply, or an endless one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotAReply;

/// A whole reply as it came: the code, and the lines without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lines {
    pub(super) code: u16,
    /// The texts, a line feed between them: it occurs in none.
    text: Vec<u8>,
}

/// The lines of a reply that were read so far.
#[derive(Debug, Default)]
pub(super) struct Partial {
    code: Option<u16>,
    text: Vec<u8>,
    lines: usize,
    octets: usize,
}

impl Partial {
    /// Takes one line without its end; gives the reply when it was the last one.
    pub(super) fn take(&mut self, line: &[u8]) -> Result<Option<Lines>, NotAReply> {
        self.lines += 1;
        self.octets += line.len();
        if line.len() > MAX_LINE_OCTETS || self.lines > MAX_LINES || self.octets > MAX_OCTETS {
            return Err(NotAReply);
        }
        let (code, rest) = line.split_first_chunk::<3>().ok_or(NotAReply)?;
        let code = read_code(*code).ok_or(NotAReply)?;
        if self.code.is_some_and(|first| first != code) {
            return Err(NotAReply);
        }
        let (is_last, text) = match rest.split_first() {
            None => (true, rest),
            Some((b' ', text)) => (true, text),
            Some((b'-', text)) => (false, text),
            Some(_) => return Err(NotAReply),
        };
        if self.code.replace(code).is_some() {
            self.text.push(b'\n');
        }
        self.text.extend_from_slice(text);
        Ok(is_last.then(|| Lines { code, text: std::mem::take(&mut self.text) }))
    }
}

/// `2` to `5`, and two more digits.
fn read_code(digits: [u8; 3]) -> Option<u16> {
    let [first, second, third] = digits;
    let well_formed =
        matches!(first, b'2'..=b'5') && second.is_ascii_digit() && third.is_ascii_digit();
    let value = |digit: u8| u16::from(digit - b'0');
    well_formed.then(|| value(first) * 100 + value(second) * 10 + value(third))
}

impl Lines {
    /// The text of each line.
    pub(super) fn texts(&self) -> impl Iterator<Item = &[u8]> {
        self.text.split(|byte| *byte == b'\n')
    }

    /// Whether the code is of this class: 2, 3, 4 or 5.
    pub(super) const fn is_class(&self, class: u16) -> bool {
        self.code / 100 == class
    }

    /// The reply for people and rules: enhanced code apart, text in one line without characters
    /// that do something to a terminal, a log or a page's direction.
    pub(super) fn to_reply(&self) -> Reply {
        let mut enhanced = None;
        let mut text = String::new();
        for line in self.texts() {
            let line = String::from_utf8_lossy(line);
            let line = line.trim_start();
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            let code = EnhancedCode::parse(word);
            let shown = match (code, enhanced) {
                (Some(code), None) => {
                    enhanced = Some(code);
                    rest
                }
                (Some(code), Some(first)) if code == first => rest,
                _ => line,
            };
            append_printable(&mut text, shown);
            if text.len() >= MAX_REPLY_OCTETS {
                break;
            }
        }
        text.truncate(text.floor_char_boundary(MAX_REPLY_OCTETS));
        text.truncate(text.trim_end().len());
        Reply { code: self.code, enhanced, text }
    }

    /// A reply with these lines.
    #[cfg(test)]
    pub(super) fn of(code: u16, lines: &[&str]) -> Self {
        Self { code, text: lines.join("\n").into_bytes() }
    }
}

/// Appends words with single spaces between them.
fn append_printable(text: &mut String, line: &str) {
    let mut gap = !text.is_empty();
    for character in line.chars() {
        if is_blank(character) {
            gap = !text.is_empty();
        } else {
            if gap {
                text.push(' ');
                gap = false;
            }
            text.push(character);
        }
    }
}

/// White space, controls, and what shows nothing or turns the direction of what follows.
fn is_blank(character: char) -> bool {
    character.is_control()
        || character.is_whitespace()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(lines: &[&[u8]]) -> Result<Option<Lines>, NotAReply> {
        let mut partial = Partial::default();
        let mut last = Ok(None);
        for line in lines {
            last = partial.take(line);
            if !matches!(last, Ok(None)) {
                break;
            }
        }
        last
    }

    fn reply(lines: &[&[u8]]) -> Reply {
        read(lines).unwrap().unwrap().to_reply()
    }

    #[test]
    fn codes_and_texts_are_told_apart() {
        let one = reply(&[b"550 5.1.1 <a@b.example>: no such user"]);
        assert_eq!((one.code, one.text.as_str()), (550, "<a@b.example>: no such user"));
        assert_eq!(one.enhanced.unwrap().to_string(), "5.1.1");
        let two = reply(&[b"550-5.7.26 first", b"550-5.7.26 second", b"550 5.7.26 third"]);
        assert_eq!(two.text, "first second third");
        let bare = reply(&[b"250"]);
        assert_eq!((bare.code, bare.enhanced, bare.text.as_str()), (250, None, ""));
        let none = reply(&[b"250 2.0 is no code"]);
        assert_eq!((none.enhanced, none.text.as_str()), (None, "2.0 is no code"));
    }

    #[test]
    fn text_is_harmless_and_bounded() {
        let text = reply(&[b"550 5.0.0 \x1b[31mred\x07\r \xff\xe2\x80\xae end\t\x00 "]).text;
        assert_eq!(text, "[31mred \u{fffd} end");
        let long = [b"550 ", "é".repeat(900).as_bytes()].concat();
        let text = reply(&[&long]).text;
        assert!(text.len() <= MAX_REPLY_OCTETS && text.starts_with('é'));
    }

    #[test]
    fn what_is_not_a_reply_is_refused() {
        for lines in [
            &[&b""[..]][..],
            &[b"25"],
            &[b"abc def"],
            &[b"150 preliminary replies are no SMTP"],
            &[b"650 x"],
            &[b"250x"],
            &[b"\xb2\xb5\xb0 x"],
            &[b"250-one", b"550 other"],
            &[b"250-one", b"two"],
        ] {
            assert_eq!(read(lines), Err(NotAReply), "{lines:?}");
        }
    }

    #[test]
    fn endless_replies_end() {
        let endless: Vec<&[u8]> = vec![b"250-again"; MAX_LINES + 1];
        assert_eq!(read(&endless), Err(NotAReply));
        let wide = [&b"250-"[..], &[b'x'; MAX_LINE_OCTETS - 4]].concat();
        let heavy: Vec<&[u8]> = vec![&wide; MAX_OCTETS / MAX_LINE_OCTETS + 1];
        assert_eq!(read(&heavy), Err(NotAReply));
    }

    proptest! {
        #[test]
        fn any_octets_give_a_reply_or_none(
            lines in proptest::collection::vec(
                ("[2-5][0-9]{2}[ -]", proptest::collection::vec(any::<u8>(), 0..600)), 1..5)
        ) {
            let mut partial = Partial::default();
            for (code, rest) in &lines {
                if let Ok(Some(whole)) = partial.take(&[code.as_bytes(), rest].concat()) {
                    let text = whole.to_reply().text;
                    prop_assert!(text.len() <= MAX_REPLY_OCTETS);
                    prop_assert!(!text.contains(|c: char| c != ' ' && is_blank(c)));
                    break;
                }
            }
        }
    }
}
