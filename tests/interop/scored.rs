//! What SpamAssassin, without a network, thinks of ordinary transactional mail.

use serde_json::json;

use crate::{
    judges::{self, Copies},
    stage,
};

/// Mail gets this many points at most; 5 make it spam.
const MOST_POINTS: f64 = 1.0;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs servers that others wrote: .ci/interop"]
async fn spamassassin_finds_nothing_in_transactional_mail() {
    let app = stage::start(|_| {}).await;
    let postfix = stage::postfix(&app, "postfix.test", 2, &[]);
    let text = "Hello Ada,\n\nthank you for your order 4711. We send it tomorrow.\n\n\
                1 x Lantern, green: 24.00 EUR\n\nYour Acme team\n";
    let html = "<!doctype html><html><head><title>Your order</title></head><body>\
                <p>Hello Ada,</p><p>thank you for your order 4711. We send it tomorrow.</p>\
                <table><tr><td>1 x Lantern, green</td><td>24.00 EUR</td></tr></table>\
                <p>Your Acme team</p></body></html>";
    let to = json!(["Ada Lovelace <ada@postfix.test>"]);
    let invoice = json!([{ "filename": "invoice.txt", "contentType": "text/plain",
                           "content": "SW52b2ljZSA0NzExCg==" }]);
    let shapes = [
        ("text", json!({ "to": to, "subject": "Your order 4711", "text": text })),
        (
            "html and text",
            json!({ "to": to, "subject": "Your order 4711", "text": text, "html": html }),
        ),
        ("html alone", json!({ "to": to, "subject": "Your order 4711", "html": html })),
        (
            "with a file",
            json!({ "to": to, "subject": "Your order 4711", "text": text, "html": html,
                                "attachments": invoice }),
        ),
        (
            "bulk",
            json!({ "to": to, "subject": "News from Acme", "text": text, "html": html,
                         "bulk": true }),
        ),
    ];
    let mut seen = Vec::new();
    for (shape, email) in &shapes {
        let id = app.api.accepted(email).await;
        app.api.becomes(&id, "delivered").await;
        let files = stage::all_delivered("Postfix", seen.len() + 1, || postfix.delivered()).await;
        let new: Vec<String> = files.into_iter().filter(|file| !seen.contains(file)).collect();
        let (points, rules) = judges::spamassassin(&Copies::of(&new)).remove(0);
        seen.extend(new);
        println!("SpamAssassin: {shape}: {points} points: {rules}");
        assert!(points < MOST_POINTS, "{shape}: {points}: {rules}");
    }
}
