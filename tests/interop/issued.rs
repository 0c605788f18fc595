//! A real authority validates the listener and issues its certificates.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt as _,
    sync::Arc,
    time::Duration,
};

use certificates::{Acme, Authority};
use lumora::{
    config::{AcmeSettings, Config, HttpTls, OneOrMany},
    node::Node,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::{
    platform::support::{eventually, world::World},
    servers::{free_address, pebble::Pebble},
};

const NAME: &str = "mail.acme.test";

/// The answer of a host that proves `name` to `trusted`, and the certificate that it showed.
async fn get(
    address: SocketAddr,
    name: &'static str,
    trusted: &CertificateDer<'static>,
    path: &str,
    protocol: &[u8],
) -> io::Result<(String, CertificateDer<'static>)> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let socket = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name).unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, socket).await?;
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned();
    let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok((answer, shown))
}

/// A name, a port that it is validated at, and an authority that does so.
async fn authority(at: Ipv4Addr) -> (World, SocketAddr, Pebble) {
    let world = World::new().await;
    world.dns.add_address(NAME, IpAddr::V4(at)).unwrap();
    let listen = free_address();
    let pebble = Pebble::start(listen.port(), world.dns.address(), Duration::from_secs(45));
    (world, listen, pebble)
}

fn with_acme(world: &World, listen: SocketAddr, pebble: &Pebble) -> Config {
    let mut config = world.config();
    config.http.listen = listen;
    let acme = AcmeSettings {
        directory: pebble.directory(),
        contact: OneOrMany(vec!["mailto:postmaster@acme.test".to_owned()]),
        domains: OneOrMany(vec![NAME.parse().unwrap()]),
        accept_terms: true,
        root_file: Some(pebble.own_certificate_file()),
        state_dir: None,
    };
    config.http.tls = Some(HttpTls { acme: Some(acme), ..HttpTls::default() });
    config
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs servers that others wrote: .ci/interop"]
async fn an_authority_issues_a_certificate_which_outlives_a_restart_and_is_replaced_in_time() {
    let (world, listen, pebble) = authority(Ipv4Addr::LOCALHOST).await;
    let config = with_acme(&world, listen, &pebble);
    let own = pebble.own_certificate();
    let (root, _) =
        get(pebble.management, "localhost", &own, "/roots/0", b"http/1.1").await.unwrap();
    let root = root.split_once("\r\n\r\n").unwrap().1;
    let root = CertificateDer::from_pem_slice(root.as_bytes()).unwrap();
    let shown = async || get(listen, NAME, &root, "/healthz", b"http/1.1").await;

    let node = Node::start(&config).await.unwrap();
    let (answer, first) = eventually("a certificate", async || shown().await.ok()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    for file in ["account.json", "certificate.pem"] {
        let mode = fs::metadata(config.data_dir.join("acme").join(file)).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600, "{file}");
    }
    // Nobody who only asks for it is shown a proof.
    let stranger = get(listen, NAME, &root, "/", b"acme-tls/1").await.unwrap_err().to_string();
    assert!(stranger.to_lowercase().contains("alert"), "{stranger}");

    node.stop(Duration::from_secs(5)).await.unwrap();
    let node = Node::start(&config).await.unwrap();
    assert_eq!(shown().await.unwrap().1, first, "it is there from the start on");
    eventually("another one", async || shown().await.ok().filter(|(_, shown)| *shown != first))
        .await;
    let log = pebble.log();
    assert_eq!(log.matches("There are now 2 accounts").count(), 0, "one account for both: {log}");
    node.stop(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs servers that others wrote: .ci/interop"]
async fn what_an_authority_refuses_is_told_in_its_own_words() {
    // Nobody listens there.
    let (world, _, pebble) = authority(Ipv4Addr::new(127, 0, 0, 9)).await;
    let authority = |directory: String| Authority {
        directory,
        root_file: Some(pebble.own_certificate_file()),
        contacts: Vec::new(),
        names: vec![NAME.to_owned()],
        directory_of_state: world.path("acme"),
    };
    let acme = Acme::open(authority(pebble.directory())).unwrap();
    assert_eq!(acme.due_s(), 0);
    let refused = acme.obtain().await.unwrap_err().to_string();
    assert!(refused.starts_with("the authority: it refused the order; "), "{refused}");
    assert!(refused.contains("127.0.0.9"), "{refused}");
    assert_eq!(acme.due_s(), 0);
    // Who does not prove to be the authority is told nothing.
    let other = Authority { root_file: None, ..authority(pebble.directory()) };
    let untrusted = Acme::open(other).unwrap().obtain().await.unwrap_err().to_string();
    assert!(untrusted.contains("UnknownIssuer"), "{untrusted}");
}
