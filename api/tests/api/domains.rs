//! Sending domains over HTTP: added, proved, looked at again, given up.

use std::time::Duration;

use poem::{Body, Request, http::Method};
use sandbox::dns::DnsFailure;
use serde_json::{Value, json};

use crate::world::{Answer, World, email, email_with, key};
use model::tenant::Scope;

async fn ask(
    world: &World,
    session: &str,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Answer {
    let request = Request::builder().method(method).uri_str(path);
    let request = request.header("cookie", format!("lumora_session={session}"));
    world
        .call(match body {
            Some(body) => {
                request.content_type("application/json").body(Body::from_json(body).unwrap())
            }
            None => request.finish(),
        })
        .await
}

async fn add(world: &World, session: &str, name: &str) -> Answer {
    ask(world, session, Method::POST, "/portal/domains", Some(json!({ "domain": name }))).await
}

async fn verify(world: &World, session: &str, domain: &Value) -> Value {
    let path = format!("/portal/domains/{}/verify", domain["id"].as_str().unwrap());
    ask(world, session, Method::POST, &path, None).await.expect(200).json
}

fn records(domain: &Value) -> Vec<&Value> {
    domain["records"].as_array().unwrap().iter().collect()
}

fn record<'a>(domain: &'a Value, purpose: &str) -> &'a Value {
    records(domain).into_iter().find(|record| record["purpose"] == purpose).unwrap()
}

/// Publishes what an answer asked for.
fn publish(world: &World, domain: &Value) {
    for record in records(domain) {
        let [kind, name, value] =
            ["type", "name", "value"].map(|field| record[field].as_str().unwrap());
        if kind == "TXT" {
            world.dns.add_txt(name, value).unwrap();
        } else {
            let (preference, host) = value.split_once(' ').unwrap();
            world.dns.add_mx(name, preference.parse().unwrap(), host).unwrap();
        }
    }
}

#[tokio::test]
async fn a_domain_has_one_name_however_it_is_written() {
    let world = World::start().await;
    let session = world.session().await;
    for (written, name) in [
        ("Shop.ACME.test.", "shop.acme.test"),
        (" post.acme.test ", "post.acme.test"),
        ("Bücher.example", "xn--bcher-kva.example"),
        ("ｆｕｌｌ.example", "full.example"),
    ] {
        let added = add(&world, &session, written).await.expect(201).json;
        assert_eq!((&added["domain"], &added["status"]), (&json!(name), &json!("pending")));
        for record in records(&added) {
            assert!(record["name"].as_str().unwrap().ends_with(name), "{record}");
            assert_eq!(record["status"], "pending");
        }
        for again in [written, name, &name.to_uppercase()] {
            let refused = add(&world, &session, again).await.expect(409);
            assert_eq!(refused.error(), "already_exists", "{again}");
        }
    }
    let long = format!("{0}.{0}.{0}.{1}.example", "a".repeat(63), "b".repeat(40));
    for none in [
        "",
        "com",
        "localhost",
        "co.uk",
        "github.io",
        "gmail.com",
        "GMail.com.",
        "x.gmail.com",
        "a_b.acme.test",
        "*.acme.test",
        "acme..test",
        "acme.test..",
        "[127.0.0.1]",
        "127.0.0.1",
        "acme.test/",
        "-a.acme.test",
        "a\u{200d}b.test",
        "acme.test\0",
        &long,
    ] {
        let refused = add(&world, &session, none).await.expect(422);
        assert_eq!(refused.fields(), ["domain"], "{none}");
    }
}

#[tokio::test]
async fn verifying_tells_of_each_record_what_was_found_and_when() {
    let world = World::start().await;
    let session = world.session().await;
    let added = add(&world, &session, "shop.acme.test").await.expect(201).json;
    assert_eq!(added["checkedAt"], Value::Null);
    let purposes: Vec<_> = records(&added).iter().map(|r| r["purpose"].as_str().unwrap()).collect();
    assert_eq!(purposes, ["ownership", "dkim", "spf", "dmarc", "return_path"]);
    let missed = verify(&world, &session, &added).await;
    assert_eq!(missed["status"], "pending");
    for record in records(&missed) {
        assert_eq!(record["status"], "missing", "{record}");
        let words = record["problem"].as_str().unwrap();
        assert!(words.contains(record["name"].as_str().unwrap()), "{words}");
    }
    publish(&world, &added);
    world.dns.add_address("mx.lumora.test", [127, 0, 0, 1].into()).unwrap();
    let verified = verify(&world, &session, &added).await;
    assert_eq!(verified["status"], "verified");
    for record in records(&verified) {
        assert_eq!((&record["status"], &record["problem"]), (&json!("verified"), &Value::Null));
        assert_eq!(record["found"], json!([record["value"]]));
    }
    // Nothing new is found, and still it was asked.
    world.clock.advance(Duration::from_mins(5));
    let again = verify(&world, &session, &added).await;
    assert_eq!(again["records"], verified["records"]);
    assert_eq!(again["checkedAt"], "2025-11-26T12:05:00.000Z");
    // A name server that fails takes nothing away, and is told as what it is.
    for record in records(&added) {
        world.dns.fail(record["name"].as_str().unwrap(), DnsFailure::ServFail).unwrap();
    }
    world.clock.advance(Duration::from_hours(100));
    let session = world.session().await;
    let silent = verify(&world, &session, &added).await;
    assert_eq!(silent["status"], "verified");
    assert!(records(&silent).iter().all(|record| record["status"] == "temporary_failure"));
}

