//! Every event that was ever shipped, as it stands in logs out there.
//!
//! A file is called after the event's `type`, with `+` and a word where there are several. Files
//! are added and never changed: an event in a new version gets a new file, and the old one must
//! still decode.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests fail loudly"
)]

use std::{collections::BTreeSet, fs, path::Path};

use model::{
    ApiKeyId, By, Cause, DomainId, ErasureId, Event, InstanceId, LetterId, MessageId, ReadingId,
    StreamId, SuppressionId, TemplateId, TenantId, UserId,
    domain::DomainEvent,
    erasure::ErasureEvent,
    event::{MAX_EVENT_OCTETS, UPCASTERS},
    instance::InstanceEvent,
    letter::LetterEvent,
    message::{MessageEvent, Step, Tried},
    reading::ReadingEvent,
    suppression::SuppressionEvent,
    template::TemplateEvent,
    tenant::TenantEvent,
    user::UserEvent,
};

fn files() -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap().trim_ascii_end().to_vec())
        })
        .collect();
    files.sort();
    files
}

fn kind(name: &str) -> &str {
    name.split('+').next().unwrap()
}

fn stream(kind: &str) -> StreamId {
    match kind.split('.').next().unwrap() {
        "tenant" => StreamId::Tenant(TenantId::from_bytes([1; 16])),
        "domain" => StreamId::Domain(DomainId::from_bytes([2; 16])),
        "message" => StreamId::Message(MessageId::from_bytes([3; 16])),
        "user" => StreamId::User(UserId::from_bytes([4; 16])),
        "template" => StreamId::Template(TemplateId::from_bytes([5; 16])),
        "suppression" => StreamId::Suppression(SuppressionId::from_bytes([6; 16])),
        "letter" => StreamId::Letter(LetterId::from_bytes([8; 16])),
        "person" => StreamId::Erasure(ErasureId::from_bytes([9; 16])),
        "instance" => StreamId::Instance(InstanceId::THIS),
        "content" => StreamId::Reading(ReadingId::from_bytes([10; 16])),
        other => panic!("there is no aggregate called {other}"),
    }
}

/// As it is written for that cause; without one, as it was written before causes were recorded.
fn encode(event: &Event, cause: Option<Cause>) -> Box<[u8]> {
    let Some(cause) = cause else {
        let written = String::from_utf8(encode(event, Some(By::Alarm.into())).into()).unwrap();
        return written.replacen(r#","cause":"alarm""#, "", 1).into_bytes().into();
    };
    let cause = &cause;
    match event {
        Event::Tenant(event) => event.encode(cause),
        Event::Domain(event) => event.encode(cause),
        Event::Message(event) => event.encode(cause),
        Event::User(event) => event.encode(cause),
        Event::Template(event) => event.encode(cause),
        Event::Suppression(event) => event.encode(cause),
        Event::Letter(event) => event.encode(cause),
        Event::Erasure(event) => event.encode(cause),
        Event::Instance(event) => event.encode(cause),
        Event::Reading(event) => event.encode(cause),
    }
}

fn kinds() -> BTreeSet<&'static str> {
    [
        TenantEvent::KINDS,
        DomainEvent::KINDS,
        MessageEvent::KINDS,
        UserEvent::KINDS,
        TemplateEvent::KINDS,
        SuppressionEvent::KINDS,
        LetterEvent::KINDS,
        ErasureEvent::KINDS,
        InstanceEvent::KINDS,
        ReadingEvent::KINDS,
    ]
    .concat()
    .into_iter()
    .collect()
}

#[test]
fn every_kind_has_a_file_and_every_file_a_kind() {
    let files = files();
    let named: BTreeSet<&str> = files.iter().map(|(name, _)| kind(name)).collect();
    assert_eq!(named, kinds());
    for kind in kinds() {
        assert!(files.iter().any(|(name, _)| name == kind), "{kind}.json is missing");
    }
}

#[test]
fn every_file_decodes_and_is_written_again_to_the_same_bytes() {
    for (name, bytes) in files() {
        let event = Event::decode(stream(kind(&name)), &bytes).unwrap_or_else(|error| {
            panic!("{name}: {error}");
        });
        assert_eq!(event.kind(), kind(&name));
        // What an upcaster brings up is written in its new version.
        if UPCASTERS.iter().all(|upcaster| upcaster.kind != kind(&name)) {
            assert_eq!(
                std::str::from_utf8(&encode(&event, Cause::read(&bytes).unwrap())).unwrap(),
                std::str::from_utf8(&bytes).unwrap(),
                "{name}"
            );
        }
        let again = encode(&event, Some(By::CommandLine.into()));
        assert_eq!(Event::decode(stream(kind(&name)), &again).unwrap(), event, "{name}");
        assert!(bytes.len() < MAX_EVENT_OCTETS);
    }
}

