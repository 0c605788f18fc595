use model::address::Mailbox;
use serde_json::{Value, json};

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_764_158_400_000);

/// A send body that is taken, with `changes` on top; `null` removes nothing.
#[expect(clippy::needless_pass_by_value, reason = "callers write json!(…) in place")]
fn body(changes: Value) -> Vec<u8> {
    let mut body = json!({ "to": ["ada@example.com"], "subject": "s", "text": "t" });
    for (name, value) in changes.as_object().unwrap() {
        body[name] = value.clone();
    }
    body.to_string().into_bytes()
}

fn problem(bytes: &[u8]) -> Value {
    let Err(problem) = read(bytes, NOW) else { panic!("it is refused") };
    let response = problem.render("req_1");
    let bytes = futures_util::FutureExt::now_or_never(response.into_body().into_bytes());
    serde_json::from_slice(&bytes.unwrap().unwrap()).unwrap()
}

/// The fields that are refused, in order.
fn refused(bytes: &[u8]) -> Vec<String> {
    let problem = problem(bytes);
    assert_eq!(problem["error"], "validation_failed", "{problem}");
    let details = problem["details"].as_array().unwrap().iter();
    details.map(|detail| detail["field"].as_str().unwrap().to_owned()).collect()
}

fn text_of(mailboxes: &[Mailbox]) -> Vec<String> {
    mailboxes.iter().map(|mailbox| mailbox.email.to_string()).collect()
}

#[test]
fn all_of_a_full_body_is_read() {
    let request = read(
        &body(json!({
            "from": { "email": "billing@acme.com", "name": "Acme" },
            "to": ["Ada <ada@example.com>", "b@example.com"],
            "cc": ["c@example.com"],
            "bcc": ["d@example.com"],
            "replyTo": ["r@example.com"],
            "subject": "Grüße",
            "html": "<p>",
            "attachments": [{
                "filename": "ä.txt",
                "content": "aGk",
                "contentType": "Text/Plain; charset=utf-8",
                "contentId": "logo",
            }],
            "headers": { "X-A": "1" },
            "tags": ["a", "b", "a"],
            "metadata": { "k": "v" },
            "scheduledAt": "2025-11-27T12:00:00Z",
            "expiresAfter": "10m",
        })),
        NOW,
    )
    .unwrap();
    assert_eq!(request.from.unwrap().name.unwrap().as_str(), "Acme");
    assert_eq!(text_of(&request.to), ["ada@example.com", "b@example.com"]);
    assert_eq!(text_of(&request.cc), ["c@example.com"]);
    assert_eq!(text_of(&request.bcc), ["d@example.com"]);
    assert_eq!(text_of(&request.reply_to), ["r@example.com"]);
    assert_eq!(request.subject, "Grüße");
    assert_eq!(request.body.html.as_deref(), Some("<p>"));
    assert_eq!(request.body.text.as_deref(), Some("t"));
    assert_eq!(request.body.headers, [("X-A".to_owned(), "1".to_owned())]);
    let file = &request.body.attachments[0];
    assert_eq!(
        (file.bytes.as_slice(), file.content_type.as_str()),
        (&b"hi"[..], "Text/Plain; charset=utf-8")
    );
    assert_eq!(file.content_id.as_deref(), Some("logo"));
    assert_eq!(request.tags.len(), 2);
    assert_eq!(request.metadata["k"], "v");
    assert_eq!(request.scheduled_at.unwrap().to_string(), "2025-11-27T12:00:00.000Z");
    assert_eq!(request.expires_after.unwrap().as_duration().as_secs(), 600);
}

#[test]
fn every_bad_field_is_named_at_once() {
    let body = json!({
        "from": { "email": "nobody", "name": "a\r\nBcc: x@y.zz", "extra": 1 },
        "to": ["ok@example.com", "host-without-dot@localhost", 7, "u@[192.0.2.1]"],
        "cc": "c@example.com",
        "subject": 5,
        "html": ["x"],
        "attachments": [{ "content": "***", "contentType": "multipart/mixed" }, "file"],
        "headers": { "Bcc": "x@y.zz", "X-Ok": "1", "X-Bad": "a\nb" },
        "tags": [" a"],
        "metadata": { "": "x", "n": 1 },
        "scheduledAt": "tomorrow",
        "expiresAfter": "30s",
        "template": { "id": 1 },
        "recipients": [],
    });
    assert_eq!(
        refused(body.to_string().as_bytes()),
        [
            "from.email",
            "from.name",
            "from.extra",
            "to[1]",
            "to[2]",
            "to[3]",
            "cc",
            "template.id",
            "subject",
            "html",
            "headers.Bcc",
            "headers.X-Bad",
            "attachments[0].filename",
            "attachments[0].content",
            "attachments[0].contentType",
            "attachments[1]",
            "tags[0]",
            "metadata.n",
            "metadata.",
            "scheduledAt",
            "expiresAfter",
            "recipients",
        ]
    );
}

