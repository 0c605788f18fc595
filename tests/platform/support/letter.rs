//! A received message, taken apart as far as the scenarios look.

use std::collections::BTreeMap;

/// Header fields and body.
pub(crate) struct Letter {
    fields: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Letter {
    /// Takes a message apart. Its lines must end in CRLF, and the header must be ASCII.
    pub(crate) fn read(data: &[u8]) -> Self {
        let text = std::str::from_utf8(data).unwrap();
        assert!(!text.replace("\r\n", "").contains(['\r', '\n']), "a bare CR or LF");
        assert!(text.lines().all(|line| line.len() <= 998), "a line above 998 octets");
        let (header, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(header.is_ascii());
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in header.split("\r\n") {
            if line.starts_with([' ', '\t']) {
                let (_, value) = fields.last_mut().unwrap();
                value.push_str(line);
            } else {
                let (name, value) = line.split_once(':').unwrap();
                fields.push((name.to_owned(), value.trim_start().to_owned()));
            }
        }
        Self { fields, body: body.to_owned() }
    }

    /// All fields of this name, unfolded.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let named = self.fields.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// The one field of this name.
    pub(crate) fn field(&self, name: &str) -> &str {
        let found = self.all(name);
        assert_eq!(found.len(), 1, "{name} stands {} times", found.len());
        found[0]
    }

    /// The tags of its only signature (RFC 6376, section 3.5), blanks taken out.
    pub(crate) fn signature(&self) -> BTreeMap<String, String> {
        let mut signatures = self.signatures();
        assert_eq!(signatures.len(), 1, "one signature was to be there");
        signatures.remove(0)
    }

    /// The tags of each signature, in their order.
    pub(crate) fn signatures(&self) -> Vec<BTreeMap<String, String>> {
        self.all("DKIM-Signature").into_iter().map(tags).collect()
    }
}

fn tags(field: &str) -> BTreeMap<String, String> {
    let tags = field.split(';').filter(|tag| !tag.trim().is_empty());
    tags.map(|tag| {
        let (name, value) = tag.split_once('=').unwrap();
        let value = value.split_ascii_whitespace().collect::<String>();
        (name.trim().to_owned(), value)
    })
    .collect()
}
