//! The client against a server that misbehaves: every way, at every step.

use std::time::Duration;

use crate::scripted::{Act, Script, Scripted, say};
use mail::smtp::{
    ClientOptions, Connection, Envelope, Timeouts, TlsClient, TlsPolicy, Transaction, connect,
};
use model::{
    address::EmailAddress,
    delivery::{Answer, Fault, Outcome, Stage, Verdict},
};

const MX: &str = "mx.receiver.example";
/// For steps that must not time out, however busy the machine is.
const PATIENCE: Duration = Duration::from_mins(1);
/// For the step that must.
const IMPATIENCE: Duration = Duration::from_millis(150);

const fn patient() -> Timeouts {
    Timeouts {
        connect: PATIENCE,
        greeting: PATIENCE,
        hello: PATIENCE,
        handshake: PATIENCE,
        mail: PATIENCE,
        rcpt: PATIENCE,
        data: PATIENCE,
        block: PATIENCE,
        end_of_data: PATIENCE,
        goodbye: PATIENCE,
        transaction: PATIENCE,
        least_octets_per_s: 1,
    }
}

fn options(server: &Scripted) -> ClientOptions {
    let mut options = ClientOptions::new("out.lumora.example".parse().unwrap());
    options.port = server.address.port();
    options.timeouts = patient();
    options
}

fn client() -> TlsClient {
    TlsClient::new(&[]).unwrap()
}

/// How it ended: the answer in short, for comparison.
type Short = (Stage, Result<u16, Fault>);

fn short(outcome: &Outcome) -> Short {
    let answer = match &outcome.answer {
        Answer::Reply(reply) => Ok(reply.code),
        Answer::Fault(fault) => Err(*fault),
    };
    (outcome.stage, answer)
}

async fn deliver(connection: &mut Connection, message: &[u8]) -> Transaction {
    let sender: EmailAddress = "bounces@lumora.example".parse().unwrap();
    let recipients = ["ada@b.example", "bob@b.example"].map(|text| text.parse().unwrap());
    let envelope = Envelope { sender: Some(&sender), recipients: &recipients, smtputf8: false };
    connection.deliver(&envelope, &[message]).await
}

fn shorts(transaction: &Transaction) -> Vec<Short> {
    transaction.outcomes.iter().map(short).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Close,
    Reset,
    Stall,
    Trickle,
    Garbage,
    Binary,
    EndlessLine,
    EndlessReply,
    TwoCodes,
    Closing,
    NotNow,
    Never,
}

const WAYS: [Way; 12] = [
    Way::Close,
    Way::Reset,
    Way::Stall,
    Way::Trickle,
    Way::Garbage,
    Way::Binary,
    Way::EndlessLine,
    Way::EndlessReply,
    Way::TwoCodes,
    Way::Closing,
    Way::NotNow,
    Way::Never,
];

impl Way {
    fn acts(self) -> Vec<Act> {
        match self {
            Self::Close => vec![Act::Close],
            Self::Reset => vec![Act::Reset],
            Self::Stall => vec![Act::Stall],
            Self::Trickle => vec![Act::Say(b"250-".to_vec()), Act::Trickle(b'x')],
            Self::Garbage => vec![say("HTTP/1.1 400 Bad Request")],
            Self::Binary => vec![Act::Say(b"\x16\x03\x01\0\n\xff\r\n".to_vec())],
            Self::EndlessLine => vec![Act::Endless(&[b'x'; 4096])],
            Self::EndlessReply => vec![Act::Endless(b"250-and on\r\n")],
            Self::TwoCodes => vec![say("250-yes"), say("550 no")],
            Self::Closing => vec![say("421 4.3.2 closing"), Act::Close],
            Self::NotNow => vec![say("450 4.7.1 later")],
            Self::Never => vec![say("550 5.7.1 never")],
        }
    }

    fn answer(self) -> Result<u16, Fault> {
        match self {
            Self::Close | Self::Reset => Err(Fault::Disconnected),
            Self::Stall | Self::Trickle => Err(Fault::Timeout),
            Self::Garbage
            | Self::Binary
            | Self::EndlessLine
            | Self::EndlessReply
            | Self::TwoCodes => Err(Fault::Protocol),
            Self::Closing => Ok(421),
            Self::NotNow => Ok(450),
            Self::Never => Ok(550),
        }
    }

    /// Whether the dialogue can go on after it.
    const fn is_reply(self) -> bool {
        matches!(self, Self::NotNow | Self::Never)
    }

