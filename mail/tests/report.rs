//! Reports as servers write them, and what is read from them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "tests fail loudly"
)]

use std::{collections::BTreeSet, path::PathBuf};

use mail::report::{Action, Fate, FeedbackKind, MAX_FATES, Report, read};
use model::delivery::BounceClass;
use proptest::prelude::*;

/// A message of these lines.
fn message(lines: &[&str]) -> Vec<u8> {
    lines.join("\r\n").into_bytes()
}

fn status_report(per_recipient: &[&str]) -> Vec<u8> {
    let top = [
        "From: Mail Delivery System <MAILER-DAEMON@mx.reader.example>",
        "To: bounce+token@bounces.acme.example",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        "Content-Type: multipart/report; report-type=delivery-status; boundary=\"b\"",
        "",
        "--b",
        "Content-Type: text/plain",
        "",
        "Your message to someone.else@reader.example could not be delivered.",
        "--b",
        "Content-Type: message/delivery-status",
        "",
        "Reporting-MTA: dns; mx.reader.example",
        "",
    ];
    let end = ["--b", "Content-Type: text/rfc822-headers", "", "Subject: Hello", "", "--b--", ""];
    message(&[&top[..], per_recipient, &end[..]].concat())
}

fn fates(octets: &[u8]) -> Vec<Fate> {
    match read(octets) {
        Report::Delivery(fates) => fates,
        other => panic!("{other:?}"),
    }
}

fn names(fate: &Fate) -> Vec<String> {
    fate.addresses.iter().map(ToString::to_string).collect()
}

#[test]
fn a_status_report_names_each_recipient_and_why() {
    let report = status_report(&[
        "Original-Recipient: rfc822;ada@reader.example",
        "Final-Recipient: rfc822; ada.lovelace@inner.reader.example",
        "Action: failed",
        "Status: 5.0.0",
        "Diagnostic-Code: smtp; 550 5.1.1 <ada.lovelace@inner.reader.example>:",
        "    Recipient address rejected: User unknown",
        "",
        "Final-Recipient: RFC822;<grace@reader.example>",
        "Action: delayed",
        "Status: 4.4.1 (no answer from host)",
        "",
        "Final-Recipient: rfc822; joan@reader.example",
        "Action: relayed",
        "Status: 2.0.0",
        "",
    ]);
    let fates = fates(&report);
    assert_eq!(fates.len(), 3);
    assert_eq!(fates[0].action, Action::Failed);
    assert_eq!(names(&fates[0]), ["ada@reader.example", "ada.lovelace@inner.reader.example"]);
    let why = &fates[0].diagnosis;
    assert_eq!((why.code, why.enhanced.unwrap().to_string().as_str()), (Some(550), "5.1.1"));
    assert_eq!(why.class(), BounceClass::Recipient);
    assert!(why.text.ends_with("rejected: User unknown"), "{}", why.text);
    assert_eq!(
        (fates[1].action, names(&fates[1])),
        (Action::Delayed, vec!["grace@reader.example".into()])
    );
    assert_eq!(fates[1].diagnosis.enhanced.unwrap().to_string(), "4.4.1");
    assert_eq!(fates[2].action, Action::Delivered);
}

#[test]
fn nobody_is_gone_for_a_fault_that_lasted_too_long() {
    let report = status_report(&[
        "Final-Recipient: rfc822; ada@reader.example",
        "Action: failed",
        "Status: 4.1.1",
        "",
    ]);
    assert_eq!(fates(&report)[0].diagnosis.class(), BounceClass::Unknown);
    let report = status_report(&[
        "Final-Recipient: rfc822; ada@reader.example",
        "Action: failed",
        "Diagnostic-Code: smtp; 552 5.2.2 mailbox full",
        "",
    ]);
    assert_eq!(fates(&report)[0].diagnosis.class(), BounceClass::MailboxFull);
}

