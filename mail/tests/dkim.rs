//! Signatures checked by two verifiers that are not ours: mail-auth's and dkimpy.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests fail loudly"
)]

#[path = "support/shapes.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with other tests")]
mod shapes;
#[path = "support/dns.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with other tests")]
mod test_dns;

use std::{fs, process::Command};

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use mail::dkim::{DkimAlgorithm, DkimError, GeneratedKey, Selector, Signer, generate, sign_all};
use mail::tls_report::TlsReport;
use mail_auth::{AuthenticatedMessage, DkimResult, MessageAuthenticator};
use model::{
    Timestamp,
    address::DomainName,
    tls_report::{Day, DomainDay},
};
use shapes::{composed, shapes};
use test_dns::TestDns;

/// 2025-06-01T00:00:00Z: verifiers refuse signatures from the future.
const NOW: Timestamp = Timestamp::from_millis(1_748_736_000_999);
const DOMAIN: &str = "mail.acme.example";
/// The server's own.
const OWN_DOMAIN: &str = "platform.example";

struct Keys {
    records: Vec<(String, String)>,
    signers: Vec<Signer>,
}

/// Two keys of the sender's domain, and that of the server's own.
fn keys() -> Keys {
    let mut keys = Keys { records: vec![], signers: vec![] };
    for (domain, algorithm, name) in [
        (DOMAIN, DkimAlgorithm::Rsa2048, "lum1"),
        (DOMAIN, DkimAlgorithm::Ed25519, "lum1e"),
        (OWN_DOMAIN, DkimAlgorithm::Rsa2048, "lumora"),
    ] {
        let selector = Selector::parse(name).unwrap();
        let GeneratedKey { private_pkcs8, public_record } = generate(algorithm).unwrap();
        keys.records.push((format!("{name}._domainkey.{domain}"), public_record));
        let domain = DomainName::parse(domain).unwrap();
        keys.signers.push(Signer::new(&domain, &selector, algorithm, &private_pkcs8).unwrap());
    }
    keys
}

/// Messages that no composer of ours writes: whatever is signed must verify all the same.
fn odd_messages() -> Vec<(&'static str, Vec<u8>)> {
    let head = "From: Shop <shop@mail.acme.example>\r\nTo: ada@example.com\r\nSubject: odd\r\n";
    let with_body = |body: &str| format!("{head}\r\n{body}").into_bytes();
    vec![
        ("no-body", with_body("")),
        ("one-empty-line", with_body("\r\n")),
        ("empty-lines", with_body("\r\n\r\n\r\n")),
        ("inner-empty-lines", with_body("\r\n\r\na\r\n\r\n\r\nb\r\n\r\n")),
        ("no-final-line-end", with_body("the end")),
        ("trailing-blanks", with_body("a \r\nb\t \r\n  c  d\t\te\r\n")),
        ("only-dots", with_body(".\r\n..\r\n...\r\n")),
        ("long-line", with_body(&format!("{}\r\n", "0123456789 ".repeat(90)))),
        ("eight-bit", with_body("Sch\u{f6}ne Gr\u{fc}\u{df}e \u{1f600}\r\n")),
        ("large", with_body(&"line of a large body\r\n".repeat(20_000))),
        (
            "folded-headers",
            b"FROM:\r\n\tShop\r\n  <shop@mail.acme.example>  \r\nsubject:a\t b \r\n c\r\nTo: a@b.example\r\nTo: c@d.example\r\nX: y\r\n\r\nhi\r\n".to_vec(),
        ),
        (
            "eight-bit-header",
            "From: <us\u{e9}r@mail.acme.example>\r\nSubject: \u{20ac}\r\n\r\nhi\r\n".into(),
        ),
        ("empty-header", b"From: a@mail.acme.example\r\nSubject:\r\nCc: \r\n\r\nhi\r\n".to_vec()),
    ]
}

/// The ends on which mail-auth 0.13 disagrees with the standard, and dkimpy does not.
fn blank_endings() -> Vec<(&'static str, Vec<u8>)> {
    let head = "From: shop@mail.acme.example\r\n\r\n";
    [
        ("blank-line-end", "hello\r\n \r\n"),
        ("blank-lines-end", "hello\r\n\r\n\t \r\n   \r\n\r\n"),
        ("only-blank-lines", "  \r\n\t\r\n"),
        ("blanks-without-line-end", "hello\r\n  "),
    ]
    .map(|(name, body)| (name, format!("{head}{body}").into_bytes()))
    .into()
}

