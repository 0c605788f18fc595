//! Opening what events carry sealed.

use eventlog::{Purpose, Sealed, Vault};
use model::event::SealedText;
use serde::de::DeserializeOwned;

/// The profile of what `owner` names; `None` when it does not open or is no such profile.
pub(crate) fn profile<T: DeserializeOwned>(
    vault: &Vault,
    owner: &[u8],
    text: &SealedText,
) -> Option<T> {
    let sealed = Sealed::from_base64(&text.0).ok()?;
    let plain = vault.open(Purpose::TenantProfile, owner, &sealed).ok()?;
    serde_json::from_slice(&plain).ok()
}