/// A report in three parts, as `server` would write it: for people, for programs, and the message.
fn report_of(from: &str, people: &[&str], programs: &[&str]) -> Vec<u8> {
    let from = format!("From: {from}");
    let top = [
        from.as_str(),
        "To: bounce+token@bounces.acme.example",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        "Content-Type: multipart/report; report-type=delivery-status; boundary=b",
        "",
        "--b",
        "Content-Type: text/plain; charset=us-ascii",
        "",
    ];
    let status = ["", "--b", "Content-Type: message/delivery-status", ""];
    let end = ["", "--b", "Content-Type: text/rfc822-headers", "", "Subject: Hello", "", "--b--"];
    message(&[&top[..], people, &status, programs, &end].concat())
}

#[test]
fn what_a_server_tells_people_alone_is_read_for_the_recipient_whom_it_is_said_of() {
    // Exim 4.96 about an address that it has no mailbox for.
    let exim = report_of(
        "Mail Delivery System <Mailer-Daemon@mx.reader.example>",
        &[
            "This message was created automatically by mail delivery software.",
            "",
            "A message that you sent could not be delivered to one or more of its",
            "recipients. This is a permanent error. The following address(es) failed:",
            "",
            "  ada@reader.example",
            "    Unrouteable address",
            "",
            "  grace@reader.example",
            "    mailbox is full: retry timeout exceeded",
        ],
        &[
            "Reporting-MTA: dns; mx.reader.example",
            "",
            "Action: failed",
            "Final-Recipient: rfc822;ada@reader.example",
            "Status: 5.0.0",
            "",
            "Action: failed",
            "Final-Recipient: rfc822;grace@reader.example",
            "Status: 5.0.0",
        ],
    );
    // OpenSMTPD 6.8 about what another server said.
    let opensmtpd = report_of(
        "Mailer Daemon <MAILER-DAEMON@mx.reader.example>",
        &[
            "    Hi!",
            "",
            "    This is the MAILER-DAEMON, please DO NOT REPLY to this email.",
            "",
            "    An error has occurred while attempting to deliver a message for",
            "    the following list of recipients:",
            "",
            "ada@reader.example: 550 5.1.1 no such user here",
            "grace@reader.example: 552 5.2.2 the mailbox is full",
            "",
            "    Below is a copy of the original message:",
        ],
        &[
            "Reporting-MTA: dns; mx.reader.example",
            "",
            "Final-Recipient: rfc822; ada@reader.example",
            "Action: failed",
            "Status: 5.0.0",
            "",
            "Final-Recipient: rfc822; grace@reader.example",
            "Action: failed",
            "Status: 5.0.0",
        ],
    );
    for (report, code, words) in
        [(exim, None, "Unrouteable address"), (opensmtpd, Some(550), "550 5.1.1 no such user here")]
    {
        let fates = fates(&report);
        let told: Vec<_> = fates.iter().map(|f| (names(f), f.diagnosis.class())).collect();
        let expected = [
            (vec!["ada@reader.example".to_owned()], BounceClass::Recipient),
            (vec!["grace@reader.example".to_owned()], BounceClass::MailboxFull),
        ];
        assert_eq!(told, expected);
        let why = &fates[0].diagnosis;
        assert_eq!((why.code, why.text.as_str()), (code, words));
    }
}

#[test]
fn a_report_without_a_recipient_field_is_read_for_its_words() {
    let report = status_report(&["X-Nothing: here", ""]);
    // Marked as an automatic reply, but by an office, and its words say that it failed.
    let fates = fates(&report);
    assert_eq!(
        (fates[0].action, names(&fates[0])),
        (Action::Failed, vec!["someone.else@reader.example".into()])
    );
}

#[test]
fn a_notice_in_words_tells_who_and_why_but_not_what_its_copy_holds() {
    let notice = message(&[
        "From: MAILER-DAEMON@mx.reader.example",
        "To: bounce+token@bounces.acme.example",
        "Subject: failure notice",
        "",
        "This is the mail program at mx.reader.example.",
        "Your message could not be delivered to these addresses:",
        "",
        "<ada@reader.example>:",
        "Sorry, no mailbox here by that name. (#5.1.1)",
        "<grace@reader.example>: 552 the mailbox is full",
        "",
        "Ask postmaster@mx.reader.example for help.",
        "--- Below this line is a copy of the message.",
        "To: joan@reader.example",
        "",
    ]);
    let fates = fates(&notice);
    let told: Vec<_> = fates.iter().map(|f| (names(f), f.diagnosis.class())).collect();
    assert_eq!(
        told,
        [
            (vec!["ada@reader.example".to_owned()], BounceClass::Recipient),
            (vec!["grace@reader.example".to_owned()], BounceClass::MailboxFull),
        ]
    );
    assert!(fates.iter().all(|fate| fate.action == Action::Failed));
}

