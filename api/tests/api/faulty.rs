//! Every operation of the document against every kind of bad request.
//!
//! The cases are made from the document: a field that appears there is tried here, in every wrong
//! type, and an answer that the document does not describe fails in [`World::call`].

mod cases;

use std::{collections::BTreeMap, time::Duration};

use api::ApiOptions;
use poem::{
    Body, Request, RequestBuilder,
    http::{Method, StatusCode},
};
use serde_json::Value;

use self::cases::{Bad, Expected, bad_bodies};
use crate::{
    described::Document,
    objects::{Objects, body, filled},
    world::{Answer, World},
};

/// Larger than every good body, small enough to overrun.
const MAX_BODY_BYTES: usize = 300_000;
const JSON: &str = "application/json";

struct Bench {
    world: World,
    objects: Objects,
    session: String,
    document: Value,
}

/// An operation of the document.
struct Operation {
    path: String,
    method: Method,
    value: Value,
}

impl Bench {
    async fn start() -> Self {
        let options = ApiOptions {
            max_body_bytes: MAX_BODY_BYTES,
            registration_open: true,
            // Streams are read to their end.
            longest_stream: Duration::from_millis(200),
            ..ApiOptions::default()
        };
        let world = World::start_with(options, |parts| parts).await;
        let objects = Objects::of(&world).await;
        let session = world.session().await;
        Self { world, objects, session, document: api::document() }
    }

    fn operations() -> Vec<Operation> {
        let all = Document::new().operations().into_iter();
        all.map(|(path, method, value)| Operation { path, method, value }).collect()
    }

    /// A request that may do everything.
    fn request(&self, operation: &Operation, path: &str) -> RequestBuilder {
        let request = Request::builder().method(operation.method.clone()).uri_str(path);
        match operation.value["security"][0].as_object() {
            None => request,
            Some(scheme) if scheme.contains_key("apiKey") => {
                request.header("x-api-key", &self.world.key)
            }
            Some(scheme) if scheme.contains_key("session") => {
                request.header("cookie", format!("lumora_session={}", self.session))
            }
            other => panic!("a way to sign in that is not known here: {other:?}"),
        }
    }

