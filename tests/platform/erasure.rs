//! A person is forgotten: what was said to them and about them can be read nowhere any more, the
//! record still holds, and it can be proved that it was done.

use std::{fs, sync::Arc, time::Duration};

use actors::Clock as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use eventlog::{ContentError, EventLog, Log, LogOptions, Purpose, Vault};
use lumora::clock::SystemClock;
use model::StreamId;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    canary::{Echo, Search, WORDS, bytes_of, email, every_event, files_below},
    inbound::{self, bring, complaint},
    support::{
        app::{SENDING_DOMAIN, TestApp},
        client::{Answer, Client},
        eventually,
        process::{ended, run, run_bare, run_json, serve, sign_up},
        world::World,
    },
};

const PERSON: &str = "qzcanarytolocal@reader.test";

/// Somebody signed in to the portal of a running server.
struct Portal {
    http: Client,
    cookie: String,
}

impl Portal {
    async fn register(http: Client, name: &str) -> Self {
        let body = json!({
            "tenantName": name, "email": format!("owner@{name}.test"), "password": "long enough 9",
        });
        let made = http.request("POST", "/portal/register", |r| r.json(&body)).await;
        assert_eq!(made.status, 201, "{made:?}");
        let cookie = made.header("set-cookie").split(';').next().unwrap().to_owned();
        Self { http, cookie }
    }

    async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let edit = |request: reqwest::RequestBuilder| {
            let request = request.header("cookie", &self.cookie);
            match body {
                Some(body) => request.json(body),
                None => request,
            }
        };
        self.http.request(method, path, edit).await
    }

    async fn get(&self, path: &str) -> Value {
        self.ask("GET", path, None).await.expect(200)
    }

    /// An app with a verified domain; the secret of a key of it.
    async fn set_up(&self, world: &World) -> String {
        let domain = json!({ "domain": SENDING_DOMAIN });
        let domain = self.ask("POST", "/portal/domains", Some(&domain)).await.expect(201);
        let records = domain["records"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let records: Vec<[String; 3]> =
            records.map(|r| [text(&r["type"]), text(&r["name"]), text(&r["value"])]).collect();
        world.publish(records.iter().map(|[kind, name, value]| (&**kind, &**name, &**value)));
        let verify = format!("/portal/domains/{}/verify", text(&domain["id"]));
        assert_eq!(self.ask("POST", &verify, None).await.expect(200)["status"], "verified");
        let sender = json!({ "email": format!("billing@{SENDING_DOMAIN}") });
        let app = json!({ "name": "Shop", "defaultSender": sender });
        let app = self.ask("POST", "/portal/apps", Some(&app)).await.expect(201);
        let scopes = ["email:send", "email:read", "suppression:read", "suppression:write"];
        let scopes: Value = scopes.iter().map(|scope| ((*scope).to_owned(), true)).collect();
        let key = json!({ "name": "k", "rateLimitPerMinute": 100_000, "scopes": scopes });
        let path = format!("/portal/apps/{}/api-keys", text(&app["id"]));
        text(&self.ask("POST", &path, Some(&key)).await.expect(201)["secret"])
    }

    async fn erase(&self, who: &str) -> Value {
        let body = json!({ "email": who });
        self.ask("POST", "/portal/erasures", Some(&body)).await.expect(202)
    }

    async fn completed(&self, id: &str) -> Value {
        let path = format!("/portal/erasures/{id}");
        eventually(&format!("{id} is completed"), async || {
            let erasure = self.get(&path).await;
            (erasure["status"] == "completed").then_some(erasure)
        })
        .await
    }
}

const OPEN: [(&str, &str); 1] = [("LUMORA_PORTAL__REGISTRATION", "open")];

fn opened(world: &World) -> (Arc<dyn EventLog>, Vault) {
    let config = world.config();
    let log = Log::open(&config.log_dir(), LogOptions::default()).unwrap();
    (Arc::new(log), lumora::keys::vault(&config).unwrap())
}

/// From the middle of every sealed record, 24 octets: what lies on the disk of it.
async fn sealed_bytes(world: &World) -> Vec<(StreamId, Vec<u8>)> {
    let (log, _) = opened(world);
    let mut found = Vec::new();
    for recorded in every_event(&*log) {
        for location in &recorded.content {
            let sealed = log.read_content(location).unwrap();
            let middle = sealed.as_bytes().len() / 2 - 12;
            found.push((recorded.stream, sealed.as_bytes()[middle..middle + 24].to_vec()));
        }
    }
    log.close().await.unwrap();
    found
}

