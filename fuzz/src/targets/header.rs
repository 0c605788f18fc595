//! Header fields: folding, encoded words, names.

use std::collections::BTreeMap;

use model::{
    address::{DisplayName, EmailAddress, Mailbox},
    content::{Body, Head, Recipient, RecipientKind},
};

use super::readback;
use crate::fields::texts;

/// Fields: the subject, the name shown, then name and value of extra fields by turns.
pub(super) fn run(octets: &[u8]) {
    let mut fields = texts(octets);
    let subject = fields.next().unwrap_or_default();
    let name = DisplayName::parse(&fields.next().unwrap_or_default()).unwrap_or_default();
    let email = EmailAddress::parse("ada@example.com").unwrap();
    let mailbox = Mailbox { email, name };
    let mut headers = Vec::new();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        headers.push((name, value));
    }
    let head = Head {
        from: mailbox.clone(),
        recipients: vec![Recipient { kind: RecipientKind::To, mailbox }],
        reply_to: Vec::new(),
        subject,
        metadata: BTreeMap::new(),
        reply_key: [0; 32],
    };
    let body = Body { text: Some("hello".to_owned()), headers, ..Body::default() };
    readback::check(&head, &body, None);
}
