//! A real DNS server on loopback, UDP and TCP, whose records change at run time.
//!
//! Self-contained: it needs tokio and hickory-proto alone. A name that was never given a record,
//! and has none below it, does not exist (NXDOMAIN); a name without the asked type answers NODATA.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hickory_proto::{
    op::{Message, MessageType, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, AAAA, CNAME, MX, NS, PTR, SOA, TXT},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    task::JoinHandle,
};

/// How a name answers, instead of with its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// SERVFAIL.
    ServFail,
    /// REFUSED.
    Refused,
    /// No answer at all.
    Silent,
    /// Over UDP an empty answer that says "truncated"; the records over TCP.
    Truncated,
}

#[derive(Debug)]
struct Zone {
    records: BTreeMap<String, Vec<RData>>,
    behaviours: HashMap<(String, Option<RecordType>), Behaviour>,
    queries: HashMap<(String, RecordType), usize>,
    ttl: u32,
}

/// The server. Stops when dropped.
#[derive(Debug)]
pub struct TestDns {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for TestDns {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl TestDns {
    /// An empty server on a free port of 127.0.0.1.
    pub async fn start() -> Self {
        // The port that is free for UDP may be taken for TCP: try another.
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a UDP port");
            let address = udp.local_addr().expect("a bound socket has an address");
            if let Ok(tcp) = TcpListener::bind(address).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().expect("a bound socket has an address");
        let zone = Arc::new(Mutex::new(Zone {
            records: BTreeMap::new(),
            behaviours: HashMap::new(),
            queries: HashMap::new(),
            ttl: 60,
        }));
        let tasks = [
            tokio::spawn(serve_udp(udp, Arc::clone(&zone))),
            tokio::spawn(serve_tcp(tcp, Arc::clone(&zone))),
        ];
        Self { address, zone, tasks }
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The time to live of every answer from now on, in seconds; 60 at first.
    pub fn set_ttl(&self, seconds: u32) {
        self.zone().ttl = seconds;
    }

    /// Adds an MX record; an empty host is a null MX.
    pub fn mx(&self, name: &str, preference: u16, host: &str) {
        self.add(name, RData::MX(MX::new(preference, absolute(host))));
    }

    /// Adds an A or AAAA record.
    pub fn host(&self, name: &str, ip: impl Into<IpAddr>) {
        self.add(
            name,
            match ip.into() {
                IpAddr::V4(v4) => RData::A(A(v4)),
                IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
            },
        );
    }

    /// Adds a TXT record, cut into strings of 255 octets.
    pub fn txt(&self, name: &str, text: &str) {
        let strings = text.as_bytes().chunks(255).collect();
        self.add(name, RData::TXT(TXT::from_bytes(strings)));
    }

    /// Adds a CNAME record.
    pub fn alias(&self, name: &str, target: &str) {
        self.add(name, RData::CNAME(CNAME(absolute(target))));
    }

    /// Adds a PTR record for an address.
    pub fn ptr(&self, ip: IpAddr, host: &str) {
        let name = Name::from(ip).to_ascii();
        self.add(&name, RData::PTR(PTR(absolute(host))));
    }

    /// Adds an NS record: the name exists and has nothing that mail asks for.
    pub fn exists(&self, name: &str) {
        self.add(name, RData::NS(NS(absolute("ns.example"))));
    }

    /// Takes all records and behaviours of a name away.
    pub fn remove(&self, name: &str) {
        let mut zone = self.zone();
        zone.records.remove(&key(name));
        zone.behaviours.retain(|(known, _), _| *known != key(name));
    }

    /// From now on the name answers in this way, to every type.
    pub fn behave(&self, name: &str, behaviour: Behaviour) {
        self.zone().behaviours.insert((key(name), None), behaviour);
    }

    /// The same for one type.
    pub fn behave_for(&self, name: &str, record_type: RecordType, behaviour: Behaviour) {
        self.zone().behaviours.insert((key(name), Some(record_type)), behaviour);
    }

    /// How often a name was asked for a type.
    pub fn queries(&self, name: &str, record_type: RecordType) -> usize {
        self.zone().queries.get(&(key(name), record_type)).copied().unwrap_or_default()
    }

    fn add(&self, name: &str, data: RData) {
        self.zone().records.entry(key(name)).or_default().push(data);
    }

    fn zone(&self) -> MutexGuard<'_, Zone> {
        lock(&self.zone)
    }
}

fn lock(zone: &Mutex<Zone>) -> MutexGuard<'_, Zone> {
    zone.lock().unwrap_or_else(PoisonError::into_inner)
}

fn key(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

fn absolute(name: &str) -> Name {
    let mut name = Name::from_ascii(name).expect("a domain name");
    name.set_fqdn(true);
    name
}

async fn serve_udp(socket: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut buffer = vec![0; 4096];
    while let Ok((len, peer)) = socket.recv_from(&mut buffer).await {
        let Some(reply) = buffer.get(..len).and_then(|query| answer(&zone, query, false)) else {
            continue;
        };
        let _gone = socket.send_to(&reply, peer).await;
    }
}

async fn serve_tcp(listener: TcpListener, zone: Arc<Mutex<Zone>>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve_stream(stream, Arc::clone(&zone)));
    }
}

