//! Bounces and complaints come in over a socket, and nothing else gets through.

use std::{net::SocketAddr, os::unix::fs::PermissionsExt as _, time::Duration};

use mail::{
    sink::Action,
    smtp::{ClientOptions, Envelope, TlsClient, TlsPolicy, connect},
};
use model::delivery::Verdict;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{
    app::{SENDING_DOMAIN, TestApp},
    client::{assert_conserved, kinds},
    inbox::{ByRecipient, reply},
    process::{ended, run, run_json},
    world::World,
};

pub(crate) const HOSTNAME: &str = "mx.lumora.test";
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn start() -> (TestApp, SocketAddr) {
    let app = TestApp::start_in(World::new().await, |config| {
        config.inbound.listen = Some((std::net::Ipv4Addr::LOCALHOST, 0).into());
        config.inbound.hostname = Some(HOSTNAME.to_owned());
        config.inbound.max_message_bytes = 65_536;
        config.inbound.max_connections_per_address = 5;
    })
    .await;
    app.world.receives("reader.test");
    let address = app.node().inbound_address().unwrap();
    (app, address)
}

/// Says all of it at once and gives what was answered, one code a reply.
async fn talk(address: SocketAddr, text: &[u8]) -> Vec<String> {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(text).await.unwrap();
    let mut heard = Vec::new();
    let end = socket.read_to_end(&mut heard);
    drop(tokio::time::timeout(PATIENCE, end).await.expect("the listener closes"));
    let heard = String::from_utf8(heard).unwrap();
    let last_lines = heard.lines().filter(|line| line.as_bytes().get(3) == Some(&b' '));
    last_lines.map(|line| line[..3].to_owned()).collect()
}

/// Brings a message to `to`; the reply to RCPT and that to the final dot.
pub(crate) async fn bring(address: SocketAddr, to: &str, message: &str) -> (String, String) {
    let text = format!(
        "EHLO mx.reader.test\r\nMAIL FROM:<>\r\nRCPT TO:<{to}>\r\nDATA\r\n{}\r\n.\r\nQUIT\r\n",
        message.replace('\n', "\r\n")
    );
    let codes = talk(address, text.as_bytes()).await;
    (codes[3].clone(), codes.get(5).cloned().unwrap_or_default())
}

pub(crate) fn status_report(recipient: &str, status: &str, words: &str) -> String {
    format!(
        "From: MAILER-DAEMON@reader.test\nMIME-Version: 1.0\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n\
         --b\nContent-Type: text/plain\n\nSorry.\n\
         --b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.reader.test\n\n\
         Final-Recipient: rfc822; {recipient}\nAction: failed\nStatus: {status}\n\
         Diagnostic-Code: smtp; 550 {status} {words}\n\n--b--\n"
    )
}

pub(crate) fn complaint(sender: &str, recipient: &str) -> String {
    format!(
        "From: fbl@provider.test\nMIME-Version: 1.0\n\
         Content-Type: multipart/report; report-type=feedback-report; boundary=b\n\n\
         --b\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\nVersion: 1\n\
         Original-Mail-From: <{sender}>\nOriginal-Rcpt-To: {recipient}\n\n--b--\n"
    )
}

fn email(to: &[&str]) -> Value {
    json!({ "to": to, "subject": "Hello", "text": "Hello" })
}

/// The address with another token in it.
fn forged(sender: &str) -> String {
    let (local, domain) = sender.split_once('@').unwrap();
    let changed = if local.ends_with('0') { "1" } else { "0" };
    format!("{}{changed}@{domain}", &local[..local.len() - 1])
}

