//! A real greylist: refused at first, let in when the same sender comes again.

use std::time::Duration;

use lumora::config::{OneOrMany, Span};
use serde_json::json;

use crate::{
    platform::support::{client::kinds, world::World},
    servers::postgrey::Postgrey,
    stage,
};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs servers that others wrote: .ci/interop"]
async fn a_greylisted_message_comes_again_from_the_same_address_and_is_let_in() {
    let app = stage::start(|config| {
        let retry = Span(Duration::from_secs(4));
        config.delivery.retry_schedule = Some(OneOrMany(vec![retry]));
        config.delivery.bind_addresses = OneOrMany((21..=24).map(World::address).collect());
    })
    .await;
    let postgrey = Postgrey::start();
    let postfix = stage::postfix(&app, "postfix.test", 2, &[postgrey.restriction()]);
    let email = json!({ "to": ["ada@postfix.test"], "subject": "Hello", "text": "Hello\n" });
    let id = app.api.accepted(&email).await;
    let read = app.api.becomes(&id, "delivered").await;
    assert_eq!(kinds(&read), ["accepted", "deferred", "delivered"], "{}", postfix.log());
    let refused = &read["events"][1]["smtp"];
    assert_eq!((&refused["code"], &refused["enhancedCode"]), (&json!(450), &json!("4.2.0")));
    assert!(refused["message"].as_str().unwrap().contains("reylist"), "{refused}");

    stage::all_delivered("Postfix", 1, || postfix.delivered()).await;
    let log = postfix.log();
    let after = |line: &str, what: &str| {
        let (_, rest) = line.split_once(what)?;
        rest.split(']').next().map(str::to_owned)
    };
    let refused = log.lines().find_map(|line| after(line, "reject: RCPT from unknown["));
    let taken = log.lines().find_map(|line| after(line, ": client=unknown["));
    assert_eq!(refused, taken, "{log}");
    assert!(taken.unwrap().starts_with("127.0.0.2"), "{log}");
}
