//! Every server takes every shape, and all judges find each copy as it was sent.

use std::{collections::BTreeMap, net::SocketAddr};

use serde_json::{Value, json};

use crate::{
    judges::{self, Copies},
    platform::support::app::{SENDING_DOMAIN, TestApp},
    servers::{dovecot::Dovecot, offered, without},
    shapes::{SIGNERS, assert_copy, mailboxes, shapes},
    stage,
};

/// Sends every shape to a domain and gives for each id the shape and what was sent.
async fn send_all(app: &TestApp, domain: &str) -> BTreeMap<String, (&'static str, Value)> {
    let mut sent = BTreeMap::new();
    for (shape, email) in shapes(domain) {
        let id = app.api.accepted(&email).await;
        sent.insert(id, (shape, email));
    }
    for (id, (shape, _)) in &sent {
        let read = app.api.ended(id).await;
        assert_eq!(read["message"]["status"], "delivered", "{domain}: {shape}: {read}");
    }
    sent
}

/// That a server offers what a sender could trip over.
fn assert_offers(address: SocketAddr, extensions: &[&str]) {
    let offered = offered(address);
    for extension in extensions {
        assert!(offered.iter().any(|known| known == extension), "{extension}: {offered:?}");
    }
}

fn recipients(email: &Value) -> usize {
    email["to"].as_array().unwrap().len()
}

