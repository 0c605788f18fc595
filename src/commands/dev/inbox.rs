//! What the built-in mail server does with recipients, and how it shows what it got.

use std::collections::HashMap;

use mail::sink::{Action, Asked, Policy, Received, SinkReply};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::print_line;

/// Most recipients whose deferrals are remembered.
const MAX_REMEMBERED: usize = 10_000;
/// Most lines of a message that are shown.
const MAX_LINES: usize = 40;

/// Takes everything, but refuses `bounce…@` and defers `defer…@` twice.
#[derive(Default)]
pub(super) struct DemoPolicy {
    deferred: Mutex<HashMap<String, u8>>,
}

impl Policy for DemoPolicy {
    fn recipient(&self, asked: Asked<'_>) -> Action {
        let recipient = asked.recipient.to_ascii_lowercase();
        if recipient.starts_with("bounce") {
            let reply = SinkReply::new(550, "5.1.1 No such user here");
            return Action::Reply(reply);
        }
        if recipient.starts_with("defer") {
            let mut deferred = self.deferred.lock();
            if deferred.len() >= MAX_REMEMBERED {
                deferred.clear();
            }
            let times = deferred.entry(recipient).or_default();
            if *times < 2 {
                *times += 1;
                return Action::Reply(SinkReply::new(451, "4.7.1 Greylisted, try again later"));
            }
        }
        Action::Accept
    }
}

/// Prints each message as it came off the wire.
pub(super) async fn show(mut received: mpsc::Receiver<Received>) {
    while let Some(message) = received.recv().await {
        let text = String::from_utf8_lossy(&message.data);
        let mut lines: Vec<String> = text.lines().take(MAX_LINES).map(printable).collect();
        if text.lines().count() > MAX_LINES {
            lines.push("…".to_owned());
        }
        let heading = format!(
            "── received: {} → {} ({} octets)",
            printable(&message.mail_from),
            printable(&message.recipients.join(", ")),
            message.data.len()
        );
        let shown = format!("{heading}\n{}\n", lines.join("\n"));
        if print_line(&shown).is_err() {
            return;
        }
    }
}

/// A message can hold control sequences; a terminal would obey them.
fn printable(line: &str) -> String {
    line.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}
