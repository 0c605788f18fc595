//! Templates: written, read, rendered.

use std::{fmt, sync::Arc};

use eventlog::{Purpose, Sealed};
use model::{
    AppId, Cause, Event, StreamId, TemplateId, Timestamp,
    event::SealedText,
    message::TemplateUse,
    profile::{Profile, TemplateProfile},
    template::{
        self, Command, MAX_PART_OCTETS, MAX_TEMPLATES_PER_APP, NewVersion, Refusal, Slug, Template,
        TemplateCreated, TemplateEvent,
    },
};
use projections::TemplateView;
use templates::{Compiled, Rendered, Source};
use tokio::sync::Semaphore;

use crate::{
    Platform,
    error::{ChangeError, SendError, SendRefusal, TemplateError},
    governed::{Governed, Governor},
    node::Node,
    registry::Registry,
    request::{Caller, TemplateCall, TemplateRef},
    sourced::Aggregate,
};

/// The memory of compiled templates that are kept, in octets: a thousand short ones.
const KEPT_OCTETS: u64 = 32 * 1024 * 1024;

/// One template.
pub(crate) type TemplateActor = Governor<Template>;

impl Aggregate for Template {
    type Event = TemplateEvent;

    fn own(event: Event) -> Option<TemplateEvent> {
        match event {
            Event::Template(event) => Some(event),
            _ => None,
        }
    }

    fn encode(event: &TemplateEvent, cause: &Cause) -> Box<[u8]> {
        event.encode(cause)
    }

    fn evolve(&mut self, event: &TemplateEvent, _at: Timestamp) {
        Self::evolve(self, event);
    }
}

impl Governed for Template {
    type Id = TemplateId;
    type Command = Command;
    type Refusal = Refusal;

    fn stream(id: TemplateId) -> StreamId {
        StreamId::Template(id)
    }

    fn decide(&self, command: &Command, _now: Timestamp) -> Result<Vec<TemplateEvent>, Refusal> {
        template::decide(self, command)
    }

    fn registry(node: &Node) -> &Arc<Registry<TemplateActor>> {
        &node.templates
    }
}

/// A template to be written.
#[derive(Clone)]
pub struct TemplateDraft {
    /// Its name in requests.
    pub slug: Slug,
    /// What people call it.
    pub name: String,
    /// What it says.
    pub source: Source,
}

// Printed by mistake, what somebody wrote must not become a leak.
impl fmt::Debug for TemplateDraft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TemplateDraft({}, {:?})", self.slug, self.source)
    }
}

/// What a new version changes; what is absent stays as it was.
#[derive(Clone, Default)]
pub struct TemplateChange {
    /// What people call it.
    pub name: Option<String>,
    /// The subject line; `Some(None)` takes it away.
    pub subject: Option<Option<String>>,
    /// The message as HTML.
    pub html: Option<Option<String>>,
    /// The message as text.
    pub text: Option<Option<String>>,
}

impl fmt::Debug for TemplateChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TemplateChange(…)")
    }
}

/// Renders, a bounded number at once, from templates that are compiled once.
pub(crate) struct Renderer {
    turns: Semaphore,
    compiled: moka::sync::Cache<(TemplateId, u32), Compiled>,
}

impl Renderer {
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let weigh = |_: &(TemplateId, u32), compiled: &Compiled| {
            u32::try_from(compiled.weight()).unwrap_or(u32::MAX)
        };
        Self {
            turns: Semaphore::new(cores),
            compiled: moka::sync::Cache::builder().max_capacity(KEPT_OCTETS).weigher(weigh).build(),
        }
    }
}

impl Platform {
    /// Writes a template with its first version.
    pub async fn create_template(
        &self,
        caller: &Caller,
        draft: TemplateDraft,
    ) -> Result<Arc<TemplateView>, TemplateError> {
        let TemplateDraft { slug, name, source } = draft;
        let source = self.compile(source).await?;
        let node = self.node();
        let id = TemplateId::new(node.now(), node.lots.bytes().map_err(ChangeError::from)?);
        let version = self.seal_version(id, name, &source)?;
        {
            let _alone = self.adding().lock().await;
            let templates = node.read.templates();
            if templates.find(caller.app, &slug).is_some() {
                return Err(Refusal::AlreadyExists.into());
            }
            if templates.count(caller.app) >= MAX_TEMPLATES_PER_APP {
                return Err(Refusal::TooMany.into());
            }
            let created = TemplateCreated { tenant: caller.tenant, app: caller.app, slug };
            self.change::<Template>(caller.by(), id, vec![Command::Create(created, version)])
                .await?;
        }
        Ok(node.read.templates().get(caller.app, id).ok_or(ChangeError::NotYetVisible)?)
    }

    /// Writes a new version of a template.
    pub async fn update_template(
        &self,
        caller: &Caller,
        template: &TemplateRef,
        change: TemplateChange,
    ) -> Result<Arc<TemplateView>, TemplateError> {
        let view = self.template(caller, template).ok_or(Refusal::Unknown)?;
        let before = self.template_source(&view, view.version).await?;
        let source = Source {
            subject: change.subject.unwrap_or(before.subject),
            html: change.html.unwrap_or(before.html),
            text: change.text.unwrap_or(before.text),
        };
        let source = self.compile(source).await?;
        let name = change.name.unwrap_or_else(|| view.name.clone());
        let version = self.seal_version(view.id, name, &source)?;
        let command = Command::Update { from_version: view.version, version };
        self.change::<Template>(caller.by(), view.id, vec![command]).await?;
        let templates = self.node().read.templates();
        Ok(templates.get(caller.app, view.id).ok_or(Refusal::Unknown)?)
    }

