//! Templates: their names in memory, what they say in rows that are read when it is wanted.

use std::{fmt, sync::Arc};

use eventlog::Vault;
use model::{
    AppId, Event, StreamId, TemplateId, TenantId, Timestamp,
    event::SealedText,
    profile::TemplateProfile,
    template::{Slug, TemplateEvent, TemplateVersionAdded},
};

use crate::{
    codec::{Malformed, Reader, join},
    error::{Halt, QueryError},
    fact::{Fact, FactRow, malformed},
    keys::append,
    layer::{Round, Rows},
    projection::Projection,
    sealed,
};

const NAME: &str = "templates";
const SOURCES: &str = "template_sources";

/// A template was created, by position: lists show what was made first, first.
const CREATED: u8 = 1;
/// Its newest version.
const VERSION: u8 = 2;
/// It was deleted.
const DELETED: u8 = 3;

/// Most templates of one page.
pub const MAX_TEMPLATE_PAGE: usize = 100;

/// A template that was not deleted.
#[derive(Clone, PartialEq, Eq)]
pub struct TemplateView {
    /// Which template.
    pub id: TemplateId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The app that sends with it.
    pub app: AppId,
    /// Its name in requests.
    pub slug: Slug,
    /// What people call it.
    pub name: String,
    /// Its newest version.
    pub version: u32,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its newest version was written.
    pub updated_at: Timestamp,
}

// A name that is printed by mistake must not become a leak.
impl fmt::Debug for TemplateView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TemplateView({}, version {})", self.id, self.version)
    }
}

/// Every template. Finding one takes no lock.
pub struct Templates {
    by_id: papaya::HashMap<TemplateId, Arc<TemplateView>>,
    by_slug: papaya::HashMap<(AppId, Slug), TemplateId>,
    of_app: papaya::HashMap<AppId, Arc<[TemplateId]>>,
    sources: Rows,
}

impl fmt::Debug for Templates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Templates({})", self.by_id.len())
    }
}

impl Templates {
    pub(crate) fn new(sources: Rows) -> Self {
        Self {
            by_id: papaya::HashMap::new(),
            by_slug: papaya::HashMap::new(),
            of_app: papaya::HashMap::new(),
            sources,
        }
    }

    /// The template of this id, if it is the app's.
    pub fn get(&self, app: AppId, id: TemplateId) -> Option<Arc<TemplateView>> {
        let view = self.by_id.pin().get(&id).cloned()?;
        // Between its creation and its first version there is nothing to send.
        (view.app == app && view.version > 0).then_some(view)
    }

    /// The app's template of this name.
    pub fn find(&self, app: AppId, slug: &Slug) -> Option<Arc<TemplateView>> {
        let id = *self.by_slug.pin().get(&(app, slug.clone()))?;
        self.get(app, id)
    }

    /// The app's templates, newest first, beginning after `after`.
    pub fn page(
        &self,
        app: AppId,
        after: Option<TemplateId>,
        limit: usize,
    ) -> (Vec<Arc<TemplateView>>, Option<TemplateId>) {
        let ids = self.of_app.pin().get(&app).cloned().unwrap_or_default();
        // One that was deleted since still says where to go on: ids grow with the time.
        let older = ids.iter().rev().filter(|id| after.is_none_or(|after| **id < after));
        let mut found: Vec<_> = older
            .filter_map(|id| self.get(app, *id))
            .take(limit.clamp(1, MAX_TEMPLATE_PAGE) + 1)
            .collect();
        let more = found.len() > limit.clamp(1, MAX_TEMPLATE_PAGE);
        if more {
            found.pop();
        }
        let next = found.last().filter(|_| more).map(|last| last.id);
        (found, next)
    }

    /// How many templates the app has.
    pub fn count(&self, app: AppId) -> usize {
        self.of_app.pin().get(&app).map_or(0, |ids| ids.len())
    }

    /// What a version says, sealed for the template; `None` when there is no such version.
    pub fn source(
        &self,
        template: TemplateId,
        version: u32,
    ) -> Result<Option<SealedText>, QueryError> {
        let mut text = String::new();
        let prefix = join(&[template.as_bytes(), &version.to_be_bytes()]);
        for row in self.sources.scan(eventlog::Scan::prefix(prefix)) {
            let (_, part) = row?;
            let part =
                std::str::from_utf8(&part).map_err(|_| QueryError::Damaged { table: SOURCES })?;
            text.push_str(part);
        }
        Ok((!text.is_empty()).then(|| SealedText(text.into())))
    }

    fn created(&self, id: TemplateId, at: Timestamp, event: model::template::TemplateCreated) {
        let model::template::TemplateCreated { tenant, app, slug } = event;
        let view = TemplateView {
            id,
            tenant,
            app,
            slug: slug.clone(),
            name: String::new(),
            version: 0,
            created_at: at,
            updated_at: at,
        };
        self.by_id.pin().insert(id, Arc::new(view));
        self.by_slug.pin().insert((app, slug), id);
        append(&self.of_app, app, id);
    }

