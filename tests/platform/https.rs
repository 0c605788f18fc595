//! The binary behind TLS: what it shows when its files change, and how its operators reach it.

use std::{
    fs::{self, Permissions},
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::support::{
    DEADLINE,
    process::{ended, run, serve, sign_up},
    world::World,
};

const NAME: &str = "mail.acme.test";

/// Writes a new pair with a key of this mode; its certificate.
fn renew(world: &World, mode: u32) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let key = world.path("https.key");
    fs::write(world.path("https.pem"), made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    fs::set_permissions(&key, Permissions::from_mode(mode)).unwrap();
    made.cert.der().clone()
}

fn with_tls(world: &World, config: &Path) {
    let (certificate, key) = (world.path("https.pem"), world.path("https.key"));
    let written = fs::read_to_string(config).unwrap();
    let tls = format!(
        "[http.tls]\ncertificate_file = '{}'\nkey_file = '{}'\n",
        certificate.display(),
        key.display()
    );
    fs::write(config, written + &tls).unwrap();
}

/// The answer over TLS to somebody who trusts this certificate alone.
async fn get(
    address: SocketAddr,
    path: &str,
    trusted: &CertificateDer<'static>,
) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let asked = async {
        let socket = TcpStream::connect(address).await?;
        let name = ServerName::try_from(NAME).unwrap();
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, socket).await?;
        let head = format!("GET {path} HTTP/1.1\r\nhost: {NAME}\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    };
    timeout(DEADLINE, asked).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_takes_a_new_certificate_and_keeps_the_old_one_for_a_broken_one() {
    let world = World::new().await;
    let config = world.config_file("1h");
    sign_up(&world, &config);
    let first = renew(&world, 0o600);
    with_tls(&world, &config);
    let (server, url) = serve(&config, &[]);
    let address: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
    let answer = get(address, "/healthz", &first).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("strict-transport-security: "), "{answer}");

    let second = renew(&world, 0o600);
    let said = |words: &'static str| move |text: &str| text.contains(words).then_some(());
    server.errors.wait_for("renewal", said("the certificate was read anew"));
    assert!(get(address, "/healthz", &first).await.is_err(), "the first is shown no more");
    assert!(get(address, "/healthz", &second).await.is_ok());
    let figures = get(address, "/metrics", &second).await.unwrap();
    assert!(figures.contains("lumora_certificate_refused{listener=\"http.tls\"} 0"), "{figures}");
    assert!(
        figures.contains("lumora_certificate_not_after_seconds{listener=\"http.tls\"} "),
        "{figures}"
    );

    // For others to read as well: as good as broken.
    renew(&world, 0o644);
    server.errors.wait_for("refusal", said("the certificate that was there stays"));
    assert!(server.errors.text().contains("has mode 644"));
    let figures = get(address, "/metrics", &second).await.unwrap();
    assert!(figures.contains("lumora_certificate_refused{listener=\"http.tls\"} 1"), "{figures}");

    // Operators' commands need to trust no certificate.
    let (status, output, errors) = ended(&run(&["queue", "list"], &config));
    assert_eq!(status, 0, "{output}{errors}");
    let file = fs::read_to_string(world.data_dir().join("operator.json")).unwrap();
    assert!(!file.contains(&address.to_string()), "{file}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_does_not_start_with_a_key_that_others_can_read() {
    let world = World::new().await;
    let config = world.config_file("1h");
    renew(&world, 0o640);
    with_tls(&world, &config);
    let (status, _, errors) = ended(&run(&["serve"], &config));
    assert_eq!(status, 2, "{errors}");
    assert!(errors.contains("http.tls") && errors.contains("has mode 640"), "{errors}");
    assert!(!world.data_dir().exists(), "nothing was made");
}
