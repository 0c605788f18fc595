//! Pausing delivery in the portal, and what those who run the server may ask beyond it.

use api::{ApiOptions, OperatorToken};
use model::{address::DomainName, pause::Who};
use poem::{Body, Request, http::Method};
use projections::Paused;
use serde_json::{Value, json};

use crate::world::{Answer, World, email, email_with};

const TOKEN: &str = "lum_op_token-of-the-test";

/// Asks with a session.
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
                request.content_type("application/json").body(Body::from_json(&body).unwrap())
            }
            None => request.finish(),
        })
        .await
}

async fn post(world: &World, session: &str, path: &str, body: Option<Value>) -> Answer {
    ask(world, session, Method::POST, path, body).await
}

/// Asks as an operator.
async fn operate(world: &World, method: Method, path: &str, body: Option<Value>) -> Answer {
    let request = Request::builder().method(method).uri_str(format!("/operator/queue{path}"));
    let request = request.header("authorization", format!("Bearer {TOKEN}"));
    world
        .call(match body {
            Some(body) => {
                request.content_type("application/json").body(Body::from_json(&body).unwrap())
            }
            None => request.finish(),
        })
        .await
}

async fn operated() -> World {
    let operator = Some(OperatorToken::new(TOKEN.to_owned()));
    World::start_with(ApiOptions { operator, ..ApiOptions::default() }, |parts| parts).await
}

#[tokio::test]
async fn a_tenant_pauses_its_delivery_and_resumes_it() {
    let world = World::start().await;
    let session = world.session().await;
    let standing = ask(&world, &session, Method::GET, "/portal/delivery", None).await.expect(200);
    assert_eq!(standing.json, json!({ "paused": null }));
    let reason = json!({ "reason": " wrong link " });
    let paused = post(&world, &session, "/portal/delivery/pause", Some(reason)).await.expect(200);
    let pause = &paused.json["paused"];
    assert_eq!((&pause["scope"], &pause["by"]), (&json!("tenant"), &json!("user")));
    assert_eq!(pause["reason"], "wrong link");

    // Accepted as ever; it waits, says so, and can be taken back.
    let message = world.accepted(&email()).await;
    let read = world.get(&format!("/v1/messages/{message}")).await.expect(200).json;
    assert_eq!(read["message"]["status"], "queued");
    assert_eq!(read["message"]["paused"], *pause);
    let other = world.accepted(&email()).await;
    let cancel = format!("/v1/messages/{other}/cancel");
    world.post(&cancel, &json!({})).await.expect(200);

    // Pausing twice is pausing: what was said first stands.
    let again = post(&world, &session, "/portal/delivery/pause", Some(json!({}))).await.expect(200);
    assert_eq!(again.json, paused.json);
    let resumed = post(&world, &session, "/portal/delivery/resume", None).await.expect(200);
    assert_eq!(resumed.json, json!({ "paused": null }));
    world.until(&message, &["delivered"]).await;
    let read = world.get(&format!("/v1/messages/{message}")).await.expect(200).json;
    assert_eq!(read["message"].get("paused"), None);
    post(&world, &session, "/portal/delivery/resume", None).await.expect(200);
}

#[tokio::test]
async fn a_domain_is_paused_by_its_tenant_and_by_nobody_else() {
    let world = World::start().await;
    let (owner, eve) = (world.session().await, world.stranger().await);
    let view = world.read.policies().domains_of(world.tenant)[0].clone();
    let path = |what: &str| format!("/portal/domains/{}{what}", view.id);
    for (method, what, body) in
        [(Method::POST, "/pause", Some(json!({}))), (Method::POST, "/resume", None)]
    {
        let foreign = ask(&world, &eve, method.clone(), &path(what), body.clone()).await;
        assert_eq!((foreign.status, foreign.error()), (404, "not_found"));
        let nobody = ask(&world, "ses_x", method, &path(what), body).await;
        assert_eq!((nobody.status, nobody.error()), (401, "unauthorized"));
    }
    assert!(world.read.policies().pauses().is_empty());

    let paused = post(&world, &owner, &path("/pause"), Some(json!({}))).await.expect(200).json;
    assert_eq!(paused["paused"]["scope"], "domain");
    assert_eq!(paused["paused"].get("reason"), None);
    let message = world.accepted(&email()).await;
    let read = world.get(&format!("/v1/messages/{message}")).await.expect(200).json;
    assert_eq!(read["message"]["paused"]["scope"], "domain");
    let listed = ask(&world, &owner, Method::GET, &path(""), None).await.expect(200).json;
    assert_eq!(listed["paused"], paused["paused"]);
    let resumed = post(&world, &owner, &path("/resume"), None).await.expect(200).json;
    assert_eq!(resumed.get("paused"), None);
    world.until(&message, &["delivered"]).await;
}

