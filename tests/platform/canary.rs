//! Invariant: personal data lives in sealed content alone. A message full of marked words is sent,
//! and none of them stands anywhere on disk or in what the server printed, in no usual encoding.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use eventlog::{EventLog, Log, LogOptions, Position, Purpose, Recorded};
use mail::sink::{Action, Asked, MessageAction, Policy, Received, SinkReply};
use model::{
    StreamId,
    content::{Body, Head},
    event::Event,
    message::MessageEvent,
};
use projections::ReadModels;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    client::{Client, kinds},
    process::{run_json, serve, sign_up},
    world::World,
};

/// What is personal, each with a word of its own.
pub(crate) const WORDS: [&str; 20] = [
    "qzcanaryfromname",
    "qzcanaryfromlocal",
    "qzcanarytoname",
    "qzcanarytolocal",
    "qzcanarycclocal",
    "qzcanarybcclocal",
    "qzcanaryreplytoname",
    "qzcanaryreplytolocal",
    "qzcanarysubject",
    "qzcanaryhtml",
    "qzcanarytext",
    "qzcanaryheader",
    "qzcanarymetaname",
    "qzcanarymetavalue",
    "qzcanaryfilename",
    "qzcanaryfilebytes",
    "qzcanaryidempotency",
    "qzcanarydeferral",
    "qzcanaryrefusal",
    "qzcanarydelivery",
];

pub(crate) fn email() -> Value {
    json!({
        "from": { "email": "qzcanaryfromlocal@sender.test", "name": "Qzcanaryfromname" },
        "to": ["qzcanarytoname <qzcanarytolocal@reader.test>"],
        "cc": ["qzcanarycclocal@reader.test"],
        "bcc": ["qzcanarybcclocal@reader.test"],
        "replyTo": ["qzcanaryreplytoname <qzcanaryreplytolocal@reader.test>"],
        "subject": "About qzcanarysubject",
        "html": "<p>qzcanaryhtml</p>",
        "text": "qzcanarytext",
        "headers": { "X-Reference": "qzcanaryheader" },
        "metadata": { "qzcanarymetaname": "qzcanarymetavalue" },
        "attachments": [{
            "filename": "qzcanaryfilename.txt",
            "content": STANDARD.encode("qzcanaryfilebytes"),
        }],
    })
}

/// A receiver that echoes whom it was asked for, of those who are marked.
#[derive(Default)]
pub(crate) struct Echo(parking_lot::Mutex<BTreeSet<String>>);

impl Policy for Echo {
    fn recipient(&self, asked: Asked<'_>) -> Action {
        let who = asked.recipient;
        if who.starts_with("qzcanarybcclocal") {
            let text = format!("5.1.1 <{who}> qzcanaryrefusal");
            return Action::Reply(SinkReply::new(550, text));
        }
        if who.starts_with("qzcanary") && self.0.lock().insert(who.to_owned()) {
            let text = format!("4.7.1 <{who}> qzcanarydeferral");
            return Action::Reply(SinkReply::new(451, text));
        }
        Action::Accept
    }

    fn message(&self, message: &Received) -> MessageAction {
        let who = message.recipients.join(",");
        if !who.contains("qzcanary") {
            return MessageAction::Reply(SinkReply::new(250, "2.0.0 taken".to_owned()));
        }
        let text = format!("2.0.0 <{who}> qzcanarydelivery");
        MessageAction::Reply(SinkReply::new(250, text))
    }
}

/// Finds a word as it is, in either case, in hexadecimal, in base64 wherever it begins, and in
/// quoted-printable, with each octet escaped or with a soft line break anywhere.
pub(crate) struct Search {
    needles: Vec<(&'static str, Vec<u8>)>,
}

impl Search {
    pub(crate) fn new(words: &[&'static str]) -> Self {
        let mut needles = Vec::new();
        for word in words {
            let hex: Vec<String> = word.bytes().map(|byte| format!("{byte:02x}")).collect();
            needles.push((*word, word.as_bytes().to_vec()));
            needles.push((*word, hex.concat().into_bytes()));
            needles.push((*word, format!("={}", hex.join("=")).into_bytes()));
            for at in 1..word.len() {
                let (before, after) = word.split_at(at);
                needles.push((*word, format!("{before}=\r\n{after}").into_bytes()));
                needles.push((*word, format!("{before}=\n{after}").into_bytes()));
            }
            for before in 0..3 {
                let padded = [&vec![0; before][..], word.as_bytes()].concat();
                let encoded = STANDARD.encode(&padded);
                // Characters that hold bits of a neighbour are left out.
                let (start, end) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
                needles.push((*word, encoded.as_bytes()[start..end].to_ascii_lowercase()));
            }
        }
        Self { needles }
    }

    pub(crate) fn find(&self, haystack: &[u8]) -> Option<&'static str> {
        let haystack = haystack.to_ascii_lowercase();
        let mut needles = self.needles.iter();
        let found = needles.find(|(_, needle)| memchr::memmem::find(&haystack, needle).is_some());
        found.map(|(word, _)| *word)
    }
}

pub(crate) fn files_below(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_below(&path, found) } else { found.push(path) }
    }
}

/// A file without its long runs of zeros: much of the disk is set aside and empty.
pub(crate) fn bytes_of(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    let mut kept = Vec::new();
    for block in bytes.chunks(4_096) {
        if block.iter().any(|byte| *byte != 0) {
            kept.extend_from_slice(block);
        }
    }
    kept
}

