//! Templates of messages: checked when they are written, rendered when they are sent.
//!
//! A template has up to three fields (subject, HTML, text), each in the language of Jinja. This
//! room knows no app, no version and no storage: a [`Source`] goes in, a [`Rendered`] comes out.
//!
//! # Contract
//! - In HTML every value is escaped; in the subject and the text none is.
//! - A variable that was not given is a failure that names it, not an empty space in somebody's
//!   letter. `name is defined` and `name|default("friend")` are the ways to leave one out.
//! - A rendered subject is one line without control characters.
//! - Whatever a template says and whatever it is given, rendering ends within [`FUEL`] and
//!   [`MAX_OUTPUT_OCTETS`] for each field: a hostile template costs a refusal, not a server.
//! - What a template makes of lists and objects has no name: it is used where it is made.
//! - There is nothing to include, import or extend, and nothing to reach outside the variables.
//!
//! # Why
//! - **minijinja**: the language that people know, with fuel that counts octets produced as well as
//!   instructions, checked before large allocations are made. What fuel does not count is bounded
//!   here: how deep lists lie in lists (`check::names`), how much of what was given is looked at
//!   (`given`), how large a tree HTML becomes (`text::shape`).
//! - **`*` is refused, `times` multiplies numbers.** `[1] * 100000000` is made in no time and
//!   compared, searched or printed in seven seconds, outside the count of fuel. It is the one
//!   operator of which that is true.
//! - **An expression has at most 400 words, 40 brackets are within each other, and 100 branches.**
//!   minijinja lets brackets go so deep that calls within them use up a stack, and does not bound how long a chain of filters or of `elif` is, and compiles
//!   both recursively: 20 000 of them overflowed the stack.
//! - **There is no `namespace`, `dict`, `zip` or `chain`**: they hold other lists, and the first can
//!   hold itself.
//! - **Lists and maps cannot be printed**: what a receiver would see is a program's notation.
//! - **Text from HTML is made at rendering**, from what was rendered, so that both say the same.

mod check;
mod environment;
mod given;
mod render;
mod text;

use serde::{Deserialize, Serialize};

pub use self::{
    check::Fault,
    render::{Compiled, RenderFailure, Rendered},
    text::text_of_html,
};

/// Longest source of all fields together, in octets.
pub const MAX_SOURCE_OCTETS: usize = 256 * 1024;
/// Longest field once it is rendered, in octets.
pub const MAX_OUTPUT_OCTETS: usize = 1024 * 1024;
/// Longest subject once it is rendered, in octets: one line (RFC 5322, section 2.1.1).
pub const MAX_SUBJECT_OCTETS: usize = 998;
/// Longest text in all variables together, names included, in octets.
pub const MAX_VARIABLES_OCTETS: usize = 256 * 1024;
/// What rendering a field may cost: one for an instruction and for each 64 octets. A table of a
/// thousand rows of ten columns takes a half of it.
pub const FUEL: u64 = 100_000;

/// What a template says.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Source {
    /// The subject line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The message as HTML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub html: Option<String>,
    /// The message as plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

// Printed by mistake, what somebody wrote must not become a leak.
impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Source({} octets)", self.octets())
    }
}

impl Source {
    /// A field's template, if it has one.
    pub fn field(&self, field: Field) -> Option<&str> {
        match field {
            Field::Subject => self.subject.as_deref(),
            Field::Html => self.html.as_deref(),
            Field::Text => self.text.as_deref(),
        }
    }

    /// How long it is, in octets.
    pub fn octets(&self) -> usize {
        Field::ALL.into_iter().filter_map(|field| self.field(field)).map(str::len).sum()
    }
}

/// A field of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// The subject line.
    Subject,
    /// The message as HTML.
    Html,
    /// The message as plain text.
    Text,
}

impl Field {
    /// Every field.
    pub const ALL: [Self; 3] = [Self::Subject, Self::Html, Self::Text];

    /// The name, as in a request.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::Html => "html",
            Self::Text => "text",
        }
    }
}

impl std::fmt::Display for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
