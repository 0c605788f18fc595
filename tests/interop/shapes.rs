//! Messages of every shape, and what a reader must see of them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{platform::support::app::SENDING_DOMAIN, stage::OWN_DOMAIN};

/// Who signs each message: the sender with RSA and Ed25519, the platform with RSA.
pub(crate) const SIGNERS: [&str; 3] = [SENDING_DOMAIN, SENDING_DOMAIN, OWN_DOMAIN];
/// Recipients of the message that has many.
const BOXES: usize = 24;

/// The local parts that the shapes are sent to.
pub(crate) fn mailboxes() -> Vec<String> {
    let named =
        ["plain", "rich", "intl", "long", "blank", "bulk", "bare", "spaces"].map(ToOwned::to_owned);
    named.into_iter().chain((0..BOXES).map(|n| format!("box{n}"))).collect()
}

/// Messages of every shape, with what a reader must see of them.
pub(crate) fn shapes(domain: &str) -> Vec<(&'static str, Value)> {
    let bytes: Vec<u8> = (0..=255).cycle().take(10_000).collect();
    let file = STANDARD.encode(&bytes);
    let to = |name: &str| json!([format!("{name}@{domain}")]);
    let many: Vec<String> = (0..BOXES).map(|n| format!("box{n}@{domain}")).collect();
    vec![
        (
            "plain",
            json!({ "to": to("plain"), "subject": "Plain", "text": "Hello\nFrom me\n.\n..\n" }),
        ),
        (
            "html, text, a file and an inline image",
            json!({
                "to": to("rich"), "subject": "Everything", "text": "Hej\n",
                "html": "<p>Hej <img src=\"cid:logo\"></p>\n",
                "attachments": [
                    { "filename": "räkning 1.bin", "content": file, "contentType": "application/octet-stream" },
                    { "filename": "logo.png", "content": file, "contentType": "image/png", "contentId": "logo" },
                ],
            }),
        ),
        (
            "international subject and names",
            json!({
                "from": { "email": "news@sender.test", "name": "Ärztehaus „Mitte“" },
                "to": [format!("Łukasz Żółć <intl@{domain}>")],
                "subject": "Grüße – 你好 👋 und ein Betreff, der so lang ist, dass er gefaltet werden muss",
                "text": "Καλημέρα κόσμε\n", "headers": { "X-Note": "höst" },
            }),
        ),
        (
            "long lines",
            json!({
                "to": to("long"), "subject": "Long",
                "text": format!("{}\n{}\n", "word ".repeat(900), "x".repeat(5_000)),
                "html": format!("<p>{}</p>", "y".repeat(3_000)),
            }),
        ),
        (
            "ends in blank lines",
            json!({ "to": to("blank"), "subject": "Blank", "text": "Hello  \n\n \n\t\n\n\n" }),
        ),
        (
            "bulk mail",
            json!({ "to": to("bulk"), "subject": "Bulk", "text": "News\n", "bulk": true }),
        ),
        ("no newline at the end", json!({ "to": to("bare"), "subject": "Bare", "text": "Hello" })),
        (
            "spaces in the subject",
            json!({ "to": to("spaces"), "subject": "a  b   c", "text": "t" }),
        ),
        ("many recipients", json!({ "to": many, "subject": "Many", "text": "To all of you.\n" })),
    ]
}

/// That a received copy is valid, and is what was sent.
pub(crate) fn assert_copy(shape: &str, email: &Value, copy: &Value) {
    assert_eq!(copy["signers"], json!(SIGNERS), "{shape}: {copy}");
    assert_eq!(copy["signersOfDamaged"], json!([]), "{shape}: the verifier takes everything");
    let signed = copy["signed"].as_array().unwrap();
    let twice = signed.iter().filter(|name| *name == "from").count();
    assert_eq!(twice, 2, "{shape}: From is signed once more than it stands: {signed:?}");
    for name in ["list-unsubscribe", "list-unsubscribe-post"] {
        let has = signed.iter().any(|known| known == name);
        assert_eq!(has, email["bulk"] == true, "{shape}: {name}");
    }
    assert_eq!(copy["subject"], email["subject"], "{shape}");
    assert!(copy["longest"].as_u64().unwrap() <= 998, "{shape}: {copy}");
    let same = |got: &Value, sent: &Value, name: &str| {
        let (got, sent) = (got.as_str(), sent.as_str());
        let trimmed = |text: &str| text.replace("\r\n", "\n").trim_end_matches('\n').to_owned();
        assert_eq!(got.map(trimmed), sent.map(trimmed), "{shape}: {name}");
    };
    same(&copy["text"], &email["text"], "text");
    same(&copy["html"], &email["html"], "html");
    for file in email["attachments"].as_array().into_iter().flatten() {
        let name = file["filename"].as_str().unwrap();
        assert_eq!(copy["files"][name], file["content"], "{shape}: {name}");
    }
    if let Some(note) = email["headers"].get("X-Note") {
        assert_eq!(&copy["header"], note, "{shape}");
    }
    if let Some(name) = email["from"]["name"].as_str() {
        assert!(copy["from"].as_str().unwrap().contains(name), "{shape}: {}", copy["from"]);
        assert!(copy["to"].as_str().unwrap().contains("Łukasz Żółć"), "{shape}: {}", copy["to"]);
    }
}
