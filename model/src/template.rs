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
/// Longest sealed profile, in octets: an event takes it beside a part.
pub const MAX_PROFILE_OCTETS: usize = 4 * 1024;

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
    /// The template's name from this version on, sealed; with the first part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<SealedText>,
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

/// A version to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVersion {
    /// The template's name, sealed.
    pub profile: SealedText,
    /// The parts of its sealed source.
    pub parts: Vec<SealedText>,
}

/// What somebody wants of a template.
#[derive(Debug, Clone)]
pub enum Command {
    /// Make it, with its first version.
    Create(TemplateCreated, NewVersion),
    /// Write a new version.
    Update {
        /// The version that the new one was made from.
        from_version: u32,
        /// The new one.
        version: NewVersion,
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
        Command::Create(created, version) => {
            if template.created.is_some() {
                return Err(Refusal::AlreadyExists);
            }
            let version = parts(1, version)?;
            Ok(std::iter::once(created.clone().into()).chain(version).collect())
        }
        Command::Update { from_version, version } => {
            template.created().ok_or(Refusal::Unknown)?;
            if *from_version != template.version {
                return Err(Refusal::Changed);
            }
            if template.version >= MAX_VERSIONS {
                return Err(Refusal::TooMany);
            }
            parts(template.version + 1, version).map(Iterator::collect)
        }
        Command::Delete => {
            template.created().ok_or(Refusal::Unknown)?;
            Ok(vec![TemplateDeleted {}.into()])
        }
    }
}

fn parts(version: u32, new: &NewVersion) -> Result<impl Iterator<Item = TemplateEvent>, Refusal> {
    let NewVersion { profile, parts } = new;
    let fits = (1..=MAX_PARTS).contains(&parts.len())
        && profile.0.len() <= MAX_PROFILE_OCTETS
        && parts.iter().all(|part| part.0.len() <= MAX_PART_OCTETS);
    let count = u16::try_from(parts.len()).ok().filter(|_| fits).ok_or(Refusal::TooLarge)?;
    let numbered = (1..=count).zip(parts);
    Ok(numbered.map(move |(part, source)| {
        let profile = (part == 1).then(|| profile.clone());
        TemplateVersionAdded { version, part, parts: count, profile, source: source.clone() }.into()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn created() -> TemplateCreated {
        TemplateCreated {
            tenant: TenantId::from_bytes([1; 16]),
            app: AppId::from_bytes([2; 16]),
            slug: Slug::parse("welcome").unwrap(),
        }
    }

    fn version(parts: usize) -> NewVersion {
        let part = |number: usize| SealedText(format!("part{number}").into());
        NewVersion { profile: SealedText("name".into()), parts: (0..parts).map(part).collect() }
    }

    fn fold(given: &[TemplateEvent]) -> Template {
        let stream = crate::StreamId::Template(crate::TemplateId::from_bytes([9; 16]));
        let mut template = Template::default();
        for event in given {
            let crate::Event::Template(read) =
                crate::Event::decode(stream, &event.encode(&crate::By::CommandLine.into()))
                    .unwrap()
            else {
                panic!("a template's event")
            };
            assert_eq!(&read, event);
            template.evolve(&read);
        }
        template
    }

    fn made(parts: usize) -> Vec<TemplateEvent> {
        decide(&Template::default(), &Command::Create(created(), version(parts))).unwrap()
    }

    #[test]
    fn a_template_is_made_once_with_its_first_version() {
        let events = made(3);
        let kinds: Vec<_> = events.iter().map(TemplateEvent::kind).collect();
        assert_eq!(kinds[0], "template.created");
        assert_eq!(kinds[1..], ["template.version_added"; 3]);
        assert_eq!(fold(&events).version(), 1);
        let again = Command::Create(created(), version(1));
        assert_eq!(decide(&fold(&events), &again), Err(Refusal::AlreadyExists));
    }

    #[test]
    fn a_version_counts_once_all_of_it_is_there() {
        let events = made(3);
        assert_eq!(fold(&events[..3]).version(), 0);
        let TemplateEvent::TemplateVersionAdded(last) = &events[3] else { panic!("a part") };
        assert_eq!((last.version, last.part, last.parts, &last.profile), (1, 3, 3, &None));
    }

    #[test]
    fn an_update_follows_the_version_that_was_seen() {
        let mut events = made(1);
        let update = |from_version| Command::Update { from_version, version: version(2) };
        assert_eq!(decide(&Template::default(), &update(1)), Err(Refusal::Unknown));
        assert_eq!(decide(&fold(&events), &update(2)), Err(Refusal::Changed));
        events.extend(decide(&fold(&events), &update(1)).unwrap());
        assert_eq!(fold(&events).version(), 2);
        assert_eq!(decide(&fold(&events), &update(1)), Err(Refusal::Changed));
    }

    #[test]
    fn what_is_deleted_is_unknown() {
        let mut events = made(1);
        events.extend(decide(&fold(&events), &Command::Delete).unwrap());
        assert_eq!(fold(&events).created(), None);
        assert_eq!(decide(&fold(&events), &Command::Delete), Err(Refusal::Unknown));
        let update = Command::Update { from_version: 1, version: version(1) };
        assert_eq!(decide(&fold(&events), &update), Err(Refusal::Unknown));
    }

    #[test]
    fn what_does_not_fit_into_events_is_refused() {
        let create = |version| decide(&Template::default(), &Command::Create(created(), version));
        let long = |octets: usize| SealedText("a".repeat(octets).into());
        let with = |part| NewVersion { parts: vec![part], ..version(0) };
        assert_eq!(create(version(0)), Err(Refusal::TooLarge));
        assert_eq!(create(version(MAX_PARTS + 1)), Err(Refusal::TooLarge));
        assert_eq!(create(with(long(MAX_PART_OCTETS + 1))), Err(Refusal::TooLarge));
        let named = NewVersion { profile: long(MAX_PROFILE_OCTETS + 1), ..version(1) };
        assert_eq!(create(named), Err(Refusal::TooLarge));
        let largest = NewVersion {
            profile: long(MAX_PROFILE_OCTETS),
            parts: vec![long(MAX_PART_OCTETS); MAX_PARTS],
        };
        for event in create(largest).unwrap() {
            assert!(
                event.encode(&crate::By::CommandLine.into()).len()
                    <= crate::event::MAX_EVENT_OCTETS
            );
        }
    }

    #[test]
    fn slugs_are_plain_and_never_look_like_an_id() {
        for good in ["a", "welcome-mail", "2024.order_paid", &"a".repeat(100)] {
            assert!(Slug::parse(good).is_some(), "{good}");
        }
        for bad in ["", "A", "-a", ".a", "a b", "a/b", "é", "tpl_abc", &"a".repeat(101)] {
            assert_eq!(Slug::parse(bad), None, "{bad}");
        }
    }
}
