//! STARTTLS and AUTH against servers that cheat, stumble or ask for a password.

use std::time::Duration;

use crate::certificate::certificate;
use crate::scripted::{Act, Script, Scripted, say};
use mail::smtp::{
    ClientOptions, Connection, Credentials, Envelope, Smarthost, TlsClient, TlsPolicy, connect,
};
use model::{
    address::EmailAddress,
    delivery::{Answer, Fault, Outcome, Stage, Verdict},
};

const MX: &str = "mx.receiver.example";
const IMPATIENCE: Duration = Duration::from_millis(150);

fn options(server: &Scripted) -> ClientOptions {
    let mut options = ClientOptions::new("out.lumora.example".parse().unwrap());
    options.port = server.address.port();
    options
}

fn distrustful() -> TlsClient {
    TlsClient::new(&[]).unwrap()
}

fn short(outcome: &Outcome) -> (Stage, Result<u16, Fault>) {
    let answer = match &outcome.answer {
        Answer::Reply(reply) => Ok(reply.code),
        Answer::Fault(fault) => Err(*fault),
    };
    (outcome.stage, answer)
}

async fn delivered(connection: &mut Connection) -> bool {
    let recipients: [EmailAddress; 1] = ["ada@b.example".parse().unwrap()];
    let envelope = Envelope { sender: None, recipients: &recipients, smtputf8: false };
    let transaction = connection.deliver(&envelope, &[b"hi\r\n"]).await;
    transaction.outcomes[0].verdict() == Verdict::Delivered
}

#[tokio::test]
async fn what_is_said_in_clear_behind_the_go_ahead_is_an_attack() {
    let injected = [Act::Say(b"220 go\r\n250 2.0.0 said in clear\r\n".to_vec())];
    for mode in [TlsPolicy::Opportunistic, TlsPolicy::Required] {
        let script = Script::new(&["STARTTLS"]).on("STARTTLS", 1, &injected);
        let server = Scripted::start(vec![script]).await;
        let options = ClientOptions { tls: mode, ..options(&server) };
        let failure = connect(MX, server.ip(), &options, &distrustful()).await.unwrap_err();
        assert_eq!(short(&failure.outcome), (Stage::StartTls, Err(Fault::Protocol)));
        assert_eq!(server.connections(), 1, "no second try in clear for an attacker");
    }
}

#[tokio::test]
async fn a_handshake_that_fails_is_followed_by_clear_text_unless_forbidden() {
    let garbage = [say("220 go"), Act::HearSomething, say("500 what is this")];
    let closes = [say("220 go"), Act::Close];
    let closes_at_once = [Act::Close];
    let resets = [say("220 go"), Act::HearSomething, Act::Reset];
    let stalls = [say("220 go"), Act::Stall];
    for acts in [&garbage[..], &closes, &closes_at_once, &resets, &stalls] {
        let script = Script::new(&["STARTTLS", "SIZE"]).on("STARTTLS", 1, acts);
        let server = Scripted::start(vec![script]).await;
        let mut opportunistic = options(&server);
        opportunistic.timeouts.handshake = IMPATIENCE;
        let mut connection =
            connect(MX, server.ip(), &opportunistic, &distrustful()).await.unwrap();
        assert!(connection.peer().tls.is_none());
        assert!(delivered(&mut connection).await);
        assert_eq!(server.connections(), 2);
        assert!(!server.heard(1).contains(&"STARTTLS".to_owned()));

        let required = ClientOptions { tls: TlsPolicy::Required, ..opportunistic };
        let failure = connect(MX, server.ip(), &required, &distrustful()).await.unwrap_err();
        assert_eq!(short(&failure.outcome), (Stage::StartTls, Err(Fault::TlsRequired)));
        assert_eq!(server.connections(), 3);
        assert_eq!(server.heard(2), ["EHLO out.lumora.example", "STARTTLS"]);
    }
}

#[tokio::test]
async fn an_offer_that_is_taken_back_leaves_the_connection_in_clear() {
    for refusal in ["454 4.7.0 TLS not available", "502 5.5.1 no"] {
        let script = Script::new(&["STARTTLS"]).on("STARTTLS", 1, &[say(refusal)]);
        let server = Scripted::start(vec![script]).await;
        let mut connection =
            connect(MX, server.ip(), &options(&server), &distrustful()).await.unwrap();
        assert!(delivered(&mut connection).await);
        assert_eq!(server.connections(), 1);
    }
}

#[tokio::test]
async fn what_was_offered_in_clear_counts_for_nothing_inside_tls() {
    let (_, config) = certificate(MX);
    // The keyword in small letters, too: a client that missed it would send in clear.
    let script = Script::new(&["starttls", "PIPELINING", "SIZE 1"]).inside_tls(&["8BITMIME"]).on(
        "STARTTLS",
        1,
        &[say("220 go"), Act::Tls(config)],
    );
    let server = Scripted::start(vec![script]).await;
    let mut connection = connect(MX, server.ip(), &options(&server), &distrustful()).await.unwrap();
    let offered = connection.extensions();
    assert!(offered.eight_bit_mime && !offered.pipelining && !offered.size && !offered.starttls);
    assert!(delivered(&mut connection).await);
    let tls = connection.peer().tls.clone().unwrap();
    assert!(!tls.verified);
    assert_eq!(
        server.heard(0)[..3],
        ["EHLO out.lumora.example", "STARTTLS", "EHLO out.lumora.example"]
    );
    connection.quit().await;
}

