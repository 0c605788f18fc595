//! Line ends and controls in names and values: nobody writes a header, a record or a line of ours.

use eventlog::EventLog as _;
use poem::{Body, Request, http::Method};
use serde_json::{Value, json};

use crate::world::{Answer, World, email_with, request};

/// What ends a line for somebody, or ends a text.
const EVIL: [&str; 6] = ["\r\n", "\n", "\r", "\0", "\u{2028}", "\u{1b}"];

async fn portal(world: &World, session: &str, path: &str, body: &Value) -> Answer {
    let request = Request::builder().method(Method::POST).uri_str(path);
    let request = request.header("cookie", format!("lumora_session={session}"));
    let request = request.content_type("application/json");
    world.call(request.body(Body::from_json(body).unwrap())).await
}

#[tokio::test]
async fn a_send_with_a_line_end_in_a_name_or_value_is_refused_and_nothing_is_stored() {
    let world = World::start().await;
    let head = *world.log.head().borrow();
    for evil in EVIL {
        let evil = format!("a{evil}Bcc: eve@evil.test");
        let file = |name: &str| {
            let mut file = json!({ "filename": "f.txt", "content": "" });
            file[name] = evil.clone().into();
            json!({ "attachments": [file] })
        };
        for (field, change) in [
            ("subject", json!({ "subject": evil })),
            ("from.name", json!({ "from": { "email": "hello@mail.acme.test", "name": evil } })),
            ("from.email", json!({ "from": { "email": evil } })),
            ("to[0]", json!({ "to": [format!("{evil} <a@reader.test>")] })),
            ("cc[0]", json!({ "cc": [format!("a@reader.test{evil}")] })),
            ("bcc[0]", json!({ "bcc": [evil] })),
            ("replyTo[0]", json!({ "replyTo": [evil] })),
            ("headers.X-A", json!({ "headers": { "X-A": evil } })),
            ("tags[0]", json!({ "tags": [evil] })),
            ("attachments[0].filename", file("filename")),
            ("attachments[0].contentType", file("contentType")),
            ("attachments[0].contentId", file("contentId")),
        ] {
            let answer = world.send(&email_with(change)).await.expect(422);
            assert_eq!(answer.fields(), [field], "{evil:?}");
        }
        let name = json!({ "headers": { evil.clone(): "1" } });
        world.send(&email_with(name)).await.expect(422);
    }
    assert_eq!(*world.log.head().borrow(), head, "something was stored");
}

#[tokio::test]
async fn what_a_template_makes_of_a_variable_stays_within_its_field() {
    let world = World::start().await;
    let template = json!({
        "slug": "hello", "name": "Hello", "subject": "Hello {{ name }}", "text": "x",
        "html": "<p>{{ name }}</p>",
    });
    world.post("/v1/templates", &template).await.expect(201);
    let head = *world.log.head().borrow();
    for evil in ["\r\n", "\n", "\r", "\0", "\u{2028}"] {
        let variables = json!({ "name": format!("a{evil}Bcc: eve@evil.test") });
        let email = json!({
            "from": { "email": "hello@mail.acme.test" }, "to": ["ada@reader.test"],
            "template": { "slug": "hello", "variables": variables },
        });
        let refused = world.send(&email).await.expect(422);
        assert_eq!(refused.error(), "template_render_failed", "{evil:?}");
    }
    assert_eq!(*world.log.head().borrow(), head, "something was stored");
    let variables = json!({ "variables": { "name": "<script>alert(1)</script>" } });
    let shown = world.post("/v1/templates/hello/preview", &variables).await.expect(200);
    let html = shown.json["html"].as_str().unwrap();
    assert!(!html.contains("<script"), "{html}");
    assert_eq!(shown.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn names_of_apps_keys_templates_domains_and_people_are_one_line() {
    let world = World::start().await;
    let session = world.session().await;
    let keys = format!("/portal/apps/{}/api-keys", world.app);
    for evil in EVIL {
        let evil = format!("a{evil}b");
        for (path, body) in [
            ("/portal/apps", json!({ "name": evil })),
            (
                "/portal/apps",
                json!({ "name": "n", "defaultSender": { "email": "a@acme.test", "name": evil } }),
            ),
            (&keys, json!({ "name": evil, "scopes": { "email:send": true } })),
            ("/portal/domains", json!({ "domain": format!("{evil}.acme.test") })),
        ] {
            let answer = portal(&world, &session, path, &body).await;
            assert_eq!((answer.status, answer.error()), (422, "validation_failed"), "{body}");
        }
        for (path, body) in [
            ("/v1/templates", json!({ "slug": evil, "name": "n", "text": "t" })),
            ("/v1/templates", json!({ "slug": "s", "name": evil, "text": "t" })),
            ("/v1/suppressions", json!({ "email": format!("{evil}@reader.test") })),
        ] {
            let answer = world.post(path, &body).await;
            assert_eq!((answer.status, answer.error()), (422, "validation_failed"), "{body}");
        }
    }
    // What stands in a path ends no line of an answer's head.
    for path in ["/v1/templates/%0d%0aset-cookie:%20a=b", "/v1/suppressions/a%0d%0a@reader.test"] {
        let answer = world.call(request(Method::DELETE, path, &world.key).finish()).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.header("set-cookie").is_none());
    }
}
