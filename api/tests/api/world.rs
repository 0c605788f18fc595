//! A platform to call, and a caller that holds every answer against the document.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actors::{
    Machine, NewApiKey, NewApp, Password, Platform, PlatformOptions, PlatformParts, TestClock,
};
use api::{ApiOptions, ApiParts};
use eventlog::{
    Append, AppendError, Appended, BoxFuture, CloseError, ContentError, ContentLocation, EventLog,
    Health, Hour, InstanceKey, MasterKey, MemoryLog, Notary, Position, ReadError, Recorded, Sealed,
    TreeHash, TreeHead, Vault, Version,
};
use mail::{
    dns::{DnsOptions, Resolver},
    sink::{Action, Asked, Policy, Sink, SinkOptions, SinkReply},
};
use model::{AppId, StreamId, TenantId, Timestamp, address::DomainName, tenant::Scope};
use poem::{Body, Endpoint as _, Request, endpoint::BoxEndpoint, http::Method};
use projections::ReadModels;
use sandbox::dns::DnsServer;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::described::Document;

/// 2025-11-26T12:00:00Z.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_764_158_400_000);
pub(crate) const SENDER: &str = "hello@mail.acme.test";

/// The password of every user.
pub(crate) const PASSWORD: &str = "paper-otter-violin-42-oaks";
pub(crate) const EMAIL: &str = "owner@acme.test";
const HERE: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// The log, counting how often content is read.
pub(crate) struct CountingLog {
    pub(crate) inner: MemoryLog,
    pub(crate) content_reads: AtomicUsize,
}

impl EventLog for CountingLog {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, AppendError>> {
        self.inner.append(append)
    }

    fn append_all(
        &self,
        appends: Vec<Append>,
    ) -> BoxFuture<'_, Result<Vec<Appended>, AppendError>> {
        self.inner.append_all(appends)
    }

    fn read_stream(
        &self,
        stream: StreamId,
        after: Version,
        limit: usize,
    ) -> Result<Vec<Recorded>, ReadError> {
        self.inner.read_stream(stream, after, limit)
    }

    fn read_all(&self, after: Position, limit: usize) -> Result<Vec<Recorded>, ReadError> {
        self.inner.read_all(after, limit)
    }

    fn head(&self) -> watch::Receiver<Position> {
        self.inner.head()
    }

    fn read_content(&self, location: &ContentLocation) -> Result<Sealed, ContentError> {
        self.content_reads.fetch_add(1, Ordering::Relaxed);
        self.inner.read_content(location)
    }

    fn erase(&self, location: &ContentLocation) -> Result<(), ContentError> {
        self.inner.erase(location)
    }

    fn drop_content_before(&self, hour: Hour) -> Result<u64, ContentError> {
        self.inner.drop_content_before(hour)
    }

    fn tree_size(&self) -> Position {
        self.inner.tree_size()
    }

    fn tree_head(&self, at: Position) -> Result<Option<TreeHead>, ReadError> {
        self.inner.tree_head(at)
    }

    fn inclusion(&self, position: Position, size: Position) -> Result<Vec<TreeHash>, ReadError> {
        self.inner.inclusion(position, size)
    }

    fn consistency(&self, before: Position, size: Position) -> Result<Vec<TreeHash>, ReadError> {
        self.inner.consistency(before, size)
    }

    fn health(&self) -> Health {
        self.inner.health()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), CloseError>> {
        self.inner.close()
    }
}

/// Refuses who is called `nobody`, and mail to `unproven`; puts off who is called `later`.
struct Receiver;

impl Policy for Receiver {
    fn recipient(&self, asked: Asked<'_>) -> Action {
        if asked.recipient.starts_with("nobody@") {
            let text = format!("5.1.1 <{}>: no such user", asked.recipient);
            Action::Reply(SinkReply::new(550, text))
        } else if asked.recipient.starts_with("later@") {
            Action::Reply(SinkReply::new(450, "4.2.0 not now"))
        } else if asked.recipient.starts_with("unproven@") {
            let text = format!("5.7.26 {}: no SPF, no DKIM", asked.recipient);
            Action::Reply(SinkReply::new(550, text))
        } else {
            Action::Accept
        }
    }
}

pub(crate) struct World {
    pub(crate) log: Arc<CountingLog>,
    pub(crate) read: ReadModels,
    pub(crate) platform: Platform,
    pub(crate) clock: TestClock,
    pub(crate) parts: ApiParts,
    pub(crate) tenant: TenantId,
    pub(crate) app: AppId,
    /// A key that may do all.
    pub(crate) key: String,
    app_endpoint: BoxEndpoint<'static>,
    document: Document,
    pub(crate) dns: DnsServer,
    _sink: Sink,
    _dir: TempDir,
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: poem::http::HeaderMap,
    pub(crate) bytes: Vec<u8>,
    pub(crate) json: Value,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The name of the error.
    pub(crate) fn error(&self) -> &str {
        self.json["error"].as_str().unwrap_or_default()
    }

