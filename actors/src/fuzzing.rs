//! What a fuzzer reaches and nobody else needs: the reading of signed names of messages.

use eventlog::{HashPurpose, Vault};
use model::{MessageId, RecipientIndex, address::EmailAddress};

use crate::{return_path as path, signed::Signed};

/// A message, and its only recipient.
pub type Named = (MessageId, Option<RecipientIndex>);

/// The address at `domain` to which a message comes back.
pub fn return_path(
    vault: &Vault,
    (message, recipient): Named,
    domain: &str,
) -> Option<EmailAddress> {
    path::address(Signed { message, recipient }, vault, domain)
}

/// What such an address says.
pub fn read_return_path(vault: &Vault, address: &str) -> Option<Named> {
    path::read(vault, address).map(|Signed { message, recipient }| (message, recipient))
}

/// Whether this is the token of a link to unsubscribe.
pub fn read_link(vault: &Vault, token: &str) -> bool {
    Signed::read(vault, HashPurpose::Unsubscribe, "", token).is_some()
}