#[test]
fn what_must_be_there_is_asked_for() {
    assert_eq!(refused(b"{}"), ["to", "subject", "html", "text"]);
    assert_eq!(refused(b"[]"), ["body"]);
    assert_eq!(refused(b"null"), ["body"]);
    assert_eq!(refused(&body(json!({ "to": [] }))), ["to"]);
    assert_eq!(refused(&body(json!({ "to": null }))), ["to"]);
    assert_eq!(refused(&body(json!({ "to": "ada@example.com" }))), ["to"]);
    assert_eq!(refused(&body(json!({ "subject": " " }))), ["subject"]);
    assert_eq!(refused(&body(json!({ "text": "" }))), ["html", "text"]);
    assert_eq!(refused(&body(json!({ "from": {} }))), ["from.email"]);
    let file = json!({ "attachments": [{}] });
    assert_eq!(refused(&body(file)), ["attachments[0].filename", "attachments[0].content"]);
}

#[test]
fn null_counts_as_absent() {
    let nulls = json!({
        "from": null, "cc": null, "bcc": null, "replyTo": null, "html": null, "attachments": null,
        "headers": null, "tags": null, "metadata": null, "scheduledAt": null, "expiresAfter": null,
    });
    assert!(read(&body(nulls), NOW).is_ok());
}

#[test]
fn repeated_keys_are_refused_wherever_they_stand() {
    let bytes = br#"{"to":["a@example.com"],"to":["b@example.com"],"subject":"s","text":"t",
        "headers":{"X-A":"1","X-A":"2"},"from":{"email":"a@acme.com","email":"b@acme.com"}}"#;
    assert_eq!(refused(bytes), ["from.email", "to", "headers.X-A"]);
    let other_case = json!({ "headers": { "X-A": "1", "x-a": "2" } });
    assert_eq!(refused(&body(other_case)), ["headers.x-a"]);
}

#[test]
fn line_breaks_and_controls_get_nowhere() {
    for evil in ["\r\n", "\n", "\r", "\0", "\u{2028}", "\u{2029}", "\u{7f}", "\u{85}"] {
        let evil = format!("a{evil}b");
        for (field, change) in [
            ("subject", json!({ "subject": evil })),
            ("from.name", json!({ "from": { "email": "a@acme.com", "name": evil } })),
            ("to[0]", json!({ "to": [format!("{evil} <a@example.com>")] })),
            ("replyTo[0]", json!({ "replyTo": [format!("{evil}@example.com")] })),
            ("headers.X-A", json!({ "headers": { "X-A": evil } })),
            ("tags[0]", json!({ "tags": [evil] })),
            (
                "attachments[0].filename",
                json!({ "attachments": [{ "filename": evil, "content": "" }] }),
            ),
            (
                "attachments[0].contentId",
                json!({ "attachments": [{ "filename": "f", "content": "", "contentId": evil }] }),
            ),
            (
                "attachments[0].contentType",
                json!({ "attachments": [
                    { "filename": "f", "content": "", "contentType": format!("text/{evil}") }
                ] }),
            ),
        ] {
            assert_eq!(refused(&body(change)), [field], "{evil:?}");
        }
        let name = json!({ "headers": { format!("X-{evil}"): "1" } });
        assert_eq!(refused(&body(name)).len(), 1, "{evil:?}");
    }
    assert_eq!(refused(&body(json!({ "html": "a\0b" }))), ["html"]);
    assert_eq!(refused(&body(json!({ "text": "a\0b" }))), ["text"]);
    assert!(read(&body(json!({ "text": "a\r\nb\tc" })), NOW).is_ok());
}

#[test]
fn headers_of_the_server_are_refused_in_any_case() {
    for name in [
        "From",
        "to",
        "CC",
        "Bcc",
        "Reply-To",
        "Sender",
        "Date",
        "SUBJECT",
        "Message-ID",
        "MIME-Version",
        "Content-Type",
        "content-transfer-encoding",
        "DKIM-Signature",
        "Return-Path",
        "Received",
        "Authentication-Results",
        "ARC-Seal",
        "Resent-To",
        "X A",
        "X:A",
        "",
        "Ü",
    ] {
        assert_eq!(refused(&body(json!({ "headers": { name: "x" } }))).len(), 1, "{name}");
    }
    for name in ["X-Campaign", "List-Unsubscribe", "References", "In-Reply-To", "Precedence"] {
        assert!(read(&body(json!({ "headers": { name: "x" } })), NOW).is_ok(), "{name}");
    }
}

