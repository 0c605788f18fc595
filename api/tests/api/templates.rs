//! Templates: written, changed, tried out, sent with.

use poem::http::Method;
use serde_json::{Value, json};

use crate::world::{Answer, SENDER, World, request};

fn welcome() -> Value {
    json!({
        "slug": "welcome",
        "name": "Welcome",
        "subject": "Welcome, {{ user.name }}",
        "html": "<p>Hello {{ user.name }}</p>",
    })
}

async fn patch(world: &World, path: &str, body: &Value) -> Answer {
    let request = request(Method::PATCH, path, &world.key).content_type("application/json");
    world.call(request.body(poem::Body::from_json(body).unwrap())).await
}

async fn delete(world: &World, path: &str) -> Answer {
    world.call(request(Method::DELETE, path, &world.key).finish()).await
}

#[expect(clippy::needless_pass_by_value, reason = "callers write json!(…) in place")]
fn with_template(template: Value) -> Value {
    json!({ "from": { "email": SENDER }, "to": ["ada@reader.test"], "template": template })
}

#[tokio::test]
async fn a_template_is_written_read_changed_and_deleted() {
    let world = World::start().await;
    let created = world.post("/v1/templates", &welcome()).await.expect(201).json;
    assert_eq!((&created["version"], &created["status"]), (&json!(1), &json!("active")));
    let id = created["id"].as_str().unwrap();
    assert!(id.starts_with("tpl_"));
    let by_slug = world.get("/v1/templates/welcome").await.expect(200).json;
    assert_eq!(by_slug, world.get(&format!("/v1/templates/{id}")).await.expect(200).json);
    assert_eq!(by_slug["html"], welcome()["html"]);
    assert_eq!(by_slug["text"], Value::Null);

    let change = json!({ "subject": null, "text": "Hello", "name": "Hello" });
    let changed = patch(&world, "/v1/templates/welcome", &change).await.expect(200).json;
    assert_eq!((&changed["version"], &changed["name"]), (&json!(2), &json!("Hello")));
    let second = world.get("/v1/templates/welcome").await.expect(200).json;
    assert_eq!((&second["subject"], &second["text"]), (&Value::Null, &json!("Hello")));
    assert_eq!(second["html"], welcome()["html"]);
    let first = world.get("/v1/templates/welcome?version=1").await.expect(200).json;
    assert_eq!((&first["version"], &first["subject"]), (&json!(1), &welcome()["subject"]));
    world.get("/v1/templates/welcome?version=3").await.expect(404);

    delete(&world, &format!("/v1/templates/{id}")).await.expect(204);
    for path in ["/v1/templates/welcome".to_owned(), format!("/v1/templates/{id}")] {
        assert_eq!(world.get(&path).await.expect(404).error(), "not_found");
        delete(&world, &path).await.expect(404);
    }
    world.post("/v1/templates", &welcome()).await.expect(201);
}

