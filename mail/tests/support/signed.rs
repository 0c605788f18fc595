//! A real name server on loopback with a signed root, and a delegation that is not signed; and who
//! tampers with what it says.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hickory_proto::{
    dnssec::{
        Algorithm, DnssecSigner, PublicKey, SigningKey, crypto::EcdsaSigningKey, rdata::DNSKEY,
    },
    op::{Header, HeaderCounts, Metadata, ResponseCode},
    rr::{
        LowerName, Name, RData, Record, RecordType,
        rdata::{
            A, AAAA, CNAME, MX, NS, SOA, TLSA,
            tlsa::{CertUsage, Matching, Selector},
        },
    },
};
use hickory_server::{
    Server,
    dnssec::NxProofKind,
    net::runtime::{Time, TokioRuntimeProvider},
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    store::in_memory::InMemoryZoneHandler,
    zone_handler::{AxfrPolicy, Catalog, MessageResponseBuilder, ZoneType},
};
use tokio::net::{TcpListener, UdpSocket};

/// What is done to an answer on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tampering {
    /// "There is no such name", without a proof.
    Denied,
    /// The name server cannot say.
    ServFail,
    /// Nothing comes.
    Silent,
}

/// The records of a server to be.
pub struct SignedDns {
    signed: Vec<Record>,
    unsigned: Vec<Record>,
    /// Added after signing: the signatures do not cover them.
    forged: Vec<Record>,
    tampering: HashMap<(LowerName, RecordType), Tampering>,
}

/// A running server.
pub struct RunningSignedDns {
    pub address: SocketAddr,
    /// The root's key, as a file of DNSKEY records has it.
    pub trust_anchor: String,
    _server: Server<Tampered>,
}

pub fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).unwrap();
    name.set_fqdn(true);
    name
}

fn record(owner: &str, data: RData) -> Record {
    Record::from_rdata(name(owner), 60, data)
}

fn soa(owner: &str) -> Record {
    let (ns, person) = (name("ns.test"), name("hostmaster.test"));
    record(owner, RData::SOA(SOA::new(ns, person, 1, 3_600, 600, 86_400, 60)))
}

pub fn tlsa(usage: u8, selector: u8, matching: u8, data: &[u8]) -> RData {
    RData::TLSA(TLSA::new(
        CertUsage::from(usage),
        Selector::from(selector),
        Matching::from(matching),
        data.to_vec(),
    ))
}

pub fn mx(host: &str) -> RData {
    RData::MX(MX::new(10, name(host)))
}

pub fn address(ip: IpAddr) -> RData {
    match ip {
        IpAddr::V4(v4) => RData::A(A(v4)),
        IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
    }
}

pub fn alias(target: &str) -> RData {
    RData::CNAME(CNAME(name(target)))
}

impl SignedDns {
    /// A signed root in which `plain.test` is delegated without signatures.
    pub fn new() -> Self {
        let ns = |owner: &str| record(owner, RData::NS(NS(name("ns.test"))));
        let glue = record("ns.test", address(Ipv4Addr::LOCALHOST.into()));
        Self {
            signed: vec![soa("."), ns("."), glue, ns("plain.test")],
            unsigned: vec![soa("plain.test"), ns("plain.test")],
            forged: Vec::new(),
            tampering: HashMap::new(),
        }
    }

    /// A signed record.
    pub fn add(mut self, owner: &str, data: RData) -> Self {
        self.signed.push(record(owner, data));
        self
    }

    /// A record at or below `plain.test`.
    pub fn add_unsigned(mut self, owner: &str, data: RData) -> Self {
        self.unsigned.push(record(owner, data));
        self
    }

    /// A record that somebody put among the signed ones.
    pub fn forge(mut self, owner: &str, data: RData) -> Self {
        self.forged.push(record(owner, data));
        self
    }

    /// Answers about this name and type do not arrive as they were sent.
    pub fn tamper(mut self, owner: &str, record_type: RecordType, how: Tampering) -> Self {
        self.tampering.insert((LowerName::from(name(owner)), record_type), how);
        self
    }

    pub async fn start(self) -> RunningSignedDns {
        let algorithm = Algorithm::ECDSAP256SHA256;
        let pkcs8 = EcdsaSigningKey::generate_pkcs8(algorithm).unwrap();
        let key = EcdsaSigningKey::from_pkcs8(&pkcs8, algorithm).unwrap();
        let public = key.to_public_key().unwrap();
        let dnskey = DNSKEY::from_key(&public);
        let trust_anchor = format!(". 3600 IN DNSKEY 257 3 13 {}\n", base64(public.public_bytes()));
        let day = Duration::from_hours(24);
        let signer = DnssecSigner::new(dnskey, Box::new(key), Name::root(), day);

        let mut root = zone(".", Some(NxProofKind::Nsec), self.signed);
        root.add_zone_signing_key_mut(signer).unwrap();
        root.secure_zone_mut().unwrap();
        for record in self.forged {
            root.upsert_mut(record, 9);
        }
        let root: Arc<InMemoryZoneHandler<TokioRuntimeProvider>> = Arc::new(root);
        let (mut parents, mut catalog) = (Catalog::new(), Catalog::new());
        parents.upsert(Name::root().into(), vec![root.clone()]);
        catalog.upsert(Name::root().into(), vec![root]);
        let plain = zone("plain.test", None, self.unsigned);
        catalog.upsert(name("plain.test").into(), vec![Arc::new(plain)]);

        let (udp, tcp) = loop {
            let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let mut server = Server::new(Tampered { parents, catalog, tampering: self.tampering });
        server.register_socket(udp);
        server.register_listener(tcp, Duration::from_secs(5), 16);
        RunningSignedDns { address, trust_anchor, _server: server }
    }
}

fn zone(
    origin: &str,
    proof: Option<NxProofKind>,
    records: Vec<Record>,
) -> InMemoryZoneHandler<TokioRuntimeProvider> {
    let mut zone =
        InMemoryZoneHandler::empty(name(origin), ZoneType::Primary, AxfrPolicy::Deny, proof);
    for record in records {
        assert!(zone.upsert_mut(record, 1));
    }
    zone
}

fn base64(octets: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(octets)
}

struct Tampered {
    /// Who answers for DS: the zone above the cut (RFC 4035, section 3.1.4.1).
    parents: Catalog,
    catalog: Catalog,
    tampering: HashMap<(LowerName, RecordType), Tampering>,
}

#[async_trait::async_trait]
impl RequestHandler for Tampered {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response_handle: R,
    ) -> ResponseInfo {
        let info = request.request_info().unwrap();
        let asked = (info.query.name().clone(), info.query.query_type());
        let code = match self.tampering.get(&asked) {
            None if asked.1 == RecordType::DS => {
                return self.parents.handle_request::<R, T>(request, response_handle).await;
            }
            None => return self.catalog.handle_request::<R, T>(request, response_handle).await,
            Some(Tampering::Silent) => None,
            Some(Tampering::Denied) => Some(ResponseCode::NXDomain),
            Some(Tampering::ServFail) => Some(ResponseCode::ServFail),
        };
        let mut metadata = Metadata::response_from_request(&request.metadata);
        if let Some(code) = code {
            metadata.response_code = code;
            let builder = MessageResponseBuilder::from_message_request(request);
            let soa = [soa(".")];
            let response = builder.build(metadata, &[], &[], &soa, &[]);
            return response_handle.send_response(response).await.unwrap();
        }
        ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() })
    }
}
