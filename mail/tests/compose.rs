//! Composed messages: golden files, and an independent parser that reads them back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests fail loudly"
)]

#[path = "support/shapes.rs"]
#[allow(unreachable_pub, reason = "shared with other tests")]
mod shapes;

use std::{fs, path::Path};

use mail::compose::{ComposeError, Outgoing, compose};
use mail_parser::{MessageParser, MimeHeaders, PartType};
use model::{
    address::{DisplayName, Mailbox},
    content::{Body, Head, RecipientKind},
};
use proptest::prelude::*;
use shapes::{DATE, composed, file, head, recipient, shapes};

#[test]
fn messages_are_byte_for_byte_the_golden_ones() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    for shape in shapes() {
        let path = folder.join(format!("{}.eml", shape.name));
        let bytes = composed(&shape).bytes;
        if update {
            fs::write(&path, &bytes).unwrap();
        }
        let golden = fs::read(&path).unwrap_or_default();
        assert!(
            golden == bytes,
            "{} differs from its golden file; UPDATE_GOLDEN=1 writes it anew:\n{}",
            shape.name,
            String::from_utf8_lossy(&bytes)
        );
    }
}

/// What holds for every message.
fn assert_well_formed(bytes: &[u8], is_7bit: bool) {
    assert!(bytes.ends_with(b"\r\n"));
    let text = String::from_utf8_lossy(bytes);
    assert!(!bytes.contains(&0));
    for line in text.split("\r\n") {
        assert!(!line.contains(['\r', '\n']), "a bare line end in {line:?}");
        assert!(line.len() <= 998, "a line of {} octets", line.len());
        assert!(!line.ends_with([' ', '\t']), "a trailing blank in {line:?}");
    }
    assert_eq!(bytes.is_ascii(), is_7bit);
    let header = text.split("\r\n\r\n").next().unwrap();
    for line in header.split("\r\n") {
        let words = line.split(' ').filter(|word| !word.is_empty()).count();
        // A name with its colon and one word may be longer than the limit, two words may not.
        assert!(line.len() <= 78 || words <= 2, "an unfolded header line: {line:?}");
    }
    for name in ["From", "Date", "Message-ID", "MIME-Version", "Content-Type", "Subject"] {
        let count =
            header.split("\r\n").filter(|line| line.starts_with(&format!("{name}:"))).count();
        assert_eq!(count, 1, "{name} in\n{header}");
    }
    assert!(!header.to_ascii_lowercase().contains("\nbcc:"));
}

#[test]
fn every_shape_is_well_formed_and_the_same_each_time() {
    for shape in shapes() {
        let message = composed(&shape);
        assert_eq!(message.needs_smtputf8, shape.name == "smtputf8", "{}", shape.name);
        assert_well_formed(&message.bytes, !message.needs_smtputf8);
        assert_eq!(message, composed(&shape), "{}", shape.name);
        let text = String::from_utf8_lossy(&message.bytes);
        assert!(!text.contains("secret"), "bcc shows in {}", shape.name);
        assert!(!text.contains("X-Evil"), "{}", shape.name);
    }
}

