//! What a server offers in its reply to EHLO (RFC 5321, section 4.1.1.1).

use super::reply::Lines;

/// The service extensions that we use. Keywords are read in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a keyword that is there or is not")]
pub struct Extensions {
    /// `PIPELINING` (RFC 2920).
    pub pipelining: bool,
    /// `8BITMIME` (RFC 6152).
    pub eight_bit_mime: bool,
    /// `SMTPUTF8` (RFC 6531).
    pub smtputf8: bool,
    /// `STARTTLS` (RFC 3207).
    pub starttls: bool,
    /// `SIZE` (RFC 1870).
    pub size: bool,
    /// The largest message that the server takes, in octets, where it says so.
    pub size_limit: Option<u64>,
    /// `AUTH PLAIN` (RFC 4616).
    pub auth_plain: bool,
    /// `AUTH LOGIN`.
    pub auth_login: bool,
}

impl Extensions {
    /// Reads the lines of a reply to EHLO; the first one is the server's name.
    pub(super) fn read(lines: &Lines) -> Self {
        let mut offered = Self::default();
        for line in lines.texts().skip(1) {
            let mut words =
                line.split(|byte| matches!(byte, b' ' | b'\t' | b'=')).filter(|w| !w.is_empty());
            let Some(keyword) = words.next() else { continue };
            match keyword.to_ascii_uppercase().as_slice() {
                b"PIPELINING" => offered.pipelining = true,
                b"8BITMIME" => offered.eight_bit_mime = true,
                b"SMTPUTF8" => offered.smtputf8 = true,
                b"STARTTLS" => offered.starttls = true,
                b"SIZE" => {
                    offered.size = true;
                    offered.size_limit = words.next().and_then(read_limit);
                }
                b"AUTH" => {
                    for mechanism in words {
                        offered.auth_plain |= mechanism.eq_ignore_ascii_case(b"PLAIN");
                        offered.auth_login |= mechanism.eq_ignore_ascii_case(b"LOGIN");
                    }
                }
                _ => {}
            }
        }
        offered
    }

    /// Whether a message of this many octets is above the limit.
    pub fn is_too_large(&self, octets: usize) -> bool {
        let octets = u64::try_from(octets).unwrap_or(u64::MAX);
        self.size_limit.is_some_and(|limit| octets > limit)
    }
}

/// Zero says that there is no fixed limit (RFC 1870, section 3).
fn read_limit(word: &[u8]) -> Option<u64> {
    std::str::from_utf8(word).ok()?.parse().ok().filter(|limit| *limit > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Extensions {
        Extensions::read(&Lines::of(250, lines))
    }

    #[test]
    fn keywords_are_read_in_any_case() {
        let offered = read(&[
            "mx.example",
            "Pipelining",
            "8bitmime",
            "SmtpUtf8",
            "starttls",
            "size 1000",
            "auth=plain LOGIN",
        ]);
        let all = Extensions {
            pipelining: true,
            eight_bit_mime: true,
            smtputf8: true,
            starttls: true,
            size: true,
            size_limit: Some(1000),
            auth_plain: true,
            auth_login: true,
        };
        assert_eq!(offered, all);
        assert!(offered.is_too_large(1001));
        assert!(!offered.is_too_large(1000));
    }

    #[test]
    fn the_servers_name_is_no_keyword_and_odd_limits_are_none() {
        assert_eq!(read(&["STARTTLS"]), Extensions::default());
        for line in ["SIZE", "SIZE 0", "SIZE x", "SIZE -1", "SIZE 99999999999999999999999"] {
            let offered = read(&["mx", line]);
            assert_eq!((offered.size, offered.size_limit), (true, None), "{line}");
            assert!(!offered.is_too_large(usize::MAX), "{line}");
        }
    }
}
