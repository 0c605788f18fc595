//! Tenants, as people make them in the portal.

use std::net::{IpAddr, Ipv4Addr};

use reqwest::{
    Method,
    header::{COOKIE, SET_COOKIE},
};
use sandbox::dns::DnsServer;
use serde_json::{Value, json};

use crate::{
    Outcome,
    server::{SENDING_DOMAIN, Sender, publish, text},
};

/// Somebody who is signed in.
pub struct Owner {
    client: reqwest::Client,
    url: String,
    cookie: String,
    tenant: String,
    number: usize,
}

impl Owner {
    /// Registers the tenant of this number at the server at `url`, which must let anybody do that.
    pub async fn register(url: &str, number: usize) -> Outcome<Self> {
        // From an address of its own: registrations from one address are slowed down.
        let [.., a, b, c] = u32::try_from(number + 2)?.to_be_bytes();
        let client = reqwest::Client::builder()
            .no_proxy()
            .local_address(IpAddr::V4(Ipv4Addr::new(127, a, b, c)))
            .build()?;
        let user = json!({
            "tenantName": format!("Tenant {number}"),
            "email": format!("owner@t{number}.{SENDING_DOMAIN}"),
            "password": "seven green lanterns",
        });
        let url = format!("{url}/portal");
        let answer = client.post(format!("{url}/register")).json(&user).send().await?;
        let cookie = answer.headers().get(SET_COOKIE).ok_or("no session")?.to_str()?.to_owned();
        let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        let account: Value = answer.json().await?;
        let tenant = text(account.get("tenant").unwrap_or(&Value::Null), "id")?.to_owned();
        Ok(Self { client, url, cookie, tenant, number })
    }

    /// Proves a domain, and makes an app with a key that has these scopes.
    pub async fn sender(&self, dns: &DnsServer, scopes: &[&str]) -> Outcome<Sender> {
        let domain = format!("t{}.{SENDING_DOMAIN}", self.number);
        let added = self.post("/domains", &json!({ "domain": domain })).await?;
        publish(&added, dns)?;
        let verify = format!("/domains/{}/verify", text(&added, "id")?);
        let verified = self.post(&verify, &json!({})).await?;
        if text(&verified, "status")? != "verified" {
            return Err(format!("the domain was not verified: {verified}").into());
        }
        let app = self.post("/apps", &json!({ "name": "Bench" })).await?;
        let app = text(&app, "id")?.to_owned();
        let secret = text(&self.key(&app, scopes).await?, "secret")?.to_owned();
        Ok(Sender { secret, domain, tenant: self.tenant.clone(), app })
    }

    /// A key of an app that knows no rate: its id and its secret.
    pub async fn key(&self, app: &str, scopes: &[&str]) -> Outcome<Value> {
        let scopes: serde_json::Map<String, Value> =
            scopes.iter().map(|scope| ((*scope).to_owned(), Value::Bool(true))).collect();
        let wanted = json!({ "name": "Bench", "rateLimitPerMinute": 1_000_000, "scopes": scopes });
        self.post(&format!("/apps/{app}/api-keys"), &wanted).await
    }

    /// Asks for something.
    pub async fn post(&self, path: &str, body: &Value) -> Outcome<Value> {
        Ok(serde_json::from_str(&self.ask(Method::POST, path, Some(body)).await?)?)
    }

    /// Takes something away.
    pub async fn delete(&self, path: &str) -> Outcome<()> {
        self.ask(Method::DELETE, path, None).await.map(drop)
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Outcome<String> {
        let request = self.client.request(method, format!("{}{path}", self.url));
        let mut request = request.header(COOKIE, &self.cookie);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await?;
        let (status, body) = (answer.status(), answer.text().await?);
        if !status.is_success() {
            return Err(format!("{path}: {status}: {body}").into());
        }
        Ok(body)
    }
}