#[test]
fn a_warning_is_a_delay() {
    let notice = message(&[
        "From: postmaster@mx.reader.example",
        "Subject: Warning: could not send message for past 4 hours",
        "",
        "Your message has not yet been delivered to ada@reader.example. It will be retried.",
        "",
    ]);
    let fates = fates(&notice);
    assert_eq!(
        (fates[0].action, names(&fates[0])),
        (Action::Delayed, vec!["ada@reader.example".into()])
    );
}

#[test]
fn whoever_is_away_has_not_bounced() {
    for field in [
        "Auto-Submitted: auto-replied (vacation)",
        "Precedence: auto_reply",
        "X-Autoreply: yes",
        "Subject: Out of Office: your order",
    ] {
        let reply = message(&[
            "From: Ada <ada@reader.example>",
            "To: bounce+token@bounces.acme.example",
            field,
            "",
            "I am away; messages to grace@reader.example are not rejected.",
            "",
        ]);
        assert_eq!(read(&reply), Report::AutomaticReply, "{field}");
    }
    let letter = message(&["From: a@b.example", "Subject: Hello", "", "How are you?", ""]);
    assert_eq!(read(&letter), Report::Other);
    assert_eq!(read(b""), Report::Other);
}

fn feedback(kind: &str, copy: &[&str]) -> Vec<u8> {
    let kind = format!("Feedback-Type: {kind}");
    let top = [
        "From: <complaints@provider.example>",
        "MIME-Version: 1.0",
        "Content-Type: multipart/report; report-type=feedback-report; boundary=b",
        "",
        "--b",
        "Content-Type: text/plain",
        "",
        "This is a complaint. It could not be delivered by anybody@else.example.",
        "--b",
        "Content-Type: message/feedback-report",
        "",
        &kind,
        "User-Agent: Loop/1.0",
        "Version: 1",
        "Original-Mail-From: <bounce+one@bounces.acme.example>",
        "Original-Rcpt-To: <ada@provider.example>",
        "",
        "--b",
    ];
    message(&[&top[..], copy, &["--b--", ""][..]].concat())
}

#[test]
fn a_complaint_tells_the_envelope_of_the_message() {
    let copy = [
        "Content-Type: message/rfc822",
        "",
        "Return-Path: <bounce+two@bounces.acme.example>",
        "To: Ada <ada@provider.example>",
        "Subject: Hello",
        "",
        "text",
    ];
    let headers = [&["Content-Type: text/rfc822-headers"][..], &copy[1..5]].concat();
    for copy in [&copy[..], &headers] {
        let Report::Feedback(complaint) = read(&feedback("abuse", copy)) else { panic!() };
        assert_eq!(complaint.kind, FeedbackKind::Unwanted);
        let senders: Vec<_> = complaint.senders.iter().map(ToString::to_string).collect();
        assert_eq!(senders, ["bounce+one@bounces.acme.example", "bounce+two@bounces.acme.example"]);
        let recipients: BTreeSet<_> =
            complaint.recipients.iter().map(ToString::to_string).collect();
        assert_eq!(recipients, BTreeSet::from(["ada@provider.example".to_owned()]));
    }
    for (kind, expected) in [
        ("not-spam", FeedbackKind::NotSpam),
        ("auth-failure", FeedbackKind::AuthenticationFailure),
        ("opt-out", FeedbackKind::Unwanted),
        ("something-new", FeedbackKind::Unwanted),
    ] {
        let Report::Feedback(complaint) = read(&feedback(kind, &copy)) else { panic!("{kind}") };
        assert_eq!(complaint.kind, expected, "{kind}");
    }
}

