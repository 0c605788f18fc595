//! What the DNS does not know bounces; a domain with an address alone is its own mail host.

use serde_json::json;

use crate::support::app::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_domain_bounces_at_once() {
    let app = TestApp::start().await;
    app.world.receives("reader.test");
    let email = json!({
        "to": ["ada@no-such.example", "ada@reader.test"], "subject": "s", "text": "t",
    });
    let id = app.api.accepted(&email).await;
    let read = app.api.ended(&id).await;
    assert_eq!(read["message"]["status"], "partially_delivered");
    let gone = &read["recipients"][0];
    assert_eq!((&gone["status"], &gone["attempts"]), (&json!("bounced"), &json!(1)));
    assert_eq!(
        gone["lastResponse"],
        json!({ "enhancedCode": "5.1.2", "message": "the recipient's domain does not exist" })
    );
    assert_eq!(read["recipients"][1]["status"], "delivered");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_mx_the_address_of_the_domain_counts() {
    let app = TestApp::start().await;
    app.world.dns.add_address("direct.test", app.world.inbox.ip()).unwrap();
    let email = json!({ "to": ["ada@direct.test"], "subject": "s", "text": "t" });
    let id = app.api.accepted(&email).await;
    let read = app.api.becomes(&id, "delivered").await;
    assert_eq!(read["recipients"][0]["lastResponse"]["mx"], "direct.test");
}
