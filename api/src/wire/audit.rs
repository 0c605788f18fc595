//! What was recorded of a tenant.

use poem_openapi::{Object, types::Example};
use serde_json::{Value, json};

use super::{
    Time, account::EXAMPLE_TENANT, apps::EXAMPLE_APP, keys::EXAMPLE_KEY, time::EXAMPLE_TIME,
};

/// One page of events, the newest first.
#[derive(Object)]
#[oai(rename = "AuditPage", rename_all = "camelCase", example)]
pub(crate) struct AuditAnswer {
    /// The events.
    pub data: Vec<AuditWire>,
    /// Whether there are older ones.
    pub has_more: bool,
    /// Give it as `cursor` to get them; absent when there are none.
    #[oai(skip_serializing_if_is_none)]
    pub next_cursor: Option<String>,
}

/// One event, as it stands in the log.
#[derive(Object)]
#[oai(rename = "AuditEvent", rename_all = "camelCase", example)]
pub(crate) struct AuditWire {
    /// Which event.
    pub id: String,
    /// What happened.
    #[oai(rename = "type")]
    pub kind: String,
    /// To what: a tenant, user, domain, template, message or suppressed address.
    pub stream: String,
    /// Its place among the events of the stream, from 1.
    pub version: u64,
    /// Its place in the whole log.
    pub position: u64,
    /// When it was recorded.
    pub occurred_at: Time,
    /// The hash of the log's chain up to and with this event.
    pub hash: String,
    /// The event as it was recorded. What identifies a person is sealed.
    pub data: Value,
}

impl Example for AuditAnswer {
    fn example() -> Self {
        Self {
            data: vec![AuditWire::example()],
            has_more: true,
            next_cursor: Some("00000000000010a49d3c0f6b51e2a788".into()),
        }
    }
}

impl Example for AuditWire {
    fn example() -> Self {
        Self {
            id: "evt_01kb05yt7qe5tvnr4w8jhjkz2r".into(),
            kind: "tenant.api_key_revoked".into(),
            stream: EXAMPLE_TENANT.into(),
            version: 7,
            position: 4261,
            occurred_at: Time(EXAMPLE_TIME),
            hash: "9f2c4b7d6a1e8035c7d94f1b2a6e83d05c7f9b1e4a2d6830f5c9e7b1d4a28f36".into(),
            data: json!({
                "type": "tenant.api_key_revoked",
                "v": 1,
                "app": EXAMPLE_APP,
                "key": EXAMPLE_KEY,
            }),
        }
    }
}