/// The files that hold it.
fn lies_in(world: &World, needle: &[u8]) -> Vec<String> {
    let mut files = Vec::new();
    files_below(&world.data_dir(), &mut files);
    files.retain(|path| bytes_of(path).windows(needle.len()).any(|window| window == needle));
    files.iter().map(|path| path.display().to_string()).collect()
}

/// All that can still be opened with the master key.
async fn readable(world: &World) -> Vec<Vec<u8>> {
    let (log, vault) = opened(world);
    let mut opened = Vec::new();
    for recorded in every_event(&*log) {
        for (place, location) in recorded.content.iter().enumerate() {
            let sealed = match log.read_content(location) {
                Ok(sealed) => sealed,
                Err(ContentError::Forgotten) => continue,
                Err(error) => panic!("{error}"),
            };
            let (purpose, owner) = match (recorded.stream, place) {
                (StreamId::Message(id), 0) => (Purpose::MessageHead, *id.as_bytes()),
                (StreamId::Message(id), _) => (Purpose::MessageBody, *id.as_bytes()),
                (StreamId::Letter(id), _) => (Purpose::Letter, *id.as_bytes()),
                (StreamId::Suppression(id), _) => (Purpose::TenantProfile, *id.as_bytes()),
                (StreamId::Erasure(id), _) => (Purpose::TenantProfile, *id.as_bytes()),
                (other, _) => panic!("content of {other}"),
            };
            opened.push(vault.open(purpose, &owner, &sealed).unwrap());
        }
    }
    log.close().await.unwrap();
    opened
}