/// That each copy came through, for every judge.
fn assert_all(app: &TestApp, sent: &BTreeMap<String, (&'static str, Value)>, files: &[String]) {
    let copies = Copies::of(files);
    let dns = app.world.dns.address();
    let read = judges::read(dns, &copies);
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for copy in &read {
        let (shape, email) = &sent[copy["id"].as_str().unwrap()];
        assert_copy(shape, email, copy);
        for result in ["spf=pass", "dkim=pass", "dmarc=pass"] {
            assert!(copy["results"].as_str().unwrap().contains(result), "{shape}: {copy}");
        }
        assert!(copy["elsewhere"].as_str().unwrap().contains("spf=softfail"), "{shape}: {copy}");
        *seen.entry(shape).or_default() += 1;
    }
    for (shape, email) in sent.values() {
        assert_eq!(seen.get(shape), Some(&recipients(email)), "{shape}");
    }
    for results in judges::opendkim(app, &copies) {
        let count = |what: &str| results.matches(what).count();
        assert_eq!(
            (count("dkim=pass"), count("dkim=")),
            (SIGNERS.len(), SIGNERS.len()),
            "{results}"
        );
    }
    if !without("mailauth") {
        for told in judges::mailauth(dns, &copies) {
            assert_eq!(told["dkim"], json!(SIGNERS.map(|_| "pass")), "{told}");
            assert_eq!((&told["spf"], &told["dmarc"]), (&json!("pass"), &json!("pass")), "{told}");
            // The platform's own signature is not for the author's domain (RFC 7489 3.1.1).
            let own = |signer: &str| signer == SENDING_DOMAIN;
            let aligned = SIGNERS.map(|it| if own(it) { json!(it) } else { json!(false) });
            assert_eq!(told["aligned"], json!(aligned), "{told}");
        }
    }
}

/// Whether each delivery was encrypted.
async fn assert_encrypted(app: &TestApp, sent: &BTreeMap<String, (&'static str, Value)>) {
    for id in sent.keys() {
        let read = app.api.message(id).await;
        let end = read["events"].as_array().unwrap().last().unwrap();
        assert_eq!(end["smtp"]["tls"]["version"], "TLSv1.3", "{read}");
    }
}

fn copies(sent: &BTreeMap<String, (&'static str, Value)>) -> usize {
    sent.values().map(|(_, email)| recipients(email)).sum()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs servers that others wrote: .ci/interop"]
async fn postfix_takes_every_shape_and_everybody_finds_it_good() {
    let app = stage::start(|_| {}).await;
    let postfix = stage::postfix(&app, "postfix.test", 2, &[]);
    let extensions = ["PIPELINING", "8BITMIME", "CHUNKING", "SMTPUTF8", "STARTTLS", "DSN", "SIZE"];
    assert_offers(postfix.address, &extensions);
    let sent = send_all(&app, "postfix.test").await;
    let files = stage::all_delivered("Postfix", copies(&sent), || postfix.delivered()).await;
    assert_all(&app, &sent, &files);
    assert_encrypted(&app, &sent).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs servers that others wrote: .ci/interop"]
async fn exim_takes_every_shape_and_everybody_finds_it_good() {
    if without("exim") {
        return;
    }
    let app = stage::start(|_| {}).await;
    let exim = stage::exim(&app, "exim.test", 3);
    let extensions = ["PIPELINING", "8BITMIME", "CHUNKING", "SMTPUTF8", "STARTTLS", "SIZE"];
    assert_offers(exim.address, &extensions);
    let sent = send_all(&app, "exim.test").await;
    let files = stage::all_delivered("Exim", copies(&sent), || exim.delivered()).await;
    assert_all(&app, &sent, &files);
    assert_encrypted(&app, &sent).await;
}

/// Debian 12 has an OpenSMTPD that offers STARTTLS and cannot do it: its way of keeping the key in
/// another process does not work with OpenSSL 3. There mail goes in clear, as no policy forbids.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs servers that others wrote: .ci/interop"]
async fn opensmtpd_takes_every_shape_whether_or_not_its_tls_works() {
    if without("opensmtpd") {
        return;
    }
    let app = stage::start(|_| {}).await;
    let opensmtpd = stage::opensmtpd(&app, "opensmtpd.test", 4);
    assert_offers(opensmtpd.address, &["8BITMIME", "STARTTLS", "DSN", "SIZE"]);
    let sent = send_all(&app, "opensmtpd.test").await;
    let files = stage::all_delivered("OpenSMTPD", copies(&sent), || opensmtpd.delivered()).await;
    assert_all(&app, &sent, &files);
    for id in sent.keys() {
        let read = app.api.message(id).await;
        let smtp = &read["events"].as_array().unwrap().last().unwrap()["smtp"];
        let encrypted = smtp["tls"]["version"] == "TLSv1.3";
        assert!(encrypted || smtp["tlsFailure"].is_string(), "{read}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs servers that others wrote: .ci/interop"]
async fn dovecot_behind_postfix_takes_every_shape_and_everybody_finds_it_good() {
    let app = stage::start(|_| {}).await;
    let dovecot = Dovecot::start(&mailboxes());
    let postfix = stage::postfix(&app, "dovecot.test", 5, &[dovecot.transport()]);
    let sent = send_all(&app, "dovecot.test").await;
    let files = stage::all_delivered("Dovecot", copies(&sent), || dovecot.delivered()).await;
    assert_all(&app, &sent, &files);
    assert_encrypted(&app, &sent).await;
    drop(postfix);
}

/// A local part that is not ASCII needs SMTPUTF8 (RFC 6531) at every hop.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs servers that others wrote: .ci/interop"]
async fn an_international_address_goes_where_it_is_known_and_nowhere_else() {
    let app = stage::start(|_| {}).await;
    let postfix = stage::postfix(&app, "postfix.test", 2, &[]);
    let email = |domain: &str| json!({ "to": [format!("grüße@{domain}")], "subject": "Grüße", "text": "Grüß Gott\n" });
    let id = app.api.accepted(&email("postfix.test")).await;
    app.api.becomes(&id, "delivered").await;
    let mut files = stage::all_delivered("Postfix", 1, || postfix.delivered()).await;
    let exim = (!without("exim")).then(|| stage::exim(&app, "exim.test", 3));
    if let Some(exim) = &exim {
        let id = app.api.accepted(&email("exim.test")).await;
        app.api.becomes(&id, "delivered").await;
        files.extend(stage::all_delivered("Exim", 1, || exim.delivered()).await);
    }
    let copies = Copies::of(&files);
    for copy in judges::read(app.world.dns.address(), &copies) {
        assert_eq!(copy["signers"], json!(SIGNERS), "{copy}");
        assert_eq!(copy["subject"], "Grüße");
        assert_eq!(copy["text"].as_str().unwrap().trim_end(), "Grüß Gott");
        assert!(copy["to"].as_str().unwrap().starts_with("grüße@"), "{copy}");
    }
    if !without("opensmtpd") {
        let opensmtpd = stage::opensmtpd(&app, "opensmtpd.test", 4);
        let id = app.api.accepted(&email("opensmtpd.test")).await;
        let read = app.api.becomes(&id, "bounced").await;
        assert_eq!(read["recipients"][0]["lastResponse"]["enhancedCode"], "5.6.7", "{read}");
        drop(opensmtpd);
    }
}