    /// The fields that are refused, in order.
    pub(crate) fn fields(&self) -> Vec<&str> {
        let details = self.json["details"].as_array().into_iter().flatten();
        details.map(|detail| detail["field"].as_str().unwrap()).collect()
    }

    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.bytes));
        self
    }
}

/// An email that is taken.
pub(crate) fn email() -> Value {
    json!({
        "from": { "email": SENDER, "name": "Acme" },
        "to": ["Ada <ada@reader.test>"],
        "subject": "Hello",
        "text": "Hello, Ada.",
    })
}

/// [`email`] with other fields.
pub(crate) fn email_with(changes: Value) -> Value {
    let mut email = email();
    let Value::Object(changes) = changes else { panic!("not an object") };
    for (name, value) in changes {
        email[name] = value;
    }
    email
}

impl World {
    pub(crate) async fn start() -> Self {
        // Streams are read to their end.
        let longest_stream = Duration::from_millis(200);
        let options = ApiOptions { longest_stream, ..ApiOptions::default() };
        Self::start_with(options, |parts| parts).await
    }

    pub(crate) async fn start_with(
        options: ApiOptions,
        change: impl FnOnce(ApiParts) -> ApiParts,
    ) -> Self {
        Self::start_as(options, true, change).await
    }

    /// One whose alarm does not ring: what is taken over waits for ever.
    pub(crate) async fn start_asleep() -> Self {
        Self::start_as(ApiOptions::default(), false, |parts| parts).await
    }

    async fn start_as(
        options: ApiOptions,
        deliver: bool,
        change: impl FnOnce(ApiParts) -> ApiParts,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let master = MasterKey::load_or_create(&dir.path().join("master.key")).unwrap();
        let vault = Vault::new(&master);
        let content_reads = AtomicUsize::new(0);
        let log = Arc::new(CountingLog { inner: MemoryLog::new(), content_reads });
        let read = ReadModels::open(&dir.path().join("read"), log.clone(), vault.clone()).unwrap();
        read.start();

        let signing = InstanceKey::load_or_create(&dir.path().join("instance.key")).unwrap();
        let notary = Notary::open(dir.path(), log.clone(), signing, None).unwrap();

        let local = (Ipv4Addr::LOCALHOST, 0).into();
        let sink = Sink::start(local, SinkOptions::default(), Arc::new(Receiver), None).await;
        let sink = sink.unwrap();
        let dns = DnsServer::start().await.unwrap();
        dns.add_mx("reader.test", 10, "mx.reader.test").unwrap();
        dns.add_address("mx.reader.test", IpAddr::V4(Ipv4Addr::LOCALHOST)).unwrap();
        let servers = Some(vec![dns.address()]);
        let resolver = Resolver::new(&DnsOptions { servers, ..DnsOptions::default() }).unwrap();

        let clock = TestClock::new(START);
        let platform = Platform::start(PlatformParts {
            log: log.clone(),
            vault: vault.clone(),
            read: read.clone(),
            resolver,
            clock: Arc::new(clock.clone()),
            machine: Machine::default(),
            options: PlatformOptions {
                deliver,
                smtp_port: sink.address().port(),
                allow_private_networks: true,
                ..PlatformOptions::new(DomainName::parse("mx.lumora.test").unwrap())
            },
        })
        .await
        .unwrap();

        let parts = change(ApiParts {
            platform: platform.clone(),
            read: read.clone(),
            log: log.clone(),
            vault,
            notary: Arc::new(notary),
            clock: Arc::new(clock.clone()),
            metrics: Arc::new(|| "lumora_up 1\n".to_owned()),
            options,
        });
        let (tenant, app) = tenant(&platform, EMAIL).await;
        let key = key(&platform, tenant, app, &Scope::ALL, 10_000).await;
        verified_domain(&platform, &read, &dns, tenant, "mail.acme.test").await;
        let app_endpoint = poem::EndpointExt::boxed(api::app(parts.clone()));
        Self {
            log,
            read,
            platform,
            clock,
            parts,
            tenant,
            app,
            key,
            app_endpoint,
            document: Document::new(),
            dns,
            _sink: sink,
            _dir: dir,
        }
    }

    /// Another app, of the same tenant.
    pub(crate) async fn other_app(&self) -> AppId {
        self.platform
            .create_app(model::By::CommandLine, self.tenant, NewApp::new("Other"))
            .await
            .unwrap()
    }

