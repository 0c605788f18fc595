//! Messages of every shape, with fixed dates and ids: the golden corpus.

use std::collections::BTreeMap;

use model::{
    Timestamp,
    address::Mailbox,
    content::{Attachment, Body, Head, Recipient, RecipientKind},
};

/// One message of the corpus.
pub struct Shape {
    /// Its name, and that of its golden file.
    pub name: &'static str,
    /// Who and about what.
    pub head: Head,
    /// What is sent.
    pub body: Body,
}

/// The Message-ID of a shape.
pub fn message_id(name: &str) -> String {
    format!("{name}@mail.acme.example")
}

/// When all of them were written: 2026-11-23T10:00:00Z.
pub const DATE: Timestamp = Timestamp::from_millis(1_795_428_000_123);

/// The message of a shape.
pub fn composed(shape: &Shape) -> mail::compose::Composed {
    let message_id = message_id(shape.name);
    mail::compose::compose(&mail::compose::Outgoing {
        head: &shape.head,
        body: &shape.body,
        message_id: &message_id,
        date: DATE,
        unsubscribe: None,
    })
    .expect("the corpus holds only messages")
}

/// A recipient.
pub fn recipient(kind: RecipientKind, mailbox: &str) -> Recipient {
    Recipient { kind, mailbox: Mailbox::parse(mailbox).expect("a mailbox") }
}

/// A small head to one person.
pub fn head(subject: &str) -> Head {
    Head {
        from: Mailbox::parse("Acme Shop <shop@mail.acme.example>").expect("a mailbox"),
        recipients: vec![recipient(RecipientKind::To, "ada@example.com")],
        reply_to: vec![],
        subject: subject.into(),
        metadata: BTreeMap::new(),
        reply_key: [0; 32],
    }
}

/// A file.
pub fn file(name: &str, content_type: &str, content_id: Option<&str>, bytes: &[u8]) -> Attachment {
    Attachment {
        filename: name.into(),
        content_type: content_type.into(),
        content_id: content_id.map(Into::into),
        bytes: bytes.to_vec(),
    }
}

fn text(text: &str) -> Body {
    Body { text: Some(text.into()), ..Body::default() }
}

/// The corpus.
pub fn shapes() -> Vec<Shape> {
    let mut shapes = plain_shapes();
    shapes.extend(structured_shapes());
    shapes.extend(header_shapes());
    shapes
}

fn plain_shapes() -> Vec<Shape> {
    let long_line = "all work and no play makes jack a dull boy ".repeat(60);
    [
        ("text", "Your order", "Hello Ada,\n\nyour order is on its way.\n"),
        ("text-empty", "Empty", ""),
        ("text-no-final-line-end", "Ends abruptly", "the last line"),
        ("text-blank-lines-only", "Blank lines", "\n\n\r\n\n"),
        ("text-blank-lines-with-blanks", "Blanks", "hello\n \n\t\n   \n"),
        ("text-trailing-blanks", "Trailing", "one  \ntwo\t\nthree \t \n"),
        ("text-inner-blanks", "Inner", "a  b\t\tc   d\n  indented\n"),
        ("text-mixed-line-ends", "Line ends", "unix\nmac\rwindows\r\nboth\n\rend"),
        ("text-dots", "Dots", ".\n..\n.hidden\nFrom here\n.\n"),
        ("text-long-line", "Long", &long_line),
        ("text-one-long-word", "Word", &"x".repeat(5_000)),
        ("text-latin", "Grüße", "Schöne Grüße aus Köln\n"),
        (
            "text-japanese",
            "ご注文ありがとうございます",
            "ご注文ありがとうございます。\n".repeat(5).as_str(),
        ),
        ("text-equals", "=", "a=b==c=3D\n=20\n"),
        ("text-control", "Bell", "\u{7}bell \u{1b}[31mred\u{c}\n"),
    ]
    .into_iter()
    .map(|(name, subject, body)| Shape { name, head: head(subject), body: text(body) })
    .collect()
}

