//! A failing name server is nobody's "no": the message waits until the DNS is mended.

use std::time::Duration;

use lumora::config::{OneOrMany, Span};
use sandbox::dns::DnsFailure;
use serde_json::json;

use crate::support::{app::TestApp, client::kinds, world::World};

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_name_server_defers_until_it_is_mended() {
    let app = TestApp::start_in(World::new().await, |config| {
        // Failures are held for a while, so that a broken name server is not asked without end.
        config.delivery.retry_schedule = Some(OneOrMany(vec![Span(Duration::from_secs(2))]));
    })
    .await;
    app.world.dns.fail("reader.test", DnsFailure::ServFail).unwrap();
    let email = json!({ "to": ["ada@reader.test"], "subject": "s", "text": "t" });
    let id = app.api.accepted(&email).await;
    let read = app.api.becomes(&id, "sending").await;
    assert_eq!(
        read["recipients"][0]["lastResponse"],
        json!({
            "enhancedCode": "4.4.3", "message": "the recipient's domain could not be looked up",
        })
    );
    app.world.dns.remove("reader.test").unwrap();
    app.world.receives("reader.test");
    let read = app.api.becomes(&id, "delivered").await;
    let seen = kinds(&read);
    assert_eq!((seen[0], seen[seen.len() - 1]), ("accepted", "delivered"));
    assert!(seen[1..seen.len() - 1].iter().all(|kind| *kind == "deferred"), "{seen:?}");
    assert_eq!(app.world.inbox.taken().len(), 1);
}
