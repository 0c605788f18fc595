//! The client against the built-in receiver: two real ends, real TLS.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use mail::{
    sink::{
        AcceptAll, Action, Asked, MessageAction, Policy, Received, Sink, SinkOptions, SinkReply,
    },
    smtp::{ClientOptions, Connection, Envelope, TlsClient, TlsPolicy, connect},
};
use model::{
    address::EmailAddress,
    delivery::{Answer, Fault, Outcome, Stage, Verdict},
    routing::WayOut,
    source::{Source, Sources},
};
use tokio::sync::mpsc;

const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const MX: &str = "mx.receiver.example";

fn address(text: &str) -> EmailAddress {
    text.parse().unwrap()
}

fn options(sink: &Sink) -> ClientOptions {
    let mut options = ClientOptions::new("out.lumora.example".parse().unwrap());
    options.port = sink.address().port();
    options
}

async fn start(options: SinkOptions, policy: impl Policy) -> (Sink, mpsc::Receiver<Received>) {
    let (inbox, received) = mpsc::channel(64);
    let any = SocketAddr::new(HOME, 0);
    (Sink::start(any, options, Arc::new(policy), Some(inbox)).await.unwrap(), received)
}

fn no_tls() -> TlsClient {
    TlsClient::new(&[]).unwrap()
}

async fn open(sink: &Sink) -> Connection {
    connect(MX, HOME, &options(sink), &no_tls()).await.unwrap()
}

async fn send(connection: &mut Connection, to: &[&str], message: &[&[u8]]) -> Vec<Outcome> {
    let sender = address("bounces@lumora.example");
    let recipients: Vec<EmailAddress> = to.iter().map(|text| address(text)).collect();
    let envelope = Envelope { sender: Some(&sender), recipients: &recipients, smtputf8: false };
    connection.deliver(&envelope, message).await.outcomes
}

fn code(outcome: &Outcome) -> (Stage, u16) {
    match &outcome.answer {
        Answer::Reply(reply) => (outcome.stage, reply.code),
        Answer::Fault(fault) => panic!("{fault:?} at {:?}", outcome.stage),
    }
}

#[tokio::test]
async fn a_message_arrives_as_its_parts_say_and_the_connection_is_used_again() {
    for pipelining in [true, false] {
        let options = SinkOptions { pipelining, ..SinkOptions::default() };
        let (sink, mut received) = start(options, AcceptAll).await;
        let mut connection = open(&sink).await;
        assert_eq!(connection.extensions().pipelining, pipelining);
        for nth in 0..3 {
            let parts: [&[u8]; 3] = [b"DKIM-Signature: x\r\n", b"Subject: y\r\n\r\n", b".dot\r\n"];
            let outcomes = send(&mut connection, &["a@b.example", "c@d.example"], &parts).await;
            assert_eq!(outcomes.len(), 2);
            assert!(outcomes.iter().all(|outcome| outcome.verdict() == Verdict::Delivered));
            let peer = outcomes[0].peer.as_ref().unwrap();
            assert_eq!((peer.reused, peer.from), (nth > 0, Some(HOME)));
            let message = received.recv().await.unwrap();
            assert_eq!(message.data, parts.concat());
            assert_eq!(message.recipients, ["a@b.example", "c@d.example"]);
            assert_eq!(message.mail_from, "bounces@lumora.example");
            assert_eq!(message.helo, "out.lumora.example");
            assert_eq!((message.connection, message.nth_on_connection), (0, nth));
        }
        assert_eq!(connection.transactions(), 3);
        assert!(connection.is_idle_alive());
        assert!(connection.reset().await);
        connection.quit().await;
    }
}

#[tokio::test]
async fn a_null_sender_and_a_message_without_its_last_line_end_are_sent() {
    let (sink, mut received) = start(SinkOptions::default(), AcceptAll).await;
    let mut connection = open(&sink).await;
    let recipients = [address("a@b.example")];
    let envelope = Envelope { sender: None, recipients: &recipients, smtputf8: false };
    let transaction = connection.deliver(&envelope, &[b"no end"]).await;
    assert!(transaction.reusable && !transaction.retry_at_once);
    let message = received.recv().await.unwrap();
    assert_eq!((message.mail_from.as_str(), &*message.data), ("", &b"no end\r\n"[..]));
}

#[tokio::test]
async fn a_large_message_full_of_dots_arrives_whole() {
    let (sink, mut received) = start(SinkOptions::default(), AcceptAll).await;
    let mut connection = open(&sink).await;
    let message = b".\r\n..\r\nabc.\r\n.def\r\n".repeat(200_000);
    let outcomes = send(&mut connection, &["a@b.example"], &[&message]).await;
    assert_eq!(outcomes[0].verdict(), Verdict::Delivered);
    assert!(received.recv().await.unwrap().data == message);
}