    fn deleted(&self, id: TemplateId) {
        let Some(view) = self.by_id.pin().remove(&id).cloned() else { return };
        let slugs = self.by_slug.pin();
        let key = (view.app, view.slug.clone());
        // The name may be another template's by now.
        if slugs.get(&key) == Some(&id) {
            slugs.remove(&key);
        }
        let lists = self.of_app.pin();
        let before = lists.get(&view.app).cloned().unwrap_or_default();
        lists.insert(view.app, before.iter().copied().filter(|known| *known != id).collect());
    }
}

/// Folds the templates' names.
pub(crate) struct TemplatesProjection {
    templates: Arc<Templates>,
    vault: Vault,
}

impl TemplatesProjection {
    pub(crate) const fn new(templates: Arc<Templates>, vault: Vault) -> Self {
        Self { templates, vault }
    }

    fn version(&self, id: TemplateId, value: &[u8]) -> Result<(), Halt> {
        let damaged = |_: Malformed| malformed(NAME);
        let mut reader = Reader::new(value);
        let version = reader.u32().map_err(damaged)?;
        let updated_at = Timestamp::from_millis(reader.u64().map_err(damaged)?);
        let text = std::str::from_utf8(reader.rest()).map_err(|_| malformed(NAME))?;
        let known = self.templates.by_id.pin().get(&id).cloned();
        let Some(view) = known else { return Ok(()) };
        let profile: TemplateProfile =
            sealed::profile(&self.vault, id.as_bytes(), &SealedText(text.into()))
                .ok_or(Halt::Profile { of: id.to_string() })?;
        let name = profile.name;
        let view = TemplateView { name, version, updated_at, ..TemplateView::clone(&view) };
        self.templates.by_id.pin().insert(id, Arc::new(view));
        Ok(())
    }
}

fn version_row(added: &TemplateVersionAdded, at: Timestamp, profile: &SealedText) -> Vec<u8> {
    let at = at.as_millis().to_le_bytes();
    join(&[&added.version.to_le_bytes(), &at, profile.0.as_bytes()])
}

impl Projection for TemplatesProjection {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> u32 {
        1
    }

    fn apply(&mut self, fact: &Fact<'_>, round: &mut Round<'_>) -> Result<(), Halt> {
        let (StreamId::Template(id), Some(Event::Template(event))) =
            (fact.recorded.stream, fact.known.other())
        else {
            return Ok(());
        };
        match event {
            TemplateEvent::TemplateCreated(_) => {
                let position = fact.recorded.position.get().to_be_bytes();
                round.put(join(&[&[CREATED], &position]), FactRow::of(fact).to_bytes());
            }
            // The name comes with the first part; all parts of a version are one append.
            TemplateEvent::TemplateVersionAdded(added) => {
                if let Some(profile) = &added.profile {
                    let row = version_row(added, fact.recorded.at, profile);
                    round.put(join(&[&[VERSION], id.as_bytes()]), row);
                }
            }
            TemplateEvent::TemplateDeleted(_) => {
                round.put(join(&[&[DELETED], id.as_bytes()]), Vec::new());
            }
        }
        Ok(())
    }

    fn remembers(&self) -> bool {
        true
    }

    fn remember(&self, key: &[u8], value: &[u8]) -> Result<(), Halt> {
        let template = || {
            let bytes = key.get(1..).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
            bytes.map(TemplateId::from_bytes).ok_or_else(|| malformed(NAME))
        };
        match key.first() {
            Some(&CREATED) => {
                let row = FactRow::read(value).map_err(|_| malformed(NAME))?;
                let (
                    StreamId::Template(id),
                    Event::Template(TemplateEvent::TemplateCreated(created)),
                ) = (row.stream, row.event(NAME)?)
                else {
                    return Err(malformed(NAME));
                };
                self.templates.created(id, row.at, created);
            }
            Some(&VERSION) => self.version(template()?, value)?,
            Some(&DELETED) => self.templates.deleted(template()?),
            _ => return Err(malformed(NAME)),
        }
        Ok(())
    }
}

/// Folds what the templates say. Nothing of it is kept in memory.
pub(crate) struct TemplateSourcesProjection;

impl Projection for TemplateSourcesProjection {
    fn name(&self) -> &'static str {
        SOURCES
    }

    fn version(&self) -> u32 {
        1
    }

    fn apply(&mut self, fact: &Fact<'_>, round: &mut Round<'_>) -> Result<(), Halt> {
        let (
            StreamId::Template(id),
            Some(Event::Template(TemplateEvent::TemplateVersionAdded(added))),
        ) = (fact.recorded.stream, fact.known.other())
        else {
            return Ok(());
        };
        let key = join(&[id.as_bytes(), &added.version.to_be_bytes(), &added.part.to_be_bytes()]);
        round.put_new(key, added.source.0.as_bytes().to_vec());
        Ok(())
    }
}