#[test]
fn a_bomb_of_a_report_is_read_in_part() {
    let one = ["Final-Recipient: rfc822; ada@reader.example", "Action: failed", ""];
    let many: Vec<&str> = one.into_iter().cycle().take(30_000).collect();
    assert!(fates(&status_report(&many)).len() <= MAX_FATES);
    let nested = "Content-Type: message/rfc822\r\n\r\n".repeat(20_000);
    assert_eq!(read(nested.as_bytes()), Report::Other);
    let digest = "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\n".repeat(10_000);
    assert_eq!(read(digest.as_bytes()), Report::Other);
    let parts = format!(
        "Content-Type: multipart/report; boundary=b\r\n\r\n{}",
        "--b\r\nContent-Type: text/plain\r\n\r\nx\r\n".repeat(20_000)
    );
    assert_eq!(read(parts.as_bytes()), Report::Other);
}

proptest! {
    #[test]
    fn any_octets_are_read(octets in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        read(&octets);
    }

    #[test]
    fn any_lines_in_a_report_are_read(
        lines in proptest::collection::vec("[ -~é]{0,60}", 0..30)
    ) {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        read(&status_report(&lines));
        read(&feedback("abuse", &lines));
    }
}

/// The share of other people's samples that is read rightly. `BOUNCE_SAMPLES` names a directory
/// with the messages and a file `expected`, whose lines are: file, `failed`, `delayed` or `none`,
/// and the addresses, parted by blanks. `.ci/bounces` makes it.
#[test]
#[ignore = "needs the samples that .ci/bounces fetches"]
fn the_share_of_samples_read_rightly() {
    let dir = PathBuf::from(std::env::var("BOUNCE_SAMPLES").unwrap());
    let expected = std::fs::read_to_string(dir.join("expected")).unwrap();
    let (mut exact, mut usable, mut all) = (0, 0, 0);
    for line in expected.lines() {
        let mut words = line.split(' ').filter(|word| !word.is_empty());
        let (file, action) = (words.next().unwrap(), words.next().unwrap());
        let expected: BTreeSet<String> = words.map(str::to_lowercase).collect();
        let octets = std::fs::read(dir.join(file)).unwrap();
        let (found_action, found) = match read(&octets) {
            Report::Delivery(fates) => {
                let action = match fates[0].action {
                    Action::Failed => "failed",
                    Action::Delayed => "delayed",
                    Action::Delivered => "delivered",
                };
                let found = fates.iter().flat_map(names);
                (action, found.map(|name| name.to_lowercase()).collect())
            }
            _ => ("none", BTreeSet::new()),
        };
        all += 1;
        let is_exact = found_action == action && found == expected;
        let is_usable = found_action == action && found.is_superset(&expected);
        exact += usize::from(is_exact);
        usable += usize::from(is_usable);
        if !is_exact {
            println!("{file}: {action} {expected:?}, read as {found_action} {found:?}");
        }
    }
    println!("{all} samples: {exact} read exactly, {usable} with everybody found");
    assert!(all >= 90, "{all} samples");
    assert!(usable * 100 >= all * 90, "{usable} of {all}");
}

#[test]
fn what_a_message_says_is_decoded_in_its_parts_and_those_inside_it() {
    let encoded = "=\r\nada=40reader.test";
    let message = format!(
        "From: a@b.test\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n\
         --x\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n\
         Z3JhY2VAcmVhZGVyLnRlc3Q=\r\n\
         --x\r\nContent-Type: message/rfc822\r\n\r\n\
         To: x@y.test\r\nContent-Type: text/plain\r\n\
         Content-Transfer-Encoding: quoted-printable\r\n\r\n{encoded}\r\n--x--\r\n"
    );
    let said = mail::report::texts(message.as_bytes()).join("\n");
    for address in ["a@b.test", "grace@reader.test", "x@y.test", "ada@reader.test"] {
        assert!(said.contains(address), "{address}: {said}");
    }
}
