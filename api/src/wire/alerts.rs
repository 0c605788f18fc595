//! Alerts: what of the tenant's or of this server receivers find wrong.

use model::delivery::Trouble;
use poem_openapi::{Enum, Object, types::Example};

use super::{Time, message::ResponseWire, time::EXAMPLE_TIME};

/// Something that keeps a receiver from taking your mail, and that is no recipient's fault: nobody
/// is suppressed for it.
#[derive(Object)]
#[oai(rename = "Alert", rename_all = "camelCase", example)]
pub(crate) struct AlertWire {
    /// What is to be mended.
    pub kind: AlertKind,
    /// The receiver: the registered domain of its mail hosts; with `overdue` a recipient's domain.
    pub site: String,
    /// When your mail was first not taken for it; with `overdue` when the first one expired.
    pub since: Time,
    /// When it last was not.
    pub last_seen_at: Time,
    /// In how many attempts at recipients of yours; with `overdue` how many messages.
    pub count: u64,
    /// Your sending domains whose mail it concerns, at most 100.
    pub domains: Vec<String>,
    /// Who can mend it, and how.
    pub to_do: String,
    /// The last message of yours that was not taken.
    pub message_id: String,
    /// What the receiver said to that; `null` when it is not known any more.
    #[oai(nullable)]
    pub last_response: Option<ResponseWire>,
}

/// The open alerts, the one that was seen last first.
#[derive(Object)]
#[oai(rename = "Alerts", example)]
pub(crate) struct AlertsAnswer {
    /// The alerts.
    pub data: Vec<AlertWire>,
}

/// What is to be mended: `authentication` (SPF, DKIM or DMARC of your domain), `reverse_dns` (the
/// server's PTR record or EHLO name), `blocklist` (the server's address or your domain is listed, or
/// in bad repute), `tls` (it is demanded and could not be had), `credentials` (the relay refuses the
/// server's), `overdue` (messages have expired and not ended: a fault of the server), or `other`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename = "AlertKind", rename_all = "snake_case")]
pub(crate) enum AlertKind {
    Authentication,
    ReverseDns,
    Blocklist,
    Tls,
    Credentials,
    Overdue,
    Other,
}

impl From<Trouble> for AlertKind {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Authentication => Self::Authentication,
            Trouble::ReverseDns => Self::ReverseDns,
            Trouble::Blocklist => Self::Blocklist,
            Trouble::Tls => Self::Tls,
            Trouble::Credentials => Self::Credentials,
            Trouble::Other => Self::Other,
        }
    }
}

impl Example for AlertWire {
    fn example() -> Self {
        Self {
            kind: AlertKind::Authentication,
            site: "google.com".into(),
            since: Time(EXAMPLE_TIME),
            last_seen_at: Time(EXAMPLE_TIME),
            count: 12,
            domains: vec!["mail.acme.com".into()],
            to_do: Trouble::Authentication.to_do().into(),
            message_id: super::message::EXAMPLE_ID.into(),
            last_response: Some(ResponseWire::example()),
        }
    }
}

impl Example for AlertsAnswer {
    fn example() -> Self {
        Self { data: vec![AlertWire::example()] }
    }
}