#[test]
fn parts_are_nested_as_readers_expect() {
    let outline = |name: &str| {
        let shape = shapes().into_iter().find(|shape| shape.name == name).unwrap();
        let bytes = composed(&shape).bytes;
        let message = MessageParser::default().parse(&bytes).unwrap();
        let types = message.parts.iter().map(|part| {
            let content_type = part.content_type().unwrap();
            format!("{}/{}", content_type.ctype(), content_type.subtype().unwrap())
        });
        types.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(outline("text"), "text/plain");
    assert_eq!(outline("html"), "text/html");
    assert_eq!(outline("both"), "multipart/alternative text/plain text/html");
    assert_eq!(outline("html-inline"), "multipart/related text/html image/png");
    assert_eq!(
        outline("both-inline"),
        "multipart/alternative text/plain multipart/related text/html image/png"
    );
    assert_eq!(
        outline("both-inline-files"),
        "multipart/mixed multipart/alternative text/plain multipart/related text/html image/png \
         application/pdf text/csv"
    );
    assert_eq!(outline("text-inline-without-html"), "multipart/mixed text/plain image/png");
    assert_eq!(
        outline("text-odd-files"),
        "multipart/mixed text/plain application/pdf application/octet-stream \
         application/octet-stream application/octet-stream"
    );
}

fn error(head: &Head, body: &Body, message_id: &str) -> Option<ComposeError> {
    compose(&Outgoing { head, body, message_id, date: DATE, unsubscribe: None }).err()
}

#[test]
fn what_would_break_a_message_is_refused_by_name() {
    let text = Body { text: Some("hello".into()), ..Body::default() };
    let with_header = |name: &str, value: &str| Body {
        headers: vec![(name.into(), value.into())],
        ..text.clone()
    };
    let with_file = |name: &str, id: Option<&str>| Body {
        attachments: vec![file(name, "image/png", id, b"x")],
        ..text.clone()
    };
    for (subject, body, message_id, why) in [
        ("s", Body::default(), "a@b", ComposeError::NoBody),
        ("s", Body { html: Some("a\0b".into()), ..Body::default() }, "a@b", ComposeError::Nul),
        ("a\r\nBcc: x@y.example", text.clone(), "a@b", ComposeError::LineBreak),
        ("a\nb", text.clone(), "a@b", ComposeError::LineBreak),
        ("a\0b", text.clone(), "a@b", ComposeError::LineBreak),
        ("s", text.clone(), "a b@c", ComposeError::Id),
        ("s", text.clone(), "a>\r\n@c", ComposeError::Id),
        ("s", text.clone(), "", ComposeError::Id),
        ("s", with_header("X-A", "b\r\nX-C: d"), "a@b", ComposeError::LineBreak),
        ("s", with_header("X-A\r\nX-C", "b"), "a@b", ComposeError::HeaderName),
        ("s", with_header("X A", "b"), "a@b", ComposeError::HeaderName),
        ("s", with_header("X:", "b"), "a@b", ComposeError::HeaderName),
        ("s", with_header("", "b"), "a@b", ComposeError::HeaderName),
        ("s", with_header("X-\u{e9}", "b"), "a@b", ComposeError::HeaderName),
        ("s", with_header("bCC", "x@y.example"), "a@b", ComposeError::ReservedHeader),
        ("s", with_header("Content-Type", "text/html"), "a@b", ComposeError::ReservedHeader),
        ("s", with_header("dkim-signature", "v=1"), "a@b", ComposeError::ReservedHeader),
        ("s", with_file("a\r\nb.png", None), "a@b", ComposeError::LineBreak),
        ("s", with_file("a.png", Some("a b")), "a@b", ComposeError::Id),
        ("s", with_file("a.png", Some("<<a>")), "a@b", ComposeError::Id),
    ] {
        assert_eq!(
            error(&head(subject), &body, message_id),
            Some(why),
            "{subject:?} {message_id:?}"
        );
    }
}

/// Text of a header: any characters except those that the API refuses.
fn header_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,120}",
        "[a-zA-Z äöüßé€日本語😀=?_]{0,200}",
        "(=\\?utf-8\\?[QB]\\?[a-zA-Z=]{0,8}\\?= ?){0,4}",
        proptest::collection::vec(any::<char>(), 0..80)
            .prop_map(|characters| characters.into_iter().collect()),
    ]
    .prop_map(|text: String| text.replace(['\r', '\n', '\0', '\t'], ""))
}

fn body_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "([ -~]{0,100}(\r\n|\n|\r)){0,20}",
        "[ \t\r\n.=]{0,60}",
        "([a-zäöü日本\t ]{0,300}\n){0,8}",
        proptest::collection::vec(any::<char>(), 0..400)
            .prop_map(|characters| characters.into_iter().filter(|c| *c != '\0').collect()),
    ]
}

