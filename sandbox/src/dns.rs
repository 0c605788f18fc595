//! An authoritative DNS server whose records can be changed while it runs.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hickory_proto::{
    op::{Header, HeaderCounts, Metadata, ResponseCode},
    rr::{
        LowerName, Name, RData, Record, RecordType,
        rdata::{A, AAAA, CNAME, MX, PTR, SOA, TXT},
    },
};
use hickory_server::{
    Server,
    net::runtime::Time,
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::MessageResponseBuilder,
};
use parking_lot::RwLock;
use tokio::net::{TcpListener, UdpSocket};

/// How long answers may be kept, in seconds: short, for tests change what they asked before.
const TTL_S: u32 = 1;

/// How a name server can fail to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DnsFailure {
    /// It says that it cannot (SERVFAIL).
    ServFail,
    /// It says that it will not (REFUSED).
    Refused,
    /// It says nothing.
    Silent,
}

#[derive(Debug, Default)]
struct Zone {
    records: HashMap<LowerName, Vec<RData>>,
    failures: HashMap<LowerName, DnsFailure>,
    /// The mail host of every domain that is not named otherwise.
    mail_host_of_all: Option<Name>,
    queries: u64,
}

impl Zone {
    /// What there is under `name`: `None` says that the name does not exist.
    fn find(&self, name: &LowerName, wanted: RecordType) -> Option<Vec<RData>> {
        if let Some(records) = self.records.get(name) {
            let fits = |data: &&RData| {
                data.record_type() == wanted || data.record_type() == RecordType::CNAME
            };
            return Some(records.iter().filter(fits).cloned().collect());
        }
        // A name above an existing one exists, though it has no records (RFC 8020).
        if self.records.keys().any(|known| name.zone_of(known)) {
            return Some(Vec::new());
        }
        let host = self.mail_host_of_all.as_ref()?;
        match wanted {
            RecordType::MX => Some(vec![RData::MX(MX::new(10, host.clone()))]),
            _ => Some(Vec::new()),
        }
    }
}

#[derive(Clone)]
struct Answering(Arc<RwLock<Zone>>);

enum Answer {
    Records(Vec<Record>, Record),
    Code(ResponseCode, Option<Record>),
    Nothing,
}

impl Answering {
    fn answer(&self, name: &LowerName, wanted: RecordType) -> Answer {
        let mut zone = self.0.write();
        zone.queries += 1;
        match zone.failures.get(name) {
            Some(DnsFailure::ServFail) => return Answer::Code(ResponseCode::ServFail, None),
            Some(DnsFailure::Refused) => return Answer::Code(ResponseCode::Refused, None),
            Some(DnsFailure::Silent) => return Answer::Nothing,
            None => {}
        }
        let soa = start_of_authority();
        let Some(mut found) = zone.find(name, wanted) else {
            return Answer::Code(ResponseCode::NXDomain, Some(soa));
        };
        let mut owner = Name::from(name);
        let mut records = Vec::with_capacity(found.len());
        // An alias is answered with what it points to, as name servers do; loops end.
        for _ in 0..8 {
            let alias = found.iter().find_map(|data| match data {
                RData::CNAME(target) if wanted != RecordType::CNAME => Some(target.0.clone()),
                _ => None,
            });
            records
                .extend(found.drain(..).map(|data| Record::from_rdata(owner.clone(), TTL_S, data)));
            let Some(target) = alias else { break };
            found = zone.find(&LowerName::from(&target), wanted).unwrap_or_default();
            owner = target;
        }
        Answer::Records(records, soa)
    }
}

/// Negative answers carry it (RFC 2308); its last field says how long they may be kept.
fn start_of_authority() -> Record {
    let root = Name::root();
    let soa = SOA::new(root.clone(), root.clone(), 1, 60, 60, 60, TTL_S);
    Record::from_rdata(root, TTL_S, RData::SOA(soa))
}

#[async_trait::async_trait]
impl RequestHandler for Answering {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response_handle: R,
    ) -> ResponseInfo {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        let failed = |metadata: Metadata| {
            ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() })
        };
        let answer = match request.request_info() {
            Ok(info) => self.answer(info.query.name(), info.query.query_type()),
            Err(_) => Answer::Code(ResponseCode::FormErr, None),
        };
        let builder = MessageResponseBuilder::from_message_request(request);
        metadata.authoritative = true;
        metadata.recursion_available = true;
        let (records, soa) = match answer {
            Answer::Nothing => return failed(metadata),
            Answer::Code(code, soa) => {
                metadata.response_code = code;
                (Vec::new(), soa)
            }
            Answer::Records(records, soa) => {
                let soa = records.is_empty().then_some(soa);
                (records, soa)
            }
        };
        let response = builder.build(metadata, &records, &[], &soa, &[]);
        match response_handle.send_response(response).await {
            Ok(info) => info,
            // Who asked has gone; a name server has nobody else to tell.
            Err(_) => failed(metadata),
        }
    }
}

