//! Delivery status notifications (RFC 3464).

use mail_parser::{Message, MimeHeaders as _};
use model::delivery::{Diagnosis, EnhancedCode};

use super::{
    Action, Fate, MAX_FATES, address,
    fields::{blocks, get},
    notice::codes,
    one_line, parts, text_of,
};

/// The recipients of every `message/delivery-status` part.
pub(super) fn read(message: &Message<'_>) -> Vec<Fate> {
    parts(message)
        .filter(|part| {
            // RFC 6533: the same with addresses in UTF-8.
            part.is_content_type("message", "delivery-status")
                || part.is_content_type("message", "global-delivery-status")
        })
        .flat_map(|part| blocks(&text_of(part)))
        .filter_map(|block| fate(&block))
        .take(MAX_FATES)
        .collect()
}

/// A group of fields per recipient (RFC 3464, section 2.3); `None` for the group per message.
fn fate(block: &[(String, String)]) -> Option<Fate> {
    let named = ["original-recipient", "final-recipient", "x-actual-recipient"];
    let mut addresses: Vec<_> = Vec::new();
    for address in named.iter().filter_map(|name| address(get(block, name)?)) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    let status = get(block, "status").and_then(enhanced);
    let action = action(get(block, "action"), status)?;
    if addresses.is_empty() {
        return None;
    }
    let told = get(block, "diagnostic-code").unwrap_or_default();
    // `smtp; 550 5.1.1 …`: the words of the server that refused.
    let told = told.split_once(';').map_or(told, |(_, told)| told);
    let (code, remote) = codes(told);
    Some(Fate {
        action,
        addresses,
        diagnosis: Diagnosis { code, enhanced: specific(remote, status), text: one_line(told) },
    })
}

fn action(value: Option<&str>, status: Option<EnhancedCode>) -> Option<Action> {
    let word = value.unwrap_or_default().trim().to_ascii_lowercase();
    match word.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default() {
        "failed" | "failure" => Some(Action::Failed),
        "delayed" => Some(Action::Delayed),
        "delivered" | "relayed" | "expanded" => Some(Action::Delivered),
        _ => match status.map(|status| status.class) {
            Some(5) => Some(Action::Failed),
            Some(4) => Some(Action::Delayed),
            Some(2) => Some(Action::Delivered),
            _ => None,
        },
    }
}

fn enhanced(value: &str) -> Option<EnhancedCode> {
    value.split_whitespace().find_map(EnhancedCode::parse)
}

/// Of two codes the one that says something: what the refusing server said, unless that is "other".
pub(super) fn specific(
    remote: Option<EnhancedCode>,
    status: Option<EnhancedCode>,
) -> Option<EnhancedCode> {
    let is_vague = |code: &EnhancedCode| (code.subject, code.detail) == (0, 0);
    match (remote, status) {
        (Some(remote), Some(status)) if is_vague(&remote) => Some(status),
        (remote, status) => remote.or(status),
    }
}