    /// Patience everywhere but at the one step.
    fn timeouts(self, set: impl Fn(&mut Timeouts)) -> Timeouts {
        let mut timeouts = patient();
        if matches!(self, Self::Stall | Self::Trickle) {
            set(&mut timeouts);
        }
        timeouts
    }
}

#[tokio::test]
async fn before_mail_every_misbehaviour_is_told_and_another_host_may_do_better() {
    for way in WAYS {
        for (verb, stage) in [("", Stage::Greeting), ("EHLO", Stage::Hello)] {
            let server = Scripted::start(vec![Script::new(&[]).on(verb, 1, &way.acts())]).await;
            let mut options = options(&server);
            options.timeouts = way.timeouts(|timeouts| match stage {
                Stage::Greeting => timeouts.greeting = IMPATIENCE,
                _ => timeouts.hello = IMPATIENCE,
            });
            let opened = connect(MX, server.ip(), &options, &client()).await;
            if (way, stage) == (Way::Never, Stage::Hello) {
                // It may know HELO.
                let mut connection = opened.unwrap();
                assert!(deliver(&mut connection, b"hi\r\n").await.reusable);
                let heard = server.heard(0);
                assert_eq!(heard[..2], ["EHLO out.lumora.example", "HELO out.lumora.example"]);
                assert_eq!(heard[2], "MAIL FROM:<bounces@lumora.example>");
                continue;
            }
            let failure = opened.unwrap_err();
            assert_eq!(short(&failure.outcome), (stage, way.answer()), "{way:?} at {stage:?}");
            assert_eq!(failure.outcome.verdict(), Verdict::Deferred);
            assert!(failure.next_host);
            assert_eq!(&*failure.outcome.peer.unwrap().mx, MX);
            assert_eq!(server.connections(), 1);
        }
    }
}

#[tokio::test]
async fn in_a_transaction_every_misbehaviour_is_told_to_whom_it_concerns() {
    let steps = [
        ("MAIL", 1, Stage::MailFrom),
        ("RCPT", 1, Stage::RcptTo),
        ("RCPT", 2, Stage::RcptTo),
        ("DATA", 1, Stage::Data),
        (".", 1, Stage::EndOfData),
    ];
    for keywords in [&["PIPELINING", "SIZE"][..], &[]] {
        for way in WAYS {
            for (verb, nth, stage) in steps {
                let script = Script::new(keywords).on(verb, nth, &way.acts());
                let server = Scripted::start(vec![script]).await;
                let mut options = options(&server);
                options.timeouts = way.timeouts(|timeouts| match stage {
                    Stage::MailFrom => timeouts.mail = IMPATIENCE,
                    Stage::RcptTo => timeouts.rcpt = IMPATIENCE,
                    Stage::Data => timeouts.data = IMPATIENCE,
                    _ => timeouts.end_of_data = IMPATIENCE,
                });
                let mut connection = connect(MX, server.ip(), &options, &client()).await.unwrap();
                let transaction = deliver(&mut connection, b"hi\r\n").await;
                let case = format!("{way:?} at {verb} {nth}, {keywords:?}");

                let mut answer = (stage, way.answer());
                if stage == Stage::EndOfData && answer.1.is_err() {
                    answer.1 = Err(Fault::OutcomeUnknown);
                }
                let taken = (Stage::EndOfData, Ok(250));
                let expected = match (stage, nth) {
                    (Stage::RcptTo, 1) if way.is_reply() => [answer, taken],
                    (Stage::RcptTo, 2) if way.is_reply() => [taken, answer],
                    _ => [answer, answer],
                };
                assert_eq!(shorts(&transaction), expected, "{case}");
                assert_eq!(transaction.reusable, way.is_reply(), "{case}");
                assert!(!transaction.retry_at_once, "{case}");
                assert_eq!(connection.is_idle_alive(), way.is_reply(), "{case}");
                if way.is_reply() {
                    let next = deliver(&mut connection, b"again\r\n").await;
                    assert_eq!(shorts(&next), [taken, taken], "after {case}");
                }
            }
        }
    }
}

#[tokio::test]
async fn replies_may_come_in_any_segments() {
    for octets in [1, 2, 3, 7] {
        for keywords in [&["PIPELINING", "SIZE 100000", "8BITMIME"][..], &["SIZE"]] {
            let script = Script::new(keywords).in_segments(octets).on(
                "RCPT",
                2,
                &[Act::Say(b"550-5.1.1 no\r\n550-5.1.1 such\r\n550 5.1.1 user\r\n".to_vec())],
            );
            let server = Scripted::start(vec![script]).await;
            let mut connection =
                connect(MX, server.ip(), &options(&server), &client()).await.unwrap();
            let transaction = deliver(&mut connection, b"hi\r\n").await;
            assert_eq!(shorts(&transaction)[0], (Stage::EndOfData, Ok(250)));
            let Answer::Reply(reply) = &transaction.outcomes[1].answer else { panic!() };
            assert_eq!((reply.code, reply.text.as_str()), (550, "no such user"));
        }
    }
}

