//! Templates, with what they are given.

use serde_json::{Map, Value};
use templates::{Compiled, MAX_OUTPUT_OCTETS, MAX_SUBJECT_OCTETS, Source};

use crate::fields::texts;

pub(super) const WORDS: &[&str] = &[
    "{{ ",
    " }}",
    "{% for i in ",
    "range(100) %}",
    "{% endfor %}",
    "{% if ",
    "{% elif 1 %}",
    "{% endif %}",
    "{% set x = ",
    " %}",
    "{% macro m(a) %}",
    "{% endmacro %}",
    "m(",
    "|upper",
    "|replace('', 'aa')",
    "|join",
    "|list",
    "|map('upper')",
    "|default(1)",
    "loop.index",
    "[",
    "]",
    "{'a': ",
    "}",
    "times(",
    "**",
    "//",
    "~",
    "'%5s'|format(1)",
    "|batch(3)",
    "|groupby('a')",
    "|tojson",
    "{% raw %}",
    "<p>",
    "<table>",
    "&amp;",
    "x",
    "user.name",
    "\u{e9}",
];

/// Fields: subject, HTML, text, and the variables as JSON.
pub(super) fn run(octets: &[u8]) {
    let mut fields = texts(octets);
    let mut field = || fields.next().filter(|text| !text.is_empty());
    let source = Source { subject: field(), html: field(), text: field() };
    let given = field().and_then(|json| serde_json::from_str::<Map<String, Value>>(&json).ok());
    let given = given.unwrap_or_default();
    let compiled = match Compiled::new(source.clone()) {
        Ok(compiled) => compiled,
        Err(faults) => return assert!(!faults.is_empty(), "refused without a reason"),
    };
    assert_eq!(compiled.source(), &source);
    let rendered = compiled.render(&given);
    match &rendered {
        Ok(rendered) => {
            if let Some(subject) = &rendered.subject {
                assert!(subject.len() <= MAX_SUBJECT_OCTETS);
                assert!(!subject.contains(char::is_control), "{subject:?}");
            }
            for text in [&rendered.html, &rendered.text].into_iter().flatten() {
                assert!(text.len() <= MAX_OUTPUT_OCTETS, "{} octets", text.len());
            }
        }
        Err(failure) => assert!(!failure.message.is_empty()),
    }
    let again = compiled.render(&given).map(|rendered| (rendered.subject, rendered.html));
    assert_eq!(again, rendered.map(|rendered| (rendered.subject, rendered.html)), "twice");
}
