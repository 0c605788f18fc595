//! Events as they stand in the log.

use model::{Cause, Event, StreamId};

pub(super) const WORDS: &[&str] = &[
    "\"type\":\"message.accepted\",\"v\":1",
    "\"type\":\"message.delivered\",\"v\":1",
    "\"type\":\"message.deferred\"",
    "\"type\":\"tenant.registered\"",
    "\"cause\":\"key_",
    "\"cause\":\"attempt\"",
    "\"after\":1",
    "\"recipient\":0",
    "\"ten_\"",
    "null",
    "1e999",
    "-1",
    "18446744073709551615",
    "\\u0000",
    "[]",
    "{}",
];

/// The first octet is the kind of stream.
pub(super) fn run(octets: &[u8]) {
    let Some((kind, data)) = octets.split_first() else { return };
    let cause = Cause::read(data);
    let mut stream = [7; StreamId::LEN];
    stream[0] = *kind;
    let Some(stream) = StreamId::from_bytes(stream) else { return };
    assert_eq!(stream.to_bytes()[0], *kind);
    let Ok(event) = Event::decode(stream, data) else { return };
    let cause = cause.ok().flatten().unwrap_or(Cause::by(model::By::Attempt));
    let written = encode(&event, &cause);
    assert!(serde_json::from_slice::<serde_json::Value>(&written).is_ok());
    let again = Event::decode(stream, &written).expect("what was written is read");
    assert_eq!(again, event, "{}", String::from_utf8_lossy(&written));
    assert_eq!(encode(&again, &cause), written, "written twice");
    assert_eq!(Cause::read(&written).unwrap(), Some(cause));
}

fn encode(event: &Event, cause: &Cause) -> Box<[u8]> {
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