#[tokio::test]
async fn more_recipients_than_a_group_holds_keep_their_order() {
    struct Odd;
    impl Policy for Odd {
        fn recipient(&self, asked: Asked<'_>) -> Action {
            let number: u32 = asked.recipient.split('@').next().unwrap()[1..].parse().unwrap();
            if number.is_multiple_of(2) {
                return Action::Accept;
            }
            Action::Reply(SinkReply::new(550, format!("5.1.1 no {number}")))
        }
    }
    let (sink, mut received) = start(SinkOptions::default(), Odd).await;
    let mut connection = open(&sink).await;
    let names: Vec<String> = (0..350).map(|n| format!("r{n}@b.example")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let outcomes = send(&mut connection, &names, &[b"hi\r\n"]).await;
    for (number, outcome) in outcomes.iter().enumerate() {
        if number % 2 == 0 {
            assert_eq!(code(outcome), (Stage::EndOfData, 250));
        } else {
            let Answer::Reply(reply) = &outcome.answer else { panic!("{outcome:?}") };
            assert_eq!((reply.code, &*reply.text), (550, &*format!("no {number}")));
        }
    }
    assert_eq!(received.recv().await.unwrap().recipients.len(), 175);
}

#[tokio::test]
async fn when_nobody_is_accepted_no_message_is_sent_and_the_next_one_is() {
    struct NoBob;
    impl Policy for NoBob {
        fn recipient(&self, asked: Asked<'_>) -> Action {
            if asked.recipient.starts_with("bob") {
                return Action::Reply(SinkReply::new(550, "5.1.1 no bob"));
            }
            Action::Accept
        }
    }
    for pipelining in [true, false] {
        let options = SinkOptions { pipelining, ..SinkOptions::default() };
        let (sink, mut received) = start(options, NoBob).await;
        let mut connection = open(&sink).await;
        let outcomes = send(&mut connection, &["bob@b.example"], &[b"one\r\n"]).await;
        assert_eq!(code(&outcomes[0]), (Stage::RcptTo, 550));
        let outcomes = send(&mut connection, &["ada@b.example"], &[b"two\r\n"]).await;
        assert_eq!(code(&outcomes[0]), (Stage::EndOfData, 250), "pipelining {pipelining}");
        assert_eq!(received.recv().await.unwrap().data, b"two\r\n");
    }
}

#[tokio::test]
async fn what_the_server_does_not_offer_is_not_asked_of_it() {
    let options =
        SinkOptions { max_message_octets: 100, international: false, ..Default::default() };
    let (sink, mut received) = start(options, AcceptAll).await;
    let mut connection = open(&sink).await;
    let fault = |outcome: &Outcome| match outcome.answer {
        Answer::Fault(fault) => fault,
        Answer::Reply(_) => panic!("{outcome:?}"),
    };
    let large = b"x\r\n".repeat(50);
    let outcomes = send(&mut connection, &["a@b.example"], &[&large]).await;
    assert_eq!(fault(&outcomes[0]), Fault::TooLarge);
    let outcomes = send(&mut connection, &["a@b.example"], &["é\r\n".as_bytes()]).await;
    assert_eq!(fault(&outcomes[0]), Fault::ContentInvalid);
    let outcomes = send(&mut connection, &["a@b.example"], &[b"x\n.\n"]).await;
    assert_eq!(fault(&outcomes[0]), Fault::ContentInvalid);
    let outcomes = send(&mut connection, &["é@b.example"], &[b"x\r\n"]).await;
    assert_eq!(fault(&outcomes[0]), Fault::Smtputf8Unsupported);
    assert_eq!(connection.transactions(), 0, "nothing was said");

    let outcomes = send(&mut connection, &["é@b.example", "a@b.example"], &[b"x\r\n"]).await;
    assert_eq!(fault(&outcomes[0]), Fault::Smtputf8Unsupported);
    assert_eq!(code(&outcomes[1]), (Stage::EndOfData, 250));
    assert_eq!(received.recv().await.unwrap().recipients, ["a@b.example"]);
}

#[tokio::test]
async fn international_addresses_and_octets_are_sent_where_offered() {
    let (sink, mut received) = start(SinkOptions::default(), AcceptAll).await;
    let mut connection = open(&sink).await;
    let outcomes = send(&mut connection, &["é@b.example"], &["ü\r\n".as_bytes()]).await;
    assert_eq!(outcomes[0].verdict(), Verdict::Delivered);
    let message = received.recv().await.unwrap();
    assert_eq!(
        (message.recipients[0].as_str(), &*message.data),
        ("é@b.example", "ü\r\n".as_bytes())
    );
}

#[tokio::test]
async fn tls_is_used_when_offered_and_its_certificate_judged_honestly() {
    let (certificate, server) = crate::certificate::certificate(MX);
    let options_with = |tls| SinkOptions { tls: Some(tls), ..SinkOptions::default() };
    let (sink, mut received) = start(options_with(server), AcceptAll).await;
    let trusting = TlsClient::new(&[certificate]).unwrap();
    let required = ClientOptions { tls: TlsPolicy::Required, ..options(&sink) };
    let opportunistic = options(&sink);
    for (client, options, mx, verified) in [
        (&no_tls(), &opportunistic, MX, Some(false)),
        (&trusting, &opportunistic, MX, Some(true)),
        (&trusting, &opportunistic, "other.example", Some(false)),
        (&trusting, &required, MX, Some(true)),
        (&trusting, &required, "mx.receiver.example.", Some(true)),
        (&trusting, &required, "other.example", None),
        (&no_tls(), &required, MX, None),
    ] {
        let opened = connect(mx, HOME, options, client).await;
        let Some(verified) = verified else {
            let failure = opened.unwrap_err();
            assert!(failure.next_host);
            assert_eq!(failure.outcome.answer, Answer::Fault(Fault::TlsRequired));
            assert_eq!(failure.outcome.stage, Stage::StartTls);
            continue;
        };
        let mut connection = opened.unwrap();
        let outcomes = send(&mut connection, &["a@b.example"], &[b"hi\r\n"]).await;
        let tls = outcomes[0].peer.as_ref().unwrap().tls.as_ref().unwrap();
        assert_eq!((tls.verified, &*tls.version), (verified, "TLSv1.3"), "{mx}");
        assert!(tls.cipher.starts_with("TLS_"), "{tls:?}");
        assert!(received.recv().await.unwrap().tls);
        assert!(connection.is_idle_alive());
        connection.quit().await;
    }
    let never = ClientOptions { tls: TlsPolicy::Never, ..options(&sink) };
    let connection = connect(MX, HOME, &never, &trusting).await.unwrap();
    assert!(connection.peer().tls.is_none() && connection.extensions().starttls);
}

#[tokio::test]
async fn required_tls_that_is_not_offered_is_no_delivery() {
    let (sink, _received) = start(SinkOptions::default(), AcceptAll).await;
    let required = ClientOptions { tls: TlsPolicy::Required, ..options(&sink) };
    let failure = connect(MX, HOME, &required, &no_tls()).await.unwrap_err();
    assert_eq!(failure.outcome.answer, Answer::Fault(Fault::TlsRequired));
}

#[tokio::test]
async fn a_taken_message_without_an_answer_is_unknown_and_a_port_that_is_closed_unreachable() {
    struct Lossy;
    impl Policy for Lossy {
        fn message(&self, _message: &Received) -> MessageAction {
            MessageAction::AcceptAndDisconnect
        }
    }
    let (sink, mut received) = start(SinkOptions::default(), Lossy).await;
    let mut connection = open(&sink).await;
    let outcomes = send(&mut connection, &["a@b.example"], &[b"hi\r\n"]).await;
    assert_eq!(outcomes[0].verdict(), Verdict::OutcomeUnknown);
    assert_eq!(received.recv().await.unwrap().data, b"hi\r\n");

    let options = options(&sink);
    sink.stop().await;
    let failure = connect(MX, HOME, &options, &no_tls()).await.unwrap_err();
    assert_eq!(failure.outcome.answer, Answer::Fault(Fault::Unreachable));
    assert!(failure.next_host);
}

#[tokio::test]
async fn a_connection_comes_from_its_source_and_gives_that_sources_name() {
    let (sink, mut inbox) = start(SinkOptions::default(), AcceptAll).await;
    let from = |last: u8, name: &str| {
        let ip = IpAddr::from([127, 0, 0, last]);
        Sources::only(Source { ip, helo_name: name.parse().unwrap() })
    };
    for (last, name) in [(2, "out2.lumora.example"), (3, "out3.lumora.example")] {
        let sources = from(last, name);
        let options = ClientOptions { sources, way: Some(WayOut::Direct), ..options(&sink) };
        let mut connection = connect(MX, HOME, &options, &no_tls()).await.unwrap();
        let outcomes = send(&mut connection, &["ada@receiver.example"], &[b"hi\r\n"]).await;
        let peer = outcomes[0].peer.as_ref().unwrap();
        assert_eq!(peer.from, Some(IpAddr::from([127, 0, 0, last])));
        assert_eq!(peer.way, Some(WayOut::Direct));
        let received = inbox.recv().await.unwrap();
        assert_eq!(received.from.ip(), IpAddr::from([127, 0, 0, last]));
        assert_eq!(received.helo, name);
    }
    // From where the system chooses, by the server's own name.
    let mut connection = open(&sink).await;
    let outcomes = send(&mut connection, &["ada@receiver.example"], &[b"hi\r\n"]).await;
    assert_eq!(outcomes[0].peer.as_ref().unwrap().from, Some(HOME));
    assert_eq!(inbox.recv().await.unwrap().helo, "out.lumora.example");
}

#[tokio::test]
async fn a_source_that_cannot_be_used_is_a_server_that_cannot_be_reached() {
    let (sink, _inbox) = start(SinkOptions::default(), AcceptAll).await;
    // Of another family; and of another machine (RFC 5737).
    for text in ["::1", "192.0.2.1"] {
        let source =
            Source { ip: text.parse().unwrap(), helo_name: "out.lumora.example".parse().unwrap() };
        let options = ClientOptions { sources: Sources::only(source), ..options(&sink) };
        let failed = connect(MX, HOME, &options, &no_tls()).await.unwrap_err();
        let outcome = failed.outcome;
        assert_eq!(
            (outcome.stage, outcome.answer),
            (Stage::Connect, Answer::Fault(Fault::Unreachable))
        );
    }
}