fn tls_report() -> Vec<u8> {
    let (from, to) = (OWN_DOMAIN.parse().unwrap(), "receiver.example".parse().unwrap());
    let report = TlsReport::new(&from, &to, Day::of(NOW), &DomainDay::default());
    report.message(&["tls@receiver.example".parse().unwrap()], NOW).unwrap()
}

fn all_messages() -> Vec<(&'static str, Vec<u8>)> {
    let composed = shapes().into_iter().map(|shape| (shape.name, composed(&shape).bytes));
    composed.chain(odd_messages()).chain([("tls-report", tls_report())]).collect()
}

/// The signed message as it arrives: SMTP ends the last line (RFC 5321, section 4.1.1.4).
fn signed(signers: &[Signer], message: &[u8]) -> Vec<u8> {
    let header = sign_all(signers, message, NOW).unwrap();
    let end: &[u8] = if message.ends_with(b"\r\n") { b"" } else { b"\r\n" };
    [header.as_bytes(), message, end].concat()
}

fn verifier(dns: &TestDns, keys: &Keys) -> MessageAuthenticator {
    for (name, record) in &keys.records {
        dns.txt(name, record);
    }
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = dns.address().port();
        connection
    });
    let server = NameServerConfig::new(dns.address().ip(), true, connections.into());
    let config = ResolverConfig::from_parts(None, vec![], vec![server]);
    MessageAuthenticator::new(config, ResolverOpts::default()).unwrap()
}

async fn verdicts(verifier: &MessageAuthenticator, message: &[u8]) -> Vec<bool> {
    let message = AuthenticatedMessage::parse(message).unwrap();
    let output = verifier.verify_dkim(&message).await;
    output.iter().map(|output| *output.result() == DkimResult::Pass).collect()
}

#[tokio::test]
async fn mail_auth_verifies_all_keys_on_every_shape() {
    let (dns, keys) = (TestDns::start().await, keys());
    let verifier = verifier(&dns, &keys);
    for (name, message) in all_messages() {
        let message = signed(&keys.signers, &message);
        assert_eq!(verdicts(&verifier, &message).await, [true; 3], "{name}");
    }
}

