//! Whole messages: composed, and read back by a reader that others wrote.

use std::collections::BTreeMap;

use model::{
    address::Mailbox,
    content::{Attachment, Body, Head, Recipient, RecipientKind},
};

use super::readback;
use crate::fields::parts;

pub(super) const WORDS: &[&str] = &[
    "sSubject",
    "fAcme <shop@acme.example>",
    "tAda <ada@example.com>",
    "cBob <bob@example.com>",
    "b<eve@example.com>",
    "rhelp@acme.example",
    "xX-Kind: a",
    "Tthe text",
    "H<p>the HTML",
    "aname.txt\ntext/plain\n\n",
    "aimage.png\nimage/png\nlogo\n",
    "uhttps://acme.example/u/1",
    "\r\n",
    "\r",
    "\n.\n",
    "\r\n.\r\n",
    "=",
    " \n",
    "--=_lum_",
    "\u{e9}",
];

/// Each field begins with what it is: `s`ubject, `f`rom, `t`o, `c`c, `b`cc, `r`eply-to, e`x`tra
/// header, `T`ext, `H`TML, `a`ttachment (name, media type, id and octets in lines), `u`nsubscribe.
pub(super) fn run(octets: &[u8]) {
    let mut head = Head {
        from: Mailbox::parse("shop@acme.example").unwrap(),
        recipients: Vec::new(),
        reply_to: Vec::new(),
        subject: String::new(),
        metadata: BTreeMap::new(),
        reply_key: [0; 32],
    };
    let mut body = Body::default();
    let mut unsubscribe = None;
    for field in parts(octets) {
        let Some((kind, value)) = field.split_first() else { continue };
        let text = || String::from_utf8_lossy(value).into_owned();
        let mailbox = || Mailbox::parse(&String::from_utf8_lossy(value)).ok();
        let recipient = |kind| mailbox().map(|mailbox| Recipient { kind, mailbox });
        match kind {
            b's' => head.subject = text(),
            b'f' => head.from = mailbox().unwrap_or(head.from),
            b't' => head.recipients.extend(recipient(RecipientKind::To)),
            b'c' => head.recipients.extend(recipient(RecipientKind::Cc)),
            b'b' => head.recipients.extend(recipient(RecipientKind::Bcc)),
            b'r' => head.reply_to.extend(mailbox()),
            b'x' => {
                let text = text();
                let (name, value) = text.split_once(':').unwrap_or((&text, ""));
                body.headers.push((name.to_owned(), value.to_owned()));
            }
            b'T' => body.text = Some(text()),
            b'H' => body.html = Some(text()),
            b'a' => body.attachments.extend(attachment(value)),
            b'u' => unsubscribe = Some(text()),
            _ => {}
        }
    }
    readback::check(&head, &body, unsubscribe.as_deref());
    let bytes = body.to_bytes();
    assert!(Body::from_bytes(&bytes).is_ok_and(|again| again == body), "the record of the body");
    assert!(Head::from_bytes(&head.to_bytes()).is_ok_and(|again| again == head), "of the head");
}

fn attachment(value: &[u8]) -> Option<Attachment> {
    let mut lines = value.splitn(4, |octet| *octet == b'\n');
    let mut text = || Some(String::from_utf8_lossy(lines.next()?).into_owned());
    let (filename, content_type, id) = (text()?, text()?, text()?);
    let content_id = (!id.is_empty()).then_some(id);
    Some(Attachment { filename, content_type, content_id, bytes: lines.next()?.to_vec() })
}