#[tokio::test]
async fn templates_are_listed_in_pages() {
    let world = World::start().await;
    for number in 0..5 {
        let body = json!({ "slug": format!("t{number}"), "name": "T", "text": "x" });
        world.clock.advance(std::time::Duration::from_secs(1));
        world.post("/v1/templates", &body).await.expect(201);
    }
    let mut slugs = Vec::new();
    let mut path = "/v1/templates?limit=2".to_owned();
    loop {
        let page = world.get(&path).await.expect(200).json;
        let rows = page["data"].as_array().unwrap().iter();
        slugs.extend(rows.map(|row| row["slug"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["nextCursor"].as_str() else { break };
        assert_eq!(page["hasMore"], true);
        path = format!("/v1/templates?limit=2&cursor={cursor}");
        // A new one changes no page that follows.
        let body = json!({ "slug": format!("new{}", slugs.len()), "name": "T", "text": "x" });
        world.clock.advance(std::time::Duration::from_secs(1));
        world.post("/v1/templates", &body).await.expect(201);
    }
    assert_eq!(slugs, ["t4", "t3", "t2", "t1", "t0"]);
}

#[tokio::test]
async fn faults_are_told_by_field_and_line() {
    let world = World::start().await;
    let bad = json!({
        "slug": "bad",
        "name": "Bad",
        "subject": "{{ open",
        "html": "<p>\n{% if x %}\n</p>",
        "text": "fine",
    });
    let answer = world.post("/v1/templates", &bad).await.expect(422);
    assert_eq!(answer.error(), "validation_failed");
    assert_eq!(answer.fields(), ["subject", "html"]);
    assert!(answer.json["details"][1]["line"].as_u64().unwrap() >= 2, "{}", answer.json);
    let neither = json!({ "slug": "bad", "name": "Bad", "subject": "x" });
    let answer = world.post("/v1/templates", &neither).await.expect(422);
    assert_eq!(answer.error(), "validation_failed");
    world.get("/v1/templates/bad").await.expect(404);
    for slug in ["", "Bad", "-bad", "a b", "tpl_01kb05yt7qe5tvnr4w8jhjkz2m"] {
        let body = json!({ "slug": slug, "name": "Bad", "text": "x" });
        assert_eq!(world.post("/v1/templates", &body).await.expect(422).fields(), ["slug"]);
    }
    world.post("/v1/templates", &welcome()).await.expect(201);
    let twice = world.post("/v1/templates", &welcome()).await.expect(409);
    assert_eq!((twice.error(), twice.fields()), ("already_exists", vec!["slug"]));
}

#[tokio::test]
async fn a_preview_shows_what_would_be_sent() {
    let world = World::start().await;
    world.post("/v1/templates", &welcome()).await.expect(201);
    let path = "/v1/templates/welcome/preview";
    let body = json!({ "variables": { "user": { "name": "<Ada>" } } });
    let preview = world.post(path, &body).await.expect(200).json;
    assert_eq!(preview["subject"], "Welcome, <Ada>");
    assert_eq!(preview["html"], "<p>Hello &lt;Ada&gt;</p>");
    assert_eq!(preview["text"].as_str().unwrap().trim(), "Hello <Ada>");
    let missing = world.post(path, &json!({ "variables": { "user": {} } })).await.expect(422);
    assert_eq!(missing.error(), "template_render_failed");
    assert_eq!(missing.fields(), ["variables.user.name"]);
    world.post(path, &json!({ "version": 2 })).await.expect(404);
}

#[tokio::test]
async fn a_message_is_made_from_a_template_and_says_so() {
    let world = World::start().await;
    let template = world.post("/v1/templates", &welcome()).await.expect(201).json;
    let variables = json!({ "user": { "name": "Ada" } });
    for name in [json!({ "slug": "welcome" }), json!({ "id": template["id"] })] {
        let mut call = name.clone();
        call["variables"] = variables.clone();
        let id = world.accepted(&with_template(call)).await;
        let read = world.until(&id, &["delivered"]).await;
        assert_eq!(read["message"]["subject"], "Welcome, Ada");
        let used = json!({ "id": template["id"], "version": 1 });
        assert_eq!(read["message"]["template"], used);
    }
    let stats = world.get("/v1/emails/stats").await.expect(200).json;
    assert_eq!(stats["totals"]["accepted"], 2);
}

#[tokio::test]
async fn a_bad_use_of_a_template_is_told_by_its_field() {
    let world = World::start().await;
    world.post("/v1/templates", &welcome()).await.expect(201);
    let plain = json!({ "slug": "plain", "name": "Plain", "text": "x" });
    world.post("/v1/templates", &plain).await.expect(201);
    for (template, error, fields) in [
        (json!({ "slug": "nope" }), "template_not_found", vec!["template"]),
        (json!({ "slug": "welcome", "version": 2 }), "template_not_found", vec!["template"]),
        (json!({ "id": "tpl_01kb05yt7qe5tvnr4w8jhjkz2m" }), "template_not_found", vec!["template"]),
        (
            json!({ "slug": "welcome", "variables": { "user": {} } }),
            "template_render_failed",
            vec!["template.variables.user.name"],
        ),
        (json!({ "slug": "plain" }), "validation_failed", vec!["subject"]),
        (json!({}), "validation_failed", vec!["template.id", "template.slug"]),
        (json!({ "id": 1 }), "validation_failed", vec!["template.id"]),
        (json!({ "id": "x" }), "template_not_found", vec!["template"]),
        (json!({ "slug": "X" }), "template_not_found", vec!["template"]),
        (json!({ "slug": "plain", "version": 0 }), "validation_failed", vec!["template.version"]),
    ] {
        let answer = world.send(&with_template(template.clone())).await.expect(422);
        assert_eq!((answer.error(), answer.fields()), (error, fields), "{template}");
    }
    let mut both = with_template(json!({ "slug": "plain" }));
    both["subject"] = "x".into();
    both["html"] = "x".into();
    assert_eq!(world.send(&both).await.expect(422).fields(), ["html"]);
    both.as_object_mut().unwrap().remove("html");
    world.send(&both).await.expect(202);
}

#[tokio::test]
async fn a_template_of_another_app_is_not_there() {
    let world = World::start().await;
    let template = world.post("/v1/templates", &welcome()).await.expect(201).json;
    let app = world.other_app().await;
    let all = model::tenant::Scope::ALL;
    let key = crate::world::key(&world.platform, world.tenant, app, &all, 100).await;
    for name in [json!({ "slug": "welcome" }), json!({ "id": template["id"] })] {
        let body = poem::Body::from_json(with_template(name)).unwrap();
        let request = request(Method::POST, "/v1/email/send", &key);
        let answer = world.call(request.content_type("application/json").body(body)).await;
        assert_eq!(answer.expect(422).error(), "template_not_found");
    }
}
