//! What can be wrong with a template before it is rendered.

use minijinja::{
    Environment, Error, ErrorKind,
    machinery::{Token, parse, tokenize},
    syntax::SyntaxConfig,
};

use crate::{Field, MAX_SOURCE_OCTETS, Source};

mod names;

/// Words and signs between `{{` and `}}`, or `{%` and `%}`, at the most.
const MAX_TOKENS: usize = 400;
/// Brackets within each other, of whatever kind. minijinja allows 150, which with a function's call
/// in each takes more than the two MiB of stack that a thread has.
const MAX_BRACKETS: usize = 40;
/// Branches of `if` within each other, each `elif` being within the one before it.
const MAX_BRANCHES: usize = 100;
/// Macros, of which each holds on to those before it that it calls.
const MAX_MACROS: usize = 100;

/// One thing that is wrong with a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// In which field; none when it is about the template as a whole.
    pub field: Option<Field>,
    /// In which line of it, from 1, where that is known.
    pub line: Option<usize>,
    /// What is wrong, in words.
    pub message: String,
}

impl Fault {
    fn whole(message: &str) -> Self {
        Self { field: None, line: None, message: message.to_owned() }
    }
}

/// What is said when a bound of [`crate::FUEL`] or the like ends the work.
pub(crate) const TOO_MUCH_WORK: &str = "the template does more work than is allowed";

/// The words for what minijinja says. Only its own words and the template's go in, never a value.
pub(crate) fn words(error: &Error) -> String {
    match error.kind() {
        ErrorKind::OutOfFuel => TOO_MUCH_WORK.to_owned(),
        kind => match error.detail() {
            Some(detail) => detail.to_owned(),
            None => kind.to_string(),
        },
    }
}

/// Compiles every field; all faults together.
pub(crate) fn compile(
    source: &Source,
    environment: &mut Environment<'static>,
) -> Result<(), Vec<Fault>> {
    if source.octets() > MAX_SOURCE_OCTETS {
        return Err(vec![Fault::whole("the template is longer than 256 KiB")]);
    }
    if source.html.is_none() && source.text.is_none() {
        return Err(vec![Fault::whole("a template needs html or text")]);
    }
    let mut faults = Vec::new();
    for field in Field::ALL {
        let Some(text) = source.field(field) else { continue };
        if let Some(fault) = forbidden(field, text) {
            // Not even given to the compiler, whose stack an endless expression would use up.
            faults.push(fault);
        } else if let Err(error) = environment.add_template_owned(field.as_str(), text.to_owned()) {
            let (line, message) = (error.line(), words(&error));
            faults.push(Fault { field: Some(field), line, message });
        } else if let Ok(template) = parse(text, field.as_str(), SyntaxConfig::default())
            && let Err((line, message)) = names::check(&template)
        {
            faults.push(Fault { field: Some(field), line: Some(line), message });
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// What the compiler would take and must not be given: see `# Why`.
fn forbidden(field: Field, text: &str) -> Option<Fault> {
    let (mut in_tag, mut brackets, mut macros) = (0_usize, 0_usize, 0_usize);
    let mut branches = Branches::default();
    // Whether the next word says what a tag is.
    let mut at_start = false;
    for (token, span) in tokenize(text, false, SyntaxConfig::default()).map_while(Result::ok) {
        let first = std::mem::take(&mut at_start);
        let message = match token {
            Token::VariableStart | Token::BlockStart => {
                (in_tag, brackets) = (0, 0);
                at_start = matches!(token, Token::BlockStart);
                continue;
            }
            Token::ParenOpen | Token::BracketOpen | Token::BraceOpen
                if brackets == MAX_BRACKETS =>
            {
                "brackets are too deep within each other"
            }
            Token::Mul => "`*` is not available: multiply numbers as in `price|times(count)`",
            Token::Ident(word) if first && branches.too_many_after(word) => {
                "there are too many `elif` and `if` within each other"
            }
            Token::Ident("macro") if first && macros == MAX_MACROS => "there are too many macros",
            _ => {
                macros += usize::from(first && matches!(token, Token::Ident("macro")));
                match token {
                    Token::ParenOpen | Token::BracketOpen | Token::BraceOpen => brackets += 1,
                    Token::ParenClose | Token::BracketClose | Token::BraceClose => {
                        brackets = brackets.saturating_sub(1);
                    }
                    _ => {}
                }
                in_tag += 1;
                if in_tag <= MAX_TOKENS {
                    continue;
                }
                "an expression is too long"
            }
        };
        let line = Some(usize::from(span.start_line));
        return Some(Fault { field: Some(field), line, message: message.to_owned() });
    }
    None
}

/// How many branches are open: the compiler calls itself for each.
#[derive(Default)]
struct Branches {
    /// Of each `if` that is open, itself and its `elif`s.
    open: Vec<usize>,
    all: usize,
}

impl Branches {
    fn too_many_after(&mut self, word: &str) -> bool {
        match word {
            "if" => {
                self.open.push(1);
                self.all += 1;
            }
            "elif" => {
                if let Some(last) = self.open.last_mut() {
                    *last += 1;
                    self.all += 1;
                }
            }
            "endif" => self.all -= self.open.pop().unwrap_or_default(),
            _ => {}
        }
        self.all > MAX_BRANCHES
    }
}