fn credentials(in_clear: bool) -> Credentials {
    Credentials { user: "ada".into(), password: "secret".into(), in_clear }
}

#[tokio::test]
async fn a_password_is_sent_inside_tls_with_a_checked_certificate() {
    let (trusted, config) = certificate(MX);
    let trusting = TlsClient::new(&[trusted]).unwrap();
    // PLAIN where offered: "\0ada\0secret".
    let script = Script::new(&["STARTTLS"]).inside_tls(&["AUTH LOGIN PLAIN"]).on(
        "STARTTLS",
        1,
        &[say("220 go"), Act::Tls(config.clone())],
    );
    let server = Scripted::start(vec![script]).await;
    let url = format!("smtp://ada:secret@{MX}:{}", server.address.port());
    let smarthost: Smarthost = url.parse().unwrap();
    let options = smarthost.apply(options(&server));
    let mut connection = connect(&smarthost.host, server.ip(), &options, &trusting).await.unwrap();
    assert_eq!(server.heard(0)[3], "AUTH PLAIN AGFkYQBzZWNyZXQ=");
    assert!(delivered(&mut connection).await);
    assert!(connection.peer().tls.as_ref().unwrap().verified);

    // LOGIN where PLAIN is not, here with TLS from the first octet.
    let script = Script::new(&[])
        .inside_tls(&["AUTH LOGIN"])
        .on("", 1, &[Act::Tls(config), say("220 hi")])
        .on("AUTH", 1, &[say("334 VXNlcm5hbWU6")])
        .on("YWRH", 1, &[say("334 UGFzc3dvcmQ6")])
        .on("C2VJCMV0", 1, &[say("235 2.7.0 welcome")]);
    let server = Scripted::start(vec![script]).await;
    let url = format!("smtps://ada:secret@{MX}:{}", server.address.port());
    let smarthost: Smarthost = url.parse().unwrap();
    let options = smarthost.apply(ClientOptions { tls: TlsPolicy::Never, ..options });
    let mut connection = connect(&smarthost.host, server.ip(), &options, &trusting).await.unwrap();
    assert_eq!(server.heard(0)[1..4], ["AUTH LOGIN", "YWRh", "c2VjcmV0"]);
    assert!(delivered(&mut connection).await);
    let stranger = connect(MX, server.ip(), &options, &distrustful()).await.unwrap_err();
    assert_eq!(short(&stranger.outcome), (Stage::StartTls, Err(Fault::TlsRequired)));
}

#[tokio::test]
async fn a_password_never_leaves_in_clear_unless_configured() {
    for mode in [TlsPolicy::Opportunistic, TlsPolicy::Never] {
        let server = Scripted::start(vec![Script::new(&["AUTH PLAIN LOGIN"])]).await;
        let options =
            ClientOptions { tls: mode, credentials: Some(credentials(false)), ..options(&server) };
        let failure = connect(MX, server.ip(), &options, &distrustful()).await.unwrap_err();
        assert_eq!(short(&failure.outcome), (Stage::Auth, Err(Fault::TlsRequired)));
        assert!(!failure.next_host);
        assert_eq!(server.heard(0), ["EHLO out.lumora.example", "QUIT"]);

        let options = ClientOptions { credentials: Some(credentials(true)), ..options };
        let mut connection = connect(MX, server.ip(), &options, &distrustful()).await.unwrap();
        assert!(delivered(&mut connection).await);
    }
}

#[tokio::test]
async fn credentials_that_are_refused_are_our_fault_and_a_pause_is_a_reply() {
    for (keywords, answer, expected) in [
        (&["AUTH PLAIN"][..], "535 5.7.8 wrong", Err(Fault::AuthRefused)),
        (&["AUTH PLAIN"], "454 4.7.0 later", Ok(454)),
        (&["AUTH PLAIN"], "421 4.7.0 gone", Ok(421)),
        (&["AUTH PLAIN"], "334 ", Err(Fault::AuthRefused)),
        (&["AUTH LOGIN"], "334 !!!", Err(Fault::AuthRefused)),
        (&["AUTH LOGIN"], "334 Zm9vYmFy", Err(Fault::AuthRefused)),
        (&["AUTH CRAM-MD5"], "", Err(Fault::AuthRefused)),
        (&[], "", Err(Fault::AuthRefused)),
    ] {
        let script = Script::new(keywords).on("AUTH", 1, &[say(answer)]);
        let server = Scripted::start(vec![script]).await;
        let options = ClientOptions { credentials: Some(credentials(true)), ..options(&server) };
        let failure = connect(MX, server.ip(), &options, &distrustful()).await.unwrap_err();
        assert_eq!(short(&failure.outcome), (Stage::Auth, expected), "{keywords:?} {answer}");
        assert_eq!(failure.outcome.verdict(), Verdict::Deferred);
        assert_eq!(failure.next_host, expected.is_ok(), "elsewhere they are refused as well");
    }
}
