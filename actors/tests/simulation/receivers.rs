//! The receivers: the product's own one, in every mood, behind a network in memory.

use std::{
    collections::{BTreeMap, HashMap},
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use actors::Clock;
use mail::{
    sink::{Action, Asked, MessageAction, Policy, Received, Receiver, SinkOptions, SinkReply},
    smtp::{Dial, Dialled, Dialling},
};

use crate::{
    clock::SimClock,
    dice::{Dice, Roll},
    end::EndOfLife,
    wire::Line,
};

/// Hosts in the network: 192.0.2.1 and on.
pub const HOSTS: u8 = 4;
/// How long a mood of a host's network lasts.
const SPELL_MS: u64 = 45_000;
/// Octets in a buffer of the network.
const BUFFER: usize = 64 * 1024;

pub fn address(host: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, host + 1))
}

pub fn name(host: u8) -> String {
    format!("mx{host}.receivers.example")
}

/// A message that a receiver took over for one recipient.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Copy {
    pub life: u32,
    pub message: String,
    pub recipient: String,
}

/// What all receivers know.
#[derive(Default)]
pub struct Tally {
    pub copies: Mutex<Vec<Copy>>,
    /// How often something was asked: so that the next answer is another one.
    asked: Mutex<HashMap<String, u64>>,
    pub moods: Mutex<BTreeMap<&'static str, u64>>,
    calm: AtomicBool,
    life: AtomicU32,
}

impl Tally {
    fn ask(&self, dice: Dice, what: &'static str, about: &str) -> Roll {
        let mut asked = self.asked.lock().unwrap();
        let count = asked.entry(format!("{what} {about}")).or_default();
        *count += 1;
        dice.ask(what, &[about.as_bytes(), &count.to_le_bytes()])
    }

    fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    fn note(&self, mood: &'static str) {
        *self.moods.lock().unwrap().entry(mood).or_default() += 1;
    }
}

/// One host's temper.
struct Host {
    number: u8,
    dice: Dice,
    tally: Arc<Tally>,
    end: EndOfLife,
}

impl Host {
    fn reply(&self, mood: &'static str, code: u16, text: &str) -> Action {
        self.tally.note(mood);
        Action::Reply(SinkReply::new(code, text))
    }

    fn count(&self, message: &Received) {
        let text = String::from_utf8_lossy(&message.data);
        let id = text.lines().find_map(|line| line.strip_prefix("Message-ID: <")).unwrap();
        let id = id.split('@').next().unwrap();
        let life = self.tally.life.load(Ordering::Relaxed);
        let copies = message.recipients.iter().map(|recipient| Copy {
            life,
            message: id.to_owned(),
            recipient: recipient.clone(),
        });
        self.tally.copies.lock().unwrap().extend(copies);
        self.end.received();
    }
}

impl Policy for Host {
    fn connection(&self, _from: SocketAddr) -> Action {
        let mut roll = self.tally.ask(self.dice, "greeting", &self.number.to_string());
        if self.tally.is_calm() {
            return Action::Accept;
        }
        match roll.below(100) {
            0..4 => self.reply("421 at the greeting", 421, "4.3.2 too busy"),
            4..6 => self.reply("554 at the greeting", 554, "5.7.1 not you"),
            6..8 => {
                self.tally.note("closed at the greeting");
                Action::Disconnect
            }
            8..9 => {
                self.tally.note("silent at the greeting");
                Action::Stall
            }
            _ => Action::Accept,
        }
    }

    fn sender(&self, asked: Asked<'_>) -> Action {
        let mut roll = self.tally.ask(self.dice, "sender", asked.mail_from);
        match roll.below(100) {
            0..3 if !self.tally.is_calm() => self.reply("451 at MAIL", 451, "4.3.0 later"),
            _ => Action::Accept,
        }
    }

    fn recipient(&self, asked: Asked<'_>) -> Action {
        // Who is unknown stays unknown, and a greylist lets nobody in the first time.
        let mut known = self.dice.ask("known", &[asked.recipient.as_bytes()]);
        if known.in_thousand(60) {
            return self.reply("unknown recipient", 550, "5.1.1 nobody of this name");
        }
        if self.tally.is_calm() {
            return Action::Accept;
        }
        let mut roll = self.tally.ask(self.dice, "recipient", asked.recipient);
        match roll.below(100) {
            0..12 => self.reply("greylisted", 451, "4.7.1 come back later"),
            12..16 => self.reply("mailbox full", 452, "4.2.2 full"),
            16..18 => self.reply("421 at RCPT", 421, "4.3.2 going down"),
            18..20 => {
                self.tally.note("closed at RCPT");
                Action::Disconnect
            }
            20..21 => {
                self.tally.note("silent at RCPT");
                Action::Stall
            }
            _ => Action::Accept,
        }
    }