    /// Another tenant, with an app.
    pub(crate) async fn other_tenant(&self) -> (TenantId, AppId) {
        tenant(&self.platform, "owner@other.test").await
    }

    /// Signs the tenant's user in; the session's secret.
    pub(crate) async fn session(&self) -> String {
        let password = Password::new(PASSWORD);
        let signed_in = self.platform.sign_in(EMAIL, password, HERE, None).await.unwrap();
        signed_in.secret.reveal().to_owned()
    }

    /// Another tenant, whose user is signed in.
    pub(crate) async fn stranger(&self) -> String {
        let (email, password) = ("eve@eve.test".parse().unwrap(), Password::new(PASSWORD));
        let signed_in = self.platform.register("Eve", email, password, HERE).await.unwrap();
        signed_in.secret.reveal().to_owned()
    }

    /// A key of the app with these scopes.
    pub(crate) async fn key_with(&self, scopes: &[Scope], per_minute: u32) -> String {
        key(&self.platform, self.tenant, self.app, scopes, per_minute).await
    }

    /// Carries a request out, and holds the answer against the document.
    pub(crate) async fn call(&self, request: Request) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response = self.app_endpoint.get_response(request).await;
        let (parts, body) = response.into_parts();
        let bytes = body.into_vec().await.unwrap();
        let json = serde_json::from_slice(&bytes).unwrap_or_default();
        let answer = Answer { status: parts.status.as_u16(), headers: parts.headers, bytes, json };
        self.document.check(&method, &path, &answer);
        answer
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(request(Method::GET, path, &self.key).finish()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        let request = request(Method::POST, path, &self.key).content_type("application/json");
        self.call(request.body(Body::from_json(body).unwrap())).await
    }

    pub(crate) async fn send(&self, email: &Value) -> Answer {
        self.post("/v1/email/send", email).await
    }

    /// Sends with an idempotency key.
    pub(crate) async fn send_once(&self, email: &Value, idempotency_key: &str) -> Answer {
        let request = request(Method::POST, "/v1/email/send", &self.key)
            .content_type("application/json")
            .header("idempotency-key", idempotency_key);
        self.call(request.body(Body::from_json(email).unwrap())).await
    }

    /// Sends, and gives the message's id.
    pub(crate) async fn accepted(&self, email: &Value) -> String {
        let answer = self.send(email).await.expect(202);
        answer.json["messageId"].as_str().unwrap().to_owned()
    }

    /// Reads a message until its status is one of these.
    pub(crate) async fn until(&self, id: &str, statuses: &[&str]) -> Value {
        let path = format!("/v1/messages/{id}");
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            let message = self.get(&path).await.expect(200).json;
            let status = message["message"]["status"].as_str().unwrap();
            if statuses.contains(&status) {
                return message;
            }
            assert!(tokio::time::Instant::now() < deadline, "still {status}: {message}");
            // Each read waits for what is recorded; this only yields to those who record.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A request with a key.
pub(crate) fn request(method: Method, path: &str, key: &str) -> poem::RequestBuilder {
    Request::builder().method(method).uri_str(path).header("x-api-key", key)
}

async fn tenant(platform: &Platform, email: &str) -> (TenantId, AppId) {
    let email = email.parse().unwrap();
    let password = Some(Password::new(PASSWORD));
    let tenant =
        platform.create_tenant(model::By::CommandLine, "Acme", email, password).await.unwrap();
    (
        tenant,
        platform.create_app(model::By::CommandLine, tenant, NewApp::new("Shop")).await.unwrap(),
    )
}

pub(crate) async fn key(
    platform: &Platform,
    tenant: TenantId,
    app: AppId,
    scopes: &[Scope],
    per_minute: u32,
) -> String {
    let new = NewApiKey::new("key", scopes, per_minute);
    let key = platform.create_api_key(model::By::CommandLine, tenant, app, new).await.unwrap();
    key.secret.reveal().to_owned()
}

async fn verified_domain(
    platform: &Platform,
    read: &ReadModels,
    dns: &DnsServer,
    tenant: TenantId,
    name: &str,
) {
    let domain = platform
        .add_domain(model::By::CommandLine, tenant, DomainName::parse(name).unwrap())
        .await
        .unwrap();
    let view = read.policies().domain(domain).unwrap();
    for record in platform.expected_records(&view) {
        match record.record_type {
            "TXT" => dns.add_txt(&record.name, &record.value).unwrap(),
            _ => dns.add_mx(&record.name, 10, "mx.lumora.test").unwrap(),
        }
    }
    let view = platform.verify_domain(model::By::CommandLine, tenant, domain).await.unwrap();
    assert_eq!(view.status, model::domain::DomainStatus::Verified, "{:?}", view.records);
}
