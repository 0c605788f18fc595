//! Letters that people wrote to the offices of a domain.

use model::letter::{LetterHead, Office};
use poem_openapi::{Enum, Object, types::Example};
use projections::LetterView;

use super::{Time, time::EXAMPLE_TIME};

pub(crate) const EXAMPLE_LETTER: &str = "let_01kb05yt7qe5tvnr4w8jhjkz2v";

/// A letter that came to an office of a domain.
#[derive(Object)]
#[oai(rename = "Letter", rename_all = "camelCase", example)]
pub(crate) struct LetterWire {
    /// Which letter.
    pub id: String,
    /// The office that it was addressed to.
    pub office: OfficeName,
    /// The domain that it was addressed to.
    pub at: String,
    /// When it came.
    pub received_at: Time,
    /// How long it was, in octets.
    pub size_bytes: u64,
    /// Of all of its octets, keyed: the same for the same letter on this server.
    pub hash: String,
    /// Whether only its first 256 KiB were kept.
    pub cut: bool,
    /// Who says that they wrote it; nobody checked that. `null` when it does not tell, or its
    /// content was forgotten.
    #[oai(nullable)]
    pub from: Option<String>,
    /// What it says that it is about; `null` when it does not tell, or its content was forgotten.
    #[oai(nullable)]
    pub subject: Option<String>,
}

/// A letter with all that it says.
#[derive(Object)]
#[oai(rename = "LetterWithSource", rename_all = "camelCase", example)]
pub(crate) struct LetterAnswer {
    /// What is known of it.
    pub letter: LetterWire,
    /// The message as it came, header fields first; octets that are no UTF-8 are replaced. A
    /// stranger wrote it: show it as text and nothing else. `null` once its content was forgotten.
    #[oai(nullable)]
    pub source: Option<String>,
}

/// One page of letters, the newest first.
#[derive(Object)]
#[oai(rename = "LetterPage", rename_all = "camelCase", example)]
pub(crate) struct LettersAnswer {
    /// The letters.
    pub data: Vec<LetterWire>,
    /// Whether there are older ones.
    pub has_more: bool,
    /// Give it as `cursor` to get them; absent when there are none.
    #[oai(skip_serializing_if_is_none)]
    pub next_cursor: Option<String>,
}

/// Whom everybody may write to: `postmaster` (RFC 5321), `abuse` (RFC 2142), and `fbl`, where
/// feedback loops are subscribed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename = "Office", rename_all = "snake_case")]
pub(crate) enum OfficeName {
    Postmaster,
    Abuse,
    Fbl,
}

impl LetterWire {
    pub(crate) fn of(view: &LetterView, head: Option<LetterHead>) -> Self {
        let LetterHead { from, subject } = head.unwrap_or_default();
        let received = &view.received;
        Self {
            id: view.id.to_string(),
            office: match received.office {
                Office::Postmaster => OfficeName::Postmaster,
                Office::Abuse => OfficeName::Abuse,
                Office::Fbl => OfficeName::Fbl,
            },
            at: received.at.to_string(),
            received_at: Time(view.at),
            size_bytes: received.octets,
            hash: received.hash.to_string(),
            cut: received.cut,
            from,
            subject,
        }
    }
}

impl Example for LetterWire {
    fn example() -> Self {
        Self {
            id: EXAMPLE_LETTER.into(),
            office: OfficeName::Abuse,
            at: "bounces.mail.acme.com".into(),
            received_at: Time(EXAMPLE_TIME),
            size_bytes: 2_048,
            hash: "9aecac22ae386fb856967b282e2a7c91".into(),
            cut: false,
            from: Some("Abuse desk <abuse@example.net>".into()),
            subject: Some("Complaint about your mail".into()),
        }
    }
}

impl Example for LetterAnswer {
    fn example() -> Self {
        let source = "From: Abuse desk <abuse@example.net>\r\nSubject: Complaint about your \
                      mail\r\n\r\nPlease stop.\r\n";
        Self { letter: LetterWire::example(), source: Some(source.into()) }
    }
}

impl Example for LettersAnswer {
    fn example() -> Self {
        let next_cursor = Some("00000000000004d2".into());
        Self { data: vec![LetterWire::example()], has_more: true, next_cursor }
    }
}
