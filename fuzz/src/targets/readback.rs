//! A composed message as another reader sees it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use mail::compose::{ComposeError, Composed, Outgoing, compose};
use mail_parser::{
    Address, HeaderValue, Message, MessageParser, MessagePart, MimeHeaders as _, PartType,
};
use model::{
    Timestamp,
    address::Mailbox,
    content::{Attachment, Body, Head, RecipientKind},
};

/// 2026-11-23T10:00:00Z.
const DATE: Timestamp = Timestamp::from_millis(1_795_428_000_123);

/// Composes, and reads what came of it.
pub(super) fn check(head: &Head, body: &Body, unsubscribe: Option<&str>) {
    let message_id = "fuzz@mail.acme.example";
    let outgoing = Outgoing { head, body, message_id, date: DATE, unsubscribe };
    let composed = match compose(&outgoing) {
        Ok(composed) => composed,
        Err(refused) => return check_refusal(refused, head, body),
    };
    check_octets(&composed);
    let message = MessageParser::default().parse(&composed.bytes).expect("a message");
    check_head(&message, head);
    check_headers(&message, head, body, unsubscribe);
    let texts = MessageParser::new()
        .with_date_headers()
        .default_header_text()
        .parse_headers(&composed.bytes);
    for (name, value) in &body.headers {
        check_value(texts.as_ref().unwrap(), name, value);
    }
    check_body(&message, body);
}

/// Nothing is refused for a reason that it does not have.
fn check_refusal(refused: ComposeError, head: &Head, body: &Body) {
    let breaks = |text: &str| text.contains(['\r', '\n', '\0']);
    match refused {
        ComposeError::NoBody => assert!(body.text.is_none() && body.html.is_none()),
        ComposeError::Nul => {
            assert!([&body.text, &body.html].into_iter().flatten().any(|text| text.contains('\0')));
        }
        ComposeError::LineBreak => {
            let values = body.headers.iter().map(|(_, value)| value);
            let names = body.attachments.iter().map(|file| &file.filename);
            assert!(breaks(&head.subject) || values.chain(names).any(|text| breaks(text)));
        }
        ComposeError::HeaderName | ComposeError::ReservedHeader => {
            assert!(!body.headers.is_empty());
        }
        ComposeError::Id => {}
    }
}

/// What holds for every message: lines end as they must, and nothing has eight bits but addresses.
fn check_octets(composed: &Composed) {
    let bytes = &composed.bytes;
    assert!(bytes.ends_with(b"\r\n") && !bytes.contains(&0));
    for line in bytes.strip_suffix(b"\r\n").unwrap().split(|octet| *octet == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        assert!(!line.contains(&b'\r'), "a bare CR in {:?}", String::from_utf8_lossy(line));
        assert!(line.len() <= 998, "a line of {} octets", line.len());
    }
    let line_ends = bytes.iter().filter(|octet| **octet == b'\n').count();
    assert_eq!(line_ends, bytes.windows(2).filter(|pair| pair == b"\r\n").count(), "a bare LF");
    assert_eq!(composed.needs_smtputf8, !bytes.is_ascii());
}

fn mailboxes(address: Option<&Address<'_>>) -> Vec<(Option<String>, String)> {
    let Some(address) = address else { return Vec::new() };
    let read = |one: &mail_parser::Addr<'_>| {
        (one.name().map(ToOwned::to_owned), one.address().unwrap_or_default().to_owned())
    };
    address.iter().map(read).collect()
}

fn expected<'a>(mailboxes: impl Iterator<Item = &'a Mailbox>) -> Vec<(Option<String>, String)> {
    let written = |mailbox: &Mailbox| {
        (mailbox.name.as_ref().map(|name| name.as_str().to_owned()), mailbox.email.to_string())
    };
    mailboxes.map(written).collect()
}

fn check_head(message: &Message<'_>, head: &Head) {
    assert_eq!(message.subject().unwrap_or_default(), head.subject, "the subject");
    assert_eq!(mailboxes(message.from()), expected([&head.from].into_iter()), "From");
    for (name, kind) in [("To", RecipientKind::To), ("Cc", RecipientKind::Cc)] {
        let wanted = head.recipients.iter().filter(|recipient| recipient.kind == kind);
        let wanted = expected(wanted.map(|recipient| &recipient.mailbox));
        let read = if kind == RecipientKind::To { message.to() } else { message.cc() };
        // An empty group stands where there is nobody.
        let read: Vec<_> =
            mailboxes(read).into_iter().filter(|(_, address)| !address.is_empty()).collect();
        assert_eq!(read, wanted, "{name}");
    }
    assert!(message.bcc().is_none(), "who is addressed in secret shows");
    assert_eq!(mailboxes(message.reply_to()), expected(head.reply_to.iter()), "Reply-To");
    assert_eq!(message.message_id(), Some("fuzz@mail.acme.example"));
}

