//! From a template and its variables to what is sent.

use std::{fmt, io, sync::Arc};

use minijinja::{Environment, Error, ErrorKind};
use serde_json::{Map, Value as Json};

use crate::{
    Fault, Field, MAX_OUTPUT_OCTETS, MAX_SUBJECT_OCTETS, MAX_VARIABLES_OCTETS, Source, check,
    environment, given, text_of_html,
};

/// What a field takes in memory once it is compiled, however short it is, in octets: the compiler
/// makes room for some hundreds of instructions.
const COMPILED_FIELD_OCTETS: usize = 16 * 1024;
/// What each octet of a source takes, about: itself in both forms, and the instructions.
const COMPILED_PER_OCTET: usize = 4;

/// A template that compiles. Cheap to clone.
#[derive(Clone)]
pub struct Compiled {
    environment: Arc<Environment<'static>>,
    source: Arc<Source>,
}

/// What a template became.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Rendered {
    /// The subject line, if the template has one.
    pub subject: Option<String>,
    /// The message as HTML, if the template has that.
    pub html: Option<String>,
    /// The message as text: the template's own, else made from the HTML.
    pub text: Option<String>,
}

/// Why a template became nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct RenderFailure {
    /// In which field.
    pub field: Field,
    /// In which line of it, from 1, where that is known.
    pub line: Option<usize>,
    /// The variable that was not given, such as `user.name`, where it was that.
    pub variable: Option<String>,
    /// What happened, in words.
    pub message: String,
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Compiled({:?})", self.source)
    }
}

// Printed by mistake, somebody's letter must not become a leak.
impl fmt::Debug for Rendered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rendered(…)")
    }
}

impl Compiled {
    /// Compiles a template, or says everything that is wrong with it.
    pub fn new(source: Source) -> Result<Self, Vec<Fault>> {
        let mut environment = environment::new();
        check::compile(&source, &mut environment)?;
        Ok(Self { environment: Arc::new(environment), source: Arc::new(source) })
    }

    /// What it was compiled from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The memory it takes, about, in octets: to bound how many are kept.
    pub fn weight(&self) -> usize {
        let fields = Field::ALL.into_iter().filter_map(|field| self.source.field(field));
        fields.map(|text| COMPILED_FIELD_OCTETS + COMPILED_PER_OCTET * text.len()).sum()
    }

    /// Renders every field.
    pub fn render(&self, variables: &Map<String, Json>) -> Result<Rendered, RenderFailure> {
        if given::octets(variables) > MAX_VARIABLES_OCTETS {
            let field = if self.source.html.is_some() { Field::Html } else { Field::Text };
            let message = "the variables hold more than 256 KiB of text".to_owned();
            return Err(RenderFailure { field, line: None, variable: None, message });
        }
        let field = |field| self.field(field, variables);
        let subject = field(Field::Subject)?.as_deref().map(one_line).transpose()?;
        let (html, text) = (field(Field::Html)?, field(Field::Text)?);
        let text = match (text, &html) {
            (None, Some(html)) => Some(text_of_html(html).ok_or_else(|| RenderFailure {
                field: Field::Html,
                line: None,
                variable: None,
                message: "the elements are nested too deeply to make a text of".to_owned(),
            })?),
            (text, _) => text,
        };
        Ok(Rendered { subject, html, text })
    }

    fn field(
        &self,
        field: Field,
        variables: &Map<String, Json>,
    ) -> Result<Option<String>, RenderFailure> {
        let Some(source) = self.source.field(field) else { return Ok(None) };
        let (context, looks) = given::given(variables);
        let mut output = Bounded { bytes: Vec::with_capacity(source.len()), overflown: false };
        let rendered = self
            .environment
            .get_template(field.as_str())
            .and_then(|template| template.render_captured_to(context, &mut output));
        if looks.are_over() {
            // What came after saw nothing of what was given.
            let message = check::TOO_MUCH_WORK.to_owned();
            return Err(RenderFailure { field, line: None, variable: None, message });
        }
        if let Err(error) = rendered {
            return Err(if output.overflown {
                let message = "the rendered field is longer than 1 MiB".to_owned();
                RenderFailure { field, line: None, variable: None, message }
            } else {
                self.failure(field, source, &error, variables)
            });
        }
        // A template's output is text, bit by bit.
        Ok(Some(String::from_utf8_lossy(&output.bytes).into_owned()))
    }