    async fn call(&self, operation: &Operation, kind: Option<&str>, body: Vec<u8>) -> Answer {
        let request = self.request(operation, &self.objects.path(&operation.path));
        let request = match kind {
            Some(kind) => request.content_type(kind),
            None => request,
        };
        self.world.call(request.body(Body::from_vec(body))).await
    }
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// What every error looks like, whoever raised it.
fn is_an_error(answer: &Answer, what: &str) {
    assert!((400..500).contains(&answer.status), "{what}: {}", answer.status);
    assert_eq!(answer.header("content-type"), Some(JSON), "{what}");
    assert!(answer.header("x-request-id").is_some_and(|id| !id.is_empty()), "{what}");
    assert!(answer.json["message"].is_string(), "{what}");
    let code = answer.error();
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    assert!(!code.is_empty() && code.bytes().all(plain), "{what}: {code}");
}

#[tokio::test]
async fn every_bad_body_of_every_operation_is_told_what_is_wrong() {
    let bench = Bench::start().await;
    let mut tried = 0;
    for operation in Bench::operations() {
        let Some(good) = body(&operation.value, &bench.document) else { continue };
        let schema = operation.value.pointer("/requestBody/content/application~1json/schema");
        for Bad { what, kind, bytes, expected } in
            bad_bodies(schema.unwrap(), &good, &bench.document, MAX_BODY_BYTES)
        {
            let answer = bench.call(&operation, kind, bytes).await;
            let what = format!("{operation}: {what}: {}", answer.json);
            is_an_error(&answer, &what);
            match &expected {
                Expected::Error(status, code) => {
                    assert_eq!((answer.status, answer.error()), (*status, *code), "{what}");
                }
                Expected::Field(field) => {
                    let refused = (answer.status, answer.error());
                    assert_eq!(refused, (422, "validation_failed"), "{what}");
                    // What is nested too deeply is named where the bound lies, within it.
                    let inside = format!("{field}[0][0]");
                    let mut fields = answer.fields().into_iter();
                    let blamed = fields.any(|told| told == field || told.starts_with(&inside));
                    assert!(blamed, "{field}: {what}");
                }
            }
            tried += 1;
        }
    }
    assert!(tried > 100, "{tried}");
    let logs = bench.world.get("/v1/emails/logs?type=accepted").await.expect(200).json;
    assert_eq!(logs["data"].as_array().unwrap().len(), 1, "a bad request stored something");
}

#[tokio::test]
async fn who_takes_no_body_is_not_harmed_by_one() {
    let bench = Bench::start().await;
    for operation in Bench::operations() {
        if operation.value.get("requestBody").is_some() {
            continue;
        }
        for bytes in [b"{".to_vec(), vec![0xff; 10], vec![b' '; MAX_BODY_BYTES + 1]] {
            let answer = bench.call(&operation, Some("text/plain"), bytes).await;
            assert!(answer.status < 500, "{operation}: {}", answer.status);
        }
    }
}

#[tokio::test]
async fn every_parameter_of_every_operation_is_checked() {
    let bench = Bench::start().await;
    let mut tried = 0;
    for operation in Bench::operations() {
        let parameters = operation.value["parameters"].as_array().cloned().unwrap_or_default();
        let path = bench.objects.path(&operation.path);
        for parameter in parameters.iter().filter(|parameter| parameter["in"] == "query") {
            let name = parameter["name"].as_str().unwrap();
            // Empty, invalid UTF-8 behind an escape, far too long, given twice.
            let long = "9".repeat(2_000);
            for query in
                [format!("{name}="), format!("{name}={long}"), format!("{name}=1&{name}=2")]
            {
                let request = bench.request(&operation, &format!("{path}?{query}"));
                let answer = bench.world.call(request.finish()).await;
                let what = format!("{operation} {query}: {}", answer.json);
                is_an_error(&answer, &what);
                assert_eq!((answer.status, answer.fields()), (422, vec![name]), "{what}");
                tried += 1;
            }
            for odd in ["%ff", "%00", "%", "%0d%0a", "1e400", "-1", "%F0%9F%92%8C"] {
                let request = bench.request(&operation, &format!("{path}?{name}={odd}"));
                let answer = bench.world.call(request.finish()).await;
                assert!(answer.status < 500, "{operation} {name}={odd}: {}", answer.status);
            }
        }
    }
    assert!(tried >= 3 * 12, "{tried}");
}

#[tokio::test]
async fn what_names_nothing_is_not_found() {
    let bench = Bench::start().await;
    let long = "a".repeat(5_000);
    for operation in Bench::operations().iter().filter(|each| each.path.contains('{')) {
        for odd in ["x", "..", "%00", "%ff", "%2F", "%F0%9F%92%8C", "msg_", long.as_str()] {
            let path = filled(&operation.path, |_| odd.to_owned());
            let request = bench.request(operation, &path);
            let good = body(&operation.value, &bench.document);
            let request = match good {
                Some(body) => request.content_type(JSON).body(Body::from_json(body).unwrap()),
                None => request.finish(),
            };
            let answer = bench.world.call(request).await;
            let what = format!("{operation} with {odd}: {}", answer.json);
            is_an_error(&answer, &what);
            assert_eq!((answer.status, answer.error()), (404, "not_found"), "{what}");
        }
    }
}

#[tokio::test]
async fn every_path_names_the_methods_that_it_has() {
    let bench = Bench::start().await;
    let mut paths: BTreeMap<String, Vec<Method>> = BTreeMap::new();
    for operation in Bench::operations() {
        let mut methods = vec![operation.method];
        if methods == [Method::GET] {
            methods.push(Method::HEAD);
        }
        paths.entry(operation.path).or_default().extend(methods);
    }
    let tried = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
        Method::TRACE,
        Method::from_bytes(b"PROPFIND").unwrap(),
    ];
    for (template, methods) in paths {
        let path = bench.objects.path(&template);
        for method in tried.iter().filter(|method| !methods.contains(method)) {
            let request = Request::builder().method(method.clone()).uri_str(&path);
            let answer = bench.world.call(request.finish()).await;
            let what = format!("{method} {template}");
            assert_eq!(answer.status, 405, "{what}");
            if *method != Method::HEAD {
                assert_eq!(answer.error(), "method_not_allowed", "{what}");
            }
            let mut allowed: Vec<&str> = answer.header("allow").unwrap().split(", ").collect();
            allowed.sort_unstable();
            let mut known: Vec<&str> = methods.iter().map(Method::as_str).collect();
            known.sort_unstable();
            assert_eq!(allowed, known, "{what}");
        }
    }
}

#[tokio::test]
async fn unknown_addresses_are_not_found_by_any_method() {
    let bench = Bench::start().await;
    let mut unknown: Vec<String> = Bench::operations()
        .into_iter()
        .flat_map(|operation| {
            let path = bench.objects.path(&operation.path);
            [format!("{path}/"), format!("{path}/x/y/z"), format!("/x{path}")]
        })
        .collect();
    unknown.extend(["/v1", "/v2/email/send", "/portal", "/%ff", "//", "/v1//"].map(String::from));
    for path in unknown {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            let request = Request::builder().method(method.clone()).uri_str(&path);
            let request = request.header("x-api-key", &bench.world.key).finish();
            let answer = bench.world.call(request).await;
            let what = format!("{method} {path}");
            is_an_error(&answer, &what);
            let status = StatusCode::NOT_FOUND.as_u16();
            assert_eq!((answer.status, answer.error()), (status, "not_found"), "{what}");
        }
    }
}