#[test]
fn dkimpy_verifies_all_keys_on_every_shape() {
    let python = std::env::var("DKIMPY_PYTHON").unwrap_or_else(|_| "python3".into());
    let has_dkimpy = Command::new(&python).args(["-c", "import dkim, nacl"]).output();
    if !has_dkimpy.is_ok_and(|output| output.status.success()) {
        println!("skipped: {python} has no dkimpy with PyNaCl; DKIMPY_PYTHON names another python");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let keys = keys();
    let records = folder.path().join("keys");
    let lines: Vec<String> =
        keys.records.iter().map(|(name, record)| format!("{name}\t{record}\n")).collect();
    fs::write(&records, lines.concat()).unwrap();
    let mut command = Command::new(&python);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/verify.py")).arg(&records);
    let mut count = 0;
    for (name, message) in all_messages().into_iter().chain(blank_endings()) {
        let path = folder.path().join(format!("{name}.eml"));
        fs::write(&path, signed(&keys.signers, &message)).unwrap();
        command.arg(path);
        count += 1;
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(
        said.lines().filter(|line| line.starts_with("ok") && line.ends_with(" 3")).count(),
        count
    );
    println!("dkimpy verified {count} messages, three signatures each");
}

#[tokio::test]
async fn what_was_changed_no_longer_verifies() {
    let (dns, keys) = (TestDns::start().await, keys());
    let verifier = verifier(&dns, &keys);
    let (_, message) = all_messages().into_iter().find(|(name, _)| *name == "text").unwrap();
    let message = String::from_utf8(signed(&keys.signers, &message)).unwrap();
    let changed = |from: &str, to: &str| {
        assert!(message.contains(from), "{from}");
        message.replacen(from, to, 1)
    };
    assert_eq!(verdicts(&verifier, message.as_bytes()).await, [true; 3]);
    for changed in [
        changed("Hello Ada", "Hello Eve"),
        changed("Subject: Your", "Subject: My"),
        changed("\r\nFrom: ", "\r\nFrom: evil@example.com\r\nFrom: "),
        changed("\r\nSubject: ", "\r\nFrom: evil@example.com\r\nSubject: "),
        changed("Message-ID: <text@", "Message-ID: <other@"),
        changed("Content-Transfer-Encoding: 7bit", "Content-Transfer-Encoding: base64"),
        format!("{message}one line more\r\n"),
    ] {
        assert_eq!(verdicts(&verifier, changed.as_bytes()).await, [false; 3], "{changed}");
    }
    // What relays may do: other blanks, a header in front, blank lines at the end.
    for same in [
        changed("your order", "your  order"),
        changed("Subject: Your order", "SUBJECT:\r\n Your   order "),
        format!("Received: from a by b\r\n{message}\r\n\r\n"),
    ] {
        assert_eq!(verdicts(&verifier, same.as_bytes()).await, [true; 3], "{same}");
    }
}

#[test]
fn a_signature_says_what_it_should() {
    let keys = keys();
    let (_, message) =
        all_messages().into_iter().find(|(name, _)| *name == "extra-headers").unwrap();
    let header = keys.signers[0].sign(&message, NOW).unwrap();
    assert!(header.starts_with("DKIM-Signature: v=1; a=rsa-sha256; s=lum1; d=mail.acme.example;"));
    let own = keys.signers[2].sign(&message, NOW).unwrap();
    assert!(own.starts_with("DKIM-Signature: v=1; a=rsa-sha256; s=lumora; d=platform.example;"));
    for header in [header, own] {
        assert!(header.ends_with(";\r\n"));
        assert!(header.lines().skip(1).all(|line| line.len() <= 78), "{header}");
        assert!(header.contains("c=relaxed/relaxed"));
        assert!(header.contains("t=1748736000"));
        assert!(!header.contains(" l="));
        let unfolded: String = header.split_ascii_whitespace().collect();
        let names = unfolded.split("h=").nth(1).unwrap().split(';').next().unwrap();
        assert_eq!(
            names,
            "From:Subject:To:Cc:Date:Message-ID:Reply-To:MIME-Version:Content-Type:\
             Content-Transfer-Encoding:List-Unsubscribe:List-Unsubscribe-Post:From"
        );
    }
}

#[test]
fn signatures_of_one_key_are_the_same_each_time() {
    let keys = keys();
    let (_, message) = odd_messages().remove(0);
    let sign = || sign_all(&keys.signers, &message, NOW).unwrap();
    assert_eq!(sign(), sign());
}

#[test]
fn published_keys_are_of_the_form_that_receivers_expect() {
    let keys = keys();
    let (_, rsa) = &keys.records[0];
    assert!(rsa.starts_with("v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A"), "{rsa}");
    let (_, ed25519) = &keys.records[1];
    assert_eq!(ed25519.len(), "v=DKIM1; k=ed25519; p=".len() + 44, "{ed25519}");
    assert_ne!(generate(DkimAlgorithm::Ed25519).unwrap().public_record, *ed25519);
}

#[test]
fn foreign_keys_and_messages_are_refused() {
    let domain = DomainName::parse(DOMAIN).unwrap();
    let selector = Selector::parse("s").unwrap();
    let ed25519 = generate(DkimAlgorithm::Ed25519).unwrap();
    for bytes in [&b""[..], b"not a key", &ed25519.private_pkcs8] {
        let signer = Signer::new(&domain, &selector, DkimAlgorithm::Rsa2048, bytes);
        assert_eq!(signer.err(), Some(DkimError::InvalidKey));
    }
    let signer =
        Signer::new(&domain, &selector, DkimAlgorithm::Ed25519, &ed25519.private_pkcs8).unwrap();
    for message in
        ["", "From: a@b.example\n\nhi\n", "Subject: a\r\n\r\nhi\r\n", "From: a\r\n\r\nb\rc"]
    {
        let refused = signer.sign(message.as_bytes(), NOW).err();
        assert_eq!(refused, Some(DkimError::InvalidMessage), "{message:?}");
    }
    assert!(!format!("{signer:?} {ed25519:?}").contains("private"));
}
