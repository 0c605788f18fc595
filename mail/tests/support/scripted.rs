//! An SMTP server that misbehaves on command.
//!
//! It answers every command as a good server would, but where its script says otherwise. A script
//! names a command and its occurrence on the connection (`("RCPT", 2)`), and what is done instead
//! of the good reply. `""` is the greeting and `"."` the final dot.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

/// One thing done instead of a good reply.
#[derive(Clone)]
pub(crate) enum Act {
    /// Writes this.
    Say(Vec<u8>),
    /// Writes this again and again until the client leaves.
    Endless(&'static [u8]),
    /// Writes this octet every few milliseconds until the client leaves.
    Trickle(u8),
    /// Says nothing until the client leaves.
    Stall,
    /// Neither reads nor writes any more.
    Deaf,
    /// Reads something, whatever it is.
    HearSomething,
    /// Reads this much of what the client sends.
    HearOctets(usize),
    /// Reads a little every few milliseconds until the client leaves.
    Sip,
    /// Closes in order.
    Close,
    /// Resets the connection.
    Reset,
    /// Shakes hands and goes on inside TLS.
    Tls(Arc<rustls::ServerConfig>),
}

/// Says a line.
pub(crate) fn say(line: &str) -> Act {
    Act::Say(format!("{line}\r\n").into_bytes())
}

#[derive(Clone, Default)]
pub(crate) struct Script {
    ehlo: Vec<&'static str>,
    ehlo_inside_tls: Vec<&'static str>,
    instead: HashMap<(&'static str, usize), Vec<Act>>,
    segment: Option<usize>,
}

impl Script {
    /// A good server with these EHLO keywords.
    pub(crate) fn new(keywords: &[&'static str]) -> Self {
        Self { ehlo: keywords.to_vec(), ehlo_inside_tls: keywords.to_vec(), ..Self::default() }
    }

    /// Other keywords inside TLS.
    pub(crate) fn inside_tls(mut self, keywords: &[&'static str]) -> Self {
        self.ehlo_inside_tls = keywords.to_vec();
        self
    }

    /// At the `nth` (from one) `verb`: this instead of the good reply.
    pub(crate) fn on(mut self, verb: &'static str, nth: usize, acts: &[Act]) -> Self {
        self.instead.insert((verb, nth), acts.to_vec());
        self
    }

    /// Every write in segments of so many octets.
    pub(crate) fn in_segments(mut self, octets: usize) -> Self {
        self.segment = Some(octets);
        self
    }
}

/// What each connection was told, line by line; messages are one entry, dots as sent.
type Heard = Arc<Mutex<Vec<Vec<String>>>>;

pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    heard: Heard,
    accepting: JoinHandle<()>,
}

impl Scripted {
    /// The nth connection follows the nth script; later ones the last.
    pub(crate) async fn start(scripts: Vec<Script>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Heard::default();
        let all = Arc::clone(&heard);
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            let mut count = 0;
            while let Ok((socket, _)) = listener.accept().await {
                let script = scripts[count.min(scripts.len() - 1)].clone();
                all.lock().unwrap().push(Vec::new());
                connections.spawn(Talk::new(script, socket, Arc::clone(&all), count).run());
                count += 1;
            }
        });
        Self { address, heard, accepting }
    }

    pub(crate) fn ip(&self) -> IpAddr {
        self.address.ip()
    }

    pub(crate) fn connections(&self) -> usize {
        self.heard.lock().unwrap().len()
    }

