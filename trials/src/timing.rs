//! Whether it takes another time to be refused: an account that there is, or a key that there was,
//! must not be told from one that never was.
//!
//! # Why
//! Kinds take turns, in another order each round, so that whatever slows the machine down slows all of
//! them. Medians are compared and the bounds are wide: a single password hash that is left out changes
//! a median many times over. That the same work is done is what tests say; this says what of it is seen
//! from outside.

use std::time::{Duration, Instant};

use bench::{Outcome, figures::print_line as tell, times::Times};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

use crate::{Setting, dice::Dice, stage::Stage};

/// Accounts that are guessed at: the throttle lets each be guessed at some fifty times.
const ACCOUNTS: usize = 12;
const PASSWORD: &str = "paper-otter-violin-42-oaks";
/// Most by which the medians of two kinds may differ, as a share of the smaller one.
const MOST_OF_LOGINS: f64 = 0.25;
/// Keys are refused within a fraction of a millisecond, of which the machine makes most.
const MOST_OF_KEYS: f64 = 0.5;
/// What is believed of who asks: each guess comes from another address, as those of a patient guesser.
const STARTER: [&str; 2] = ["env", "LUMORA_HTTP__TRUSTED_PROXIES=127.0.0.1"];
/// Characters of a key that lists show.
const SHOWN: usize = 12;

/// Whom the guesses are made at.
struct Target {
    client: Client,
    url: String,
    dice: Dice,
    guesses: u32,
}

pub(crate) async fn run(setting: &Setting, rounds: usize) -> Outcome<()> {
    let stage = Stage::set_with(setting.data_parent.as_deref(), None, "").await?;
    let (server, _) = stage.start_under(&STARTER).await?;
    let (client, url) = (Client::new(), server.url().to_owned());
    let mut target = Target { client, url, dice: Dice::new(setting.seed), guesses: 0 };
    let mut cookie = String::new();
    for number in 0..ACCOUNTS {
        cookie = target.register(number).await?;
    }
    let most = ACCOUNTS * 40;
    let logins = target.logins(rounds.min(most)).await?;
    let first = verdict("sign-ins", &["unknown address", "wrong password"], logins, MOST_OF_LOGINS);
    let revoked = target.revoked_key(&cookie).await?;
    let good = stage.sender.secret.clone();
    let keys = target.keys(rounds * 10, &good, &revoked).await?;
    let kinds = ["unknown key", "known beginning", "revoked key"];
    let second = verdict("keys", &kinds, keys, MOST_OF_KEYS);
    server.stop().await?;
    stage.is_settled();
    first.and(second)
}

impl Target {
    /// An address that nobody has guessed from.
    fn address(&mut self) -> String {
        self.guesses += 1;
        let [_, a, b, c] = self.guesses.to_be_bytes();
        format!("10.{a}.{b}.{c}")
    }

    async fn post(&mut self, path: &str, cookie: &str, body: &Value) -> Outcome<Response> {
        let from = self.address();
        let request = self.client.post(format!("{}{path}", self.url)).json(body);
        let request = request.header("x-forwarded-for", from).header("cookie", cookie);
        Ok(request.send().await?)
    }

    /// The session cookie of a new account.
    async fn register(&mut self, number: usize) -> Outcome<String> {
        let email = known(number);
        let body = json!({ "tenantName": "Timed", "email": email, "password": PASSWORD });
        let answer = self.post("/portal/register", "", &body).await?;
        let cookie = answer.headers().get("set-cookie").and_then(|cookie| cookie.to_str().ok());
        let cookie = cookie.and_then(|cookie| cookie.split(';').next()).map(str::to_owned);
        cookie.ok_or_else(|| format!("no account: {}", answer.status()).into())
    }