fn structured_shapes() -> Vec<Shape> {
    let png = [0x89, b'P', b'N', b'G', 0, 13, 10, 26, 10, 255];
    let html = "<p>Hello <img src=\"cid:logo@acme\"></p>\n";
    let both = Body { text: Some("Hello\n".into()), html: Some(html.into()), ..Body::default() };
    let logo = file("logo.png", "image/png", Some("logo@acme"), &png);
    let report = file("report.pdf", "application/pdf", None, &[7; 200]);
    let csv = file("täglich, \"alles\".csv", "text/csv; charset=utf-8", None, b"a;b\n1;2 \n\n");
    [
        ("html", Body { html: Some(html.into()), ..Body::default() }),
        ("both", both.clone()),
        ("both-inline", Body { attachments: vec![logo.clone()], ..both.clone() }),
        (
            "both-inline-files",
            Body { attachments: vec![report.clone(), logo.clone(), csv], ..both },
        ),
        ("text-inline-without-html", Body { attachments: vec![logo.clone()], ..text("see\n") }),
        (
            "html-inline",
            Body { html: Some(html.into()), attachments: vec![logo], ..Body::default() },
        ),
        (
            "text-odd-files",
            Body {
                attachments: vec![
                    report,
                    file("mail.eml", "message/rfc822", None, b"From: a\r\n\r\nb"),
                    file("x", "not a type\r\nX-Evil: 1", None, b""),
                    file("", "multipart/mixed; boundary=x", None, b"--x--"),
                ],
                ..text("files\n")
            },
        ),
    ]
    .into_iter()
    .map(|(name, body)| Shape { name, head: head("Parts"), body })
    .collect()
}

fn header_shapes() -> Vec<Shape> {
    let many = Head {
        from: Mailbox::parse("\"Acme, Inc. \\\"Shop\\\"\" <shop@mail.acme.example>").expect("one"),
        recipients: vec![
            recipient(RecipientKind::To, "Ada Lovelace <ada@example.com>"),
            recipient(RecipientKind::To, "\"Müller, Jürgen\" <jm@bücher.example>"),
            recipient(RecipientKind::To, "\"=?utf-8?Q?fake?=\" <fake@example.com>"),
            recipient(RecipientKind::Cc, "李小龍 <bruce@example.com>"),
            recipient(RecipientKind::Bcc, "Secret <secret@example.net>"),
        ],
        reply_to: vec![Mailbox::parse("Hilfe & Unterstützung <help@acme.example>").expect("one")],
        ..head(&format!("{}ein sehr langer Betreff mit Wörtern ", "wirklich ".repeat(12)))
    };
    let hidden = Head {
        recipients: vec![recipient(RecipientKind::Bcc, "secret@example.net")],
        ..head("  spaces   inside  and around ")
    };
    let international = Head {
        recipients: vec![recipient(RecipientKind::To, "用户@例え.example")],
        ..head("=?utf-8?Q?looks_encoded?= but is not")
    };
    let extra = Body {
        headers: vec![
            ("List-Unsubscribe".into(), format!("<https://acme.example/u/{}>", "k".repeat(120))),
            ("List-Unsubscribe-Post".into(), "List-Unsubscribe=One-Click".into()),
            ("X-Note".into(), "caf\u{e9} au lait\tand a tab, ünd möre".into()),
            ("X-Long".into(), "w".repeat(3_000)),
            ("X-Empty".into(), String::new()),
            ("Reply-To".into(), "second@acme.example".into()),
        ],
        ..text("hello\n")
    };
    vec![
        Shape { name: "many-people", head: many.clone(), body: text("hello\n") },
        Shape { name: "extra-headers", head: many, body: extra },
        Shape { name: "bcc-only", head: hidden, body: text("hello\n") },
        Shape { name: "smtputf8", head: international, body: text("hello\n") },
    ]
}
