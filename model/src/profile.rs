//! Profiles: names and addresses of those who use the platform.
//!
//! Events carry them sealed ([`crate::event::SealedText`]); this is what is inside, as JSON. Each
//! is sealed for the identifier of what it describes.

use std::fmt;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::address::{EmailAddress, Mailbox};

/// The bytes are no profile of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the profile cannot be read")]
pub struct UnreadableProfile;

/// Longest name of a tenant, an app or a key, in characters.
pub const MAX_NAME_CHARACTERS: usize = 100;

/// The text is no name of a tenant, an app or a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to 100 characters, none of them a control character, and no space around it")]
pub struct InvalidName;

/// Whether `text` can be the name of a tenant, an app or a key: it is shown in lists and headings.
pub fn check_name(text: &str) -> Result<(), InvalidName> {
    let fits = (1..=MAX_NAME_CHARACTERS).contains(&text.chars().count());
    let clean = text.trim() == text && !text.chars().any(char::is_control);
    if fits && clean { Ok(()) } else { Err(InvalidName) }
}

/// What is inside a sealed profile.
pub trait Profile: Serialize + DeserializeOwned {
    /// The JSON that is sealed.
    fn to_bytes(&self) -> Vec<u8> {
        // Plain structs of texts always have a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads [`Profile::to_bytes`].
    fn from_bytes(bytes: &[u8]) -> Result<Self, UnreadableProfile> {
        serde_json::from_slice(bytes).map_err(|_| UnreadableProfile)
    }
}

macro_rules! profile {
    ($($name:ident,)+) => {
        $(impl Profile for $name {}

        // Printed by mistake, a profile must not become a leak.
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        })+
    };
}

profile! { TenantProfile, UserProfile, AppProfile, KeyProfile, TemplateProfile, SuppressionProfile, }

/// A tenant's.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantProfile {
    /// What it calls itself.
    pub name: String,
}

/// A user's.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserProfile {
    /// Where the user is written to; signs in with it.
    pub email: EmailAddress,
    /// The password in its PHC form; absent until one is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<String>,
}

/// An app's.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppProfile {
    /// What it is called.
    pub name: String,
    /// Who its messages are from when they do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_sender: Option<Mailbox>,
}

/// An API key's.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyProfile {
    /// What it is called.
    pub name: String,
}

/// A template's.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateProfile {
    /// What it is called.
    pub name: String,
}

/// That of an address on a suppression list.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuppressionProfile {
    /// Who it is.
    pub email: EmailAddress,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_round_trip_in_camel_case() {
        let app = AppProfile {
            name: "Shop".into(),
            default_sender: Some(Mailbox::parse("Shop <hello@shop.example>").unwrap()),
        };
        let bytes = app.to_bytes();
        assert!(std::str::from_utf8(&bytes).unwrap().contains("\"defaultSender\""));
        assert_eq!(AppProfile::from_bytes(&bytes), Ok(app));
        assert_eq!(TenantProfile::from_bytes(b"{}"), Err(UnreadableProfile));
    }

    #[test]
    fn names_are_short_and_visible() {
        let longest = "é".repeat(100);
        for name in ["A", "Acme & Söhne <GmbH>", "株式会社", &longest] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        let too_long = "é".repeat(101);
        for name in ["", " ", " Acme", "Acme ", "a\nb", "a\0b", "\u{1b}[31m", &too_long] {
            assert_eq!(check_name(name), Err(InvalidName), "{name:?}");
        }
    }

    #[test]
    fn debug_output_hides_the_person() {
        let email = EmailAddress::parse("ada@example.com").unwrap();
        let user = UserProfile { email, password_hash: Some("$argon2id$secret".into()) };
        assert_eq!(format!("{user:?}"), "UserProfile(…)");
    }
}
