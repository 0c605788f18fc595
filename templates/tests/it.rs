//! What templates become, and what they are refused for.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests fail loudly"
)]

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use templates::{
    Compiled, Fault, Field, MAX_SOURCE_OCTETS, RenderFailure, Rendered, Source, text_of_html,
};

fn text_source(source: &str) -> Source {
    Source { text: Some(source.to_owned()), ..Source::default() }
}

fn html(source: &str) -> Source {
    Source { html: Some(source.to_owned()), ..Source::default() }
}

fn variables(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else { panic!("an object") };
    map
}

fn rendered(source: Source, given: Value) -> Result<Rendered, RenderFailure> {
    Compiled::new(source).unwrap().render(&variables(given))
}

fn text_of(source: &str, given: Value) -> Result<String, RenderFailure> {
    rendered(text_source(source), given).map(|rendered| rendered.text.unwrap())
}

fn faults(source: Source) -> Vec<Fault> {
    Compiled::new(source).unwrap_err()
}

#[test]
fn every_field_is_rendered_and_only_html_is_escaped() {
    let source = Source {
        subject: Some("Hi {{ name }}".into()),
        html: Some("<p>{{ name }}</p>".into()),
        text: Some("{{ name }}".into()),
    };
    let given = json!({ "name": "Tom & \"Jerry\" <x>" });
    let rendered = rendered(source, given).unwrap();
    assert_eq!(rendered.subject.unwrap(), "Hi Tom & \"Jerry\" <x>");
    assert_eq!(rendered.html.unwrap(), "<p>Tom &amp; &quot;Jerry&quot; &lt;x&gt;</p>");
    assert_eq!(rendered.text.unwrap(), "Tom & \"Jerry\" <x>");
}

#[test]
fn text_is_made_from_what_the_html_became() {
    let source =
        html("<h1>Order {{ id }}</h1><p>See <a href=\"https://a.example/{{ id }}\">it</a>");
    let text = rendered(source, json!({ "id": 7 })).unwrap().text.unwrap();
    assert!(text.contains("Order 7") && text.contains("https://a.example/7"), "{text}");
    assert!(!text.contains('<'));
}

#[test]
fn text_of_strange_html_is_some_text_and_never_a_panic() {
    for html in ["", "<", "<p", "&#xFFFFFFFF;", "<table><tr><td>", "</a></b>", "<é><1>"] {
        assert!(text_of_html(html).is_some(), "{html}");
    }
    let text = |html: &str| text_of_html(html).unwrap();
    assert_eq!(text("<style>p{}</style><script>x()</script><p>a</p>"), "a");
    assert_eq!(text("<p>Grüße aus 東京</p>"), "Grüße aus 東京");
    assert_eq!(text(&"<br><img src=x>".repeat(3_000)), "");
}

#[test]
fn a_missing_variable_is_named() {
    for (source, name) in [
        ("Hi {{ name }}", "name"),
        ("Hi {{ user.name }}", "user.name"),
        ("Hi {{ user.name|upper }}", "user.name"),
        ("Hi {{ name|upper }}", "name"),
        ("{{ here }} and {{ there }}", "there"),
        ("{% for item in items %}{{ item }}{% endfor %}", "items"),
        ("{% if user.zip == 3 %}a{% endif %}", "user.zip"),
        ("{{ account.plan.name }}", "account.plan"),
        ("\n\n{{ upper }}", "upper"),
    ] {
        let failure = text_of(source, json!({ "user": {}, "here": 1 })).unwrap_err();
        let found = failure.variable.as_deref();
        // `account.plan.name` fails at its first missing part, whatever that is called.
        assert!(
            found
                .is_some_and(|found| found.starts_with(name)
                    || name.starts_with(found) && name.contains('.')),
            "{source}: {failure:?}"
        );
        assert_eq!(failure.field, Field::Text);
        assert!(failure.message.contains("was not given"), "{failure:?}");
    }
    let failure = text_of("a\nb\n{{ x }}", json!({})).unwrap_err();
    assert_eq!(failure.line, Some(3));
}

#[test]
fn what_may_be_missing_can_be_said() {
    let source = "{{ name|default('friend') }}{% if coupon is defined %}{{ coupon }}{% endif %}";
    assert_eq!(text_of(source, json!({})).unwrap(), "friend");
    assert_eq!(text_of(source, json!({ "name": "Ada", "coupon": "X" })).unwrap(), "AdaX");
}

#[test]
fn a_subject_is_one_line() {
    let subject = |given: &str| {
        let source = Source { subject: Some("Re: {{ s }}\n".into()), ..text_source("x") };
        rendered(source, json!({ "s": given })).map(|rendered| rendered.subject.unwrap())
    };
    assert_eq!(subject("hello").unwrap(), "Re: hello");
    for hostile in ["a\r\nBcc: x@y.z", "a\nb", "a\rb", "a\0b", "a\u{2028}b", &"a".repeat(999)] {
        let failure = subject(hostile).unwrap_err();
        assert_eq!((failure.field, failure.variable), (Field::Subject, None));
        assert!(!failure.message.contains("Bcc"), "no value in an error");
    }
}

