//! Why something happened is told back to the person who began it.

use serde_json::{Value, json};

use crate::{
    inbound::{HOSTNAME, bring, status_report},
    support::{
        app::TestApp,
        client::{Answer, Client},
        process::{ended, run, run_json},
        world::World,
    },
};

/// Asks the portal with a session's cookie.
async fn portal(client: &Client, cookie: &str, path: &str, body: &Value) -> Answer {
    let edit = |request: reqwest::RequestBuilder| {
        request.header("cookie", cookie).header("sec-fetch-site", "same-origin").json(body)
    };
    client.request("POST", path, edit).await
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Somebody who registers, makes an app and a key, and has a domain verified: the key's secret, the
/// ids of key and user.
async fn sign_up(app: &TestApp, client: &Client) -> (String, String, String) {
    let registration = json!({
        "tenantName": "Other", "email": "ada@other.test", "password": "correct horse battery",
    });
    let registered = portal(client, "", "/portal/register", &registration).await;
    let cookie = registered.header("set-cookie").split(';').next().unwrap().to_owned();
    let user = text(&registered.expect(201)["user"]["id"]);
    let post = async |path: &str, body: Value| portal(client, &cookie, path, &body).await;
    let new = json!({ "name": "Shop", "defaultSender": { "email": "shop@other.test" } });
    let shop = text(&post("/portal/apps", new).await.expect(201)["id"]);
    let domain = post("/portal/domains", json!({ "domain": "other.test" })).await.expect(201);
    let records = domain["records"].as_array().unwrap().iter();
    let records: Vec<[String; 3]> =
        records.map(|record| ["type", "name", "value"].map(|name| text(&record[name]))).collect();
    app.world.publish(
        records.iter().map(|[kind, name, value]| (kind.as_str(), name.as_str(), value.as_str())),
    );
    let verify = format!("/portal/domains/{}/verify", text(&domain["id"]));
    assert_eq!(post(&verify, json!({})).await.expect(200)["status"], "verified");
    let new = json!({
        "name": "k", "rateLimitPerMinute": 60, "scopes": { "email:send": true, "email:read": true },
    });
    let key = post(&format!("/portal/apps/{shop}/api-keys"), new).await.expect(201);
    (text(&key["secret"]), text(&key["id"]), user)
}

fn steps(trail: &Value) -> Vec<(String, String)> {
    let steps = trail["steps"].as_array().unwrap().iter();
    steps.map(|step| (text(&step["type"]), text(&step["cause"]))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suppression_is_told_back_to_the_user_who_made_the_key() {
    let world = World::new().await;
    let file = world.config_file("1h");
    let mut app = TestApp::start_in(world, |config| {
        config.inbound.listen = Some((std::net::Ipv4Addr::LOCALHOST, 0).into());
        config.inbound.hostname = Some(HOSTNAME.to_owned());
        config.portal.registration = lumora::config::Registration::Open;
    })
    .await;
    app.world.receives("reader.test");
    let client = app.api.with_secret(None);
    let (secret, key, user) = sign_up(&app, &client).await;
    let api = client.with_secret(Some(&secret));
    let email = json!({ "to": ["ada@reader.test"], "subject": "s", "text": "t" });
    let id = api.accepted(&email).await;
    api.becomes(&id, "delivered").await;
    let sender = app.world.inbox.only().0.mail_from;
    let address = app.node().inbound_address().unwrap();
    let report = status_report("ada@reader.test", "5.1.1", "no such user");
    assert_eq!(bring(address, &sender, &report).await.1, "250");
    assert_eq!(api.message(&id).await["message"]["status"], "bounced");

    let log = std::sync::Arc::clone(&app.node().core().log);
    let all = eventlog::export(log.as_ref(), eventlog::Position::START).map(Result::unwrap);
    let listed =
        all.filter(|one| one.data.starts_with(br#"{"type":"suppression.added""#)).last().unwrap();
    drop(log);
    let expected = [
        ("suppression.added", "report"),
        ("message.returned", "report"),
        ("message.delivered", "attempt"),
        ("message.accepted", key.as_str()),
        ("tenant.api_key_created", user.as_str()),
        ("tenant.user_added", "registration"),
    ]
    .map(|(kind, cause)| (kind.to_owned(), cause.to_owned()));
    // Of the server that runs, by id; of the directory that it left, by either.
    let named = [listed.id.to_string(), listed.position.to_string()];
    let running = run_json(&["log", "why", &named[0]], &file);
    assert_eq!(steps(&running), expected);
    let unknown = ended(&run(&["log", "why", "4000000"], &file));
    assert_eq!((unknown.0, unknown.2.as_str()), (1, "lumora: There is no such event\n"));
    app.stop().await;
    for name in &named {
        assert_eq!(run_json(&["log", "why", name], &file), running);
    }
    let (status, words, _) = ended(&run(&["log", "why", &named[1]], &file));
    assert_eq!((status, words.lines().count()), (0, 6), "{words}");
    let lines: Vec<&str> = words.lines().collect();
    assert!(lines[0].ends_with("suppression.added  by a report"), "{words}");
    assert!(lines[2].ends_with("message.delivered  by an attempt"), "{words}");
    assert!(lines[4].ends_with(&format!("tenant.api_key_created  by {user}")), "{words}");
    let unknown = ended(&run(&["log", "why", "4000000"], &file));
    assert_eq!((unknown.0, unknown.2.as_str()), (1, "lumora: 4000000: there is no such event\n"));
    assert_eq!(ended(&run(&["log", "why", "nonsense"], &file)).0, 2);
}