    /// A key that was good.
    async fn revoked_key(&mut self, cookie: &str) -> Outcome<String> {
        let text = |value: &Value, name: &str| bench::server::text(value, name).map(str::to_owned);
        let app = self.post("/portal/apps", cookie, &json!({ "name": "Timed" })).await?;
        let keys = format!("/portal/apps/{}/api-keys", text(&app.json().await?, "id")?);
        let scopes = json!({ "email:read": true });
        let body = json!({ "name": "Timed", "rateLimitPerMinute": 60, "scopes": scopes });
        let key: Value = self.post(&keys, cookie, &body).await?.json().await?;
        let url = format!("{}{keys}/{}", self.url, text(&key, "id")?);
        let taken = self.client.delete(url).header("cookie", cookie).send().await?;
        if taken.status() != StatusCode::NO_CONTENT {
            return Err(format!("the key was not taken back: {}", taken.status()).into());
        }
        text(&key, "secret")
    }

    async fn logins(&mut self, rounds: usize) -> Outcome<Vec<Vec<Duration>>> {
        let mut times = vec![Vec::new(); 2];
        for round in 0..rounds {
            for turn in 0..2 {
                let kind = (round + turn) % 2;
                let email = if kind == 0 {
                    format!("nobody-{round}@timed.test")
                } else {
                    known(round % ACCOUNTS)
                };
                let body = json!({ "email": email, "password": "paper-otter-violin-42-elms" });
                let begun = Instant::now();
                let answer = self.post("/portal/login", "", &body).await?;
                let (status, _) = (answer.status(), answer.bytes().await?);
                let took = begun.elapsed();
                expect_refusal(status)?;
                times.get_mut(kind).ok_or("no such kind")?.push(took);
            }
        }
        Ok(times)
    }

    async fn keys(
        &mut self,
        rounds: usize,
        good: &str,
        revoked: &str,
    ) -> Outcome<Vec<Vec<Duration>>> {
        let mut times = vec![Vec::new(); 3];
        for round in 0..rounds {
            for turn in 0..3 {
                let kind = (round + turn) % 3;
                let random = self.secret();
                let secret = match kind {
                    0 => random,
                    1 => splice(good, &random),
                    _ => revoked.to_owned(),
                };
                let request = self.client.get(format!("{}/v1/emails/logs", self.url));
                let begun = Instant::now();
                let answer = request.header("x-api-key", secret).send().await?;
                let (status, _) = (answer.status(), answer.bytes().await?);
                let took = begun.elapsed();
                expect_refusal(status)?;
                times.get_mut(kind).ok_or("no such kind")?.push(took);
            }
        }
        Ok(times)
    }

    /// A secret as keys have it, which is nobody's.
    fn secret(&mut self) -> String {
        let digits = ('0'..='9').chain('A'..='Z').chain('a'..='z').collect::<Vec<char>>();
        let mut secret = String::from("lum_sk_");
        for _ in 0..40 {
            let index = usize::try_from(self.dice.below(62)).unwrap_or_default();
            secret.extend(digits.get(index));
        }
        secret
    }
}

fn known(number: usize) -> String {
    format!("somebody-{number}@timed.test")
}

/// As much of one secret as lists show, and the rest of another.
fn splice(shown: &str, rest: &str) -> String {
    shown.chars().take(SHOWN).chain(rest.chars().skip(SHOWN)).collect()
}

fn expect_refusal(status: StatusCode) -> Outcome<()> {
    if status == StatusCode::UNAUTHORIZED {
        return Ok(());
    }
    Err(format!("{status} instead of a refusal").into())
}

/// Tells the times of each kind; fails where two medians are too far apart.
fn verdict(what: &str, kinds: &[&str], times: Vec<Vec<Duration>>, most: f64) -> Outcome<()> {
    let mut medians = Vec::new();
    for (kind, times) in kinds.iter().zip(times) {
        let count = times.len();
        let times = Times::new(times);
        let [low, middle, high] = [100, 500, 900].map(|permille| times.permille_ms(permille));
        tell(&format!(
            "  {what}, {kind}: median {middle:.3} ms, 10 % {low:.3}, 90 % {high:.3}, of {count}"
        ));
        medians.push(middle);
    }
    let least = medians.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = medians.iter().copied().fold(0.0, f64::max);
    let ratio = largest / least;
    tell(&format!("  {what}: the medians are apart by a factor of {ratio:.3}"));
    // Without any times it is no number, and no success.
    if ratio <= 1.0 + most { Ok(()) } else { Err(format!("{what} can be told apart").into()) }
}
