//! Whether a text names an address.

use model::{
    address::EmailAddress,
    content::{Body, Head},
    letter::LetterHead,
};

/// An address in the forms that texts have it in: as it is, and as links do.
pub(crate) struct Needle {
    canonical: String,
    forms: [String; 2],
}

impl Needle {
    pub(crate) fn new(email: &EmailAddress) -> Self {
        let canonical = email.canonical();
        let forms = [canonical.clone(), canonical.replacen('@', "%40", 1)];
        Self { canonical, forms }
    }

    /// Whether a message is to them, from them, or says their address anywhere.
    pub(crate) fn is_in_message(&self, head: &Head, body: &Body) -> bool {
        let people = head.recipients.iter().map(|recipient| &recipient.mailbox);
        let mut people = people.chain([&head.from]).chain(&head.reply_to);
        people.any(|mailbox| mailbox.email.canonical() == self.canonical)
            || self.is_in(&head.subject)
            || head.metadata.iter().any(|(name, value)| self.is_in(name) || self.is_in(value))
            || body.text.iter().chain(&body.html).any(|text| self.is_in(text))
            || body.headers.iter().any(|(_, value)| self.is_in(value))
            || body.attachments.iter().any(|attachment| {
                self.is_in(&attachment.filename)
                    || self.is_in(&String::from_utf8_lossy(&attachment.bytes))
            })
    }

    /// Whether a letter says their address anywhere.
    pub(crate) fn is_in_letter(&self, head: &LetterHead, octets: &[u8]) -> bool {
        head.from.iter().chain(&head.subject).any(|text| self.is_in(text))
            || mail::report::texts(octets).iter().any(|text| self.is_in(text))
    }

    /// Whether the address stands in a text: whole, and not as the end of a longer one.
    pub(crate) fn is_in(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        self.forms.iter().any(|form| {
            text.match_indices(form.as_str()).any(|(start, found)| {
                let before = text.get(..start).and_then(|before| before.chars().next_back());
                let mut after = text.get(start + found.len()..).unwrap_or_default().chars();
                !before.is_some_and(|c| c.is_alphanumeric() || "._+-".contains(c))
                    && match after.next() {
                        Some('.') => !after.next().is_some_and(char::is_alphanumeric),
                        Some(next) => !(next.is_alphanumeric() || next == '-'),
                        None => true,
                    }
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_whole_and_in_any_case() {
        let needle = Needle::new(&EmailAddress::parse("Ada.L@Reader.test").unwrap());
        for text in [
            "ada.l@reader.test",
            "Dear ADA.L@READER.TEST.",
            "<a href='https://x.test/?to=ada.l%40reader.test&x=1'>",
            "mailto:Ada.L@reader.test?subject=x",
            "(ada.l@reader.test)",
        ] {
            assert!(needle.is_in(text), "{text}");
        }
        for text in [
            "",
            "not.ada.l@reader.test",
            "xada.l@reader.test",
            "éada.l@reader.test",
            "ada.l@reader.test.example",
            "ada.l@reader.testing",
            "ada.l@reader.test-site",
            "ada.l@ reader.test",
        ] {
            assert!(!needle.is_in(text), "{text}");
        }
    }
}
