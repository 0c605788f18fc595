//! Signed names of messages: in return paths and links to unsubscribe.

use std::sync::OnceLock;

use actors::fuzzing::{read_link, read_return_path, return_path};
use eventlog::{MasterKey, Vault};
use model::{MessageId, RecipientIndex, message::MAX_RECIPIENTS};

const DOMAIN: &str = "bounces.mail.acme.example";

pub(super) fn run(octets: &[u8]) {
    static VAULT: OnceLock<Vault> = OnceLock::new();
    let vault = VAULT.get_or_init(|| Vault::new(&MasterKey::from_bytes([7; 32])));
    let text = String::from_utf8_lossy(octets);
    // Nobody makes one without the key; whoever guesses one guessed 96 bits.
    assert_eq!(read_return_path(vault, &text), None);
    assert!(!read_link(vault, &text));
    // One that was made, changed as the octets say, is the same or nothing.
    let Some((id, changes)) = octets.split_first_chunk::<16>() else { return };
    let Some((index, changes)) = changes.split_first() else { return };
    let recipient = (usize::from(*index) < MAX_RECIPIENTS).then_some(RecipientIndex(*index));
    let made = (MessageId::from_bytes(*id), recipient);
    let address = return_path(vault, made, DOMAIN).expect("an address").to_string();
    assert_eq!(read_return_path(vault, &address), Some(made));
    assert_eq!(read_return_path(vault, &address.to_uppercase()), Some(made));
    let mut changed = address.clone().into_bytes();
    for change in changes.chunks_exact(2).take(4) {
        let place = usize::from(change[0]) % changed.len();
        changed[place] = change[1];
    }
    let changed = String::from_utf8_lossy(&changed);
    let read = read_return_path(vault, &changed);
    assert!(read.is_none() || changed.eq_ignore_ascii_case(&address), "{changed} is {address}");
}