/// As the receiver sees it: line ends as LF, and a last line is ended or not.
fn shown(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    text.strip_suffix('\n').unwrap_or(&text).to_owned()
}

proptest! {
    #[test]
    fn subjects_and_names_read_back_as_they_were(
        subject in header_text(),
        names in proptest::collection::vec(header_text(), 1..5),
    ) {
        let names: Vec<Option<DisplayName>> =
            names.iter().map(|name| DisplayName::parse(name).unwrap_or_default()).collect();
        let mut head = head(&subject);
        head.recipients = names
            .iter()
            .map(|name| {
                let mut recipient = recipient(RecipientKind::To, "ada@example.com");
                recipient.mailbox.name.clone_from(name);
                recipient
            })
            .collect();
        let body = Body { text: Some("hello".into()), ..Body::default() };
        let message =
            compose(&Outgoing { head: &head, body: &body, message_id: "a@b.example", date: DATE, unsubscribe: None })
                .unwrap();
        assert_well_formed(&message.bytes, true);
        let parsed = MessageParser::default().parse(&message.bytes).unwrap();
        prop_assert_eq!(parsed.subject().unwrap_or_default(), &subject);
        let read: Vec<_> = parsed.to().unwrap().iter().map(|to| to.name().map(str::to_owned)).collect();
        let written: Vec<_> =
            names.iter().map(|name| name.as_ref().map(|name| name.as_str().to_owned())).collect();
        prop_assert_eq!(read, written);
    }

    #[test]
    fn bodies_and_files_read_back_as_they_were(
        text in body_text(),
        html in proptest::option::of(body_text()),
        files in proptest::collection::vec((header_text(), proptest::collection::vec(any::<u8>(), 0..300)), 0..4),
    ) {
        let attachments =
            files.iter().map(|(name, bytes)| file(name, "application/pdf", None, bytes)).collect();
        let body = Body { text: Some(text.clone()), html: html.clone(), attachments, headers: vec![] };
        let head = head("s");
        let message =
            compose(&Outgoing { head: &head, body: &body, message_id: "a@b.example", date: DATE, unsubscribe: None })
                .unwrap();
        assert_well_formed(&message.bytes, true);
        let parsed = MessageParser::default().parse(&message.bytes).unwrap();
        let part = |index: usize| match &parsed.parts[index].body {
            PartType::Text(text) | PartType::Html(text) => shown(text),
            _ => panic!("part {index} is no text"),
        };
        let plain = usize::from(!files.is_empty()) + usize::from(html.is_some());
        prop_assert_eq!(part(plain), shown(&text));
        if let Some(html) = &html {
            prop_assert_eq!(part(plain + 1), shown(html));
        }
        for (index, (name, bytes)) in files.iter().enumerate() {
            let read = parsed.attachment(u32::try_from(index).unwrap()).unwrap();
            prop_assert_eq!(read.contents(), bytes);
            prop_assert_eq!(read.attachment_name().unwrap_or_default(), name);
        }
    }

    #[test]
    fn extra_headers_cannot_break_out(name in ".{0,20}", value in ".{0,200}") {
        let body = Body {
            text: Some("hello".into()),
            headers: vec![(name, value)],
            ..Body::default()
        };
        let head = head("s");
        let outgoing = Outgoing { head: &head, body: &body, message_id: "a@b.example", date: DATE, unsubscribe: None };
        if let Ok(message) = compose(&outgoing) {
            assert_well_formed(&message.bytes, true);
        }
    }
}

#[test]
fn a_bare_mailbox_has_no_name_in_the_header() {
    let mut head = head("s");
    head.from = Mailbox::parse("shop@bücher.example").unwrap();
    let body = Body { text: Some("hello".into()), ..Body::default() };
    let message = compose(&Outgoing {
        head: &head,
        body: &body,
        message_id: "a@b.example",
        date: DATE,
        unsubscribe: None,
    })
    .unwrap();
    assert!(
        message
            .bytes
            .starts_with(b"From: <shop@xn--bcher-kva.example>\r\nTo: <ada@example.com>\r\n")
    );
}