/// Files called after a cause tell it, each kind of cause once; those of before it tell none.
#[test]
fn every_cause_has_a_file() {
    let files = files();
    let told = |(name, bytes): &(String, Vec<u8>)| (name.clone(), Cause::read(bytes).unwrap());
    let (with, without): (Vec<_>, Vec<_>) =
        files.iter().map(told).partition(|(name, _)| name.contains("+cause_"));
    for (name, cause) in without {
        assert_eq!(cause, None, "{name}");
    }
    let told: BTreeSet<_> = with
        .iter()
        .map(|(name, cause)| {
            let by = cause.expect(name).by;
            match by {
                By::Key(_) => "key".to_owned(),
                By::User(_) => "user".to_owned(),
                word => word.to_string(),
            }
        })
        .collect();
    let words = By::WORDS.map(|(_, word)| word.to_owned());
    let every: BTreeSet<_> = words.into_iter().chain(["key", "user"].map(str::to_owned)).collect();
    assert_eq!(told, every);
}

#[test]
fn the_step_of_a_message_is_the_same_read_in_part_and_whole() {
    let mut steps = 0;
    for (name, bytes) in files().into_iter().filter(|(name, _)| name.starts_with("message.")) {
        let Event::Message(event) = Event::decode(stream("message"), &bytes).unwrap() else {
            panic!("{name}");
        };
        assert_eq!(Step::of(event.clone()).kind(), event.kind());
        assert_eq!(Step::decode(&bytes).unwrap(), Step::of(event.clone()), "{name}");
        assert_eq!(Tried::decode(&bytes).unwrap(), Tried::of(event), "{name}");
        let text = String::from_utf8(bytes).unwrap();
        for changed in [
            text.replacen("\"v\":1", "\"v\":2", 1),
            text.replacen(kind(&name), "message.teleported", 1),
            text.replacen("\"recipient", "\"recipiend", 1),
            text.replacen("\"class", "\"clasz", 1),
            text.replacen("\"was_delivered", "\"was_delivert", 1),
            text[..text.len() - 1].to_owned(),
        ] {
            let whole = changed == text;
            assert_eq!(Step::decode(changed.as_bytes()).is_ok(), whole, "{changed}");
        }
        steps += 1;
    }
    assert!(steps > MessageEvent::KINDS.len());
}

#[test]
fn a_field_added_later_does_not_stop_an_older_program() {
    for (name, bytes) in files() {
        let mut value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        value["added_later"] = serde_json::json!({ "deep": [1, null] });
        let longer = serde_json::to_vec(&value).unwrap();
        let stream = stream(kind(&name));
        assert_eq!(
            Event::decode(stream, &longer).unwrap(),
            Event::decode(stream, &bytes).unwrap(),
            "{name}"
        );
    }
}

#[test]
fn an_event_of_another_aggregate_version_or_name_is_refused() {
    for (name, bytes) in files() {
        let others = ["tenant", "domain", "message", "user", "template", "suppression", "instance"];
        for other in others.into_iter().filter(|other| !name.starts_with(other)) {
            assert!(Event::decode(stream(other), &bytes).is_err(), "{name} as {other}");
        }
        let text = String::from_utf8(bytes).unwrap();
        let own = stream(kind(&name));
        for changed in [
            text.replacen("\"v\":1", "\"v\":2", 1),
            text.replacen("\"v\":1", "\"v\":0", 1),
            text.replacen(kind(&name), "message.teleported", 1),
            text.replacen("\"type\"", "\"kind\"", 1),
            text[..text.len() - 1].to_owned(),
        ] {
            assert!(Event::decode(own, changed.as_bytes()).is_err(), "{changed}");
        }
    }
}

/// A message of the most recipients and tags, with the longest domains, fits into one event.
#[test]
fn the_largest_message_fits_into_an_event() {
    let (_, bytes) = files().into_iter().find(|(name, _)| name == "message.accepted").unwrap();
    let mut value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let label = "a".repeat(63);
    let domain = format!("{label}.{label}.{label}.{}", "a".repeat(61));
    let mut recipient = value["recipients"][0].clone();
    recipient["domain"] = domain.clone().into();
    value["from"] = domain.into();
    value["recipients"] = vec![recipient; model::message::MAX_RECIPIENTS].into();
    // A tag of 64 octets that JSON writes as 128.
    value["tags"] = vec!["\"".repeat(64); model::message::MAX_TAGS].into();
    let stream = stream("message");
    let event = Event::decode(stream, &serde_json::to_vec(&value).unwrap()).unwrap();
    let key = By::Key(ApiKeyId::from_bytes([9; 16]));
    let length = encode(&event, Some(key.into())).len();
    assert!(length <= MAX_EVENT_OCTETS, "{length}");
}