#[test]
fn numbers_of_things_are_bounded() {
    let many = |count: usize| -> Vec<String> {
        (0..count).map(|number| format!("u{number}@example.com")).collect()
    };
    assert!(read(&body(json!({ "to": many(50) })), NOW).is_ok());
    assert_eq!(refused(&body(json!({ "to": many(51) }))), ["to"]);
    assert_eq!(refused(&body(json!({ "to": many(20_000) }))), ["body"]);
    let together = json!({ "to": many(25), "cc": many(25), "bcc": many(1) });
    assert_eq!(refused(&body(together)), ["to"]);
    assert_eq!(refused(&body(json!({ "replyTo": many(11) }))), ["replyTo"]);
    assert_eq!(refused(&body(json!({ "tags": many(21) }))), ["tags"]);
    let pairs: serde_json::Map<_, _> =
        (0..51).map(|number| (format!("X-{number}"), json!("v"))).collect();
    assert_eq!(
        refused(&body(json!({ "headers": pairs, "metadata": pairs }))),
        ["headers", "metadata"]
    );
    let file = json!({ "filename": "f", "content": "" });
    assert_eq!(refused(&body(json!({ "attachments": vec![file; 101] }))), ["attachments"]);
}

#[test]
fn lengths_are_bounded() {
    let long = |count: usize| "x".repeat(count);
    assert!(read(&body(json!({ "subject": "ü".repeat(998) })), NOW).is_ok());
    assert_eq!(refused(&body(json!({ "subject": long(999) }))), ["subject"]);
    assert_eq!(refused(&body(json!({ "headers": { "X-A": long(100_000) } }))), ["headers.X-A"]);
    assert_eq!(refused(&body(json!({ "tags": [long(65)] }))), ["tags[0]"]);
    assert_eq!(refused(&body(json!({ "metadata": { "k": long(1_001) } }))), ["metadata.k"]);
    let address = format!("{}@example.com", long(65));
    assert_eq!(refused(&body(json!({ "to": [address] }))), ["to[0]"]);
}

#[test]
fn a_schedule_ends_thirty_days_ahead() {
    let at = |at: Timestamp| body(json!({ "scheduledAt": at.to_string() }));
    let last = NOW.plus(MAX_SCHEDULE_AHEAD);
    assert_eq!(read(&at(last), NOW).unwrap().scheduled_at, Some(last));
    let later = last.plus(std::time::Duration::from_millis(1));
    assert_eq!(refused(&at(later)), ["scheduledAt"]);
    let past = NOW.minus(MAX_SCHEDULE_AHEAD);
    assert_eq!(read(&at(past), NOW).unwrap().scheduled_at, Some(past));
}

#[test]
fn what_is_no_json_is_said_to_be_none() {
    for bytes in [&b""[..], b" ", b"{", b"{'to':1}", b"{\"to\":}", b"\xff\xfe", b"{} {}", b"NaN"] {
        let problem = problem(bytes);
        assert_eq!(problem["error"], "invalid_json", "{problem}");
        assert!(problem.get("details").is_none());
    }
}

#[test]
fn depth_and_many_faults_stay_small() {
    let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(500_000), "]".repeat(500_000));
    assert_eq!(refused(deep.as_bytes()), ["to", "subject", "html", "text", "x"]);
    let unknown: serde_json::Map<_, _> =
        (0..5_000).map(|number| (format!("{}{number}", "x".repeat(500)), json!(1))).collect();
    let answer = problem(&body(Value::Object(unknown)));
    assert_eq!(answer["details"].as_array().unwrap().len(), 100);
    assert!(answer.to_string().len() < 30_000);
    assert!(answer["message"].as_str().unwrap().contains("4900 more"));
}

#[test]
fn answers_repeat_nothing_of_a_value() {
    let body = body(json!({
        "to": ["canary-1@@example.com"], "subject": "canary-2\n", "tags": ["canary-3 "],
        "scheduledAt": "canary-4", "headers": { "X-A": "canary-5\n" },
    }));
    assert!(!problem(&body).to_string().contains("canary"));
}

#[test]
fn base64_is_taken_with_and_without_padding_and_nothing_else() {
    let content =
        |text: &str| body(json!({ "attachments": [{ "filename": "f", "content": text }] }));
    for good in ["", "aGk", "aGk=", "aGkh"] {
        assert!(read(&content(good), NOW).is_ok(), "{good}");
    }
    for bad in ["a", "aGk==", "aG k", "aGk\n", "a-_=", "aGl", "§"] {
        assert_eq!(refused(&content(bad)), ["attachments[0].content"], "{bad}");
    }
}