async fn listed(app: &TestApp) -> Vec<(String, String)> {
    let page = app.api.get("/v1/suppressions").await.expect(200);
    let rows = page["data"].as_array().unwrap().iter();
    rows.map(|row| {
        let text = |name: &str| row[name].as_str().unwrap().to_owned();
        (text("email"), text("reason"))
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bounce_that_comes_later_ends_the_recipient_and_lists_them_once() {
    let (app, address) = start().await;
    let id = app.api.accepted(&email(&["ada@reader.test"])).await;
    app.api.becomes(&id, "delivered").await;
    let sender = app.world.inbox.only().0.mail_from;
    assert!(sender.ends_with(&format!("@bounces.{SENDING_DOMAIN}")), "{sender}");

    // The address that it was forwarded to: the token alone says who it was for.
    let report = status_report("ada@elsewhere.test", "5.1.1", "no such user <ada@elsewhere.test>");
    for _ in 0..2 {
        let answered = bring(address, &sender.to_uppercase(), &report).await;
        assert_eq!(answered, ("250".to_owned(), "250".to_owned()));
    }
    let read = app.api.message(&id).await;
    assert_eq!(read["message"]["status"], "bounced");
    assert_eq!(kinds(&read), ["accepted", "delivered", "bounced"]);
    let bounce = &read["events"][2];
    assert_eq!(bounce["reason"], "recipient");
    assert_eq!(bounce["smtp"]["enhancedCode"], "5.1.1");
    assert_eq!(bounce["smtp"]["message"], "550 5.1.1 no such user <ada@elsewhere.test>");
    assert_eq!(read["recipients"][0]["lastResponse"]["code"], 550);
    assert_eq!(listed(&app).await, [("ada@reader.test".to_owned(), "bounce".to_owned())]);
    let stats = app.api.get("/v1/emails/stats").await.expect(200);
    assert_conserved(&stats);
    assert_eq!(
        (&stats["totals"]["delivered"], &stats["totals"]["bounced"]),
        (&json!(0), &json!(1))
    );
    assert_eq!(stats["bounceClasses"]["recipient"], 1);

    let again = app.api.accepted(&email(&["ada@reader.test"])).await;
    assert_eq!(kinds(&app.api.ended(&again).await), ["accepted", "suppressed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_the_one_that_the_report_names_has_bounced() {
    let (app, address) = start().await;
    let id = app.api.accepted(&email(&["ada@reader.test", "grace@reader.test"])).await;
    app.api.becomes(&id, "delivered").await;
    let sender = app.world.inbox.only().0.mail_from;
    // Somebody whom the message did not go to is nobody's business here.
    let foreign = status_report("victim@reader.test", "5.1.1", "gone");
    assert_eq!(bring(address, &sender, &foreign).await.1, "250");
    assert_eq!(listed(&app).await, []);
    // A rule of the receiver lists nobody.
    let policy = status_report("Grace@READER.test", "5.7.1", "no such user, says a policy");
    assert_eq!(bring(address, &sender, &policy).await.1, "250");
    let read = app.api.message(&id).await;
    assert_eq!(read["message"]["status"], "partially_delivered");
    assert_eq!(read["recipients"][1]["status"], "bounced");
    assert_eq!(read["events"][3]["reason"], "policy");
    assert_eq!(listed(&app).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_complaint_lists_who_complained_and_ends_nothing() {
    let (app, address) = start().await;
    let id = app.api.accepted(&email(&["ada@reader.test", "grace@reader.test"])).await;
    app.api.becomes(&id, "delivered").await;
    let sender = app.world.inbox.only().0.mail_from;
    let forged = complaint(&forged(&sender), "ada@reader.test");
    assert_eq!(bring(address, &format!("fbl@{HOSTNAME}"), &forged).await.1, "250");
    assert_eq!(kinds(&app.api.message(&id).await).len(), 3);
    for _ in 0..2 {
        let report = complaint(&sender, "grace@reader.test");
        assert_eq!(bring(address, &format!("FBL@{HOSTNAME}"), &report).await.1, "250");
    }
    let read = app.api.message(&id).await;
    assert_eq!(kinds(&read)[3..], ["complained"]);
    assert_eq!(read["events"][3]["recipient"], "grace@reader.test");
    assert_eq!(read["message"]["status"], "delivered");
    assert_eq!(listed(&app).await, [("grace@reader.test".to_owned(), "complaint".to_owned())]);
    let stats = app.api.get("/v1/emails/stats").await.expect(200);
    assert_conserved(&stats);
    assert_eq!(stats["totals"]["complained"], 1);
    assert_eq!(app.api.all_logs("type=complained").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_tokens_and_relay_attempts_are_refused_at_rcpt() {
    let (app, address) = start().await;
    let id = app.api.accepted(&email(&["ada@reader.test"])).await;
    app.api.becomes(&id, "delivered").await;
    let sender = app.world.inbox.only().0.mail_from;
    let (local, domain) = sender.split_once('@').unwrap();
    for to in [
        forged(&sender).as_str(),
        &format!("{local}@bounces.other.test"),
        &format!("{local}@{HOSTNAME}"),
        &format!("bounce+{id}@{domain}"),
        "ada@reader.test",
        &format!("ada%reader.test@{HOSTNAME}"),
        &format!("@{HOSTNAME}:ada@reader.test"),
        &format!("somebody@{HOSTNAME}"),
        "postmaster@reader.test",
        "postmaster@",
        "",
    ] {
        let code = bring(address, to, &status_report("ada@reader.test", "5.1.1", "gone")).await.0;
        assert!(code == "550" || code == "501", "{to}: {code}");
    }
    for to in ["Postmaster", "abuse", "fbl"] {
        let code = bring(address, &format!("{to}@{HOSTNAME}"), "Subject: Hello\n\nHello").await;
        assert_eq!(code, ("250".to_owned(), "250".to_owned()), "{to}");
        let below = format!("{to}@bounces.{SENDING_DOMAIN}");
        assert_eq!(bring(address, &below, "Subject: Hello\n\nHello").await.1, "250");
    }
    let bare = bring(address, "postmaster", "Subject: Hello\n\nHello").await;
    assert_eq!(bare.1, "250");
    assert_eq!(kinds(&app.api.message(&id).await), ["accepted", "delivered"]);
    assert_eq!(app.world.inbox.taken().len(), 1, "nothing was relayed");
}

#[tokio::test(flavor = "multi_thread")]
async fn smuggling_bombs_and_answers_of_machines_change_nothing() {
    let (app, address) = start().await;
    let id = app.api.accepted(&email(&["ada@reader.test"])).await;
    app.api.becomes(&id, "delivered").await;
    let sender = app.world.inbox.only().0.mail_from;
    let begin = format!("EHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<{sender}>\r\nDATA\r\n");
    let report = status_report("ada@reader.test", "5.1.1", "gone");
    for end in ["\n.\n", "\r\n.\n", "\n.\r\n", "\r.\r\n"] {
        let text = format!("{begin}{}{end}MAIL FROM:<>\r\n", report.replace('\n', "\r\n"));
        let codes = talk(address, text.as_bytes()).await;
        assert_eq!(codes.last().unwrap(), "521", "{end:?}: {codes:?}");
    }
    let huge = "x".repeat(998) + "\n";
    let code = bring(address, &sender, &format!("{report}{}", huge.repeat(70))).await.1;
    assert_eq!(code, "552");
    let deep = "Content-Type: message/rfc822\n\n".repeat(1_500);
    assert_eq!(bring(address, &sender, &deep).await.1, "250");
    let away = "Auto-Submitted: auto-replied\nSubject: away\n\nI could not be delivered.";
    assert_eq!(bring(address, &sender, away).await.1, "250");
    let delayed = status_report("ada@reader.test", "4.4.1", "wait").replace("failed", "delayed");
    assert_eq!(bring(address, &sender, &delayed).await.1, "250");
    assert_eq!(kinds(&app.api.message(&id).await), ["accepted", "delivered"]);

    // One address holds so many connections, and the others are told.
    let mut held = Vec::new();
    let fill = async {
        // Those before may still be taking leave.
        while held.len() < 5 {
            let mut socket = TcpStream::connect(address).await.unwrap();
            let mut greeting = [0; 3];
            socket.read_exact(&mut greeting).await.unwrap();
            if &greeting == b"220" {
                held.push(socket);
            }
        }
    };
    tokio::time::timeout(PATIENCE, fill).await.expect("five connections");
    assert_eq!(talk(address, b"").await, ["421"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_before_our_own_record_ends_who_is_still_tried() {
    let (app, address) = start().await;
    app.world.inbox.obey(ByRecipient(|recipient: &str| {
        if recipient.starts_with("later") { reply(451, "4.2.0 later") } else { Action::Accept }
    }));
    let id = app.api.accepted(&email(&["ada@reader.test", "later@reader.test"])).await;
    app.api.until(&id, "was tried", |read| read["recipients"][1]["status"] == "deferred").await;
    let sender = app.world.inbox.taken()[0].mail_from.clone();
    let report = status_report("later@reader.test", "5.2.2", "mailbox full");
    assert_eq!(bring(address, &sender, &report).await.1, "250");
    let read = app.api.ended(&id).await;
    assert_eq!(read["recipients"][1]["status"], "bounced");
    assert_eq!(read["events"].as_array().unwrap().last().unwrap()["reason"], "mailbox_full");
    assert_eq!(listed(&app).await, []);
}

fn letter(number: usize) -> String {
    format!(
        "From: Ada Canary <ada@canary.test>\nSubject: =?utf-8?q?W=C3=B6rds_{number}?=\n\n\
         Please stop, says canary {number}.\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_to_offices_are_kept_for_the_owner_and_for_the_operator() {
    let (mut app, address) = start().await;
    let (office, below) =
        (format!("Postmaster@{HOSTNAME}"), format!("ABUSE@bounces.{SENDING_DOMAIN}"));
    assert_eq!(bring(address, &office, &letter(1)).await.1, "250");
    // Once, however often it comes.
    for number in [2, 2, 3] {
        assert_eq!(bring(address, &below, &letter(number)).await.1, "250");
    }
    let long = format!("{}{}", letter(4), "a line of nothing much\n".repeat(2_000));
    assert_eq!(bring(address, &below, &long).await.1, "250");
    // A complaint that proves nothing is a letter, too.
    let unproven = complaint("bounce@elsewhere.test", "ada@reader.test");
    assert_eq!(bring(address, &format!("fbl@{HOSTNAME}"), &unproven).await.1, "250");

    let read = &app.node().core().read;
    let head = *app.node().core().log.head().borrow();
    assert!(read.caught_up(head, PATIENCE).await);
    let domain = read.policies().domains_of(app.tenant)[0].id;
    let (kept, next) = read.letters().page(Some(domain), None, 2).unwrap();
    assert_eq!((kept.len(), next.is_some()), (2, true));
    let (rest, none) = read.letters().page(Some(domain), next, 2).unwrap();
    assert_eq!((rest.len(), none), (1, None));
    let newest = &kept[0];
    assert_eq!(newest.received.tenant, Some(app.tenant));
    assert_eq!(newest.received.at.as_str(), format!("bounces.{SENDING_DOMAIN}"));
    let platform = &app.node().core().platform;
    let head = platform.letter_head(newest).unwrap();
    assert_eq!(head.from.as_deref(), Some("Ada Canary <ada@canary.test>"));
    assert_eq!(head.subject.as_deref(), Some("Wörds 4"));
    let source = platform.letter_source(&rest[0]).unwrap();
    let source = String::from_utf8(source).unwrap();
    assert_eq!(source.trim_end(), letter(2).replace('\n', "\r\n").trim_end());
    let (operators, _) = read.letters().page(None, None, 10).unwrap();
    assert_eq!(operators.len(), 2);
    assert!(operators.iter().all(|letter| letter.received.tenant.is_none()));

    // What they say is nowhere but in content.
    app.stop().await;
    let config = app.world.config_file("1s");
    let (status, exported, _) = ended(&run(&["log", "export"], &config));
    let letters = exported.lines().filter(|line| line.contains("letter.received"));
    assert_eq!((status, letters.count()), (0, 5));
    assert!(!exported.to_lowercase().contains("canary") && !exported.contains("Please stop"));
    let listed = run_json(&["letters", "list"], &config);
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert_eq!(listed[1]["subject"], "Wörds 1");
    let id = listed[1]["id"].as_str().unwrap();
    let (status, shown, _) = ended(&run(&["letters", "show", id], &config));
    assert_eq!((status, shown.trim_end()), (0, letter(1).trim_end()));
    // That they were shown is on record, and to whom.
    let (_, exported, _) = ended(&run(&["log", "export"], &config));
    let looks: Vec<&str> =
        exported.lines().filter(|line| line.contains(r#""content.read""#)).collect();
    assert_eq!(looks.len(), 2, "{looks:?}");
    assert!(looks.iter().all(|look| look.contains(r#""cause":"command_line""#)), "{looks:?}");
    assert!(looks[0].contains("letter_list") && looks[1].contains(id), "{looks:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_do_not_fill_the_disk_with_letters() {
    let (app, address) = start().await;
    let below = format!("abuse@bounces.{SENDING_DOMAIN}");
    let mut kept = 0;
    // The hour may change while they come.
    for number in 0..60 {
        match bring(address, &below, &letter(number)).await.1.as_str() {
            "250" => kept += 1,
            other => assert_eq!(other, "452"),
        }
    }
    assert!((20..=40).contains(&kept), "{kept}");
    // The others' is another's.
    assert_eq!(bring(address, &format!("abuse@{HOSTNAME}"), &letter(0)).await.1, "250");
    // And a complaint about a message of ours is none.
    let id = app.api.accepted(&email(&["ada@reader.test"])).await;
    app.api.becomes(&id, "delivered").await;
    let sender = app.world.inbox.only().0.mail_from;
    assert_eq!(bring(address, &below, &complaint(&sender, "ada@reader.test")).await.1, "250");
    assert_eq!(kinds(&app.api.message(&id).await)[2..], ["complained"]);
}

/// A listener with a certificate, which vouches for itself.
async fn start_with_tls() -> (TestApp, SocketAddr, TlsClient) {
    let made = rcgen::generate_simple_self_signed([HOSTNAME.to_owned()]).unwrap();
    let world = World::new().await;
    let (certificate, key) = (world.path("mx.pem"), world.path("mx.key"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let app = TestApp::start_in(world, |config| {
        config.inbound.listen = Some((std::net::Ipv4Addr::LOCALHOST, 0).into());
        config.inbound.hostname = Some(HOSTNAME.to_owned());
        config.inbound.tls_certificate_file = Some(certificate);
        config.inbound.tls_key_file = Some(key);
    })
    .await;
    let address = app.node().inbound_address().unwrap();
    let tls = TlsClient::new(&[made.cert.der().clone()]).unwrap();
    (app, address, tls)
}

async fn operators_letters(app: &TestApp) -> usize {
    let core = app.node().core();
    let head = *core.log.head().borrow();
    assert!(core.read.caught_up(head, PATIENCE).await);
    core.read.letters().page(None, None, 10).unwrap().0.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_certificate_mail_comes_in_encrypted() {
    let (app, address, tls) = start_with_tls().await;
    let client = ClientOptions {
        port: address.port(),
        tls: TlsPolicy::Required,
        ..ClientOptions::new("mx.reader.test".parse().unwrap())
    };
    let mut connection = connect(HOSTNAME, address.ip(), &client, &tls).await.unwrap();
    let envelope = Envelope {
        sender: None,
        recipients: &[format!("postmaster@{HOSTNAME}").parse().unwrap()],
        smtputf8: false,
    };
    let message = letter(1).replace('\n', "\r\n");
    let sent = connection.deliver(&envelope, &[message.as_bytes()]).await;
    assert_eq!(sent.outcomes[0].verdict(), Verdict::Delivered, "{:?}", sent.outcomes);
    let peer = sent.outcomes[0].peer.as_ref().unwrap();
    assert!(peer.tls.as_ref().unwrap().verified);
    assert_eq!(operators_letters(&app).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_in_clear_does_not_count_behind_starttls() {
    let (app, address, _) = start_with_tls().await;
    let injected = format!(
        "MAIL FROM:<>\r\nRCPT TO:<postmaster@{HOSTNAME}>\r\nDATA\r\nSubject: x\r\n\r\n.\r\n"
    );
    // In one breath with the command (RFC 3207, section 6).
    let text = format!("EHLO a\r\nSTARTTLS\r\n{injected}");
    assert_eq!(talk(address, text.as_bytes()).await, ["220", "250", "421"]);
    // After the answer to it, in the place of a handshake.
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(b"EHLO a\r\nSTARTTLS\r\n").await.unwrap();
    let mut heard = Vec::new();
    while !heard.windows(4).any(|window| window == b"220 ") || !heard.ends_with(b"go ahead\r\n") {
        socket.read_buf(&mut heard).await.unwrap();
    }
    assert!(String::from_utf8_lossy(&heard).contains("250-STARTTLS"));
    socket.write_all(injected.as_bytes()).await.unwrap();
    let mut rest = Vec::new();
    // Closed, with a TLS alert at the most.
    drop(tokio::time::timeout(PATIENCE, socket.read_to_end(&mut rest)).await.expect("it closes"));
    assert!(!String::from_utf8_lossy(&rest).contains("250"), "{rest:?}");
    assert_eq!(operators_letters(&app).await, 0);
}
