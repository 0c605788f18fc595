//! `lumora letters …`: what people wrote to the offices of this server.

use actors::Platform;
use model::{
    By, InstanceId, StreamId,
    letter::LetterHead,
    reading::{ContentRead, Shown},
};
use projections::LetterView;
use serde_json::{Value, json};

use super::{Failure, administration::with_core, print_json, print_line};
use crate::cli::LettersCommand;

pub(super) async fn run(command: LettersCommand) -> Result<(), Failure> {
    match command {
        LettersCommand::List { domain, lines, output } => {
            let rows = with_core(&output.config, async |core| {
                let mut rows = Vec::new();
                let (mut cursor, mut tenant) = (None, None);
                while rows.len() < lines {
                    let page = core.read.letters().page(domain, cursor, lines - rows.len());
                    let (letters, next) = page.map_err(Failure::failed)?;
                    tenant = tenant.or_else(|| letters.first()?.received.tenant);
                    rows.extend(letters.iter().map(|letter| row(letter, &core.platform)));
                    cursor = next;
                    if cursor.is_none() {
                        break;
                    }
                }
                if rows.iter().any(|row| !row["from"].is_null() || !row["subject"].is_null()) {
                    let of = domain.map_or(StreamId::Instance(InstanceId::THIS), StreamId::Domain);
                    record(&core.platform, ContentRead { tenant, shown: Shown::LetterList, of })
                        .await?;
                }
                Ok(rows)
            })
            .await?;
            if output.json {
                return print_json(&Value::Array(rows));
            }
            rows.iter().try_for_each(|row| print_line(&words(row)).map(|_| ()))
        }
        LettersCommand::Show { letter, config } => {
            let source = with_core(&config, async |core| {
                let found = core.read.letters().get(letter).map_err(Failure::failed)?;
                let unknown = || Failure::failed(format!("{letter}: there is no such letter"));
                let found = found.ok_or_else(unknown)?;
                let source = core.platform.letter_source(&found);
                let gone = || Failure::failed(format!("{letter}: its content is gone"));
                let source = source.ok_or_else(gone)?;
                let (tenant, of) = (found.received.tenant, StreamId::Letter(letter));
                record(&core.platform, ContentRead { tenant, shown: Shown::Letter, of }).await?;
                Ok(source)
            })
            .await?;
            let source = String::from_utf8_lossy(&source).replace("\r\n", "\n");
            print_line(&printable(&source)).map(|_| ())
        }
    }
}

/// Records a look before anything is printed.
pub(super) async fn record(platform: &Platform, read: ContentRead) -> Result<(), Failure> {
    let recorded = platform.record_reading(By::CommandLine, read).await;
    recorded.map_err(|error| {
        Failure::failed(format!("nothing is shown, for it cannot be recorded that it was: {error}"))
    })
}

fn row(letter: &LetterView, platform: &Platform) -> Value {
    let LetterHead { from, subject } = platform.letter_head(letter).unwrap_or_default();
    let received = &letter.received;
    json!({
        "id": letter.id,
        "receivedAt": letter.at.to_string(),
        "office": received.office,
        "at": received.at,
        "sizeBytes": received.octets,
        "hash": received.hash,
        "cut": received.cut,
        "from": from,
        "subject": subject,
    })
}

fn words(row: &Value) -> String {
    let word = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or("-");
    let (id, at, office, domain) = (word("id"), word("receivedAt"), word("office"), word("at"));
    printable(&format!("{id}  {at}  {office}@{domain}  {}  {}", word("from"), word("subject")))
}

/// A stranger's words without what a terminal would obey.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}