    /// Takes a template out of use. What was sent with it stays as it is.
    pub async fn delete_template(
        &self,
        caller: &Caller,
        template: &TemplateRef,
    ) -> Result<(), ChangeError> {
        let view = self.template(caller, template).ok_or(Refusal::Unknown)?;
        self.change::<Template>(caller.by(), view.id, vec![Command::Delete]).await
    }

    /// The app's template, if there is one.
    pub fn template(&self, caller: &Caller, template: &TemplateRef) -> Option<Arc<TemplateView>> {
        find(self.node(), caller.app, template)
    }

    /// What a version of a template says.
    pub async fn template_source(
        &self,
        template: &TemplateView,
        version: u32,
    ) -> Result<Source, ChangeError> {
        let found = compiled(self.node(), template.id, version).await;
        let compiled = found.map_err(|_| ChangeError::Internal)?;
        Ok(compiled.ok_or(Refusal::Unknown)?.source().clone())
    }

    /// What a template becomes with these variables.
    pub async fn render_template(
        &self,
        caller: &Caller,
        call: TemplateCall,
    ) -> Result<(TemplateUse, Rendered), SendError> {
        render(self.node(), caller.app, call).await
    }

    async fn compile(&self, source: Source) -> Result<Source, TemplateError> {
        let internal = || TemplateError::Change(ChangeError::Internal);
        let _turn = self.node().renderer.turns.acquire().await.map_err(|_| internal())?;
        // Up to a quarter of a megabyte of somebody else's text.
        let checked = self.node().blocking.run(move || Compiled::new(source)).await;
        let compiled = checked.ok_or_else(internal)?.map_err(TemplateError::Faulty)?;
        Ok(compiled.source().clone())
    }

    fn seal_version(
        &self,
        id: TemplateId,
        name: String,
        source: &Source,
    ) -> Result<NewVersion, ChangeError> {
        let vault = &self.node().vault;
        let profile = TemplateProfile { name };
        let profile =
            vault.seal(Purpose::TenantProfile, id.as_bytes(), &profile.to_bytes())?.to_base64();
        // A plain struct of texts always has a JSON form.
        let plain = serde_json::to_vec(source).unwrap_or_default();
        let sealed = vault.seal(Purpose::Template, id.as_bytes(), &plain)?.to_base64();
        let parts = sealed.as_bytes().chunks(MAX_PART_OCTETS);
        // Base64 is cut between any two of its characters.
        let part = |part: &[u8]| SealedText(String::from_utf8_lossy(part).into());
        Ok(NewVersion { profile: SealedText(profile.into()), parts: parts.map(part).collect() })
    }
}

fn find(node: &Node, app: AppId, template: &TemplateRef) -> Option<Arc<TemplateView>> {
    let templates = node.read.templates();
    match template {
        TemplateRef::Id(id) => templates.get(app, *id),
        TemplateRef::Slug(slug) => templates.find(app, slug),
        TemplateRef::Unknown => None,
    }
}

/// The compiled version; `None` when there is no such version.
async fn compiled(
    node: &Node,
    id: TemplateId,
    version: u32,
) -> Result<Option<Compiled>, SendError> {
    if let Some(compiled) = node.renderer.compiled.get(&(id, version)) {
        return Ok(Some(compiled));
    }
    let _turn = node.renderer.turns.acquire().await.map_err(|_| SendError::Internal)?;
    let (read, vault) = (node.read.clone(), node.vault.clone());
    let reading = node.blocking.run(move || {
        let sealed = read.templates().source(id, version).map_err(|error| error.to_string())?;
        let Some(sealed) = sealed else { return Ok(None) };
        let sealed = Sealed::from_base64(&sealed.0).map_err(|error| error.to_string())?;
        let plain = vault
            .open(Purpose::Template, id.as_bytes(), &sealed)
            .map_err(|error| error.to_string())?;
        let source: Source = serde_json::from_slice(&plain).map_err(|_| "not a source")?;
        let compiled = Compiled::new(source).map_err(|_| "does not compile any more")?;
        Ok::<_, String>(Some(compiled))
    });
    let read = reading.await.ok_or(SendError::Internal)?.map_err(|error| {
        tracing::error!(template = %id, version, error, "a template could not be read");
        SendError::Internal
    })?;
    if let Some(compiled) = &read {
        node.renderer.compiled.insert((id, version), compiled.clone());
    }
    Ok(read)
}

/// Renders for an app.
pub(crate) async fn render(
    node: &Node,
    app: AppId,
    call: TemplateCall,
) -> Result<(TemplateUse, Rendered), SendError> {
    let unknown = || SendError::Refused(SendRefusal::TemplateNotFound);
    let view = find(node, app, &call.template).ok_or_else(unknown)?;
    let version = call.version.unwrap_or(view.version);
    let compiled = compiled(node, view.id, version).await?.ok_or_else(unknown)?;
    let _turn = node.renderer.turns.acquire().await.map_err(|_| SendError::Internal)?;
    let rendering = node.blocking.run(move || compiled.render(&call.variables)).await;
    let rendered = rendering
        .ok_or(SendError::Internal)?
        .map_err(|failure| SendError::Refused(SendRefusal::TemplateRender(failure)))?;
    Ok((TemplateUse { id: view.id, version }, rendered))
}
