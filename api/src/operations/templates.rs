//! Templates: written, read, tried out.

use std::{borrow::Cow, sync::Arc};

use actors::{
    ChangeError, Fault, SendError, SendRefusal, Source, TemplateCall, TemplateChange,
    TemplateDraft, TemplateError, TemplateRef,
};
use model::{
    AppId, TemplateId, Timestamp,
    template::{MAX_VERSIONS, Refusal, Slug},
};
use poem::web::Data;
use poem_openapi::{OpenApi, payload::Json};
use projections::TemplateView;

use super::{
    SharedData, Topic, change_problem, query_problem, read,
    sending::{render_problem, send_problem},
};
use crate::{
    body::JsonBody,
    caller::{Allowed, TemplateReading, TemplateWriting},
    fields::{Fields, read_body, text},
    params::{Cursor, InPath, PageSize, Query},
    parts::Shared,
    past,
    problem::{Code, Findings, Problem},
    send::has_control,
    variables,
    wire::templates::{
        Deleted, NewTemplateBody, PreviewAnswer, PreviewBody, TemplateAnswer, TemplateChangeBody,
        TemplateCreated, TemplateVersion, TemplateWire, TemplatesAnswer,
    },
};

/// Longest name, in characters.
const MAX_NAME_CHARS: usize = 100;

/// To write, read and try out templates.
pub(crate) struct TemplateOperations;