#[tokio::test]
async fn whatever_a_name_server_answers_is_recorded() {
    let world = World::start().await;
    let session = world.session().await;
    let added = add(&world, &session, "hostile.test").await.expect(201).json;
    for record in records(&added) {
        for number in 0..9 {
            let text = format!("{number}{}", "\u{1f600}".repeat(500));
            world.dns.add_txt(record["name"].as_str().unwrap(), &text).unwrap();
        }
    }
    let checked = verify(&world, &session, &added).await;
    let ownership = record(&checked, "ownership");
    assert_eq!(ownership["status"], "mismatch");
    assert!(ownership["found"][0].as_str().unwrap().starts_with("0\u{1f600}"));
}

#[tokio::test]
async fn two_tenants_that_both_prove_a_name_both_send() {
    let world = World::start().await;
    let stranger = world.stranger().await;
    let claimed = add(&world, &stranger, "mail.acme.test").await.expect(201).json;
    let app = ask(&world, &stranger, Method::POST, "/portal/apps", Some(json!({ "name": "E" })));
    let app = app.await.expect(201).json;
    let body = json!({ "name": "k", "scopes": { "email:send": true } });
    let path = format!("/portal/apps/{}/api-keys", app["id"].as_str().unwrap());
    let made = ask(&world, &stranger, Method::POST, &path, Some(body)).await.expect(201).json;
    let secret = made["secret"].as_str().unwrap();
    let send = async || {
        let request = crate::world::request(Method::POST, "/v1/email/send", secret);
        let request = request.content_type("application/json");
        world.call(request.body(Body::from_json(email()).unwrap())).await
    };
    let unproved = verify(&world, &stranger, &claimed).await;
    assert_eq!(unproved["status"], "pending");
    let words = record(&unproved, "ownership")["problem"].as_str().unwrap().to_owned();
    assert!(words.contains("another account"), "{words}");
    assert_eq!(send().await.expect(403).error(), "sender_domain_not_verified");
    publish(&world, &claimed);
    assert_eq!(verify(&world, &stranger, &claimed).await["status"], "verified");
    send().await.expect(202);
    world.send(&email()).await.expect(202);
}

#[tokio::test]
async fn nothing_is_sent_from_a_domain_that_was_given_up() {
    let world = World::start().await;
    let session = world.session().await;
    let list = async || {
        let list = ask(&world, &session, Method::GET, "/portal/domains", None).await;
        list.expect(200).json["data"].as_array().unwrap().clone()
    };
    let before = list().await.remove(0);
    // What was accepted before is still delivered, and signed.
    let waiting = email_with(json!({ "scheduledAt": "2025-11-26T12:30:00Z" }));
    let waiting = world.accepted(&waiting).await;
    let path = format!("/portal/domains/{}", before["id"].as_str().unwrap());
    ask(&world, &session, Method::DELETE, &path, None).await.expect(204);
    for method in [Method::GET, Method::DELETE] {
        ask(&world, &session, method, &path, None).await.expect(404);
    }
    assert!(list().await.is_empty());
    let refused = world.send(&email()).await.expect(403);
    assert_eq!(refused.error(), "sender_domain_not_verified");
    world.clock.advance(Duration::from_mins(31));
    world.until(&waiting, &["delivered"]).await;
    // Added again it must be proved again.
    let again = add(&world, &session, "mail.acme.test").await.expect(201).json;
    assert_ne!(record(&again, "ownership")["value"], record(&before, "ownership")["value"]);
    assert_eq!(verify(&world, &session, &again).await["status"], "pending");
    world.send(&email()).await.expect(403);
    // A name below it never was proved by it.
    let sub = key(&world.platform, world.tenant, world.app, &Scope::ALL, 10).await;
    let request = crate::world::request(Method::POST, "/v1/email/send", &sub);
    let below = email_with(json!({ "from": { "email": "a@x.mail.acme.test" } }));
    let request = request.content_type("application/json").body(Body::from_json(below).unwrap());
    world.call(request).await.expect(403);
}