#[test]
fn faults_have_a_field_and_a_line() {
    let found = faults(Source {
        subject: Some("{{ a".into()),
        html: Some("ok\n{% if %}".into()),
        text: Some("fine".into()),
    });
    let places: Vec<_> = found.iter().map(|fault| (fault.field, fault.line)).collect();
    assert_eq!(places, [(Some(Field::Subject), Some(1)), (Some(Field::Html), Some(2))]);
    for nothing in [Source::default(), Source { subject: Some("x".into()), ..Source::default() }] {
        assert_eq!(faults(nothing)[0].field, None);
    }
    assert_eq!(faults(text_source(&"a".repeat(MAX_SOURCE_OCTETS + 1)))[0].field, None);
}

#[test]
fn nothing_outside_the_variables_can_be_reached() {
    for source in [
        "{% include 'x' %}",
        "{% import 'x' as x %}",
        "{% extends 'x' %}",
        "{% from 'x' import y %}",
        "{{ a * b }}",
        "{% set x = [1] * 9 %}",
    ] {
        assert_eq!(faults(text_source(source)).len(), 1, "{source}");
    }
    // A star that is not the operator stays.
    assert_eq!(text_of("* {{ 2 ** 3 }} {# a * b #}*", json!({})).unwrap(), "* 8 *");
    for source in ["{{ debug() }}", "{{ namespace() }}", "{{ dict() }}", "{{ nosuch() }}"] {
        assert!(text_of(source, json!({ "x": 1 })).is_err(), "{source}");
    }
    for source in ["{{ x|pprint }}", "\n{{ x|nosuch }}", "{% if x|upper|zip(x) %}{% endif %}"] {
        let faults = faults(text_source(source));
        assert!(faults[0].message.starts_with("there is no filter"), "{source}: {faults:?}");
        assert_eq!(faults[0].line, Some(1 + source.matches('\n').count()));
    }
}

#[test]
fn numbers_are_multiplied_by_a_filter() {
    let product = |given| text_of("{{ a|times(b) }}", given);
    assert_eq!(product(json!({ "a": 6, "b": 7 })).unwrap(), "42");
    assert_eq!(product(json!({ "a": 1.5, "b": 2 })).unwrap(), "3.0");
    assert!(product(json!({ "a": [1], "b": 100_000_000 })).is_err());
    assert!(product(json!({ "a": "x", "b": 2 })).is_err());
    assert!(product(json!({ "a": i64::MAX, "b": 2 })).is_err());
}

#[test]
fn lists_and_objects_are_not_printed() {
    for source in ["{{ l }}", "{{ o }}"] {
        let failure = text_of(source, json!({ "l": [1, 2], "o": { "a": 1 } })).unwrap_err();
        assert!(failure.message.contains("cannot be printed"), "{failure:?}");
    }
    assert_eq!(text_of("{{ l|join(', ') }}", json!({ "l": [1, 2] })).unwrap(), "1, 2");
}

#[test]
fn a_long_output_is_cut_off_as_a_failure() {
    let failure =
        text_of("{% for i in range(3000) %}{{ s }}{% endfor %}", json!({ "s": "x".repeat(1000) }));
    assert!(failure.unwrap_err().message.contains("longer than 1 MiB"));
    let fits =
        text_of("{% for i in range(1000) %}{{ s }}{% endfor %}", json!({ "s": "x".repeat(1000) }));
    assert_eq!(fits.unwrap().len(), 1_000_000);
}

#[test]
fn more_lines_than_a_number_of_sixteen_bits_has_do_no_harm() {
    let source = format!("{}{{{{ x }}}}", "\n".repeat(200_000));
    assert_eq!(text_of(&source, json!({})).unwrap_err().variable.as_deref(), Some("x"));
}

proptest! {
    #[test]
    fn no_source_and_no_variable_makes_it_panic(
        source in "([a-z{}%|()'\"\\[\\].*+~#0-9 \n]|\\{\\{|\\}\\}|\\{%|%\\}|for|in|if|endif|endfor|set){0,60}",
        value in "\\PC{0,20}",
    ) {
        let source = Source { subject: Some(source.clone()), html: Some(source.clone()), text: Some(source) };
        if let Ok(compiled) = Compiled::new(source) {
            let _made = compiled.render(&variables(json!({ "a": value, "b": [1, { "c": null }] })));
        }
    }

    #[test]
    fn what_is_given_never_opens_a_tag(value in "\\PC{0,40}") {
        let made = rendered(html("<p title=\"{{ v }}\">{{ v }}</p>"), json!({ "v": value })).unwrap();
        let html = made.html.unwrap();
        prop_assert_eq!(html.matches('<').count(), 2);
        prop_assert_eq!(html.matches('"').count(), 2);
    }
}
