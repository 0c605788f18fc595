//! STARTTLS: used whenever it is offered, recorded, and insisted on where that is configured.

use std::sync::Arc;

use lumora::config::{OneOrMany, TlsSetting};
use mail::sink::SinkOptions;
use serde_json::json;

use crate::support::{
    app::TestApp,
    client::kinds,
    world::{MAIL_HOST, World},
};

/// A mail server with a certificate that nobody vouches for, as most have.
async fn encrypted_world() -> World {
    let made = rcgen::generate_simple_self_signed([MAIL_HOST.to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let world = World::with(SinkOptions {
        name: MAIL_HOST.to_owned(),
        tls: Some(Arc::new(tls)),
        ..SinkOptions::default()
    })
    .await;
    world.receives("reader.test");
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn offered_tls_is_used_and_recorded() {
    let app = TestApp::start_in(encrypted_world().await, |_| {}).await;
    let email = json!({ "to": ["ada@reader.test"], "subject": "s", "text": "t" });
    let id = app.api.accepted(&email).await;
    let read = app.api.becomes(&id, "delivered").await;
    assert!(app.world.inbox.only().0.tls, "it came in clear");
    let tls = &read["events"][1]["smtp"]["tls"];
    assert_eq!((&tls["version"], &tls["verified"]), (&json!("TLSv1.3"), &json!(false)));
    assert!(tls["cipher"].as_str().unwrap().starts_with("TLS_"), "{tls}");
    assert_eq!(tls["verification"], "none");
    assert_eq!(tls["certificateSha256"].as_str().unwrap().len(), 64);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_tls_is_required_an_unproven_certificate_gets_nothing() {
    let app = TestApp::start_in(encrypted_world().await, |config| {
        config.delivery.tls = TlsSetting::Required;
    })
    .await;
    let email = json!({ "to": ["ada@reader.test"], "subject": "s", "text": "t" });
    let id = app.api.accepted(&email).await;
    let read = app.api.becomes(&id, "sending").await;
    assert_eq!(kinds(&read)[1], "deferred");
    assert_eq!(read["recipients"][0]["lastResponse"]["enhancedCode"], "4.7.0");
    assert!(app.world.inbox.taken().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn where_tls_is_required_a_host_without_it_gets_nothing() {
    let world = World::new().await;
    world.receives("reader.test");
    let app = TestApp::start_in(world, |config| config.delivery.tls = TlsSetting::Required).await;
    let email = json!({ "to": ["ada@reader.test"], "subject": "s", "text": "t" });
    let id = app.api.accepted(&email).await;
    app.api.becomes(&id, "sending").await;
    assert!(app.world.inbox.taken().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_or_a_domain_can_require_tls_and_no_open_connection_undercuts_it() {
    for world in [World::new().await, encrypted_world().await] {
        world.receives("reader.test");
        world.receives("bank.test");
        let app = TestApp::start_in(world, |config| {
            config.delivery.require_tls_for = OneOrMany(vec!["bank.test".parse().unwrap()]);
        })
        .await;
        // It leaves a connection behind, in clear or to nobody knows whom.
        let easy = json!({ "to": ["ada@reader.test"], "subject": "s", "text": "t" });
        let id = app.api.accepted(&easy).await;
        app.api.becomes(&id, "delivered").await;
        for strict in [
            json!({ "to": ["ada@reader.test"], "subject": "s", "text": "t", "tls": "required" }),
            json!({ "to": ["ada@bank.test"], "subject": "s", "text": "t" }),
        ] {
            let id = app.api.accepted(&strict).await;
            let read = app.api.becomes(&id, "sending").await;
            assert_eq!(kinds(&read)[1], "deferred");
            let smtp = &read["events"][1]["smtp"];
            assert_eq!((&smtp["tlsRule"], smtp.get("tls")), (&json!("required"), None), "{smtp}");
            let failure = smtp["tlsFailure"].as_str().unwrap();
            let expected = ["starttls-not-supported", "certificate-not-trusted"];
            assert!(expected.contains(&failure), "{failure}");
        }
        assert_eq!(app.world.inbox.taken().len(), 1);
        // The same site is not left in peace because of a rule that others do not have.
        let id = app.api.accepted(&easy).await;
        app.api.becomes(&id, "delivered").await;
    }
}
