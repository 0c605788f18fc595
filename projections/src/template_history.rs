//! Templates as they were: each that there ever was, with the time of each version, so that a look
//! back reads a few rows and not what all versions say.

use std::fmt;

use eventlog::{Scan, Vault};
use model::{
    AppId, Event, StreamId, TemplateId, Timestamp,
    event::SealedText,
    profile::TemplateProfile,
    template::{Slug, TemplateCreated, TemplateEvent},
};

use crate::{
    codec::{Malformed, Reader, join},
    error::{Halt, QueryError},
    fact::{Fact, FactRow},
    layer::{Round, Rows},
    projection::Projection,
    sealed,
    templates::{MAX_TEMPLATE_PAGE, TemplateView},
};

const NAME: &str = "template_history";

/// That a template was created, by app and template: ids grow with the time.
const CREATED: u8 = 1;
/// The name of a version, by template and time.
const VERSION: u8 = 2;
/// When a template was deleted.
const DELETED: u8 = 3;

/// Most templates looked at for one answer.
const MAX_LOOKED_AT: usize = 10_000;

/// Every template that there ever was.
pub struct TemplateHistory {
    table: Rows,
    vault: Vault,
}

impl fmt::Debug for TemplateHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TemplateHistory").finish_non_exhaustive()
    }
}

impl TemplateHistory {
    pub(crate) const fn new(table: Rows, vault: Vault) -> Self {
        Self { table, vault }
    }

    /// The template of this id as it was at `at`, if it was the app's.
    pub fn get(
        &self,
        app: AppId,
        id: TemplateId,
        at: Timestamp,
    ) -> Result<Option<TemplateView>, QueryError> {
        match self.table.get(created_key(app, id))? {
            Some(row) => self.view(&row, at),
            None => Ok(None),
        }
    }

    /// The template that the app had under this name at `at`.
    pub fn find(
        &self,
        app: AppId,
        slug: &Slug,
        at: Timestamp,
    ) -> Result<Option<TemplateView>, QueryError> {
        for row in self.created(app, None).take(MAX_LOOKED_AT) {
            if let Some(view) = self.view(&row?.1, at)?.filter(|view| view.slug == *slug) {
                return Ok(Some(view));
            }
        }
        Ok(None)
    }

    /// The templates that the app had at `at`, the newest first, beginning after `after`. Of an app
    /// that deleted thousands a page can be short, and still have a next one.
    pub fn page(
        &self,
        app: AppId,
        at: Timestamp,
        after: Option<TemplateId>,
        limit: usize,
    ) -> Result<(Vec<TemplateView>, Option<TemplateId>), QueryError> {
        let limit = limit.clamp(1, MAX_TEMPLATE_PAGE);
        let (mut found, mut last) = (Vec::new(), None);
        for (looked_at, row) in self.created(app, after).enumerate() {
            let (key, value) = row?;
            if found.len() == limit || looked_at == MAX_LOOKED_AT {
                return Ok((found, last));
            }
            let id = key.get(17..).and_then(|id| <[u8; 16]>::try_from(id).ok());
            last = Some(TemplateId::from_bytes(id.ok_or_else(|| damaged(Malformed))?));
            found.extend(self.view(&value, at)?);
        }
        Ok((found, None))
    }

    fn created(&self, app: AppId, after: Option<TemplateId>) -> crate::layer::Merged {
        let mut scan = Scan::prefix(join(&[&[CREATED], app.as_bytes()]));
        if let Some(after) = after {
            scan = scan.before(created_key(app, after));
        }
        self.table.scan(scan.reverse())
    }

    /// `None` when it was not there yet, not there any more, or had no version.
    fn view(&self, created: &[u8], at: Timestamp) -> Result<Option<TemplateView>, QueryError> {
        let row = FactRow::read(created).map_err(damaged)?;
        let (StreamId::Template(id), Ok(Event::Template(TemplateEvent::TemplateCreated(created)))) =
            (row.stream, row.event(NAME))
        else {
            return Err(damaged(Malformed));
        };
        let TemplateCreated { tenant, app, slug } = created;
        let deleted = self.table.get(join(&[&[DELETED], id.as_bytes()]))?;
        let deleted = deleted.map(|row| Reader::new(&row).u64().map_err(damaged)).transpose()?;
        if row.at > at || deleted.is_some_and(|deleted_ms| deleted_ms <= at.as_millis()) {
            return Ok(None);
        }
        let versions = join(&[&[VERSION], id.as_bytes()]);
        let after = at.as_millis().saturating_add(1).to_be_bytes();
        let scan = Scan::prefix(&versions).before(join(&[&versions, &after])).reverse();
        let Some((key, sealed)) = self.table.scan(scan).next().transpose()? else {
            return Ok(None);
        };
        let mut reader = Reader::new(key.get(versions.len()..).unwrap_or_default());
        let updated_at = Timestamp::from_millis(reader.key_u64().map_err(damaged)?);
        let version = reader.key_u32().map_err(damaged)?;
        let text = std::str::from_utf8(&sealed).map_err(|_| damaged(Malformed))?;
        let profile: Option<TemplateProfile> =
            sealed::profile(&self.vault, id.as_bytes(), &SealedText(text.into()));
        let name = profile.ok_or_else(|| damaged(Malformed))?.name;
        let created_at = row.at;
        Ok(Some(TemplateView { id, tenant, app, slug, name, version, created_at, updated_at }))
    }
}

const fn damaged(_: Malformed) -> QueryError {
    QueryError::Damaged { table: NAME }
}

fn created_key(app: AppId, id: TemplateId) -> Vec<u8> {
    join(&[&[CREATED], app.as_bytes(), id.as_bytes()])
}

/// Folds it.
pub(crate) struct TemplateHistoryProjection;

impl Projection for TemplateHistoryProjection {
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
        let at_ms = fact.recorded.at.as_millis();
        match event {
            TemplateEvent::TemplateCreated(created) => {
                round.put_new(created_key(created.app, id), FactRow::of(fact).to_bytes());
            }
            // The name comes with the first part; all parts of a version are one append.
            TemplateEvent::TemplateVersionAdded(added) => {
                if let Some(profile) = &added.profile {
                    let (at, version) = (at_ms.to_be_bytes(), added.version.to_be_bytes());
                    let key = join(&[&[VERSION], id.as_bytes(), &at, &version]);
                    round.put_new(key, profile.0.as_bytes().to_vec());
                }
            }
            TemplateEvent::TemplateDeleted(_) => {
                let key = join(&[&[DELETED], id.as_bytes()]);
                round.put(key, at_ms.to_le_bytes().to_vec());
            }
        }
        Ok(())
    }
}