    /// What the nth connection (from zero) was told.
    pub(crate) fn heard(&self, connection: usize) -> Vec<String> {
        self.heard.lock().unwrap()[connection].clone()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

trait Both: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Both for T {}

struct Talk {
    script: Script,
    plain: Option<TcpStream>,
    tls: Option<Box<dyn Both>>,
    inbox: Vec<u8>,
    heard: Heard,
    number: usize,
    counts: HashMap<String, usize>,
}

/// The connection is over.
struct Over;

impl Talk {
    fn new(script: Script, socket: TcpStream, heard: Heard, number: usize) -> Self {
        socket.set_nodelay(true).unwrap();
        let (plain, tls) = (Some(socket), None);
        Self { script, plain, tls, inbox: Vec::new(), heard, number, counts: HashMap::new() }
    }

    fn stream(&mut self) -> Result<&mut dyn Both, Over> {
        match (&mut self.tls, &mut self.plain) {
            (Some(tls), _) => Ok(tls.as_mut()),
            (None, Some(plain)) => Ok(plain),
            (None, None) => Err(Over),
        }
    }

    async fn run(mut self) {
        drop(self.dialogue().await);
    }

    async fn dialogue(&mut self) -> Result<(), Over> {
        self.answer("", vec![say("220 mx.example ESMTP")]).await?;
        loop {
            let line = self.line().await?;
            self.note(line.clone());
            let verb = line.split(' ').next().unwrap().to_ascii_uppercase();
            let good = match verb.as_str() {
                "EHLO" => {
                    let keywords = if self.tls.is_some() {
                        &self.script.ehlo_inside_tls
                    } else {
                        &self.script.ehlo
                    };
                    let mut lines = vec!["mx.example".to_owned()];
                    lines.extend(keywords.iter().map(|keyword| (*keyword).to_owned()));
                    let last = lines.len() - 1;
                    let lines = lines.iter().enumerate().map(|(nth, line)| {
                        format!("250{}{line}\r\n", if nth == last { ' ' } else { '-' })
                    });
                    vec![Act::Say(lines.collect::<String>().into_bytes())]
                }
                "STARTTLS" => vec![say("502 no")],
                "AUTH" => vec![say("235 2.7.0 welcome")],
                "RCPT" => vec![say("250 2.1.5 ok")],
                "DATA" => vec![say("354 go")],
                "QUIT" => vec![say("221 bye"), Act::Close],
                "." => vec![say("503 a dot for nothing")],
                _ => vec![say("250 2.0.0 ok")],
            };
            let went_ahead = self.answer(&verb, good).await?;
            if verb == "DATA" && went_ahead {
                let message = self.message().await?;
                self.note(message);
                self.answer(".", vec![say("250 2.0.0 taken")]).await?;
            }
        }
    }

    fn note(&self, line: String) {
        self.heard.lock().unwrap()[self.number].push(line);
    }

    /// Does what the script says, else what is good; whether it said 354.
    async fn answer(&mut self, verb: &str, good: Vec<Act>) -> Result<bool, Over> {
        let nth = self.counts.entry(verb.to_owned()).or_default();
        *nth += 1;
        let key = (verb, *nth);
        let instead = self.script.instead.iter().find(|((verb, nth), _)| (*verb, *nth) == key);
        let acts = instead.map_or(good, |(_, acts)| acts.clone());
        let mut went_ahead = false;
        for act in acts {
            went_ahead |= matches!(&act, Act::Say(bytes) if bytes.starts_with(b"354"));
            self.act(act).await?;
        }
        Ok(went_ahead)
    }

    async fn act(&mut self, act: Act) -> Result<(), Over> {
        let moment = Duration::from_millis(10);
        match act {
            Act::Say(bytes) => {
                let segment = self.script.segment.unwrap_or(bytes.len()).max(1);
                for piece in bytes.chunks(segment) {
                    self.stream()?.write_all(piece).await.map_err(|_| Over)?;
                    self.stream()?.flush().await.map_err(|_| Over)?;
                    if self.script.segment.is_some() {
                        tokio::task::yield_now().await;
                    }
                }
            }
            Act::Endless(bytes) => loop {
                self.stream()?.write_all(bytes).await.map_err(|_| Over)?;
            },
            Act::Trickle(octet) => loop {
                self.stream()?.write_all(&[octet]).await.map_err(|_| Over)?;
                tokio::time::sleep(moment).await;
            },
            Act::Stall => loop {
                self.read().await?;
            },
            Act::Deaf => std::future::pending().await,
            Act::HearSomething => {
                self.read().await?;
                self.inbox.clear();
            }
            Act::HearOctets(count) => {
                while self.inbox.len() < count {
                    self.read().await?;
                }
            }
            Act::Sip => loop {
                let mut sip = vec![0; 64 * 1024];
                match self.stream()?.read(&mut sip).await {
                    Ok(0) | Err(_) => return Err(Over),
                    Ok(_) => tokio::time::sleep(moment).await,
                }
            },
            Act::Close => {
                drop(self.stream()?.shutdown().await);
                (self.plain, self.tls) = (None, None);
                return Err(Over);
            }
            Act::Reset => {
                if let Some(plain) = self.plain.take() {
                    plain.set_zero_linger().unwrap();
                }
                return Err(Over);
            }
            Act::Tls(config) => {
                let socket = self.plain.take().ok_or(Over)?;
                let stream = TlsAcceptor::from(config).accept(socket).await.map_err(|_| Over)?;
                self.tls = Some(Box::new(stream));
            }
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<(), Over> {
        let mut inbox = std::mem::take(&mut self.inbox);
        let read = self.stream()?.read_buf(&mut inbox).await;
        self.inbox = inbox;
        match read {
            Ok(0) | Err(_) => Err(Over),
            Ok(_) => Ok(()),
        }
    }

    async fn line(&mut self) -> Result<String, Over> {
        loop {
            if let Some(at) = self.inbox.windows(2).position(|two| two == b"\r\n") {
                let line = String::from_utf8(self.inbox[..at].to_vec()).unwrap();
                self.inbox.drain(..at + 2);
                return Ok(line);
            }
            self.read().await?;
        }
    }

    /// Reads to the final dot, which may be all there is.
    async fn message(&mut self) -> Result<String, Over> {
        loop {
            let end = if self.inbox.starts_with(b".\r\n") {
                Some(3)
            } else {
                let found = self.inbox.windows(5).position(|five| five == b"\r\n.\r\n");
                found.map(|at| at + 5)
            };
            if let Some(end) = end {
                let message = String::from_utf8_lossy(&self.inbox[..end]).into_owned();
                self.inbox.drain(..end);
                return Ok(message);
            }
            self.read().await?;
        }
    }
}
