//! Behind a proxy: who asks is whom the proxy names, and a header of anybody else is nobody.

use std::net::SocketAddr;

use actors::NewApiKey;
use api::ApiOptions;
use model::tenant::Scope;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::world::{EMAIL, PASSWORD, World};

struct Served {
    world: World,
    address: SocketAddr,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Served {
    /// A server that believes these.
    async fn behind(proxies: &[&str]) -> Self {
        let options = ApiOptions {
            trusted_proxies: proxies.iter().map(|network| network.parse().unwrap()).collect(),
            ..ApiOptions::default()
        };
        let world = World::start_with(options, |parts| parts).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let forever = std::future::pending::<()>();
        let serving = tokio::spawn(api::serve(listener, world.parts.clone(), forever));
        Self { world, address, serving }
    }

    /// The status of the answer to a request that says whom it is made for.
    async fn ask(&self, line: &str, forwarded_for: &str, headers: &str, body: &str) -> u16 {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let length = body.len();
        let request = format!(
            "{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\
             \r\ncontent-type: application/json\r\nx-forwarded-for: {forwarded_for}\r\n{headers}\
             \r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect(&answer)
    }

    async fn login(&self, forwarded_for: &str, password: &str) -> u16 {
        let body = json!({ "email": EMAIL, "password": password }).to_string();
        self.ask("POST /portal/login", forwarded_for, "", &body).await
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[tokio::test]
async fn who_guesses_behind_a_proxy_slows_down_nobody_else() {
    let served = Served::behind(&["127.0.0.0/8"]).await;
    for _ in 0..5 {
        assert_eq!(served.login("198.51.100.9", "some-other-words-42").await, 401);
    }
    // What it writes itself stands before what the proxy says of it.
    for forwarded_for in ["198.51.100.9", "192.0.2.1, 198.51.100.9", "127.0.0.1, 198.51.100.9"] {
        assert_eq!(served.login(forwarded_for, PASSWORD).await, 429, "{forwarded_for}");
    }
    assert_eq!(served.login("203.0.113.5", PASSWORD).await, 200);
}

#[tokio::test]
async fn who_is_no_proxy_of_ours_does_not_say_where_it_comes_from() {
    let served = Served::behind(&["192.0.2.0/24"]).await;
    for last in 0..5 {
        let made_up = format!("198.51.100.{last}");
        assert_eq!(served.login(&made_up, "some-other-words-42").await, 401);
    }
    assert_eq!(served.login("198.51.100.99", PASSWORD).await, 429);
}

#[tokio::test]
async fn a_key_that_is_bound_to_networks_is_bound_to_those_before_the_proxy() {
    let served = Served::behind(&["127.0.0.1"]).await;
    let world = &served.world;
    let bound = NewApiKey {
        allowed_addresses: vec!["198.51.100.0/24".parse().unwrap()],
        ..NewApiKey::new("bound", &[Scope::EmailRead], 100)
    };
    let key = world
        .platform
        .create_api_key(model::By::CommandLine, world.tenant, world.app, bound)
        .await
        .unwrap();
    let key = format!("x-api-key: {}\r\n", key.secret.reveal());
    for (forwarded_for, status) in
        [("198.51.100.9", 200), ("203.0.113.5", 401), ("198.51.100.9, 203.0.113.5", 401), ("", 401)]
    {
        let answer = served.ask("GET /v1/emails/logs", forwarded_for, &key, "").await;
        assert_eq!(answer, status, "{forwarded_for}");
    }
}
