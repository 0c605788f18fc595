//! The domain says that it takes no mail (RFC 7505): a bounce at once, and nobody is dialled.

use serde_json::json;

use crate::support::{app::TestApp, client::kinds};

#[tokio::test(flavor = "multi_thread")]
async fn a_null_mx_bounces_at_once() {
    let app = TestApp::start().await;
    app.world.dns.add_null_mx("nomail.test").unwrap();
    // An address would do where there is no MX; beside a null MX it must not be used.
    app.world.dns.add_address("nomail.test", app.world.inbox.ip()).unwrap();
    let email = json!({ "to": ["ada@nomail.test"], "subject": "s", "text": "t" });
    let id = app.api.accepted(&email).await;
    let read = app.api.ended(&id).await;
    assert_eq!(read["message"]["status"], "bounced");
    assert_eq!(kinds(&read), ["accepted", "bounced"]);
    let event = &read["events"][1];
    assert_eq!((&event["attempt"], &event["reason"]), (&json!(1), &json!("recipient")));
    assert_eq!(
        read["recipients"][0]["lastResponse"],
        json!({
            "enhancedCode": "5.1.10",
            "message": "the recipient's domain accepts no mail (null MX)",
        })
    );
    assert_eq!(app.world.inbox.connections(), 0);
}