#[tokio::test]
async fn pipelined_commands_leave_together_and_others_one_by_one() {
    let server = Scripted::start(vec![Script::new(&["pipelining", "size 1000"])]).await;
    let mut connection = connect(MX, server.ip(), &options(&server), &client()).await.unwrap();
    deliver(&mut connection, b".hi\r\n").await;
    let expected = [
        "EHLO out.lumora.example",
        "MAIL FROM:<bounces@lumora.example> SIZE=5",
        "RCPT TO:<ada@b.example>",
        "RCPT TO:<bob@b.example>",
        "DATA",
        "..hi\r\n.\r\n",
    ];
    assert_eq!(server.heard(0), expected);

    // A server that waits for the whole group before it answers would wait for ever otherwise.
    let wait = [Act::HearOctets(50), say("250 ok")];
    let server = Scripted::start(vec![Script::new(&["PIPELINING"]).on("MAIL", 1, &wait)]).await;
    let mut connection = connect(MX, server.ip(), &options(&server), &client()).await.unwrap();
    assert!(deliver(&mut connection, b"hi\r\n").await.reusable);
}

#[tokio::test]
async fn replies_that_nobody_asked_for_are_never_believed() {
    let early = [Act::Say(b"220 hi\r\n250 and yes\r\n".to_vec())];
    let server = Scripted::start(vec![Script::new(&[]).on("", 1, &early)]).await;
    let failure = connect(MX, server.ip(), &options(&server), &client()).await.unwrap_err();
    assert_eq!(short(&failure.outcome), (Stage::Hello, Err(Fault::Protocol)));

    for (early, expected) in [
        ("354 go\r\n250 2.0.0 taken\r\n", (Stage::Transfer, Err(Fault::Protocol))),
        ("354 go\r\n552 5.3.4 too large\r\n", (Stage::Transfer, Ok(552))),
        ("354 go\r\n421 4.3.2 closing\r\n", (Stage::Transfer, Ok(421))),
        ("250 no need\r\n", (Stage::Data, Err(Fault::Protocol))),
    ] {
        let acts = [Act::Say(early.as_bytes().to_vec())];
        let server = Scripted::start(vec![Script::new(&[]).on("DATA", 1, &acts)]).await;
        let mut connection = connect(MX, server.ip(), &options(&server), &client()).await.unwrap();
        let transaction = deliver(&mut connection, b"hi\r\n").await;
        assert_eq!(shorts(&transaction), [expected, expected], "{early:?}");
        assert!(!transaction.reusable);
    }
}

#[tokio::test]
async fn a_go_ahead_for_nobody_gets_a_lone_dot() {
    let script = Script::new(&["PIPELINING"])
        .on("RCPT", 1, &[say("550 5.1.1 no")])
        .on("RCPT", 2, &[say("450 4.2.0 no")])
        .on(".", 1, &[say("554 5.5.1 no recipients")]);
    let server = Scripted::start(vec![script]).await;
    let mut connection = connect(MX, server.ip(), &options(&server), &client()).await.unwrap();
    let transaction = deliver(&mut connection, b"secret\r\n").await;
    assert_eq!(shorts(&transaction), [(Stage::RcptTo, Ok(550)), (Stage::RcptTo, Ok(450))]);
    assert!(transaction.reusable);
    assert_eq!(server.heard(0).last().unwrap(), ".\r\n");
    let next = deliver(&mut connection, b"next\r\n").await;
    assert_eq!(shorts(&next), [(Stage::EndOfData, Ok(250)); 2]);
    assert_eq!(server.heard(0)[6], "RSET", "the lone dot leaves nothing behind");
}

#[tokio::test]
async fn without_a_recipient_there_is_no_data() {
    let script = Script::new(&[])
        .on("RCPT", 1, &[say("550 5.1.1 no")])
        .on("RCPT", 2, &[say("550 5.1.1 no")])
        .on("MAIL", 2, &[say("450 4.7.1 later")]);
    let server = Scripted::start(vec![script]).await;
    let mut connection = connect(MX, server.ip(), &options(&server), &client()).await.unwrap();
    let transaction = deliver(&mut connection, b"hi\r\n").await;
    assert_eq!(shorts(&transaction), [(Stage::RcptTo, Ok(550)); 2]);
    let transaction = deliver(&mut connection, b"hi\r\n").await;
    assert_eq!(shorts(&transaction), [(Stage::MailFrom, Ok(450)); 2]);
    let heard = server.heard(0);
    let verbs: Vec<&str> = heard.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(verbs, ["EHLO", "MAIL", "RCPT", "RCPT", "RSET", "MAIL"]);
}