#[tokio::test]
async fn a_reason_is_one_short_line() {
    let world = World::start().await;
    let session = world.session().await;
    for wrong in [json!(""), json!("a\nb"), json!("é".repeat(201)), json!(7), json!(["x"])] {
        let body = Some(json!({ "reason": wrong }));
        let refused = post(&world, &session, "/portal/delivery/pause", body).await.expect(422);
        assert_eq!(refused.fields(), ["reason"], "{wrong}");
    }
    let body = Some(json!({ "because": "x" }));
    let refused = post(&world, &session, "/portal/delivery/pause", body).await.expect(422);
    assert_eq!(refused.fields(), ["because"]);
    assert!(world.read.policies().pauses().is_empty());
}

#[tokio::test]
async fn what_an_operator_paused_the_tenant_sees_and_does_not_resume() {
    let world = operated().await;
    let session = world.session().await;
    let body = json!({ "tenant": world.tenant, "reason": "under review" });
    let paused = operate(&world, Method::POST, "/pause", Some(body.clone())).await.expect(200).json;
    let pause = &paused["pauses"][0];
    assert_eq!((&pause["scope"], &pause["by"]), (&json!("tenant"), &json!("operator")));
    assert_eq!(pause["tenant"], json!(world.tenant));
    let standing = ask(&world, &session, Method::GET, "/portal/delivery", None).await.expect(200);
    assert_eq!(standing.json["paused"]["by"], "operator");
    assert_eq!(standing.json["paused"]["reason"], "under review");
    let refused = post(&world, &session, "/portal/delivery/resume", None).await.expect(409);
    assert_eq!(refused.error(), "paused_by_operator");
    let of_tenant = json!({ "tenant": world.tenant });
    let resumed =
        operate(&world, Method::POST, "/resume", Some(of_tenant.clone())).await.expect(200);
    assert_eq!(resumed.json, json!({ "wasPaused": true, "pauses": [] }));
    let resumed = operate(&world, Method::POST, "/resume", Some(of_tenant)).await.expect(200);
    assert_eq!(resumed.json["wasPaused"], false);
}

#[tokio::test]
async fn why_a_receiver_is_paused_is_not_for_tenants() {
    let world = operated().await;
    let body = json!({ "site": "reader.test", "reason": "they blocked us" });
    operate(&world, Method::POST, "/pause", Some(body)).await.expect(200);
    let message = world.accepted(&email()).await;
    let read = world.get(&format!("/v1/messages/{message}")).await.expect(200).json;
    let pause = &read["message"]["paused"];
    assert_eq!((&pause["scope"], pause.get("reason")), (&json!("receiver"), None));
    let why = operate(&world, Method::GET, &format!("/messages/{message}"), None).await.expect(200);
    let recipient = &why.json["recipients"][0];
    assert_eq!(recipient["waitsFor"], "pause");
    let words = recipient["why"].as_str().unwrap();
    assert!(words.contains("reader.test") && words.contains("they blocked us"), "{words}");
    assert!(!String::from_utf8_lossy(&why.bytes).contains("ada@"), "{}", why.json);
}

#[tokio::test]
async fn nobody_but_an_operator_gets_at_the_queue() {
    let world = operated().await;
    let live = world.session().await;
    let site = Paused::Site(DomainName::parse("reader.test").unwrap());
    for (method, path) in [
        (Method::GET, "/queue"),
        (Method::GET, "/queue/sites"),
        (Method::GET, "/queue/messages/msg_01kb05yt7qe5tvnr4w8jhjkz2m"),
        (Method::POST, "/queue/retry"),
        (Method::POST, "/queue/pause"),
        (Method::POST, "/queue/resume"),
        (Method::GET, "/log/why/1"),
    ] {
        let uri = format!("/operator{path}");
        let bare = || {
            let request = Request::builder().method(method.clone()).uri_str(&uri);
            request.content_type("application/json")
        };
        let body = || Body::from_json(json!({ "site": "reader.test" })).unwrap();
        let bearer = |token: &str| bare().header("authorization", format!("Bearer {token}"));
        for request in [
            bare(),
            bearer(""),
            bearer("lum_op_"),
            bearer(&format!("{TOKEN}x")),
            bearer(&world.key),
            bare().header("authorization", TOKEN),
            bare().header("x-api-key", TOKEN),
            bare().header("cookie", format!("lumora_session={live}")),
            bearer(TOKEN).header("authorization", format!("Bearer {TOKEN}")),
        ] {
            let answer = world.call(request.body(body())).await;
            assert_eq!((answer.status, answer.error()), (404, "not_found"), "{method} {path}");
        }
    }
    assert_eq!(world.read.policies().pauses().of(&site), None);
    // Where no token was made there is no way in at all.
    let closed = World::start().await;
    for token in ["", "lum_op_", TOKEN] {
        let request = Request::builder().uri_str("/operator/queue");
        let request = request.header("authorization", format!("Bearer {token}"));
        closed.call(request.finish()).await.expect(404);
    }
}

