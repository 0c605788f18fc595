//! A bundle of evidence, as it goes over the wire: exactly what `evidence` reads.

use poem_openapi::{Object, types::Example};
use serde_json::{Value, json};

use super::{Time, message::EXAMPLE_ID, time::EXAMPLE_TIME};

const EXAMPLE_HASH: &str = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";

/// All that was recorded of a message, with proofs: `docs/evidence.md` says how to check it.
#[derive(Object)]
#[oai(rename = "Evidence", rename_all = "camelCase", example)]
pub(crate) struct EvidenceAnswer {
    /// `lumora-evidence-1`.
    pub format: String,
    /// The message.
    pub message: String,
    /// The signed checkpoint in whose tree the events are: a C2SP tlog-checkpoint.
    pub checkpoint: String,
    /// The events, the oldest first.
    pub events: Vec<ProvedWire>,
    /// Opens the sealed texts of replies; absent once the content was forgotten.
    #[oai(skip_serializing_if_is_none)]
    pub reply_key: Option<String>,
}

/// One event and the proof that it is in the signed log.
#[derive(Object)]
#[oai(rename = "ProvedEvent", rename_all = "camelCase", example)]
pub(crate) struct ProvedWire {
    /// Its place in the whole log.
    pub position: u64,
    /// Whose event: the message.
    pub stream: String,
    /// Its place among the events of the message, from 1.
    pub version: u64,
    /// Its id.
    pub id: String,
    /// When it was recorded.
    pub at: String,
    /// The event as it was recorded. What identifies a person is sealed.
    pub event: Value,
    /// What the receiver's server said, opened; absent without a reply, and once the content was
    /// forgotten.
    #[oai(skip_serializing_if_is_none)]
    pub reply: Option<String>,
    /// Its stored bytes, base 64: what is proved.
    pub leaf: String,
    /// The hashes beside its way to the root of the tree, base 64, the lowest first.
    pub proof: Vec<String>,
}

impl From<::evidence::Bundle> for EvidenceAnswer {
    fn from(bundle: ::evidence::Bundle) -> Self {
        let ::evidence::Bundle { format, message, checkpoint, events, reply_key } = bundle;
        Self {
            format,
            message: message.to_string(),
            checkpoint,
            events: events.into_iter().map(ProvedWire::from).collect(),
            reply_key: reply_key.map(|key| key.to_base64()),
        }
    }
}

impl From<::evidence::Proved> for ProvedWire {
    fn from(proved: ::evidence::Proved) -> Self {
        let ::evidence::Proved { position, stream, version, id, at, event, reply, leaf, proof } =
            proved;
        Self {
            position,
            stream: stream.to_string(),
            version,
            id: id.to_string(),
            at,
            event,
            reply,
            leaf,
            proof,
        }
    }
}

impl Example for EvidenceAnswer {
    fn example() -> Self {
        let name = "lumora/5d1c0e7b9a2f4c31";
        let chain = "9f2c4b7d6a1e8035c7d94f1b2a6e83d05c7f9b1e4a2d6830f5c9e7b1d4a28f36";
        let text = format!("{name}\n4711\n{EXAMPLE_HASH}\nchain {chain}\ntime {EXAMPLE_TIME}\n");
        Self {
            format: "lumora-evidence-1".into(),
            message: EXAMPLE_ID.into(),
            checkpoint: format!("{text}\n\u{2014} {name} Az3grlgtzPICa5OS8npVmf1Myq/5IZni\n"),
            events: vec![ProvedWire::example()],
            reply_key: Some("m2G3vJ7q0cYl1pZk5rT8wQxN4bHdUeSgAoVfIyLzKjM=".into()),
        }
    }
}

impl Example for ProvedWire {
    fn example() -> Self {
        Self {
            position: 4262,
            stream: EXAMPLE_ID.into(),
            version: 2,
            id: "evt_01kb05yvrne3gskwr0m6qzdw5a".into(),
            at: Time(EXAMPLE_TIME).0.to_string(),
            event: json!({
                "type": "message.delivered",
                "v": 1,
                "recipient": 0,
                "attempt": 1,
                "stage": "end_of_data",
                "reply": { "code": 250, "enhanced": "2.0.0", "text": "AQCb…" },
                "peer": { "mx": "mx1.example.com", "ip": "192.0.2.25" },
            }),
            reply: Some("queued as 4XyZ".into()),
            leaf: "phAAAAAAAAAD…".into(),
            proof: vec![EXAMPLE_HASH.into()],
        }
    }
}