pub(crate) fn every_event(log: &dyn EventLog) -> Vec<Recorded> {
    let mut events: Vec<Recorded> = Vec::new();
    loop {
        let after = events.last().map_or(Position::START, |event| event.position);
        let page = log.read_all(after, 1_000).unwrap();
        if page.is_empty() {
            return events;
        }
        events.extend(page);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn personal_data_stands_in_sealed_content_alone() {
    let search = Search::new(&WORDS);
    for (word, text) in [("qzcanarytext", "x qzcanarytext"), ("qzcanarytext", "ab QzCanaryText")] {
        assert_eq!(search.find(text.as_bytes()), Some(word));
        assert_eq!(search.find(STANDARD.encode(text.to_lowercase()).as_bytes()), Some(word));
    }
    for text in ["xqzcanary=\r\ntext", "=71=7A=63=61=6E=61=72=79=74=65=78=74"] {
        assert_eq!(search.find(text.as_bytes()), Some("qzcanarytext"), "{text}");
    }
    assert_eq!(search.find(b"nothing of it"), None);

    let world = World::new().await;
    world.receives("reader.test");
    world.inbox.obey(Echo::default());
    let file = world.config_file("300ms");
    let secret = sign_up(&world, &file);
    let own = ["lumora", "api", "actors", "mail", "projections", "eventlog", "model"];
    let talkative = own.map(|room| format!("{room}=trace")).join(",");
    let (server, url) = serve(&file, &[("RUST_LOG", &talkative)]);
    let api = Client::new(url, Some(&secret));
    let sent = api.send_once(&email(), "qzcanaryidempotency").await.expect(202);
    let id = sent["messageId"].as_str().unwrap();
    let read = api.ended(id).await;
    assert_eq!(read["message"]["status"], "partially_delivered", "{read}");
    assert!(kinds(&read).contains(&"deferred"));
    // Who may see it sees it.
    let shown = read.to_string();
    for word in ["qzcanarysubject", "qzcanarymetavalue", "qzcanaryrefusal", "qzcanarydelivery"] {
        assert!(shown.contains(word), "{word} is not shown: {shown}");
    }
    api.all_logs("recipient=qzcanarytolocal@reader.test").await;
    api.get("/v1/emails/stats?groupBy=recipientDomain").await.expect(200);
    api.get("/metrics").await;
    // Refused requests must not leak either.
    let bad = json!({ "to": ["qzcanarytolocal@@reader.test"], "subject": "qzcanarysubject" });
    let refused = api.send(&bad).await;
    assert_eq!((refused.status, search.find(refused.text.as_bytes())), (422, None));
    server.signal(Signal::TERM);
    let (output, errors) = (server.output.clone(), server.errors.clone());
    assert!(server.wait().await.success());
    let printed = output.text() + &errors.text();
    assert!(printed.contains("listening"), "nothing was printed at all");
    assert_eq!(search.find(printed.as_bytes()), None, "printed:\n{printed}");
    assert!(!printed.contains(&secret[12..]), "the key's secret was printed");

    // Every file as it lies on the disk.
    let mut files = Vec::new();
    files_below(&world.data_dir(), &mut files);
    assert!(files.len() > 5, "{files:?}");
    let secrets =
        Search { needles: vec![("secret", secret[12..].to_ascii_lowercase().into_bytes())] };
    for path in &files {
        let bytes = bytes_of(path);
        assert_eq!(search.find(&bytes), None, "{}", path.display());
        assert_eq!(secrets.find(&bytes), None, "{}", path.display());
    }

    let exported = run_json(&["log", "stats"], &file);
    assert!(exported["head"].as_u64().unwrap() > 5);
    inside(&world, &search).await;
}

/// The same for what is compressed or folded, and that the content itself is whole.
async fn inside(world: &World, search: &Search) {
    let config = world.config();
    let vault = lumora::keys::vault(&config).unwrap();
    let log = Log::open(&config.log_dir(), LogOptions::default()).unwrap();
    let log: Arc<dyn EventLog> = Arc::new(log);
    let events = every_event(&*log);
    let mut content = Vec::new();
    for recorded in &events {
        assert_eq!(search.find(&recorded.data), None, "position {}", recorded.position);
        let event = Event::decode(recorded.stream, &recorded.data).unwrap();
        let (StreamId::Message(id), Event::Message(MessageEvent::Accepted(_))) =
            (recorded.stream, event)
        else {
            continue;
        };
        let open = |part: usize, purpose| {
            let sealed = log.read_content(&recorded.content[part]).unwrap();
            assert_eq!(search.find(sealed.as_bytes()), None);
            vault.open(purpose, id.as_bytes(), &sealed).unwrap()
        };
        let head = open(0, Purpose::MessageHead);
        let body = open(1, Purpose::MessageBody);
        Head::from_bytes(&head).unwrap();
        Body::from_bytes(&body).unwrap();
        content.extend(head.to_ascii_lowercase());
        content.extend(body.to_ascii_lowercase());
    }
    let content = String::from_utf8_lossy(&content);
    let replies =
        ["idempotency", "deferral", "refusal", "delivery"].map(|w| format!("qzcanary{w}"));
    for word in WORDS.iter().filter(|word| !replies.contains(&(**word).to_owned())) {
        assert!(content.contains(word), "{word} was lost");
    }
    let read = ReadModels::open(&config.read_dir(), Arc::clone(&log), vault).unwrap();
    for name in ReadModels::names() {
        if let Some(dump) = read.dump(name).unwrap() {
            assert_eq!(search.find(&dump), None, "{name}");
        }
    }
    drop(read);
    log.close().await.unwrap();
}
