//! The return path: an address that says which message comes back, and proves that it was ours.
//!
//! `bounce+<token>@<domain>`, with a [`Signed`] token, for local parts may be folded on their way
//! (54 octets; RFC 5321, section 4.5.3.1.1, allows 64).
//!
//! # Why
//! - **A token for each transaction, not for each recipient.** Recipients at one site share a
//!   transaction, and an envelope has one sender. Where it has one recipient, as most of ours do,
//!   the token names them, and a report needs no address at all, also when the mail was forwarded.
//!   Where it has several, a report must name a recipient whose keyed hash is the message's.
//! - **The domain is signed too.** So a token holds at the domain that it was made for alone, and
//!   whether an address is ours is a computation: no table is asked for what anybody may send.

use eventlog::{HashPurpose, Vault};
use model::address::EmailAddress;

use crate::signed::{Signed, TOKEN_CHARACTERS};

/// What a local part begins with.
const PREFIX: &str = "bounce+";

const _: () = assert!(PREFIX.len() + TOKEN_CHARACTERS <= 64, "a local part has 64 octets");

/// The address at `domain` to which a message comes back.
pub(crate) fn address(signed: Signed, vault: &Vault, domain: &str) -> Option<EmailAddress> {
    let token = signed.token(vault, HashPurpose::ReturnPath, domain);
    EmailAddress::parse(&format!("{PREFIX}{token}@{domain}")).ok()
}

/// What an address says, if this server made it.
pub(crate) fn read(vault: &Vault, address: &str) -> Option<Signed> {
    let (local, domain) = address.rsplit_once('@')?;
    let (prefix, token) = local.split_at_checked(PREFIX.len())?;
    if !prefix.eq_ignore_ascii_case(PREFIX) {
        return None;
    }
    Signed::read(vault, HashPurpose::ReturnPath, &domain.to_ascii_lowercase(), token)
}

#[cfg(test)]
mod tests {
    use eventlog::MasterKey;
    use model::{MessageId, RecipientIndex};

    use super::*;

    const DOMAIN: &str = "bounces.mail.acme.example";

    fn vault(key: u8) -> Vault {
        Vault::new(&MasterKey::from_bytes([key; 32]))
    }

    fn path(recipient: Option<u8>) -> Signed {
        let message = MessageId::from_bytes([7; 16]);
        Signed { message, recipient: recipient.map(RecipientIndex) }
    }

    #[test]
    fn an_address_reads_back_in_any_case() {
        let vault = vault(1);
        for number in 0..=u8::MAX {
            let mut id = [number; 16];
            id[..3].copy_from_slice(&[number.wrapping_mul(7), 0xff, number ^ 0x55]);
            let index = number % 51;
            let recipient = (index < 50).then_some(RecipientIndex(index));
            let path = Signed { message: MessageId::from_bytes(id), recipient };
            let found = address(path, &vault, DOMAIN).unwrap().to_string();
            assert!(found.split('@').next().unwrap().len() <= 64, "{found}");
            assert_eq!(read(&vault, &found), Some(path));
            assert_eq!(read(&vault, &found.to_uppercase()), Some(path));
        }
    }

    #[test]
    fn a_changed_token_another_domain_and_another_key_prove_nothing() {
        let found = address(path(Some(3)), &vault(1), DOMAIN).unwrap().to_string();
        assert_eq!(read(&vault(2), &found), None);
        let elsewhere = found.replace(DOMAIN, "bounces.other.example");
        assert_eq!(read(&vault(1), &elsewhere), None);
        for place in PREFIX.len()..PREFIX.len() + TOKEN_CHARACTERS {
            for digit in "0123456789abcdefghjkmnpqrstvwxyz".chars() {
                let mut changed = found.clone();
                changed.replace_range(place..=place, &digit.to_string());
                let read = read(&vault(1), &changed);
                assert_eq!(read.is_some(), changed == found, "{changed}");
            }
        }
        for text in ["", "@", DOMAIN, "bounce+@x.example", "postmaster@x.example", "é@x.example"] {
            assert_eq!(read(&vault(1), text), None, "{text}");
        }
    }

    #[test]
    fn who_it_was_for_is_signed_too() {
        let (one, all) = (path(Some(0)), path(None));
        let vault = vault(1);
        assert_ne!(address(one, &vault, DOMAIN), address(all, &vault, DOMAIN));
        let found = address(all, &vault, DOMAIN).unwrap();
        assert_eq!(read(&vault, &found.to_string()), Some(all));
    }
}