    fn failure(
        &self,
        field: Field,
        source: &str,
        error: &Error,
        variables: &Map<String, Json>,
    ) -> RenderFailure {
        let line = error.line();
        if error.kind() != ErrorKind::UndefinedError {
            return RenderFailure { field, line, variable: None, message: check::words(error) };
        }
        let variable = self.missing(field, source, error, variables);
        let message = match &variable {
            Some(name) => format!("the variable `{name}` was not given"),
            None => "a variable was not given".to_owned(),
        };
        RenderFailure { field, line, variable, message }
    }

    /// The name of the variable that a failure is about. Often the failing expression is its name;
    /// else it is the one that the template uses in that line and was not given.
    fn missing(
        &self,
        field: Field,
        source: &str,
        error: &Error,
        variables: &Map<String, Json>,
    ) -> Option<String> {
        let expression = error.range().and_then(|range| source.get(range)).unwrap_or_default();
        if is_path(expression) {
            return Some(expression.to_owned());
        }
        let template = self.environment.get_template(field.as_str()).ok()?;
        let line = error.line().and_then(|line| source.lines().nth(line.checked_sub(1)?));
        let line = line.unwrap_or(source);
        let used = template.undeclared_variables(true);
        let mut missing: Vec<(usize, String)> = used
            .into_iter()
            .filter(|path| !is_given(path, variables))
            .filter_map(|path| Some((line.find(path.as_str())?, path)))
            .collect();
        // Of two in one line, the one that the failing expression names; else the first.
        missing.sort_unstable_by(|a, b| {
            let elsewhere = |path: &str| !expression.contains(path);
            (elsewhere(&a.1), a.0, &a.1).cmp(&(elsewhere(&b.1), b.0, &b.1))
        });
        missing.into_iter().next().map(|(_, path)| path)
    }
}

/// Whether a text is names with dots between them.
fn is_path(text: &str) -> bool {
    let name = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    // Keywords and filters stand alone where names do; only what is printed has a range of a name.
    text.split('.').all(name) && text.contains('.') || (name(text) && !FILTERLIKE.contains(&text))
}

/// Names that a failing expression can be without being a variable: filters without arguments, as
/// the range of `name|upper` is `upper`.
const FILTERLIKE: &[&str] = &[
    "abs",
    "bool",
    "capitalize",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "first",
    "float",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "max",
    "min",
    "reverse",
    "round",
    "safe",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "trim",
    "unique",
    "upper",
    "urlencode",
    "tojson",
    "times",
];

/// Whether a path leads to a value.
fn is_given(path: &str, variables: &Map<String, Json>) -> bool {
    let mut names = path.split('.');
    let mut value = names.next().and_then(|name| variables.get(name));
    for name in names {
        value = value.and_then(|value| value.get(name));
    }
    value.is_some()
}

fn one_line(subject: &str) -> Result<String, RenderFailure> {
    let failure = |message: &str| RenderFailure {
        field: Field::Subject,
        line: None,
        variable: None,
        message: message.to_owned(),
    };
    // A template's last line break is the editor's, not the subject's.
    let subject = subject.trim();
    if subject.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
        return Err(failure("the rendered subject has a line break or a control character"));
    }
    if subject.len() > MAX_SUBJECT_OCTETS {
        return Err(failure("the rendered subject is longer than 998 octets"));
    }
    Ok(subject.to_owned())
}

/// Takes no more than [`MAX_OUTPUT_OCTETS`].
struct Bounded {
    bytes: Vec<u8>,
    overflown: bool,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len().saturating_add(bytes.len()) > MAX_OUTPUT_OCTETS {
            self.overflown = true;
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
