//! Secrets stand nowhere but with whom they were given to: a server that tells all it can tell is
//! used with secrets of every kind, right and wrong, and with words that would break a line of its
//! log; then every file, every printed line, the figures and the answers are looked through.

use std::{collections::BTreeSet, os::unix::fs::PermissionsExt as _};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use mail::sink::{Action, Asked, Policy, SinkReply};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    canary::{bytes_of, files_below},
    support::{
        client::{Answer, Client},
        letter::Letter,
        process::{serve, sign_up},
        world::World,
    },
};

const PASSWORD: &str = "qzpassword-otter-violin-42";
const NEW_PASSWORD: &str = "qznewpassword-lamps-ice-71";
const WRONG_PASSWORD: &str = "qzwrongpassword-oaks-17";
/// Stands in whatever a stranger can say, behind what would begin a line of its own.
const FORGED: &str = "QZFORGED";

/// What would begin a new line, colour a terminal or end a JSON text.
fn breakout() -> String {
    format!("\u{1b}[31m\"}} ERROR {FORGED}")
}

/// Refuses one, in words made for somebody's terminal.
struct Hostile;

impl Policy for Hostile {
    fn recipient(&self, asked: Asked<'_>) -> Action {
        if asked.recipient.starts_with("hostile") {
            return Action::Reply(SinkReply::new(550, format!("5.1.1 {}", breakout())));
        }
        Action::Accept
    }
}

/// The secrets, and all that was answered.
struct Told {
    api: Client,
    secrets: BTreeSet<String>,
    answers: String,
}

impl Told {
    /// Asks, and keeps what is answered but the cookie, which is for whom it was set.
    async fn ask(&mut self, method: &str, path: &str, cookie: &str, body: Option<Value>) -> Answer {
        let edit = |mut request: reqwest::RequestBuilder| {
            request =
                request.header("user-agent", FORGED).header("x-request-id", FORGED.repeat(30));
            if !cookie.is_empty() {
                request = request.header("cookie", format!("lumora_session={cookie}"));
            }
            match body {
                Some(body) => request.json(&body),
                None => request,
            }
        };
        let answer = self.api.request(method, path, edit).await;
        self.answers += &answer.text;
        for (name, value) in answer.headers.iter().filter(|(name, _)| *name != "set-cookie") {
            self.answers.extend([name.as_str(), ": ", value.as_str(), "\n"]);
        }
        answer
    }

    /// The cookie that an answer sets: a secret from now on.
    fn cookie(&mut self, answer: &Answer) -> String {
        let (_, value) = answer.header("set-cookie").split_once('=').unwrap();
        let (value, _) = value.split_once(';').unwrap();
        self.secrets.insert(value.to_owned());
        value.to_owned()
    }

    /// Somebody registers, signs in and out, is guessed at, changes a password, makes a key.
    async fn portal(&mut self) {
        let credentials =
            |password: &str| json!({ "email": "o@acme.example", "password": password });
        let registration =
            json!({ "tenantName": "New", "email": "o@acme.example", "password": PASSWORD });
        let registered = self.ask("POST", "/portal/register", "", Some(registration)).await;
        assert_eq!(registered.status, 201, "{registered:?}");
        let first = self.cookie(&registered);
        for body in [
            credentials(WRONG_PASSWORD),
            json!({ "email": "o@acme.example", "password": [WRONG_PASSWORD] }),
            json!({ "email": WRONG_PASSWORD, "passwort": WRONG_PASSWORD }),
        ] {
            let refused = self.ask("POST", "/portal/login", "", Some(body)).await.status;
            assert!((400..500).contains(&refused));
        }
        let signed_in =
            self.ask("POST", "/portal/login", &first, Some(credentials(PASSWORD))).await;
        let session = self.cookie(&signed_in);
        let change = json!({ "currentPassword": PASSWORD, "newPassword": NEW_PASSWORD });
        assert!(self.ask("POST", "/portal/password", &session, Some(change)).await.status < 300);
        let app = self.ask("POST", "/portal/apps", &session, Some(json!({ "name": "App" }))).await;
        let keys = format!("/portal/apps/{}/api-keys", app.expect(201)["id"].as_str().unwrap());
        let key = json!({ "name": "k", "scopes": { "email:send": true } });
        let made = self.ask("POST", &keys, &session, Some(key)).await.expect(201);
        let secret = made["secret"].as_str().unwrap();
        // This once it is told.
        self.answers = self.answers.replace(secret, "");
        self.secrets.insert(secret[12..].to_owned());
        for path in [keys.as_str(), "/portal/me", "/portal/apps", "/portal/audit/events"] {
            assert_eq!(self.ask("GET", path, &session, None).await.status, 200);
        }
        self.ask("POST", "/portal/logout", &session, None).await;
        assert_eq!(self.ask("GET", "/portal/me", &session, None).await.status, 401);
    }

