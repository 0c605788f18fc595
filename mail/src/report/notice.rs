//! Notices for people, from servers that know no status notification.

use mail_parser::{Message, MimeHeaders as _};
use model::{
    address::EmailAddress,
    delivery::{Diagnosis, EnhancedCode},
};

use super::{Action, Fate, MAX_FATES, MAX_LINES, one_line, parts, status::specific, text_of};

/// What says that somebody has to wait.
const DELAYED: &[&str] = &[
    "not yet been delivered",
    "not yet delivered",
    "been delayed",
    "message delayed",
    "delivery is delayed",
    "delivery delayed",
    "delay in delivery",
    "warning message only",
    "do not need to resend",
    "not need to resend",
    "will be retried",
    "will keep trying",
    "will continue trying",
    "will continue to try",
    "still trying",
    "could not be delivered for",
    "delivery attempts will continue",
    "temporarily deferred",
    "delivery temporarily suspended",
    "no action is required",
];

/// What says that a message was not delivered.
const FAILED: &[&str] = &[
    "undeliver",
    "not deliver",
    "n't deliver",
    "unable to deliver",
    "able to deliver",
    "be delivered",
    "been delivered",
    "delivery fail",
    "delivery to",
    "delivery error",
    "delivery has failed",
    "delivery problem",
    "delivery of your message",
    "delivery status",
    "deliver your message",
    "mail fail",
    "failed mail",
    "failure notice",
    "failure delivery",
    "fail to",
    "failed",
    "returned mail",
    "returned message",
    "returned to sender",
    "has been returned",
    "being returned",
    "was returned",
    "return to sender",
    "error in delivery",
    "processing error",
    "unknown user",
    "user unknown",
    "no such user",
    "not exist",
    "unknown or invalid",
    "did not receive",
    "did not reach",
    "could not be sent",
    "was rejected",
    "rejected",
    "mailbox full",
    "quota",
    "permanent",
    "fatal error",
    "invalid recipient",
    "invalid address",
    "bounce",
    "non remis",
    "unzustellbar",
    "no pudo ser entregado",
];

/// Names before the `@` of whoever speaks for a server, and is not who could not be reached.
const OFFICES: &[&str] = &["postmaster", "mailer-daemon", "abuse", "mailerdaemon"];

/// Whether a machine answers on somebody's behalf (RFC 3834, section 5). Some servers mark their
/// own notices like that, too: those come from an office, or say in the subject that they failed.
pub(super) fn is_automatic_reply(message: &Message<'_>) -> bool {
    let header = |name: &str| {
        message.header_raw(name.to_owned()).map(|value| value.trim().to_ascii_lowercase())
    };
    let says = |name: &str, what: &[&str]| {
        header(name).is_some_and(|value| what.iter().any(|what| value.starts_with(what)))
    };
    let subject = message.subject().unwrap_or_default().to_lowercase();
    let subject_says = |phrases: &[&str]| phrases.iter().any(|words| subject.contains(words));
    let is_notice = from_office(message) || subject_says(&["undeliver", "delivery fail"]);
    (says("Auto-Submitted", &["auto-replied"]) && !is_notice)
        || says("Precedence", &["auto_reply"])
        || header("X-Autoreply").is_some()
        || header("X-Autorespond").is_some()
        || subject_says(&["out of office", "automatic reply", "auto reply", "autoreply"])
}

fn from_office(message: &Message<'_>) -> bool {
    let from = message.header_raw("From".to_owned()).and_then(super::address);
    from.is_some_and(|from| is_office(&from))
}

fn is_office(address: &EmailAddress) -> bool {
    OFFICES.iter().any(|name| address.local().eq_ignore_ascii_case(name))
}

/// Who could not be reached, as far as a notice tells.
pub(super) fn read(message: &Message<'_>) -> Vec<Fate> {
    let text = text_before_copy(message);
    let subject = message.subject().unwrap_or_default();
    let failed: Vec<EmailAddress> = failed_recipients(message);
    let Some(action) = action(subject, &text, !failed.is_empty()) else { return Vec::new() };
    let (found, named) = (spans(&text, &of_the_notice(message)), !failed.is_empty());
    let fate = |address: EmailAddress, words: &str| {
        let (code, enhanced) = codes(words);
        let diagnosis = Diagnosis { code, enhanced, text: one_line(words) };
        Fate { action, addresses: vec![address], diagnosis }
    };
    if named {
        let words = |address: &EmailAddress| {
            found.iter().find(|(known, _)| known == address).map_or(text.as_str(), |(_, w)| w)
        };
        let fates = failed.iter().map(|address| fate(address.clone(), words(address)));
        return fates.take(MAX_FATES).collect();
    }
    found.iter().map(|(address, words)| fate(address.clone(), words)).take(MAX_FATES).collect()
}