/// The text is not a domain name.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a domain name")]
pub struct NotAName(String);

/// A running server. Names are written without the final dot.
pub struct DnsServer {
    address: SocketAddr,
    zone: Arc<RwLock<Zone>>,
    _server: Server<Answering>,
}

impl DnsServer {
    /// Starts a server that knows nothing: every name is NXDOMAIN.
    pub async fn start() -> io::Result<Self> {
        // The UDP port must be free for TCP too: a few tries, for others choose ports as well.
        let mut tries = 0;
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            match TcpListener::bind(udp.local_addr()?).await {
                Ok(tcp) => break (udp, tcp),
                Err(error) if tries == 16 => return Err(error),
                Err(_) => tries += 1,
            }
        };
        let address = udp.local_addr()?;
        let zone = Arc::new(RwLock::new(Zone::default()));
        let mut server = Server::new(Answering(Arc::clone(&zone)));
        server.register_socket(udp);
        server.register_listener(tcp, Duration::from_secs(5), 16);
        Ok(Self { address, zone, _server: server })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many questions it was asked.
    pub fn queries(&self) -> u64 {
        self.zone.read().queries
    }

    /// Every domain that is not named otherwise has this mail host.
    pub fn set_mail_host_of_all(&self, host: &str) -> Result<(), NotAName> {
        self.zone.write().mail_host_of_all = Some(name(host)?);
        Ok(())
    }

    /// Adds an MX record.
    pub fn add_mx(&self, owner: &str, preference: u16, host: &str) -> Result<(), NotAName> {
        self.add(owner, RData::MX(MX::new(preference, name(host)?)))
    }

    /// Says that the domain takes no mail (RFC 7505).
    pub fn add_null_mx(&self, owner: &str) -> Result<(), NotAName> {
        self.add(owner, RData::MX(MX::new(0, Name::root())))
    }

    /// Adds an address.
    pub fn add_address(&self, owner: &str, address: IpAddr) -> Result<(), NotAName> {
        self.add(
            owner,
            match address {
                IpAddr::V4(address) => RData::A(A(address)),
                IpAddr::V6(address) => RData::AAAA(AAAA(address)),
            },
        )
    }

    /// Adds an alias.
    pub fn add_alias(&self, owner: &str, target: &str) -> Result<(), NotAName> {
        self.add(owner, RData::CNAME(CNAME(name(target)?)))
    }

    /// Adds a pointer, for looking an address up backwards.
    pub fn add_pointer(&self, owner: &str, target: &str) -> Result<(), NotAName> {
        self.add(owner, RData::PTR(PTR(name(target)?)))
    }

    /// Adds a TXT record, in strings of at most 255 octets (RFC 1035, section 3.3.14).
    pub fn add_txt(&self, owner: &str, text: &str) -> Result<(), NotAName> {
        let mut strings = Vec::new();
        let mut rest = text;
        while rest.len() > 255 {
            let cut = (0..=255).rev().find(|cut| rest.is_char_boundary(*cut)).unwrap_or(0);
            let (string, after) = rest.split_at(cut);
            strings.push(string.to_owned());
            rest = after;
        }
        strings.push(rest.to_owned());
        self.add(owner, RData::TXT(TXT::new(strings)))
    }

    /// Removes every record of a name, and its failure.
    pub fn remove(&self, owner: &str) -> Result<(), NotAName> {
        let owner = LowerName::from(name(owner)?);
        let mut zone = self.zone.write();
        zone.records.remove(&owner);
        zone.failures.remove(&owner);
        Ok(())
    }

    /// Lets every question about a name fail, until it is removed.
    pub fn fail(&self, owner: &str, failure: DnsFailure) -> Result<(), NotAName> {
        self.zone.write().failures.insert(LowerName::from(name(owner)?), failure);
        Ok(())
    }

    fn add(&self, owner: &str, data: RData) -> Result<(), NotAName> {
        let owner = LowerName::from(name(owner)?);
        self.zone.write().records.entry(owner).or_default().push(data);
        Ok(())
    }
}

fn name(text: &str) -> Result<Name, NotAName> {
    let mut name = Name::from_ascii(text).map_err(|_| NotAName(text.to_owned()))?;
    name.set_fqdn(true);
    Ok(name)
}