#[OpenApi]
impl TemplateOperations {
    /// Write a template
    ///
    /// In the language of Jinja: `{{ user.name }}` puts a variable in, `{% if %}` and `{% for %}`
    /// choose and repeat. A variable that a send does not bring is an error that names it, not an
    /// empty space; `{{ name|default("friend") }}` makes it optional. A list that the template
    /// itself makes of variables is used where it is made and cannot be given a name, and `*` is
    /// written `a|times(b)`. Everything that is wrong with a template is told at once, by field and
    /// line.
    #[oai(
        path = "/v1/templates",
        method = "post",
        operation_id = "createTemplate",
        tag = "Topic::Templates"
    )]
    async fn create(
        &self,
        allowed: Allowed<TemplateWriting>,
        body: JsonBody<NewTemplateBody>,
        Data(shared): SharedData<'_>,
    ) -> Result<TemplateCreated, Problem> {
        let draft = read(shared, body.bytes, |bytes| read_body(bytes, draft)).await?;
        let created = shared.platform.create_template(&allowed.caller, draft).await;
        let view = created.map_err(template_problem)?;
        Ok(TemplateCreated::Created(Json(TemplateWire::from(&*view))))
    }

    /// List the templates
    ///
    /// The newest first, without what they say. With `at`, those that there were then, as they were:
    /// of an app that deleted thousands a page can be short, and still have a next one.
    #[oai(
        path = "/v1/templates",
        method = "get",
        operation_id = "listTemplates",
        tag = "Topic::Templates"
    )]
    async fn list(
        &self,
        allowed: Allowed<TemplateReading>,
        /// Most templates wanted.
        limit: Query<PageSize>,
        /// The `nextCursor` of the page before.
        cursor: Query<Cursor>,
        /// Show them as they were at this time, which must not be in the future.
        at: Query<Timestamp>,
        Data(shared): SharedData<'_>,
    ) -> Result<Json<TemplatesAnswer>, Problem> {
        let mut findings = Findings::default();
        let limit = limit.take(&mut findings).unwrap_or(PageSize::DEFAULT).0;
        let after = cursor.take_place(&mut findings, |text| text.parse::<TemplateId>().ok());
        if !findings.is_empty() {
            return Err(findings.into_problem());
        }
        let (app, at) = (allowed.caller.app, past::asked(at, shared.clock.now())?);
        shared.settled().await;
        if let Some(at) = at {
            let page = shared.reading(move |shared| {
                let page = shared.read.template_history().page(app, at, after, limit);
                let (found, next) = page.map_err(query_problem)?;
                Ok(TemplatesAnswer {
                    data: found.iter().map(TemplateWire::from).collect(),
                    has_more: next.is_some(),
                    next_cursor: next.map(|id| id.to_string()),
                })
            });
            return page.await.map(Json);
        }
        let (found, next) = shared.read.templates().page(app, after, limit);
        Ok(Json(TemplatesAnswer {
            data: found.iter().map(|view| TemplateWire::from(&**view)).collect(),
            has_more: next.is_some(),
            next_cursor: next.map(|id| id.to_string()),
        }))
    }

    /// Read a template
    ///
    /// With what it says, in its newest version or in any before. With `at`, as it was then, also when
    /// it was deleted since; a slug names what had it then.
    #[oai(
        path = "/v1/templates/:idOrSlug",
        method = "get",
        operation_id = "getTemplate",
        tag = "Topic::Templates"
    )]
    async fn get(
        &self,
        allowed: Allowed<TemplateReading>,
        /// The template, by its id or its slug.
        #[oai(name = "idOrSlug")]
        template: InPath<TemplateRef>,
        /// Which version; the newest if absent.
        version: Query<TemplateVersion>,
        /// Show it as it was at this time, which must not be in the future.
        at: Query<Timestamp>,
        Data(shared): SharedData<'_>,
    ) -> Result<Json<TemplateAnswer>, Problem> {
        let mut findings = Findings::default();
        let version = version.take(&mut findings);
        if !findings.is_empty() {
            return Err(findings.into_problem());
        }
        let at = past::asked(at, shared.clock.now())?;
        shared.settled().await;
        let view = match at {
            Some(at) => as_it_was(shared, allowed.caller.app, template.0, at).await?,
            None => shared.platform.template(&allowed.caller, &template.0),
        };
        let view = view.ok_or_else(|| Problem::new(Code::NotFound))?;
        let version = version.map_or(view.version, |TemplateVersion(version)| version);
        if version > view.version {
            return Err(Problem::new(Code::NotFound));
        }
        let source = shared.platform.template_source(&view, version).await;
        let source = source.map_err(change_problem)?;
        Ok(Json(TemplateAnswer::new(&view, version, source)))
    }

    /// Change a template
    ///
    /// Writes a new version; those before stay and can be sent with by their number. The slug
    /// stays too.
    #[oai(
        path = "/v1/templates/:idOrSlug",
        method = "patch",
        operation_id = "updateTemplate",
        tag = "Topic::Templates"
    )]
    async fn update(
        &self,
        allowed: Allowed<TemplateWriting>,
        /// The template, by its id or its slug.
        #[oai(name = "idOrSlug")]
        template: InPath<TemplateRef>,
        body: JsonBody<TemplateChangeBody>,
        Data(shared): SharedData<'_>,
    ) -> Result<Json<TemplateWire>, Problem> {
        let change =
            |bytes: &[u8]| read_body(bytes, |fields, findings| Some(change(fields, findings)));
        let change = read(shared, body.bytes, change).await?;
        let changed = shared.platform.update_template(&allowed.caller, &template.0, change).await;
        Ok(Json(TemplateWire::from(&*changed.map_err(template_problem)?)))
    }

    /// Delete a template
    ///
    /// Nothing can be sent with it any more. What was sent with it stays as it is.
    #[oai(
        path = "/v1/templates/:idOrSlug",
        method = "delete",
        operation_id = "deleteTemplate",
        tag = "Topic::Templates"
    )]
    async fn delete(
        &self,
        allowed: Allowed<TemplateWriting>,
        /// The template, by its id or its slug.
        #[oai(name = "idOrSlug")]
        template: InPath<TemplateRef>,
        Data(shared): SharedData<'_>,
    ) -> Result<Deleted, Problem> {
        let deleted = shared.platform.delete_template(&allowed.caller, &template.0).await;
        deleted.map_err(change_problem)?;
        Ok(Deleted::Done)
    }

    /// Try a template out
    ///
    /// What it becomes with these variables. Nothing is sent.
    #[oai(
        path = "/v1/templates/:idOrSlug/preview",
        method = "post",
        operation_id = "previewTemplate",
        tag = "Topic::Templates"
    )]
    async fn preview(
        &self,
        allowed: Allowed<TemplateReading>,
        /// The template, by its id or its slug.
        #[oai(name = "idOrSlug")]
        template: InPath<TemplateRef>,
        body: JsonBody<PreviewBody>,
        Data(shared): SharedData<'_>,
    ) -> Result<Json<PreviewAnswer>, Problem> {
        let InPath(template) = template;
        let call = move |bytes: &[u8]| {
            read_body(bytes, |mut fields, findings| {
                let version = fields.whole("version", 1..=MAX_VERSIONS, findings);
                let variables = variables::take(&mut fields, findings);
                fields.finish(findings);
                Some(TemplateCall { template, version, variables })
            })
        };
        let call = read(shared, body.bytes, call).await?;
        let rendered = shared.platform.render_template(&allowed.caller, call).await;
        let (_, rendered) = rendered.map_err(preview_problem)?;
        Ok(Json(rendered.into()))
    }
}