/// Gives their words to those of whom a status report says no more than that it failed: Exim, for
/// what it finds itself, and OpenSMTPD tell people why, and programs only `5.0.0`.
pub(super) fn explain(message: &Message<'_>, fates: &mut [Fate]) {
    if fates.iter().all(|fate| !fate.diagnosis.text.is_empty()) {
        return;
    }
    // People come first in a report (RFC 6522, section 3).
    let Some(first) = parts(message).find(|part| part.is_text()) else { return };
    let text: String = text_of(first).lines().take(MAX_LINES).flat_map(|l| [l, "\n"]).collect();
    let found = spans(&text, &of_the_notice(message));
    for fate in fates.iter_mut().filter(|fate| fate.diagnosis.text.is_empty()) {
        let named = |(known, _): &&(EmailAddress, String)| fate.addresses.contains(known);
        let Some((_, words)) = found.iter().find(named) else { continue };
        // Behind the paragraph is what the server says to everybody.
        let words = words.split("\n\n").next().unwrap_or_default();
        let (code, enhanced) = codes(words);
        let text = one_line(words.trim_start_matches(['>', ':', ' ', '\n']));
        let enhanced = specific(enhanced, fate.diagnosis.enhanced);
        fate.diagnosis = Diagnosis { code, enhanced, text };
    }
}

fn action(subject: &str, text: &str, named: bool) -> Option<Action> {
    let whole = format!("{subject}\n{text}").to_lowercase();
    let whole = whole.split_whitespace().collect::<Vec<_>>().join(" ");
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| whole.contains(phrase));
    if says(DELAYED) {
        Some(Action::Delayed)
    } else if named || says(FAILED) {
        Some(Action::Failed)
    } else {
        None
    }
}

/// Exim names them in a field.
fn failed_recipients(message: &Message<'_>) -> Vec<EmailAddress> {
    let field = message.header_raw("X-Failed-Recipients".to_owned()).unwrap_or_default();
    field.split(',').filter_map(super::address).take(MAX_FATES).collect()
}

/// The addresses that a notice itself goes between.
fn of_the_notice(message: &Message<'_>) -> Vec<EmailAddress> {
    ["From", "To", "Cc", "Sender", "Reply-To", "Return-Path", "Errors-To", "Delivered-To"]
        .iter()
        .filter_map(|name| message.header_raw((*name).to_owned()))
        .flat_map(|value| value.split(',').filter_map(super::address).collect::<Vec<_>>())
        .collect()
}

/// What the server says, without the copy of the message below it.
fn text_before_copy(message: &Message<'_>) -> String {
    let mut text = String::new();
    for part in parts(message) {
        if part.message().is_some() || part.is_content_type("text", "rfc822-headers") {
            break;
        }
        for line in text_of(part).lines().take(MAX_LINES) {
            if begins_copy(line) {
                return text;
            }
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// A line such as `--- Below this line is a copy of the message.`, or the first of its header.
fn begins_copy(line: &str) -> bool {
    let line = line.trim_start_matches(['>', ' ', '\t']).to_ascii_lowercase();
    let is_rule = ["--", "==", "**", "__"].iter().any(|rule| line.starts_with(rule));
    let words = ["copy", "original", "returned m", "unsent", "message header", "message follow"];
    let says = |words: &[&str]| words.iter().any(|words| line.contains(words));
    line.starts_with("received: ")
        || line.starts_with("return-path: ")
        || (is_rule && says(&words))
        || says(&["original message follows", "here is your returned mail"])
}

/// The addresses in a text, each with the words from it to the next one.
fn spans(text: &str, own: &[EmailAddress]) -> Vec<(EmailAddress, String)> {
    let is_outside = |c: char| c.is_whitespace() || "<>()[]{},;:\"'`|*".contains(c);
    let mut found: Vec<(EmailAddress, usize, usize)> = Vec::new();
    let mut start = 0;
    for (end, c) in text.char_indices().chain([(text.len(), ' ')]) {
        if !is_outside(c) {
            continue;
        }
        let word = text.get(start..end).unwrap_or_default();
        let begun = start;
        start = end + c.len_utf8();
        let word = word.trim_matches(['.', '!', '?', '=']);
        // Exchange writes `SMTP=` before it.
        let word = match word.split_at_checked(5) {
            Some((kind, rest)) if kind.eq_ignore_ascii_case("smtp=") => rest,
            _ => word,
        };
        let Some(address) = word.contains('@').then(|| super::address(word)).flatten() else {
            continue;
        };
        if !is_office(&address) && !own.contains(&address) && found.len() < MAX_FATES {
            found.push((address, begun, end));
        }
    }
    let ends: Vec<usize> =
        found.iter().skip(1).map(|(_, begun, _)| *begun).chain([text.len()]).collect();
    let mut spans: Vec<(EmailAddress, String)> = Vec::new();
    for ((address, _, end), next) in found.into_iter().zip(ends) {
        let words = text.get(end..next).unwrap_or_default();
        match spans.iter_mut().find(|(known, _)| *known == address) {
            Some((_, known)) => known.push_str(words),
            None => spans.push((address, words.to_owned())),
        }
    }
    spans
}

/// The first reply code and the first enhanced code among words.
pub(super) fn codes(words: &str) -> (Option<u16>, Option<EnhancedCode>) {
    let (mut code, mut enhanced) = (None, None);
    for word in words.split_whitespace() {
        // `550-5.1.1`, `(#5.1.1)`, `#5.1.1`.
        for piece in word.split('-') {
            let piece = piece.trim_matches(['(', ')', '#', '[', ']', '<', '>', ',', ':', ';']);
            if code.is_none() && piece.len() == 3 && piece.starts_with(['4', '5']) {
                code = piece.parse().ok();
            }
            if enhanced.is_none() {
                enhanced = EnhancedCode::parse(piece).filter(|code| code.class != 2);
            }
        }
    }
    (code, enhanced)
}