fn verify_certificate(world: &World, certificate: &str, key: &str) -> (i32, String) {
    let file = world.path("certificate");
    fs::write(&file, certificate).unwrap();
    let verified = run_bare(&["evidence", "verify", file.to_str().unwrap(), "--key", key]);
    let (status, output, errors) = ended(&verified);
    (status, output + &errors)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_about_a_person_can_be_read_any_more_and_the_record_holds() {
    let search = Search::new(&WORDS);
    let world = World::new().await;
    world.receives("reader.test");
    world.inbox.obey(Echo::default());
    let file = world.config_file("300ms");
    let (server, url) = serve(&file, &OPEN);
    let portal = Portal::register(Client::new(&url, None), "acme").await;
    let secret = portal.set_up(&world).await;
    let api = Client::new(&url, Some(&secret));
    let about = api.accepted(&email()).await;
    api.ended(&about).await;
    let naming = format!("<a href='https://x.test/?of={}'>", PERSON.replace('@', "%40"));
    let naming = json!({ "to": ["staff@reader.test"], "subject": "New user", "html": naming });
    let naming = api.accepted(&naming).await;
    let other = json!({ "to": ["grace@reader.test"], "subject": "Qzbystander", "text": "stays" });
    let other = api.accepted(&other).await;
    for id in [&naming, &other] {
        api.ended(id).await;
    }
    let listed = json!({ "email": PERSON, "reason": "complaint" });
    api.request("POST", "/v1/suppressions", |r| r.json(&listed)).await.expect(201);
    server.signal(Signal::TERM);
    assert!(server.wait().await.success());
    let sealed = sealed_bytes(&world).await;
    assert!(sealed.len() >= 7, "{}", sealed.len());
    for (stream, bytes) in &sealed {
        assert_eq!(lies_in(&world, bytes).len(), 1, "{stream}");
    }
    assert!(readable(&world).await.iter().any(|text| search.find(text).is_some()));

    let (server, url) = serve(&file, &OPEN);
    let portal = Portal { http: Client::new(&url, None), ..portal };
    let api = Client::new(&url, Some(&secret));
    let asked = portal.erase(PERSON).await;
    let id = asked["id"].as_str().unwrap().to_owned();
    let done = portal.completed(&id).await;
    assert_eq!((&done["messages"], &done["suppressions"]), (&json!(2), &json!(1)), "{done}");
    // Two records of each message, the address of the list and that of the erasure.
    assert_eq!((&done["records"], &done["requestedBy"]), (&json!(6), &json!("user")));
    assert_eq!(portal.get("/portal/erasures").await["data"][0], done);
    let shown = api.message(&about).await;
    assert_eq!(search.find(shown.to_string().as_bytes()), None, "{shown}");
    let logs = api.all_logs("").await;
    assert_eq!(search.find(Value::from(logs).to_string().as_bytes()), None);
    assert!(api.message(&other).await.to_string().contains("Qzbystander"));
    // They are still not written to, by a hash.
    let list = api.get("/v1/suppressions").await.expect(200);
    assert_eq!(
        (&list["data"][0]["email"], &list["data"][0]["reason"]),
        (&Value::Null, &json!("complaint"))
    );
    let again = api.accepted(&json!({ "to": [PERSON], "subject": "s", "text": "t" })).await;
    assert_eq!(api.ended(&again).await["recipients"][0]["status"], "suppressed");
    // What came later is another matter, and was kept.
    let last = portal.erase(PERSON).await["id"].as_str().unwrap().to_owned();
    portal.completed(&last).await;
    // Of the one who bounced nothing is left but the entry that this made.
    let bounced = portal.erase("qzcanarybcclocal@reader.test").await["id"].clone();
    let bounced = portal.completed(bounced.as_str().unwrap()).await;
    let counts = (&bounced["messages"], &bounced["suppressions"], &bounced["records"]);
    assert_eq!(counts, (&json!(0), &json!(1), &json!(2)), "{bounced}");
    let found = portal.ask("POST", "/portal/erasures", Some(&json!({ "email": "no" }))).await;
    assert_eq!(found.status, 422);
    server.signal(Signal::TERM);
    let (output, errors) = (server.output.clone(), server.errors.clone());
    assert!(server.wait().await.success());
    assert_eq!(search.find((output.text() + &errors.text()).as_bytes()), None);

    let bystander: StreamId = other.parse().unwrap();
    for (stream, bytes) in &sealed {
        let places = lies_in(&world, bytes);
        assert_eq!(places.len(), usize::from(*stream == bystander), "{stream}: {places:?}");
    }
    let left = readable(&world).await;
    assert!(!left.is_empty());
    assert!(left.iter().all(|text| search.find(text).is_none()));
    let mut files = Vec::new();
    files_below(&world.data_dir(), &mut files);
    for path in &files {
        assert_eq!(search.find(&bytes_of(path)), None, "{}", path.display());
    }
    let (status, _, errors) = ended(&run(&["log", "verify"], &file));
    assert_eq!(status, 0, "{errors}");
    let key = run_json(&["log", "key"], &file)["key"].as_str().unwrap().to_owned();
    let certificate = done["certificate"].as_str().unwrap();
    assert_eq!(search.find(certificate.as_bytes()), None);
    let (status, words) = verify_certificate(&world, certificate, &key);
    assert!(status == 0 && words.contains(&id), "{words}");
    let changed = certificate.replacen("messages 2", "messages 3", 1);
    assert_eq!(verify_certificate(&world, &changed, &key).0, 1);
    // Made again from the log alone, it is the same.
    let shown = run_json(&["erase", "--show", &id], &file);
    assert_eq!(shown, done);
    let bundle = run(&["evidence", &about], &file);
    assert!(bundle.status.success() && search.find(&bundle.stdout).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_it_goes_on_after_the_start() {
    let world = World::new().await;
    world.receives("reader.test");
    let file = world.config_file("1s");
    let (mut server, url) = serve(&file, &OPEN);
    let mut portal = Portal::register(Client::new(&url, None), "acme").await;
    let secret = portal.set_up(&world).await;
    let api = Client::new(&url, Some(&secret));
    let email = json!({ "to": [PERSON], "subject": "Qzcanarysubject", "text": "t" });
    let mut ids = Vec::new();
    for _ in 0..30 {
        ids.push(api.accepted(&email).await);
    }
    for id in &ids {
        api.becomes(id, "delivered").await;
    }
    let id = portal.erase(PERSON).await["id"].as_str().unwrap().to_owned();
    for _ in 0..3 {
        server.crash();
        let (started, url) = serve(&file, &OPEN);
        server = started;
        portal.http = Client::new(&url, None);
    }
    let done = portal.completed(&id).await;
    assert_eq!((&done["messages"], &done["records"]), (&json!(30), &json!(61)));
    server.signal(Signal::TERM);
    assert!(server.wait().await.success());
    assert_eq!(readable(&world).await.len(), 0);
    assert!(run(&["log", "verify"], &file).status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_not_ended_is_ended_for_them_and_waited_for_with_the_others() {
    let app = TestApp::start().await;
    app.world.receives("reader.test");
    let file = app.world.config_file("1s");
    let at = SystemClock.now().plus(Duration::from_hours(1)).to_string();
    let mut both = json!({
        "to": ["ada@reader.test", "bob@reader.test"], "subject": "Later", "text": "t",
        "scheduledAt": at,
    });
    let shared = app.api.accepted(&both).await;
    both["to"] = json!(["Ada@Reader.test"]);
    let alone = app.api.accepted(&both).await;
    let tenant = app.tenant.to_string();
    let erase = ["erase", "--tenant", &tenant, "ada@reader.test"];
    let erasure = run_json(&erase, &file);
    assert_eq!(
        (&erasure["status"], &erasure["requestedBy"]),
        (&json!("waiting"), &json!("operator"))
    );
    assert_eq!((&erasure["messages"], &erasure["waitsFor"]), (&json!(2), &json!([shared])));
    let over = app.api.message(&alone).await;
    assert_eq!(
        (&over["message"]["status"], &over["message"]["subject"]),
        (&json!("canceled"), &Value::Null),
        "{over}"
    );
    let open = app.api.message(&shared).await;
    let statuses: Vec<_> =
        open["recipients"].as_array().unwrap().iter().map(|r| r["status"].clone()).collect();
    assert_eq!(statuses, ["canceled", "queued"], "{open}");
    assert_eq!(open["message"]["subject"], "Later", "bob's is delivered as it was written");

    let cancel = format!("/v1/messages/{shared}/cancel");
    app.api.request("POST", &cancel, |request| request).await.expect(200);
    let id = erasure["id"].as_str().unwrap().to_owned();
    let show = ["erase", "--show", &id];
    let done = eventually("it is completed", async || {
        let told = run_json(&show, &file);
        (told["status"] == "completed").then_some(told)
    })
    .await;
    assert_eq!(done["records"], 5);
    assert_eq!(app.api.message(&shared).await["message"]["subject"], Value::Null);
    let (status, _, errors) = ended_of(&["erase", "--tenant", &tenant, "no address"], &file);
    assert_eq!(status, 2, "{errors}");
    let (status, ..) =
        ended_of(&["erase", "--tenant", "ten_01kb05yt7qe5tvnr4w8jhjkz2m", "a@b.test"], &file);
    assert_eq!(status, 1);
}

fn ended_of(arguments: &[&str], file: &std::path::Path) -> (i32, String, String) {
    ended(&run(arguments, file))
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_and_lists_that_reports_made_forget_them_too() {
    let (app, address) = inbound::start().await;
    let email = json!({ "to": ["ada@reader.test"], "subject": "Hello", "text": "t" });
    let id = app.api.accepted(&email).await;
    app.api.becomes(&id, "delivered").await;
    let sender = app.world.inbox.only().0.mail_from;
    let report = complaint(&sender, "ada@reader.test");
    assert_eq!(bring(address, &sender, &report).await.1, "250");
    let office = format!("postmaster@bounces.{SENDING_DOMAIN}");
    let letter = |says: &str| {
        let body = STANDARD.encode(says);
        format!("From: them@reader.test\nContent-Transfer-Encoding: base64\n\n{body}\n")
    };
    assert_eq!(bring(address, &office, &letter("Ask ADA@reader.test about it")).await.1, "250");
    assert_eq!(bring(address, &office, &letter("Ask bada@reader.test")).await.1, "250");
    let core = app.node().core();
    let heads = |core: &lumora::node::Core| {
        let domain = core.read.policies().domains_of(app.tenant)[0].id;
        let (letters, _) = core.read.letters().page(Some(domain), None, 10).unwrap();
        letters.iter().map(|view| core.platform.letter_source(view).is_some()).collect::<Vec<_>>()
    };
    eventually("both letters show", async || (heads(core) == [true, true]).then_some(())).await;
    let file = app.world.config_file("1s");
    let erasure =
        run_json(&["erase", "--tenant", &app.tenant.to_string(), "ada@reader.test"], &file);
    assert_eq!(erasure["status"], "completed", "{erasure}");
    assert_eq!((&erasure["letters"], &erasure["suppressions"]), (&json!(1), &json!(1)));
    assert_eq!(heads(core), [true, false], "the newest first");
    let list = app.api.get("/v1/suppressions").await.expect(200);
    assert_eq!(
        (&list["data"][0]["email"], &list["data"][0]["reason"]),
        (&Value::Null, &json!("complaint"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_servers_directory_is_worked_at_by_the_command() {
    let world = World::new().await;
    world.receives("reader.test");
    let file = world.config_file("1s");
    let secret = sign_up(&world, &file);
    let (server, url) = serve(&file, &[]);
    let api = Client::new(url, Some(&secret));
    let id = api.accepted(&json!({ "to": [PERSON], "subject": "s", "text": "t" })).await;
    api.becomes(&id, "delivered").await;
    // A file that is left behind names a server that does not answer.
    server.crash();
    let tenant = run_json(&["tenant", "list"], &file)[0]["id"].as_str().unwrap().to_owned();
    let done = run_json(&["erase", "--tenant", &tenant, PERSON], &file);
    assert_eq!((&done["status"], &done["messages"]), (&json!("completed"), &json!(1)));
    assert_eq!(readable(&world).await.len(), 0);
}