/// A template as it was; `None` when the app had none of this name then.
async fn as_it_was(
    shared: &Arc<Shared>,
    app: AppId,
    template: TemplateRef,
    at: Timestamp,
) -> Result<Option<Arc<TemplateView>>, Problem> {
    let found = shared.reading(move |shared| {
        let history = shared.read.template_history();
        let found = match template {
            TemplateRef::Id(id) => history.get(app, id, at),
            TemplateRef::Slug(slug) => history.find(app, &slug, at),
            TemplateRef::Unknown => Ok(None),
        };
        found.map_err(query_problem)
    });
    Ok(found.await?.map(Arc::new))
}

fn draft(mut fields: Fields<'_>, findings: &mut Findings) -> Option<TemplateDraft> {
    let slug = fields.required_text("slug", findings).and_then(|slug| {
        let parsed = Slug::parse(&slug);
        if parsed.is_none() {
            let words = "must have 1 to 100 lower-case letters, digits, -, _ and ., and begin with \
                         a letter or digit";
            findings.add(fields.path("slug"), words);
        }
        parsed
    });
    let name = fields.required_text("name", findings).map(Cow::into_owned);
    let name = name.and_then(|name| checked_name(name, &fields, findings));
    let mut part = |name: &str| {
        let part = fields.text(name, findings)?;
        checked_part(part.into_owned(), name, &fields, findings)
    };
    let source = Source { subject: part("subject"), html: part("html"), text: part("text") };
    fields.finish(findings);
    Some(TemplateDraft { slug: slug?, name: name?, source })
}

fn change(mut fields: Fields<'_>, findings: &mut Findings) -> TemplateChange {
    let name = fields.text("name", findings).map(Cow::into_owned);
    let name = name.and_then(|name| checked_name(name, &fields, findings));
    let mut part = |name: &str| {
        let Some(given) = fields.take_nullable(name, findings)? else { return Some(None) };
        let part = text(given, || fields.path(name), findings)?;
        Some(checked_part(part.into_owned(), name, &fields, findings))
    };
    let (subject, html, text) = (part("subject"), part("html"), part("text"));
    fields.finish(findings);
    TemplateChange { name, subject, html, text }
}

fn checked_name(name: String, fields: &Fields<'_>, findings: &mut Findings) -> Option<String> {
    let fits = (1..=MAX_NAME_CHARS).contains(&name.chars().count());
    if fits && !name.trim().is_empty() && !has_control(&name) {
        return Some(name);
    }
    findings.add(fields.path("name"), "must have 1 to 100 characters, no control characters");
    None
}

/// An empty text is none.
fn checked_part(
    part: String,
    name: &str,
    fields: &Fields<'_>,
    findings: &mut Findings,
) -> Option<String> {
    if part.contains('\0') {
        findings.add(fields.path(name), "must not have NUL characters");
    }
    (!part.is_empty()).then_some(part)
}

fn template_problem(error: TemplateError) -> Problem {
    match error {
        TemplateError::Faulty(faults) => {
            let mut findings = Findings::default();
            for Fault { field, line, message } in faults {
                match field {
                    Some(field) => findings.add_at(field.as_str(), line, message),
                    None => findings.add("body", message),
                }
            }
            findings.into_problem()
        }
        TemplateError::Change(ChangeError::Template(Refusal::AlreadyExists)) => {
            let words = "is the slug of another template";
            Problem::new(Code::AlreadyExists).blaming("slug", words)
        }
        TemplateError::Change(error) => change_problem(error),
    }
}

fn preview_problem(error: SendError) -> Problem {
    match error {
        // Here the template is what the path names.
        SendError::Refused(SendRefusal::TemplateNotFound) => Problem::new(Code::NotFound),
        SendError::Refused(SendRefusal::TemplateRender(failure)) => render_problem(&failure, ""),
        error => send_problem(error),
    }
}
