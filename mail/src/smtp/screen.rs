//! The last gate: what may leave, and how it looks on the wire (RFC 5321, section 4.5.2).
//!
//! # Why
//! The composer writes clean messages. This looks again, for a bare CR or LF that gets through
//! once lets whoever wrote the content write commands to the receiver (SMTP smuggling,
//! CVE-2023-51764). The scan costs about a nanosecond for three octets and finds on its way what
//! MAIL needs to know.

/// Longest line without its CRLF, in octets (RFC 5322, section 2.1.1).
const MAX_LINE_OCTETS: usize = 998;

/// The message has a NUL, a CR or LF that is not a CRLF, or a line that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unsendable;

/// A message that may leave.
#[derive(Debug, Clone, Copy)]
pub(super) struct Screened<'a> {
    parts: &'a [&'a [u8]],
    /// Size in the sense of RFC 1870: with every CRLF, the last one included, without stuffing.
    pub(super) octets: usize,
    /// Whether it can leave without 8BITMIME.
    pub(super) is_ascii: bool,
    has_dots: bool,
    ends_line: bool,
}

/// Looks at the parts as at one message.
pub(super) fn screen<'a>(parts: &'a [&'a [u8]]) -> Result<Screened<'a>, Unsendable> {
    let (mut offset, mut line_start) = (0_usize, 0_usize);
    let mut carriage_return = None;
    let mut has_dots = false;
    for part in parts {
        has_dots |= line_start == offset && part.first() == Some(&b'.');
        for at in memchr::memchr3_iter(b'\r', b'\n', 0, part) {
            let position = offset + at;
            match part.get(at) {
                Some(b'\r') if carriage_return.is_none() => carriage_return = Some(position),
                Some(b'\n') if carriage_return.is_some_and(|cr| cr + 1 == position) => {
                    carriage_return = None;
                    if position - 1 - line_start > MAX_LINE_OCTETS {
                        return Err(Unsendable);
                    }
                    line_start = position + 1;
                    has_dots |= part.get(at + 1) == Some(&b'.');
                }
                _ => return Err(Unsendable),
            }
        }
        offset += part.len();
    }
    if carriage_return.is_some() || offset - line_start > MAX_LINE_OCTETS {
        return Err(Unsendable);
    }
    let ends_line = line_start == offset;
    let octets = if ends_line { offset } else { offset + 2 };
    let is_ascii = parts.iter().all(|part| part.is_ascii());
    Ok(Screened { parts, octets, is_ascii, has_dots, ends_line })
}

impl<'a> Screened<'a> {
    /// The message in blocks of at most `octets` before stuffing, each with whether it starts a
    /// line.
    pub(super) fn blocks(&self, octets: usize) -> impl Iterator<Item = (&'a [u8], bool)> {
        let mut starts_line = true;
        self.parts.iter().flat_map(move |part| part.chunks(octets)).map(move |block| {
            let this = (block, starts_line);
            starts_line = block.last() == Some(&b'\n');
            this
        })
    }

    /// Appends a block with its dots doubled.
    pub(super) fn stuff(&self, (block, starts_line): (&[u8], bool), out: &mut Vec<u8>) {
        if !self.has_dots {
            out.extend_from_slice(block);
            return;
        }
        if starts_line && block.first() == Some(&b'.') {
            out.push(b'.');
        }
        let mut start = 0;
        for at in memchr::memmem::find_iter(block, b"\n.") {
            out.extend_from_slice(block.get(start..=at).unwrap_or_default());
            out.push(b'.');
            start = at + 1;
        }
        out.extend_from_slice(block.get(start..).unwrap_or_default());
    }

    /// What ends it: the final dot, on a line of its own without an empty one before it.
    pub(super) const fn end(&self) -> &'static [u8] {
        if self.ends_line { b".\r\n" } else { b"\r\n.\r\n" }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn on_the_wire(parts: &[&[u8]], block: usize) -> Vec<u8> {
        let screened = screen(parts).unwrap();
        let mut out = Vec::new();
        for block in screened.blocks(block) {
            screened.stuff(block, &mut out);
        }
        out.extend_from_slice(screened.end());
        out
    }

    #[test]
    fn dots_are_doubled_and_no_empty_line_is_added() {
        for (message, wire) in [
            (&b""[..], &b".\r\n"[..]),
            (b"a\r\n", b"a\r\n.\r\n"),
            (b"a", b"a\r\n.\r\n"),
            (b".", b"..\r\n.\r\n"),
            (b".\r\n..\r\na.\r\n.b\r\n", b"..\r\n...\r\na.\r\n..b\r\n.\r\n"),
            (b"\r\n\r\n", b"\r\n\r\n.\r\n"),
        ] {
            assert_eq!(on_the_wire(&[message], 1024), wire, "{message:?}");
            for block in 1..5 {
                assert_eq!(
                    on_the_wire(&[message], block),
                    wire,
                    "{message:?} in blocks of {block}"
                );
            }
            for cut in 0..=message.len() {
                let (one, two) = message.split_at(cut);
                assert_eq!(on_the_wire(&[one, b"", two], 1024), wire, "{message:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn smuggling_and_long_lines_stay_here() {
        let long = [&[b'x'; MAX_LINE_OCTETS + 1][..], b"\r\n"].concat();
        for message in [
            &b"a\nb\r\n"[..],
            b"a\rb\r\n",
            b"a\r\r\n",
            b"a\r",
            b"\n.\r\n",
            b"\r\n.\n",
            b"\r.\r\n",
            b"a\0b",
            &long,
            &long[..=MAX_LINE_OCTETS],
        ] {
            for cut in 0..=message.len() {
                let (one, two) = message.split_at(cut);
                assert!(screen(&[one, two]).is_err(), "{message:?} cut at {cut}");
            }
        }
        assert!(screen(&[&long[1..]]).is_ok());
    }

    #[test]
    fn size_and_octets_are_told() {
        let parts = [&b"a\r\n"[..], "é".as_bytes()];
        let screened = screen(&parts).unwrap();
        assert_eq!((screened.octets, screened.is_ascii), (7, false));
    }

    proptest! {
        #[test]
        fn a_receiver_reads_back_what_was_sent(
            lines in proptest::collection::vec("[.a]{0,4}", 0..12), block in 1_usize..9, cut in 0_usize..40
        ) {
            let message = lines.iter().flat_map(|line| [line.as_str(), "\r\n"]).collect::<String>();
            let (one, two) = message.as_bytes().split_at(cut.min(message.len()));
            let wire = String::from_utf8(on_the_wire(&[one, two], block)).unwrap();
            let mut read = String::new();
            for line in wire.strip_suffix(".\r\n").unwrap().split_inclusive("\r\n") {
                prop_assert_ne!(line, ".\r\n");
                read.push_str(line.strip_prefix('.').unwrap_or(line));
            }
            prop_assert_eq!(read, message);
        }
    }
}