#[tokio::test]
async fn the_queue_is_listed_explained_and_tried_again() {
    let world = operated().await;
    let later = email_with(json!({ "to": ["later@reader.test"] }));
    let message = world.accepted(&later).await;
    world.until(&message, &["sending"]).await;
    let list = operate(&world, Method::GET, "?limit=1", None).await.expect(200).json;
    assert_eq!((&list["waiting"], &list["next"]), (&json!(1), &Value::Null));
    let row = &list["data"][0];
    assert_eq!((&row["id"], &row["waitsFor"]), (&json!(message), &json!("time")));
    assert_eq!(row["receivers"], json!([{ "domain": "reader.test", "recipients": 1 }]));
    let none = operate(&world, Method::GET, "?site=a.test", None).await.expect(200).json;
    assert_eq!(none["data"], json!([]));
    let sites = operate(&world, Method::GET, "/sites", None).await.expect(200).json;
    let site = &sites["data"][0];
    assert_eq!((&site["site"], &site["waiting"]), (&json!("mx.reader.test"), &json!(1)));
    assert_eq!(
        (&site["lastReply"]["code"], &site["lastReply"]["message"]),
        (&json!(450), &json!("not now"))
    );
    let why = operate(&world, Method::GET, &format!("/messages/{message}"), None).await.expect(200);
    let recipient = &why.json["recipients"][0];
    assert_eq!((&recipient["waitsFor"], &recipient["attempts"]), (&json!("time"), &json!(1)));
    assert_eq!(recipient["lastResponse"]["code"], 450);

    let body = Some(json!({ "messages": [message] }));
    let retried = operate(&world, Method::POST, "/retry", body.clone()).await.expect(200).json;
    assert_eq!(retried, json!({ "retried": 1, "next": null }));
    // What an app reads of it are its attempts.
    let read = world.get(&format!("/v1/messages/{message}")).await.expect(200).json;
    let events = read["events"].as_array().unwrap();
    assert!(events.iter().all(|event| event["type"] == "accepted" || event["type"] == "deferred"));
    let (session, kind) = (world.session().await, "message.retry_requested");
    let path = format!("/portal/audit/events?type={kind}");
    let audit = ask(&world, &session, Method::GET, &path, None).await.expect(200).json;
    assert_eq!(audit["data"].as_array().unwrap().len(), 1);
    let by_site = Some(json!({ "site": "mx.reader.test" }));
    operate(&world, Method::POST, "/retry", by_site).await.expect(200);
}

#[tokio::test]
async fn what_an_operator_asks_wrongly_is_told() {
    let world = operated().await;
    let missing = "msg_01kb05yt7qe5tvnr4w8jhjkz2m";
    for (path, body, fields) in [
        ("/pause", json!({}), vec!["body"]),
        ("/pause", json!({ "tenant": world.tenant, "site": "a.test" }), vec!["body"]),
        ("/pause", json!({ "site": "no name" }), vec!["site"]),
        ("/pause", json!({ "tenant": "x", "reason": "a\nb" }), vec!["reason", "tenant"]),
        ("/resume", json!({ "site": "a.test", "reason": "x" }), vec!["reason"]),
        ("/retry", json!({}), vec!["body"]),
        ("/retry", json!({ "messages": ["x", 7] }), vec!["messages[0]", "messages[1]"]),
        ("/retry", json!({ "messages": [missing] }), vec!["messages[0]"]),
        ("/retry", json!({ "site": "a.test", "after": "x" }), vec!["after"]),
    ] {
        let answer = operate(&world, Method::POST, path, Some(body.clone())).await.expect(422);
        assert_eq!(answer.fields(), fields, "{path} {body}");
    }
    for query in ["?limit=0", "?limit=1001", "?after=x", "?tenant=x", "?what=1", "?limit=1&limit=2"]
    {
        operate(&world, Method::GET, query, None).await.expect(422);
    }
    for (path, body) in [
        ("/pause", json!({ "tenant": "ten_01kb05yt7qe5tvnr4w8jhjkz2m" })),
        ("/resume", json!({ "domain": "dom_01kb05yt7qe5tvnr4w8jhjkz2m" })),
    ] {
        operate(&world, Method::POST, path, Some(body)).await.expect(404);
    }
    operate(&world, Method::GET, &format!("/messages/{missing}"), None).await.expect(404);
    let user = Who::User(model::UserId::from_bytes([1; 16]));
    assert!(world.platform.resume(&Paused::Tenant(world.tenant), user).await.is_ok());
}
