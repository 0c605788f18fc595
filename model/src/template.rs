//! A template: what an app writes again and again, in versions that do not change.
//!
//! What a version says is sealed at the edge, like everything that a caller wrote, and cut into
//! parts, since an event is small and a template need not be.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::{
    event::{SealedText, events},
    ids::{AppId, TenantId},
};

/// Most templates of one app that are not deleted.
pub const MAX_TEMPLATES_PER_APP: usize = 1_000;
/// Most versions of one template.
pub const MAX_VERSIONS: u32 = 10_000;
/// Most parts of one version.
pub const MAX_PARTS: usize = 32;
/// Longest part, in octets of sealed text.
pub const MAX_PART_OCTETS: usize = 24 * 1024;

events! {
    /// An event of a template.
    TemplateEvent {
        /// There is a new template; its first version follows.
        TemplateCreated = "template.created" v 1,
        /// A part of a version; with the last one the version is in use.
        TemplateVersionAdded = "template.version_added" v 1,
        /// It can be used no more.
        TemplateDeleted = "template.deleted" v 1,
    }
}

/// The name by which an app's requests refer to a template: 1 to 100 lower-case letters, digits,
/// `-`, `_` and `.`, beginning with a letter or digit. Never the form of an identifier.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Slug(Box<str>);

impl Slug {
    /// Longest slug, in octets.
    pub const MAX_OCTETS: usize = 100;

    /// Reads a slug.
    pub fn parse(text: &str) -> Option<Self> {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
        let first = text.bytes().next()?;
        let well_formed = text.len() <= Self::MAX_OCTETS
            && (first.is_ascii_lowercase() || first.is_ascii_digit())
            && text.bytes().all(inner)
            && !text.starts_with(crate::TemplateId::PREFIX);
        well_formed.then(|| Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Slug {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("not a slug"))
    }
}

/// See [`TemplateEvent::TemplateCreated`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateCreated {
    /// Whose app it is.
    pub tenant: TenantId,
    /// The app that sends with it.
    pub app: AppId,
    /// Its name in requests; another one for each template of an app.
    pub slug: Slug,
}

/// See [`TemplateEvent::TemplateVersionAdded`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateVersionAdded {
    /// Which version, from 1.
    pub version: u32,
    /// Which part of it, from 1.
    pub part: u16,
    /// How many there are.
    pub parts: u16,
    /// The part's share of the sealed source.
    pub source: SealedText,
}

/// See [`TemplateEvent::TemplateDeleted`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateDeleted {}

/// A template folded from its events. [`Template::default`] is one that was never created.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Template {
    created: Option<TemplateCreated>,
    deleted: bool,
    version: u32,
}

impl Template {
    /// Takes in what happened.
    pub fn evolve(&mut self, event: &TemplateEvent) {
        match event {
            TemplateEvent::TemplateCreated(created) => self.created = Some(created.clone()),
            TemplateEvent::TemplateVersionAdded(added) => {
                if added.part == added.parts {
                    self.version = added.version;
                }
            }
            TemplateEvent::TemplateDeleted(_) => self.deleted = true,
        }
    }

    /// What was created; `None` for a template that was not, or was deleted.
    pub fn created(&self) -> Option<&TemplateCreated> {
        self.created.as_ref().filter(|_| !self.deleted)
    }

    /// The newest version; 0 before the first.
    pub const fn version(&self) -> u32 {
        self.version
    }
}

/// What somebody wants of a template.
#[derive(Debug, Clone)]
pub enum Command {
    /// Make it, with the parts of its first version.
    Create(TemplateCreated, Vec<SealedText>),
    /// Write a new version, after the one that the caller knew.
    Update {
        /// The version that the new one was made from.
        from_version: u32,
        /// The parts of the new one.
        parts: Vec<SealedText>,
    },
    /// Take it out of use.
    Delete,
}

/// Why a command is not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It was created before, or another of the app has its slug.
    #[error("the template exists already")]
    AlreadyExists,
    /// There is no such template.
    #[error("there is no such template")]
    Unknown,
    /// Somebody else wrote a version in the meantime.
    #[error("the template was changed in the meantime")]
    Changed,
    /// No more templates, or versions of one.
    #[error("the limit on templates or versions is reached")]
    TooMany,
    /// More than [`MAX_PARTS`] parts.
    #[error("the template is too large")]
    TooLarge,
}

/// The events that `command` leads to, or why it is refused.
pub fn decide(template: &Template, command: &Command) -> Result<Vec<TemplateEvent>, Refusal> {
    match command {
        Command::Create(created, parts) => {
            if template.created.is_some() {
                return Err(Refusal::AlreadyExists);
            }
            let version = version(1, parts)?;
            Ok(std::iter::once(created.clone().into()).chain(version).collect())
        }
        Command::Update { from_version, parts } => {
            template.created().ok_or(Refusal::Unknown)?;
            if *from_version != template.version {
                return Err(Refusal::Changed);
            }
            if template.version >= MAX_VERSIONS {
                return Err(Refusal::TooMany);
            }
            version(template.version + 1, parts).map(Iterator::collect)
        }
        Command::Delete => {
            template.created().ok_or(Refusal::Unknown)?;
            Ok(vec![TemplateDeleted {}.into()])
        }
    }
}

fn version(
    version: u32,
    parts: &[SealedText],
) -> Result<impl Iterator<Item = TemplateEvent>, Refusal> {
    let fits = (1..=MAX_PARTS).contains(&parts.len())
        && parts.iter().all(|part| part.0.len() <= MAX_PART_OCTETS);
    let count = u16::try_from(parts.len()).ok().filter(|_| fits).ok_or(Refusal::TooLarge)?;
    let numbered = (1..=count).zip(parts);
    Ok(numbered.map(move |(part, source)| {
        TemplateVersionAdded { version, part, parts: count, source: source.clone() }.into()
    }))
}
