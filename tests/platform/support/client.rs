//! A client of the API.

use std::collections::BTreeMap;

use serde_json::Value;

use super::eventually;

/// Asks one server with one key.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    secret: Option<String>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) text: String,
}

impl Answer {
    /// The body.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(
            self.headers.get("content-type").map(String::as_str).unwrap_or_default(),
            "application/json",
            "{self:?}"
        );
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body of an answer with this status.
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.json()
    }

    /// A header.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or_else(|| panic!("no {name}: {self:?}"), String::as_str)
    }
}

impl Client {
    pub(crate) fn new(base: impl Into<String>, secret: Option<&str>) -> Self {
        Self {
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            base: base.into(),
            secret: secret.map(str::to_owned),
        }
    }

    /// The same server without, or with another, key.
    pub(crate) fn with_secret(&self, secret: Option<&str>) -> Self {
        Self { secret: secret.map(str::to_owned), ..self.clone() }
    }

    /// A request; `edit` finishes it. `None` when the server went away.
    pub(crate) async fn try_request(
        &self,
        method: &str,
        path: &str,
        edit: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> Option<Answer> {
        let method = method.parse().unwrap();
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(secret) = &self.secret {
            request = request.header("x-api-key", secret);
        }
        let response = edit(request).send().await.ok()?;
        let status = response.status().as_u16();
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        let text = response.text().await.ok()?;
        Some(Answer { status, headers, text })
    }

    /// A request that must be answered.
    pub(crate) async fn request(
        &self,
        method: &str,
        path: &str,
        edit: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> Answer {
        let answer = self.try_request(method, path, edit).await;
        answer.unwrap_or_else(|| panic!("{method} {path}: the server is gone"))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.request("GET", path, |request| request).await
    }

    pub(crate) async fn send(&self, email: &Value) -> Answer {
        self.request("POST", "/v1/email/send", |request| request.json(email)).await
    }

    /// Sends with an `Idempotency-Key`.
    pub(crate) async fn send_once(&self, email: &Value, key: &str) -> Answer {
        let edit =
            |request: reqwest::RequestBuilder| request.header("idempotency-key", key).json(email);
        self.request("POST", "/v1/email/send", edit).await
    }

    /// Sends what must be accepted; the message's id.
    pub(crate) async fn accepted(&self, email: &Value) -> String {
        let answer = self.send(email).await.expect(202);
        answer["messageId"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn message(&self, id: &str) -> Value {
        self.get(&format!("/v1/messages/{id}")).await.expect(200)
    }

    /// Waits until the message looks so.
    pub(crate) async fn until(&self, id: &str, what: &str, so: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("{id} {what}"), async || {
            let message = self.message(id).await;
            so(&message).then_some(message)
        })
        .await
    }

    /// Waits until the message has this status.
    pub(crate) async fn becomes(&self, id: &str, status: &str) -> Value {
        self.until(id, status, |message| message["message"]["status"] == status).await
    }

    /// Waits until every recipient has ended.
    pub(crate) async fn ended(&self, id: &str) -> Value {
        self.until(id, "ends", |message| {
            let open = ["queued", "scheduled", "sending"];
            !open.contains(&message["message"]["status"].as_str().unwrap())
        })
        .await
    }

    /// Every row of the logs that the query finds, page by page.
    pub(crate) async fn all_logs(&self, query: &str) -> Vec<Value> {
        let mut rows = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self.get(&format!("/v1/emails/logs?{query}{cursor}")).await.expect(200);
            rows.extend(page["data"].as_array().unwrap().iter().cloned());
            if page["hasMore"] != true {
                assert!(page.get("nextCursor").is_none_or(Value::is_null), "{page}");
                return rows;
            }
            cursor = format!("&cursor={}", page["nextCursor"].as_str().unwrap());
        }
    }
}

/// The `type` of each of a message's events.
pub(crate) fn kinds(message: &Value) -> Vec<&str> {
    let events = message["events"].as_array().unwrap().iter();
    events.map(|event| event["type"].as_str().unwrap()).collect()
}

/// That nobody is lost: accepted = delivered + bounced + failed + suppressed + canceled + inFlight.
pub(crate) fn assert_conserved(stats: &Value) {
    let count = |name: &str| stats["totals"][name].as_u64().unwrap();
    let ended: u64 =
        ["delivered", "bounced", "failed", "suppressed", "canceled"].map(count).iter().sum();
    assert_eq!(count("accepted"), ended + stats["inFlight"].as_u64().unwrap(), "{stats}");
}
