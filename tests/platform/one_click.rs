//! Bulk mail says how to be left out, signed, and one click is enough.

use serde_json::json;

use crate::support::{app::TestApp, client::kinds};

#[tokio::test(flavor = "multi_thread")]
async fn one_click_ends_bulk_mail_and_no_other() {
    let app = TestApp::start_in(crate::support::world::World::new().await, |config| {
        config.http.public_url = Some("https://mail.acme.test".to_owned());
    })
    .await;
    app.world.receives("reader.test");
    let letter = json!({ "to": ["ada@reader.test"], "subject": "News", "text": "t", "bulk": true });
    let id = app.api.accepted(&letter).await;
    app.api.becomes(&id, "delivered").await;
    let (_, received) = app.world.inbox.only();
    let link = received.field("List-Unsubscribe");
    let link = link.strip_prefix('<').and_then(|link| link.strip_suffix('>')).unwrap();
    let path = link.strip_prefix("https://mail.acme.test").unwrap().to_owned();
    assert_eq!(received.field("List-Unsubscribe-Post"), "List-Unsubscribe=One-Click");
    let signed = received.signature()["h"].to_ascii_lowercase();
    let signed: Vec<_> = signed.split(':').collect();
    assert!(signed.contains(&"list-unsubscribe") && signed.contains(&"list-unsubscribe-post"));

    // Looking changes nothing, and needs no key; nor does a made-up link.
    let anybody = app.api.with_secret(None);
    let seen = anybody.get(&path).await;
    assert!(seen.status == 200 && seen.text.contains("<form method=\"post\">"), "{seen:?}");
    let changed = if path.ends_with('0') { "1" } else { "0" };
    let forged = format!("{}{changed}", &path[..path.len() - 1]);
    for method in ["GET", "POST"] {
        assert_eq!(anybody.request(method, &forged, |request| request).await.status, 404);
    }
    let id = app.api.accepted(&letter).await;
    assert_eq!(kinds(&app.api.becomes(&id, "delivered").await), ["accepted", "delivered"]);

    for _ in 0..2 {
        let click = |request: reqwest::RequestBuilder| {
            request
                .header("content-type", "application/x-www-form-urlencoded")
                .body("List-Unsubscribe=One-Click")
        };
        assert_eq!(anybody.request("POST", &path, click).await.status, 200);
    }
    let listed = app.api.get("/v1/suppressions").await.expect(200);
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    assert_eq!(listed["data"][0]["email"], "ada@reader.test");
    assert_eq!(listed["data"][0]["reason"], "unsubscribe");
    let id = app.api.accepted(&letter).await;
    let read = app.api.ended(&id).await;
    assert_eq!(read["events"][1]["suppressionReason"], "unsubscribe");
    let receipt = json!({ "to": ["ada@reader.test"], "subject": "Receipt", "text": "t" });
    let id = app.api.accepted(&receipt).await;
    app.api.becomes(&id, "delivered").await;

    // A reason that holds for all mail takes its place.
    let complaint = json!({ "email": "ada@reader.test", "reason": "complaint" });
    let added = app.api.request("POST", "/v1/suppressions", |r| r.json(&complaint)).await;
    assert_eq!(added.expect(201)["reason"], "complaint");
    let id = app.api.accepted(&receipt).await;
    assert_eq!(kinds(&app.api.ended(&id).await), ["accepted", "suppressed"]);
    let listed = app.api.get("/v1/suppressions").await.expect(200);
    assert_eq!(listed["data"].as_array().unwrap().len(), 1, "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_mail_has_one_recipient_and_an_own_header_wins() {
    let app = TestApp::start().await;
    app.world.receives("reader.test");
    let several = json!({
        "to": ["a@reader.test"], "cc": ["b@reader.test"], "subject": "s", "text": "t", "bulk": true,
    });
    let refused = app.api.send(&several).await.expect(422);
    assert_eq!(refused["details"][0]["field"], "bulk");
    let own = json!({
        "to": ["a@reader.test"], "subject": "s", "text": "t", "bulk": true,
        "headers": { "list-unsubscribe": "<https://acme.test/out>" },
    });
    let id = app.api.accepted(&own).await;
    app.api.becomes(&id, "delivered").await;
    let (_, received) = app.world.inbox.only();
    assert_eq!(received.field("List-Unsubscribe"), "<https://acme.test/out>");
    assert!(received.all("List-Unsubscribe-Post").is_empty());
}
