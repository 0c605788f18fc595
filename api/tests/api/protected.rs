//! The headers by which a browser protects whoever reads an answer, on all that is served: every
//! operation of the document, the pages, the errors.

use actors::UNSUBSCRIBE_PATH;
use api::ApiOptions;
use poem::{
    Body, Endpoint as _, Request, Response,
    http::{Method, header},
};

use crate::{
    described::Document,
    objects::{self, Objects},
    world::World,
};

/// What is served and is no operation.
const PAGES: [&str; 6] = [
    "/",
    "/docs",
    "/docs/start.js",
    "/docs/swagger-ui.js",
    "/docs/swagger-ui.css",
    "/openapi.json",
];

/// Fails when an answer lacks a header that all have, or has one that gives something away.
fn check(what: &str, response: &Response, https: bool) {
    let header =
        |name: header::HeaderName| response.headers().get(name).map(|v| v.to_str().unwrap());
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, Some("nosniff")),
        (header::X_FRAME_OPTIONS, Some("DENY")),
        (header::REFERRER_POLICY, Some("no-referrer")),
        (header::STRICT_TRANSPORT_SECURITY, https.then_some("max-age=31536000")),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, None),
        (header::SERVER, None),
    ] {
        assert_eq!(header(name.clone()), value, "{what}: {name}");
    }
    let policy = header(header::CONTENT_SECURITY_POLICY).unwrap_or_default();
    let policy: Vec<&str> = policy.split(';').map(str::trim).collect();
    for needed in ["default-src 'none'", "frame-ancestors 'none'"] {
        assert!(policy.contains(&needed), "{what}: {policy:?}");
    }
    // Scripts come from files of ours, or not at all.
    let mut scripts = policy.iter().filter(|rule| rule.starts_with("script-src"));
    assert!(scripts.all(|rule| *rule == "script-src 'self'"), "{what}: {policy:?}");
    let kind = header(header::CONTENT_TYPE).unwrap_or_default();
    let is_page = PAGES.contains(&what.rsplit(' ').next().unwrap_or_default());
    if !is_page {
        assert_eq!(header(header::CACHE_CONTROL), Some("no-store"), "{what}");
        assert!(!kind.contains("html") || what.contains(UNSUBSCRIBE_PATH), "{what}: {kind}");
    }
}

async fn walk(https: bool) {
    let public_url = if https { "https://mail.acme.test" } else { "http://127.0.0.1:8080" };
    let options = ApiOptions { public_url: public_url.to_owned(), ..ApiOptions::default() };
    let world = World::start_with(options, |parts| parts).await;
    let endpoint = api::app(world.parts.clone());
    let (objects, session) = (Objects::of(&world).await, world.session().await);
    let document = api::document();
    let mut operations = Document::new().operations();
    // Those that take away come last, and signing out after all.
    operations
        .sort_by_key(|(path, method, _)| (path.ends_with("/logout"), method == Method::DELETE));
    let mut done = 0;
    for (template, method, operation) in operations {
        let path = objects.path(&template);
        let what = format!("{method} {template}");
        let bare = || Request::builder().method(method.clone()).uri_str(&path);
        let known = bare()
            .header("x-api-key", &world.key)
            .header("cookie", format!("lumora_session={session}"));
        let known = match objects::body(&operation, &document) {
            Some(body) => {
                known.content_type("application/json").body(Body::from_json(body).unwrap())
            }
            None => known.finish(),
        };
        let answer = endpoint.get_response(known).await;
        done += usize::from(answer.status().is_success());
        check(&what, &answer, https);
        let foreign = bare().header("origin", "https://evil.test").finish();
        check(&what, &endpoint.get_response(foreign).await, https);
        let wrong = Request::builder().method(Method::PUT).uri_str(&path).finish();
        check(&what, &endpoint.get_response(wrong).await, https);
    }
    assert!(done > 25, "only {done} operations did what they were asked");
    let nowhere = ["/nope", "/v1/nope", "/docs/nope", "/%ff"].map(str::to_owned);
    let forged = format!("{UNSUBSCRIBE_PATH}/%3Cscript%3Ealert(1)");
    for path in PAGES.map(str::to_owned).into_iter().chain(nowhere).chain([forged]) {
        for method in [Method::GET, Method::HEAD, Method::POST] {
            let what = format!("{method} {path}");
            let request = Request::builder().method(method).uri_str(&path).finish();
            let answer = endpoint.get_response(request).await;
            if answer.status().is_success() || what.contains(UNSUBSCRIBE_PATH) {
                check(&what, &answer, https);
            } else {
                check(&format!("{what} that is not there"), &answer, https);
            }
            let text = answer.into_body().into_bytes().await.unwrap();
            let repeats = text.windows(8).any(|window| window == b"alert(1)");
            assert!(!repeats || path.starts_with("/docs/"), "{what} repeats what it was asked");
        }
    }
}

#[tokio::test]
async fn every_answer_is_protected_against_browsers_being_tricked() {
    walk(false).await;
}

#[tokio::test]
async fn where_the_public_address_is_https_browsers_are_told_to_stay_with_it() {
    walk(true).await;
}
