//! Relays and source addresses from the configuration to what a client reads.

use std::net::{IpAddr, TcpListener};

use lumora::config::OneOrMany;
use lumora::config::{PoolSettings, RelaySettings, RouteSettings, SourceSettings};
use serde_json::json;

use crate::support::{
    app::TestApp,
    client::kinds,
    world::{OWN_HOST, World},
};

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_tells_its_way_and_the_address_that_it_left_from() {
    let world = World::new().await;
    world.receives("reader.test");
    // Where nobody listens.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let app = TestApp::start_in(world, |config| {
        let addresses = vec![SourceSettings {
            ip: IpAddr::from([127, 0, 0, 5]),
            helo_name: "out5.platform.test".parse().unwrap(),
        }];
        let pool = PoolSettings { addresses, ..PoolSettings::default() };
        config.delivery.pools.insert("one".to_owned(), pool);
        config.delivery.pool = Some("one".to_owned());
        let relay = RelaySettings {
            host: "127.0.0.1".to_owned(),
            port: Some(closed),
            ..RelaySettings::default()
        };
        config.delivery.smarthosts.insert("broken".to_owned(), relay);
        config.delivery.routes.push(RouteSettings {
            domain: OneOrMany(vec!["*.test".to_owned()]),
            ways: OneOrMany(vec!["broken".to_owned(), "direct".to_owned()]),
        });
    })
    .await;
    let email = json!({ "to": ["ada@reader.test"], "subject": "s", "text": "t" });
    let id = app.api.accepted(&email).await;
    let read = app.api.becomes(&id, "delivered").await;
    assert_eq!(kinds(&read), ["accepted", "delivered"], "the next way is in the same attempt");
    let smtp = &read["events"][1]["smtp"];
    assert_eq!((&smtp["way"], &smtp["sourceIp"]), (&json!("direct"), &json!("127.0.0.5")));
    let (received, _) = app.world.inbox.only();
    assert_eq!(received.from.ip(), IpAddr::from([127, 0, 0, 5]));
    assert_eq!(received.helo, "out5.platform.test");
    assert_ne!(received.helo, OWN_HOST);
    let metrics = app.api.get("/metrics").await.text;
    assert!(metrics.contains("lumora_ways_shut_total{way=\"broken\"}"), "{metrics}");
}
