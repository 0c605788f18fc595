//! The DNS: who receives for whom, and name servers that fail.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actors::Clock;
use mail::dns::{Found, LookingUp, LookupError, Mx, NameRecord, NameSource, RecordKind};

use crate::{
    clock::SimClock,
    dice::Dice,
    receivers::{HOSTS, address, name},
};

/// Domains that mail goes to: the hosts of each with their preferences.
pub const DOMAINS: &[(&str, &[(u16, u8)])] = &[
    ("one.example", &[(10, 0), (20, 1)]),
    ("two.example", &[(10, 1)]),
    ("three.example", &[(10, 2), (10, 3)]),
    // Another domain of the same site.
    ("four.example", &[(10, 1)]),
];
/// It has no MX, and an address.
pub const IMPLICIT: &str = "five.example";
/// It takes no mail.
pub const NULL_MX: &str = "null.example";
/// It does not exist.
pub const GONE: &str = "gone.example";

/// How long name servers are in one mood.
const SPELL_MS: u64 = 30_000;
/// How long answers are believed.
const TTL: Duration = Duration::from_secs(60);

#[derive(Default)]
pub struct NameServers {
    dice: Option<Dice>,
    calm: AtomicBool,
    clock: Mutex<Option<SimClock>>,
    /// What the sending domain publishes; always to be had.
    published: Mutex<HashMap<(String, RecordKind), Vec<NameRecord>>>,
    pub moods: Mutex<BTreeMap<&'static str, u64>>,
}

impl NameServers {
    pub fn new(dice: Dice) -> Arc<Self> {
        Arc::new(Self { dice: Some(dice), ..Self::default() })
    }

    pub fn begin(&self, calm: bool, clock: SimClock) {
        self.calm.store(calm, Ordering::Relaxed);
        *self.clock.lock().unwrap() = Some(clock);
    }

    pub fn publish(&self, name: &str, kind: RecordKind, record: NameRecord) {
        let mut published = self.published.lock().unwrap();
        published.entry((name.to_owned(), kind)).or_default().push(record);
    }

    /// The same records, for other name servers.
    pub fn publish_all_of(&self, other: &Self) {
        self.published.lock().unwrap().clone_from(&other.published.lock().unwrap());
    }

    fn note(&self, mood: &'static str) {
        *self.moods.lock().unwrap().entry(mood).or_default() += 1;
    }

    fn records(&self, asked: &str, kind: RecordKind) -> Result<Vec<NameRecord>, LookupError> {
        let published = self.published.lock().unwrap();
        if let Some(records) = published.get(&(asked.to_owned(), kind)) {
            return Ok(records.clone());
        }
        if asked.ends_with(GONE) {
            self.note("NXDOMAIN");
            return Err(LookupError::NoSuchDomain);
        }
        let mx = |preference, host: &str| NameRecord::Mx(Mx { preference, host: host.into() });
        let records = match kind {
            RecordKind::Mx if asked == NULL_MX => vec![mx(0, "")],
            RecordKind::Mx => DOMAINS
                .iter()
                .filter(|(domain, _)| *domain == asked)
                .flat_map(|(_, hosts)| *hosts)
                .map(|(preference, host)| mx(*preference, &name(*host)))
                .collect(),
            RecordKind::A if asked == IMPLICIT => vec![NameRecord::Address(address(0))],
            RecordKind::A => (0..HOSTS)
                .filter(|host| name(*host) == asked)
                .map(|host| NameRecord::Address(address(host)))
                .collect(),
            _ => Vec::new(),
        };
        Ok(records)
    }

    async fn answer(&self, asked: &str, kind: RecordKind) -> Result<Found, LookupError> {
        let now = self.clock.lock().unwrap().map_or(0, |clock| clock.now().as_millis());
        let spell = now / SPELL_MS;
        let about = [asked.as_bytes(), &[kind as u8], &spell.to_le_bytes()];
        let mut roll = self.dice.unwrap_or(Dice::new(0)).ask("name", &about);
        let is_ours = self.published.lock().unwrap().keys().any(|(name, _)| asked == name);
        tokio::time::sleep(Duration::from_millis(roll.within(1, 40))).await;
        if !is_ours && !self.calm.load(Ordering::Relaxed) {
            match roll.below(100) {
                0..8 => {
                    self.note("SERVFAIL");
                    return Err(LookupError::Unavailable);
                }
                8..12 => {
                    self.note("silent name server");
                    std::future::pending::<()>().await;
                }
                _ => {}
            }
        }
        Ok(Found { records: self.records(asked, kind)?, ttl: TTL })
    }
}

impl NameSource for NameServers {
    fn look_up<'a>(&'a self, name: &'a str, kind: RecordKind) -> LookingUp<'a> {
        Box::pin(self.answer(name, kind))
    }
}