async fn serve_stream(mut stream: TcpStream, zone: Arc<Mutex<Zone>>) {
    while let Ok(len) = stream.read_u16().await {
        let mut query = vec![0; len.into()];
        if stream.read_exact(&mut query).await.is_err() {
            return;
        }
        let Some(reply) = answer(&zone, &query, true) else { continue };
        let len = u16::try_from(reply.len()).expect("a reply fits its length");
        if stream.write_u16(len).await.is_err() || stream.write_all(&reply).await.is_err() {
            return;
        }
    }
}

/// The bytes of the reply; `None` stays silent.
fn answer(zone: &Mutex<Zone>, query: &[u8], tcp: bool) -> Option<Vec<u8>> {
    let query = Message::from_vec(query).ok()?;
    let question = query.queries.first()?.clone();
    let asked = key(&question.name().to_ascii());
    let mut zone = lock(zone);
    *zone.queries.entry((asked.clone(), question.query_type())).or_default() += 1;

    let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
    reply.metadata.message_type = MessageType::Response;
    reply.metadata.recursion_desired = query.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.add_query(question.clone());
    let behaviour = zone
        .behaviours
        .get(&(asked.clone(), Some(question.query_type())))
        .or_else(|| zone.behaviours.get(&(asked.clone(), None)));
    match behaviour {
        Some(Behaviour::Silent) => return None,
        Some(Behaviour::ServFail) => reply.metadata.response_code = ResponseCode::ServFail,
        Some(Behaviour::Refused) => reply.metadata.response_code = ResponseCode::Refused,
        Some(Behaviour::Truncated) if !tcp => reply.metadata.truncation = true,
        _ => fill(&mut reply, &zone, &asked, question.query_type()),
    }
    let bytes = reply.to_vec().ok()?;
    let room = if tcp { usize::from(u16::MAX) } else { usize::from(query.max_payload()) };
    if bytes.len() > room { reply.truncate().to_vec().ok() } else { Some(bytes) }
}

/// Records, following aliases; or the reason why there are none.
fn fill(reply: &mut Message, zone: &Zone, asked: &str, record_type: RecordType) {
    let mut name = asked.to_owned();
    // Aliases may form a circle.
    for _ in 0..8 {
        let records = zone.records.get(&name).map(Vec::as_slice).unwrap_or_default();
        let mut found = false;
        let mut next = None;
        for data in records {
            let is_alias = data.record_type() == RecordType::CNAME;
            if data.record_type() == record_type || is_alias {
                reply.add_answer(Record::from_rdata(absolute(&name), zone.ttl, data.clone()));
                found |= !is_alias;
            }
            if let RData::CNAME(target) = data {
                next = Some(key(&target.0.to_ascii()));
            }
        }
        match next {
            Some(next) if !found => name = next,
            _ if found => return,
            _ => break,
        }
    }
    let below = format!(".{name}");
    if !zone.records.keys().any(|known| *known == name || known.ends_with(&below)) {
        reply.metadata.response_code = ResponseCode::NXDomain;
    }
    let soa = SOA::new(
        absolute("ns.example"),
        absolute("hostmaster.example"),
        1,
        3_600,
        600,
        86_400,
        zone.ttl,
    );
    reply.add_authority(Record::from_rdata(absolute("example"), zone.ttl, RData::SOA(soa)));
}