#[tokio::test]
async fn recipients_that_are_too_many_get_a_transaction_of_their_own_at_once() {
    let taken = (Stage::EndOfData, Ok(250));
    for keywords in [&["PIPELINING"][..], &[]] {
        for refusal in ["452 4.5.3 too many", "552 5.5.3 too many", "452 too many recipients"] {
            let script = Script::new(keywords).on("RCPT", 2, &[say(refusal)]);
            let server = Scripted::start(vec![script]).await;
            let mut connection =
                connect(MX, server.ip(), &options(&server), &client()).await.unwrap();
            let transaction = deliver(&mut connection, b"hi\r\n").await;
            assert_eq!(shorts(&transaction), [taken, taken], "{refusal} {keywords:?}");
            let heard = server.heard(0);
            let verbs: Vec<&str> = heard.iter().map(|line| &line[..4]).collect();
            let expected = [
                "EHLO", "MAIL", "RCPT", "RCPT", "DATA", "hi\r\n", "MAIL", "RCPT", "DATA", "hi\r\n",
            ];
            assert_eq!(verbs, expected, "{refusal} {keywords:?}");
            assert_eq!(heard[7], "RCPT TO:<bob@b.example>");
        }
    }
    // No room is something else; and when the server takes nobody, or not the message, asking
    // again would be the same question.
    let again_later = (Stage::RcptTo, Ok(452));
    for (first, second, dot, expected) in [
        ("250 ok", "452 4.3.1 no room", "250 ok", [taken, again_later]),
        ("452 4.5.3 no", "452 4.5.3 no", "250 ok", [again_later, again_later]),
        ("250 ok", "452 4.5.3 no", "554 5.6.0 no", [(Stage::EndOfData, Ok(554)), again_later]),
    ] {
        let script = Script::new(&[])
            .on("RCPT", 1, &[say(first)])
            .on("RCPT", 2, &[say(second)])
            .on(".", 1, &[say(dot)]);
        let server = Scripted::start(vec![script]).await;
        let mut connection = connect(MX, server.ip(), &options(&server), &client()).await.unwrap();
        let transaction = deliver(&mut connection, b"hi\r\n").await;
        assert_eq!(shorts(&transaction), expected, "{second}");
        assert_eq!(connection.transactions(), 1);
    }
    // What is lost on the second way says so, and the first transaction stands.
    let script = Script::new(&[]).on("RCPT", 2, &[say("452 4.5.3 no")]).on(".", 2, &[Act::Close]);
    let server = Scripted::start(vec![script]).await;
    let mut connection = connect(MX, server.ip(), &options(&server), &client()).await.unwrap();
    let transaction = deliver(&mut connection, b"hi\r\n").await;
    let unknown = (Stage::EndOfData, Err(Fault::OutcomeUnknown));
    assert_eq!(shorts(&transaction), [taken, unknown]);
    assert!(!transaction.retry_at_once);
}

#[tokio::test]
async fn a_receiver_that_does_not_read_is_left() {
    let message = b"0123456789abcdef\r\n".repeat(2_000_000);
    let (second, hour) = (Duration::from_secs(1), Duration::from_hours(1));
    for (act, block, transaction, least_octets_per_s) in [
        // One block takes too long, whatever the whole may take.
        (Act::Deaf, IMPATIENCE, hour, 1),
        // Each block is taken in time, and all of them would take several seconds.
        (Act::Sip, second, hour, u32::MAX),
        // The whole transaction has an end.
        (Act::Sip, hour, second, 1),
    ] {
        let acts = [say("354 go"), act];
        let server = Scripted::start(vec![Script::new(&[]).on("DATA", 1, &acts)]).await;
        let mut options = options(&server);
        options.timeouts = Timeouts { block, transaction, least_octets_per_s, ..patient() };
        let mut connection = connect(MX, server.ip(), &options, &client()).await.unwrap();
        let transaction = deliver(&mut connection, &message).await;
        assert_eq!(shorts(&transaction), [(Stage::Transfer, Err(Fault::Timeout)); 2]);
        assert!(!transaction.reusable);
    }
}

