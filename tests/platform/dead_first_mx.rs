//! Nobody answers at the best mail host; the next one gets the message at once.

use serde_json::json;

use crate::support::{app::TestApp, client::kinds, world::World};

#[tokio::test(flavor = "multi_thread")]
async fn the_next_mail_host_is_tried_at_once() {
    let world = World::new().await;
    // Nothing listens there.
    world.dns.add_address("mx-dead.receiver.test", World::address(9)).unwrap();
    world.dns.add_mx("reader.test", 5, "mx-dead.receiver.test").unwrap();
    world.receives("reader.test");
    let app = TestApp::start_in(world, |_| {}).await;
    let email = json!({ "to": ["ada@reader.test"], "subject": "s", "text": "t" });
    let id = app.api.accepted(&email).await;
    let read = app.api.becomes(&id, "delivered").await;
    assert_eq!(kinds(&read), ["accepted", "delivered"], "no attempt was lost");
    let smtp = &read["events"][1]["smtp"];
    assert_eq!((&smtp["mx"], &smtp["ip"]), (&json!("mx.receiver.test"), &json!("127.0.0.1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_no_host_alive_the_message_waits_and_says_why() {
    let world = World::new().await;
    world.dns.add_address("mx-dead.receiver.test", World::address(9)).unwrap();
    world.dns.add_mx("reader.test", 5, "mx-dead.receiver.test").unwrap();
    let app = TestApp::start_in(world, |_| {}).await;
    let email = json!({ "to": ["ada@reader.test"], "subject": "s", "text": "t" });
    let id = app.api.accepted(&email).await;
    let read = app.api.becomes(&id, "sending").await;
    let response = &read["recipients"][0]["lastResponse"];
    assert!(response.get("code").is_none(), "{response}");
    assert_eq!(response["enhancedCode"], "4.4.1");
    assert_eq!(response["message"], "no mail host could be reached");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_ipv6_address_costs_no_attempt() {
    let world = World::new().await;
    // The better host has IPv6 alone, and nothing listens there.
    world.dns.add_address("mx-six.receiver.test", std::net::Ipv6Addr::LOCALHOST.into()).unwrap();
    world.dns.add_mx("reader.test", 5, "mx-six.receiver.test").unwrap();
    world.receives("reader.test");
    let app = TestApp::start_in(world, |_| {}).await;
    let email = json!({ "to": ["ada@reader.test"], "subject": "s", "text": "t" });
    let id = app.api.accepted(&email).await;
    let read = app.api.becomes(&id, "delivered").await;
    assert_eq!(kinds(&read), ["accepted", "delivered"], "no attempt was lost");
    assert_eq!(read["events"][1]["smtp"]["ip"], "127.0.0.1");
}
