//! Many tenants.

use std::net::{IpAddr, Ipv4Addr};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::header::{COOKIE, SET_COOKIE};
use serde_json::{Value, json};

use crate::{
    Outcome, Setting,
    cost::Moment,
    figures::{Row, Table, as_f64},
    load::Load,
    server::{Sender, publish, text},
    world::World,
};

const MESSAGES: usize = 5_000;
const CLIENTS: usize = 50;
const DOMAINS: usize = 50;
/// Registrations at once: each costs a password hash and a DKIM key.
const AT_ONCE: usize = 4;

pub(crate) async fn run(setting: &Setting, tenants: &[usize]) -> Outcome<()> {
    let title = format!("Delivering for many tenants, {CLIENTS} clients, {DOMAINS} domains");
    let mut table = Table::new("tenants", title, "deliveredPerSecond");
    for tenants in tenants {
        let tenants = setting.count(*tenants);
        let messages = setting.count(MESSAGES).max(tenants);
        let world = World::start(setting, DOMAINS).await?;
        let senders: Vec<Sender> = stream::iter(0..tenants)
            .map(|number| register(&world, number))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        let octets = setting.text_octets;
        let load = Load::new(world.server.url(), senders.into(), CLIENTS, DOMAINS, octets)?;
        world.warm_up(&load).await?;
        let before = Moment::now(&world.server).await?;
        let first = world.receiver.received();
        let through = world.through(&load, first..first + messages).await?;
        let row = Row::new(format!("{tenants} tenants"))
            .with("deliveredPerSecond", as_f64(messages) / through.delivering.as_secs_f64())
            .with("acceptP99Ms", through.accepting.answers.permille_ms(990));
        table.push(before.cost_in(row, &world.server, messages).await?);
        world.server.stop().await?;
    }
    table.finish(setting)
}

/// A tenant with a domain, an app and a key, as somebody makes them in the portal.
async fn register(world: &World, number: usize) -> Outcome<Sender> {
    // From an address of its own: registrations from one address are slowed down.
    let [.., a, b, c] = u32::try_from(number + 2)?.to_be_bytes();
    let client = reqwest::Client::builder()
        .no_proxy()
        .local_address(IpAddr::V4(Ipv4Addr::new(127, a, b, c)))
        .build()?;
    let portal = Portal { client, url: format!("{}/portal", world.server.url()) };
    let user = json!({
        "tenantName": format!("Tenant {number}"),
        "email": format!("owner@t{number}.{}", crate::server::SENDING_DOMAIN),
        "password": "seven green lanterns",
    });
    let answer = portal.client.post(format!("{}/register", portal.url)).json(&user).send().await?;
    let cookie = answer.headers().get(SET_COOKIE).ok_or("no session")?.to_str()?.to_owned();
    let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
    let account: Value = answer.json().await?;
    let tenant = text(account.get("tenant").unwrap_or(&Value::Null), "id")?.to_owned();
    let domain = format!("t{number}.{}", crate::server::SENDING_DOMAIN);
    let added = portal.post("/domains", &cookie, &json!({ "domain": domain })).await?;
    publish(&added, &world.receiver)?;
    let verify = format!("/domains/{}/verify", text(&added, "id")?);
    let verified = portal.post(&verify, &cookie, &json!({})).await?;
    if text(&verified, "status")? != "verified" {
        return Err(format!("the domain was not verified: {verified}").into());
    }
    let app = portal.post("/apps", &cookie, &json!({ "name": "Bench" })).await?;
    let app = text(&app, "id")?.to_owned();
    let wanted = json!({
        "name": "Bench", "rateLimitPerMinute": 1_000_000, "scopes": { "email:send": true },
    });
    let key = portal.post(&format!("/apps/{app}/api-keys"), &cookie, &wanted).await?;
    Ok(Sender { secret: text(&key, "secret")?.to_owned(), domain, tenant, app })
}

struct Portal {
    client: reqwest::Client,
    url: String,
}

impl Portal {
    async fn post(&self, path: &str, cookie: &str, body: &Value) -> Outcome<Value> {
        let request = self.client.post(format!("{}{path}", self.url)).header(COOKIE, cookie);
        let answer = request.json(body).send().await?;
        let (status, body) = (answer.status(), answer.text().await?);
        if !status.is_success() {
            return Err(format!("{path}: {status}: {body}").into());
        }
        Ok(serde_json::from_str(&body)?)
    }
}