/// That there are the fields that there should be, and no others.
fn check_headers(message: &Message<'_>, head: &Head, body: &Body, unsubscribe: Option<&str>) {
    let own = |name: &str| body.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
    let mut wanted = vec!["from", "to", "subject", "date", "message-id", "mime-version"];
    wanted.push("content-type");
    let has_cc = head.recipients.iter().any(|one| one.kind == RecipientKind::Cc);
    let only_cc = has_cc && head.recipients.iter().all(|one| one.kind != RecipientKind::To);
    if only_cc {
        wanted.retain(|name| *name != "to");
    }
    if has_cc {
        wanted.push("cc");
    }
    if !head.reply_to.is_empty() {
        wanted.push("reply-to");
    }
    if unsubscribe.is_some() && !own("List-Unsubscribe") {
        wanted.extend(["list-unsubscribe", "list-unsubscribe-post"]);
    }
    let mut wanted: Vec<String> = wanted.into_iter().map(ToOwned::to_owned).collect();
    for (name, _) in &body.headers {
        if !name.eq_ignore_ascii_case("Reply-To") || head.reply_to.is_empty() {
            wanted.push(name.to_ascii_lowercase());
        }
    }
    let mut found: Vec<String> =
        message.headers().iter().map(|header| header.name().to_ascii_lowercase()).collect();
    found.retain(|name| name != "content-transfer-encoding");
    wanted.sort();
    found.sort();
    assert_eq!(found, wanted, "the fields");
}

/// Blanks of an extra field mean nothing; its words must be there.
fn check_value(message: &Message<'_>, name: &str, value: &str) {
    let text = |value: &HeaderValue<'_>| value.as_text().unwrap_or_default().to_owned();
    let words = |text: &str| {
        let words = text.split([' ', '\t']).filter(|word| !word.is_empty());
        words.collect::<Vec<_>>().join(" ")
    };
    let known = |header: &&mail_parser::Header<'_>| header.name().eq_ignore_ascii_case(name);
    let read: Vec<String> =
        message.headers().iter().filter(known).map(|header| text(&header.value)).collect();
    let wanted = words(value);
    // The field of its own wins over an extra one.
    let is_there = read.iter().any(|read| words(read) == wanted);
    assert!(is_there || name.eq_ignore_ascii_case("Reply-To"), "{name}: {wanted:?} in {read:?}");
}

/// As the receiver sees it: line ends as LF, and a last line is ended or not.
fn shown(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    text.strip_suffix('\n').unwrap_or(&text).to_owned()
}

fn check_body(message: &Message<'_>, body: &Body) {
    let mut leaves = message.parts.iter().filter(|part| !part.is_multipart());
    let mut next = || leaves.next().expect("a part for each thing that was given");
    let text = |part: &MessagePart<'_>| match &part.body {
        PartType::Text(text) | PartType::Html(text) => shown(text),
        other => panic!("no text: {other:?}"),
    };
    if let Some(given) = &body.text {
        assert_eq!(text(next()), shown(given), "the text");
    }
    if let Some(given) = &body.html {
        assert_eq!(text(next()), shown(given), "the HTML");
    }
    // Images that HTML names come first.
    let is_image = |file: &&Attachment| file.content_id.is_some() && body.html.is_some();
    let images = body.attachments.iter().filter(is_image);
    let files = body.attachments.iter().filter(|file| !is_image(file));
    for file in images.chain(files) {
        let part = next();
        assert_eq!(octets_of(part, message), file.bytes, "a file");
        assert_eq!(part.attachment_name().unwrap_or_default(), file.filename, "its name");
        if let Some(id) = &file.content_id {
            let bare = id.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
            assert_eq!(part.content_id(), Some(bare.unwrap_or(id)), "its id");
        }
    }
    assert!(leaves.next().is_none(), "a part that nobody gave");
}

/// The octets of a file as they came: what is read of text is in another character set by then.
fn octets_of(part: &MessagePart<'_>, message: &Message<'_>) -> Vec<u8> {
    let [from, to] = [part.offset_body, part.offset_end].map(|place| place as usize);
    let mut encoded = message.raw_message()[from..to].to_vec();
    encoded.retain(|octet| !octet.is_ascii_whitespace());
    STANDARD.decode(encoded).expect("base64")
}