    /// Strangers come with keys and links of their own making, and with what breaks lines.
    async fn strangers(&mut self) {
        let made_up = format!("lum_sk_{}", "qzmadeupkey".repeat(4));
        self.secrets.insert("qzmadeupkey".to_owned());
        let known = self.api.clone();
        self.api = known.with_secret(Some(&made_up));
        self.ask("GET", "/v1/emails/logs", "", None).await;
        self.api = known;
        for path in [
            "/v1/messages/%0d%0a2026-01-01T00:00:00Z%20ERROR%20QZFORGED%1b%5b31m",
            "/v1/emails/logs?cursor=%0aQZFORGED&nope=%1b%5b31mQZFORGED",
            "/QZFORGED%0a%22%7d",
            "/unsubscribe/QZFORGED%0a",
        ] {
            assert!(self.ask("GET", path, "", None).await.status >= 400, "{path}");
        }
        let body = json!({ (breakout()): breakout(), "to": [breakout()], "subject": breakout() });
        assert_eq!(self.ask("POST", "/v1/email/send", "", Some(body)).await.status, 422);
    }
}

/// The forms in which a secret could lie somewhere.
fn forms(secret: &[u8]) -> [Vec<u8>; 3] {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    // Whole groups of three octets: their characters hold nothing of a neighbour.
    let whole = &secret[..secret.len() / 3 * 3];
    [secret.to_vec(), hex.into_bytes(), STANDARD.encode(whole).into_bytes()]
}

fn holds(haystack: &[u8], secret: &[u8]) -> bool {
    forms(secret).iter().any(|form| memchr::memmem::find(haystack, form).is_some())
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_stand_in_no_file_line_figure_or_answer_and_no_line_is_forged() {
    let world = World::new().await;
    world.receives("reader.test");
    world.inbox.obey(Hostile);
    let file = world.config_file("300ms");
    let secret = sign_up(&world, &file);
    let own = ["lumora", "api", "actors", "mail", "projections", "eventlog", "model"];
    let talkative = own.map(|room| format!("{room}=trace")).join(",");
    let variables = [
        ("RUST_LOG", &*talkative),
        ("LUMORA_PORTAL__REGISTRATION", "open"),
        ("LUMORA_HTTP__PUBLIC_URL", "https://mail.acme.test"),
    ];
    let (server, url) = serve(&file, &variables);
    let api = Client::new(url, Some(&secret));
    let passwords = [PASSWORD, NEW_PASSWORD, WRONG_PASSWORD].map(str::to_owned);
    let mut told = Told { api: api.clone(), secrets: passwords.into(), answers: String::new() };
    told.secrets.insert(secret[12..].to_owned());
    told.portal().await;
    told.strangers().await;

    let letter = |to: &str| json!({ "to": [to], "subject": "s", "text": "t", "bulk": true });
    let id = api.accepted(&letter("hostile@reader.test")).await;
    api.ended(&id).await;
    let id = api.accepted(&letter("ada@reader.test")).await;
    api.becomes(&id, "delivered").await;
    let taken = world.inbox.taken();
    let link = Letter::read(&taken[0].data).field("List-Unsubscribe").to_owned();
    let token = link.trim_end_matches('>').rsplit('/').next().unwrap().to_owned();
    let (anybody, path) = (api.with_secret(None), format!("/unsubscribe/{token}"));
    assert_eq!(anybody.request("POST", &path, |request| request).await.status, 200);
    told.secrets.insert(token);
    told.answers += &api.get("/metrics").await.text;

    server.signal(Signal::TERM);
    let (output, errors) = (server.output.clone(), server.errors.clone());
    assert!(server.wait().await.success());
    let printed = errors.text();
    for line in printed.lines() {
        let stamped = line.as_bytes().get(..20).is_some_and(|stamp| {
            stamp.starts_with(b"20") && stamp[10] == b'T' && stamp[19] != b' '
        });
        assert!(stamped, "not a line of the log's own: {line}");
        assert!(!line.contains(|c: char| c.is_control()), "{line:?}");
    }
    assert!(printed.contains("api::access"), "nothing was printed at all");
    assert!(!printed.contains(FORGED), "a stranger's words:\n{printed}");
    let everything = printed + &output.text() + &told.answers;

    let (mut files, data) = (Vec::new(), world.data_dir());
    files_below(&data, &mut files);
    let keys = ["master.key", "instance.key"].map(|name| std::fs::read(data.join(name)).unwrap());
    let secrets: Vec<&[u8]> = told.secrets.iter().map(String::as_bytes).collect();
    for secret in secrets.iter().copied().chain(keys.iter().map(Vec::as_slice)) {
        assert!(!holds(everything.as_bytes(), secret), "told: {}", String::from_utf8_lossy(secret));
    }
    // How the private half of an RSA key begins (RFC 5208, section 5), as it is and as text.
    let private: [&[u8]; 3] = [
        b"\x02\x01\x00\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01",
        b"ADANBgkqhkiG9w0BAQEFAASC",
        b"PRIVATE KEY",
    ];
    for path in &files {
        let bytes = bytes_of(path);
        let name = path.file_name().unwrap().to_string_lossy();
        for secret in secrets.iter().chain(&private) {
            assert!(!holds(&bytes, secret), "{}: {secret:?}", path.display());
        }
        if name.ends_with(".key") {
            let mode = path.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{name}");
        } else {
            assert!(keys.iter().all(|key| !holds(&bytes, key)), "{} holds a key", path.display());
        }
    }
    let mode = data.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700, "what is stored is nobody else's on this machine");
}
