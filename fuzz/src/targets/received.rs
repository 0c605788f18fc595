//! What a client says to the listener that takes bounces.

use std::{cell::RefCell, net::SocketAddr, sync::Arc, time::Duration};

use mail::sink::{AcceptAll, Receiver, SinkOptions};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    runtime::{Builder, Runtime},
    sync::mpsc,
};

/// Messages that one run is let through.
const MAX_MESSAGES: usize = 64;
const MAX_MESSAGE_OCTETS: usize = 4_096;
const MAX_RECIPIENTS: usize = 5;

thread_local! {
    static RUNTIME: RefCell<Runtime> =
        RefCell::new(Builder::new_current_thread().enable_time().build().unwrap());
}

pub(super) fn run(octets: &[u8]) {
    let (inbox, mut messages) = mpsc::channel(MAX_MESSAGES);
    let options = SinkOptions {
        name: "mx.example".to_owned(),
        max_message_octets: MAX_MESSAGE_OCTETS,
        max_recipients: MAX_RECIPIENTS,
        longest_connection: Some(Duration::from_secs(5)),
        ..SinkOptions::default()
    };
    let receiver = Receiver::new(options, Arc::new(AcceptAll), Some(inbox));
    let said = RUNTIME.with_borrow(|runtime| {
        runtime.block_on(async {
            let (ours, theirs) = tokio::io::duplex(octets.len().max(1) + 64 * 1024);
            let (mut reading, mut writing) = tokio::io::split(ours);
            let from = SocketAddr::from(([192, 0, 2, 1], 25));
            let mut said = Vec::new();
            let speak = async {
                // It may have left: then the rest is nobody's.
                drop(writing.write_all(octets).await);
                drop(writing.shutdown().await);
            };
            let hear = reading.read_to_end(&mut said);
            let (.., heard) = tokio::join!(receiver.receive(Box::new(theirs), from), speak, hear);
            drop(heard);
            said
        })
    });
    check_replies(&said);
    while let Ok(message) = messages.try_recv() {
        assert!(message.data.len() <= MAX_MESSAGE_OCTETS, "{} octets", message.data.len());
        assert!(!message.recipients.is_empty() && message.recipients.len() <= MAX_RECIPIENTS);
        let data = &message.data;
        let line_ends = data.iter().filter(|octet| **octet == b'\n').count();
        let pairs = data.windows(2).filter(|pair| pair == b"\r\n").count();
        assert_eq!(line_ends, pairs, "a bare LF was taken");
        for address in message.recipients.iter().chain([&message.mail_from]) {
            assert!(!address.contains(['\r', '\n', '\0']), "{address:?}");
        }
    }
}

/// Each line is a reply of our own.
fn check_replies(said: &[u8]) {
    let said = std::str::from_utf8(said).expect("replies are ASCII");
    for line in said.split_terminator("\r\n") {
        let code = line.get(..3).unwrap_or_default();
        assert!(code.bytes().all(|digit| digit.is_ascii_digit()), "{line:?}");
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}