    fn message(&self, message: &Received) -> MessageAction {
        let mut roll = self.tally.ask(self.dice, "dot", &message.recipients.join(" "));
        if self.tally.is_calm() {
            self.count(message);
            return MessageAction::Accept;
        }
        match roll.below(100) {
            0..4 => {
                self.tally.note("closed after the dot, not taken");
                MessageAction::Disconnect
            }
            4..10 => {
                self.tally.note("closed after the dot, taken");
                self.count(message);
                MessageAction::AcceptAndDisconnect
            }
            10..12 => {
                self.tally.note("silent after the dot");
                MessageAction::Stall
            }
            12..16 => {
                self.tally.note("452 after the dot");
                MessageAction::Reply(SinkReply::new(452, "4.3.1 no space"))
            }
            16..18 => {
                self.tally.note("554 after the dot");
                MessageAction::Reply(SinkReply::new(554, "5.6.0 not this"))
            }
            _ => {
                self.count(message);
                MessageAction::Accept
            }
        }
    }
}

/// The network with the receivers in it.
pub struct Network {
    dice: Dice,
    pub tally: Arc<Tally>,
    receivers: Vec<Receiver>,
    clock: Mutex<Option<SimClock>>,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").finish_non_exhaustive()
    }
}

impl Network {
    pub fn new(dice: Dice, end: &EndOfLife) -> Arc<Self> {
        let tally = Arc::new(Tally::default());
        let receiver = |number| {
            let (tally, end) = (Arc::clone(&tally), end.clone());
            let host = Host { number, dice, tally, end };
            let options = SinkOptions { name: name(number), ..SinkOptions::default() };
            Receiver::new(options, Arc::new(host), None)
        };
        let receivers = (0..HOSTS).map(receiver).collect();
        Arc::new(Self { dice, tally, receivers, clock: Mutex::new(None) })
    }

    pub fn begin(&self, life: u32, calm: bool, clock: SimClock) {
        self.tally.life.store(life, Ordering::Relaxed);
        self.tally.calm.store(calm, Ordering::Relaxed);
        *self.clock.lock().unwrap() = Some(clock);
    }

    /// What the network between us and a host is like now.
    fn spell(&self, host: usize) -> Roll {
        let now = self.clock.lock().unwrap().map_or(0, |clock| clock.now().as_millis());
        let spell = now / SPELL_MS;
        self.dice.ask("spell", &[&host.to_le_bytes(), &spell.to_le_bytes()])
    }

    async fn connect(&self, to: SocketAddr) -> io::Result<Dialled> {
        let host = (0..HOSTS).position(|host| address(host) == to.ip());
        let host = host.ok_or(io::ErrorKind::NetworkUnreachable)?;
        let mut roll = self.tally.ask(self.dice, "dial", &host.to_string());
        let (mut latency, mut left) = (Duration::from_millis(roll.within(1, 60)), u64::MAX);
        if !self.tally.is_calm() {
            match self.spell(host).below(100) {
                0..12 => {
                    self.tally.note("refused");
                    tokio::time::sleep(latency).await;
                    return Err(io::ErrorKind::ConnectionRefused.into());
                }
                12..16 => {
                    self.tally.note("no way there");
                    std::future::pending::<()>().await;
                }
                16..24 => latency *= 100,
                _ => {}
            }
            if roll.in_thousand(80) {
                self.tally.note("broken line");
                left = roll.below(4_000);
            }
        }
        tokio::time::sleep(latency).await;
        let (ours, theirs) = tokio::io::duplex(BUFFER);
        let receiver = self.receivers[host].clone();
        let from = SocketAddr::new(Ipv4Addr::new(198, 51, 100, 1).into(), 40_000);
        tokio::spawn(async move { receiver.receive(Box::new(theirs), from).await });
        let socket = Box::new(Line::new(ours, latency, left));
        Ok(Dialled { socket, from: Some(from.ip()) })
    }
}

impl Dial for Network {
    fn dial(&self, to: SocketAddr, _from: Option<IpAddr>) -> Dialling<'_> {
        Box::pin(self.connect(to))
    }
}