#[tokio::test]
async fn a_receiver_that_closes_in_the_middle_is_heard() {
    let message = b"0123456789abcdef\r\n".repeat(1_000_000);
    let read = Act::HearOctets(100_000);
    for (acts, expected) in [
        (vec![say("354 go"), read.clone(), say("552 5.3.4 too large"), Act::Close], Ok(552)),
        (vec![say("354 go"), read.clone(), Act::Close], Err(Fault::Disconnected)),
        (vec![say("354 go"), read, Act::Reset], Err(Fault::Disconnected)),
    ] {
        let server = Scripted::start(vec![Script::new(&[]).on("DATA", 1, &acts)]).await;
        let mut connection = connect(MX, server.ip(), &options(&server), &client()).await.unwrap();
        let transaction = deliver(&mut connection, &message).await;
        assert_eq!(shorts(&transaction), [(Stage::Transfer, expected); 2]);
    }
}

/// Waits until the client's end has learned that the server left.
async fn until_dead(connection: &mut Connection) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while connection.is_idle_alive() {
        assert!(tokio::time::Instant::now() < deadline, "the connection stays alive");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_kept_connection_that_died_may_be_replaced_at_once() {
    for last in [vec![Act::Close], vec![say("421 4.4.2 idle for too long"), Act::Close]] {
        let mut acts = vec![say("250 2.0.0 taken")];
        acts.extend(last);
        let server = Scripted::start(vec![Script::new(&[]).on(".", 1, &acts)]).await;
        let mut connection = connect(MX, server.ip(), &options(&server), &client()).await.unwrap();
        assert!(connection.is_idle_alive());
        let first = deliver(&mut connection, b"hi\r\n").await;
        assert_eq!(shorts(&first), [(Stage::EndOfData, Ok(250)); 2]);
        until_dead(&mut connection).await;
        let second = deliver(&mut connection, b"hi\r\n").await;
        assert!(second.retry_at_once && !second.reusable);
        assert_eq!(shorts(&second), [(Stage::MailFrom, Err(Fault::Disconnected)); 2]);
        assert_eq!(server.heard(0).len(), 6, "it was not told of the second message");
    }
    // The same at MAIL itself; once MAIL was answered, never again.
    for keywords in [&["PIPELINING"][..], &[]] {
        for (verb, nth, at_once) in
            [("MAIL", 1, false), ("MAIL", 2, true), ("RCPT", 3, false), ("DATA", 2, false)]
        {
            let script = Script::new(keywords).on(verb, nth, &[Act::Close]);
            let server = Scripted::start(vec![script]).await;
            let mut connection =
                connect(MX, server.ip(), &options(&server), &client()).await.unwrap();
            let mut transaction = deliver(&mut connection, b"hi\r\n").await;
            if transaction.reusable {
                transaction = deliver(&mut connection, b"hi\r\n").await;
            }
            assert_eq!(transaction.retry_at_once, at_once, "{verb} {nth} {keywords:?}");
            assert!(!transaction.reusable);
        }
    }
}

#[tokio::test]
async fn a_delivery_that_is_dropped_half_way_spoils_the_connection() {
    let script = Script::new(&[]).on("RCPT", 1, &[Act::Stall]);
    let server = Scripted::start(vec![script]).await;
    let mut connection = connect(MX, server.ip(), &options(&server), &client()).await.unwrap();
    let dropped = tokio::time::timeout(IMPATIENCE, deliver(&mut connection, b"hi\r\n")).await;
    assert!(dropped.is_err());
    assert!(!connection.is_idle_alive());
    let next = deliver(&mut connection, b"hi\r\n").await;
    assert!(next.retry_at_once && !next.reusable);
}

#[tokio::test]
async fn a_server_that_leaves_at_ehlo_after_refusing_it_is_quoted() {
    let script =
        Script::new(&[]).on("EHLO", 1, &[say("550 5.7.1 your address is listed"), Act::Close]);
    let server = Scripted::start(vec![script]).await;
    let failure = connect(MX, server.ip(), &options(&server), &client()).await.unwrap_err();
    assert_eq!(short(&failure.outcome), (Stage::Hello, Ok(550)));
    let Answer::Reply(reply) = failure.outcome.answer else { panic!() };
    assert_eq!(reply.text, "your address is listed");
}

#[tokio::test]
async fn tls_that_is_required_and_not_offered_sends_no_mail() {
    let server = Scripted::start(vec![Script::new(&["PIPELINING"])]).await;
    let required = ClientOptions { tls: TlsPolicy::Required, ..options(&server) };
    let failure = connect(MX, server.ip(), &required, &client()).await.unwrap_err();
    assert_eq!(short(&failure.outcome), (Stage::StartTls, Err(Fault::TlsRequired)));
    assert_eq!(server.heard(0), ["EHLO out.lumora.example", "QUIT"]);
}
