//! Fields as in a message's header (RFC 5322, section 2.2), where they stand in a body.

use super::MAX_LINES;

/// The groups of fields that blank lines part.
pub(super) fn blocks(text: &str) -> Vec<Vec<(String, String)>> {
    let mut blocks: Vec<Vec<(String, String)>> = vec![Vec::new()];
    for line in text.lines().take(MAX_LINES) {
        let Some(block) = blocks.last_mut() else { break };
        if line.trim().is_empty() {
            if !block.is_empty() {
                blocks.push(Vec::new());
            }
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = block.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            block.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    blocks.retain(|block| !block.is_empty());
    blocks
}

/// The first group.
pub(super) fn block(text: &str) -> Vec<(String, String)> {
    blocks(text).into_iter().next().unwrap_or_default()
}

/// The first field of this lower-case name.
pub(super) fn get<'a>(block: &'a [(String, String)], name: &str) -> Option<&'a str> {
    block.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}
