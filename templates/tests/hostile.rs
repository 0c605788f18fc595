//! Templates that would take a server's memory, its time or its stack if they were let. A stack
//! that overflows ends the process, so a failure here may be a test program that is gone: its
//! threads have as much stack as those that render in the server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::format_collect,
    missing_docs,
    reason = "tests fail loudly"
)]

use serde_json::{Map, Value, json};
use templates::{Compiled, Field, MAX_VARIABLES_OCTETS, Rendered, Source, text_of_html};

fn variables(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else { panic!("an object") };
    map
}

/// The text, or what was said against it.
fn made(source: &str, given: Value) -> Result<String, String> {
    let source = Source { text: Some(source.to_owned()), ..Source::default() };
    let compiled = Compiled::new(source).map_err(|faults| faults[0].message.clone())?;
    let rendered = compiled.render(&variables(given)).map_err(|failure| failure.message)?;
    Ok(rendered.text.unwrap())
}

fn shown(source: &str) -> String {
    source.chars().take(60).collect()
}

#[test]
fn what_never_ends_is_refused() {
    let nested = format!("{{{{ {}1{} }}}}", "(".repeat(20_000), ")".repeat(20_000));
    let lists = format!("{{{{ {}", "[".repeat(20_000));
    let blocks = "{% if 1 %}".repeat(10_000);
    let calls = format!("{{{{ x{} }}}}", "|upper".repeat(20_000));
    let branches = format!("{{% if 0 %}}{}{{% endif %}}", "{%elif 0%}".repeat(15_000));
    let within = format!("{{% if 0 %}}{}", "{%elif 0%}".repeat(50)).repeat(100);
    let macros: String = (0..5_000)
        .map(|n| format!("{{% macro m{n}() %}}{{{{ m{} }}}}{{% endmacro %}}", u32::max(n, 1) - 1))
        .collect();
    for source in [
        "{% for i in range(1000000000) %}a{% endfor %}",
        "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
        "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
        "{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{{ '%1000000000s'|format('a') }}",
        "{{ '%.1000000000f'|format(1.5) }}",
        "{{ 'a'|indent(1000000000) }}",
        "{{ [1]|batch(1000000000, 'x')|list|length }}",
        "{{ [1]|slice(1000000000)|list|length }}",
        "{{ 'aaaaaaaa'|replace('', 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb')|replace(\
         '', 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb')|replace('', 'bbbbbbbbbbbbbbbbbbbbbbb\
         bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb')|replace('', 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbb')|length }}",
        "{{ 9 ** 9999999 }}",
        "{{ range(100000)|list|map('upper')|map('upper')|map('upper')|map('upper')|join }}\
         {% for i in range(100000) %}{{ range(100000)|list|length }}{% endfor %}",
        &nested,
        &lists,
        &blocks,
        &calls,
        &branches,
        &within,
        &macros,
    ] {
        let made = made(source, json!({ "x": "a" }));
        assert!(made.is_err(), "{}: {:?}", shown(source), made.map(|text| text.len()));
    }
    let many = format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(50)).repeat(100);
    assert_eq!(made(&many, json!({})).as_deref(), Ok(""), "side by side they are harmless");
}

/// As deep as the language's own bound would allow, and somewhat deeper: a stack has to bear it.
#[test]
fn what_is_deep_within_itself_takes_no_more_than_a_stack() {
    let around = |open: &str, close: &str, times: usize| {
        format!("{}1{}", open.repeat(times), close.repeat(times))
    };
    for times in [10, 39, 45, 75, 130, 148, 160] {
        let deep = [
            format!("{{{{ {} }}}}", around("range(", ")", times)),
            format!("{{{{ {} }}}}", around("x.a(", ")", times)),
            format!("{{{{ {} }}}}", around("x|default(", ")", times)),
            format!("{{{{ {} }}}}", around("[", "]", times)),
            format!("{{{{ {} }}}}", around("{1:", "}", times)),
            format!("{{{{ {} }}}}", around("x[", "]", times)),
            format!("{{{{ {} }}}}", around("(not ", ")", times)),
            format!("{{{{ {} }}}}", around("not ", "", times)),
            format!("{{{{ {} }}}}", around("-", "", times)),
            format!("{{{{ {} }}}}", around("1 if x else ", "", times.min(98))),
            format!("{{{{ {} }}}}", around("1 ** ", "", times)),
            format!("{{{{ {} }}}}", around("1 ~ ", "", times)),
            around("{% for i in [1] %}", "{% endfor %}", times),
            around("{% if 1 %}", "{% endif %}", times),
            around("{% with a = 1 %}", "{% endwith %}", times),
            around("{% filter upper %}", "{% endfilter %}", times),
            around("{% set x %}", "{% endset %}", times),
            around("{% macro m() %}", "{% endmacro %}", times),
            around("{% autoescape true %}", "{% endautoescape %}", times),
        ];
        for source in deep {
            // Refused or rendered: it ends.
            drop(made(&source, json!({ "x": { "a": 1 } })));
        }
    }
    assert_eq!(made(&format!("{{{{ {} }}}}", around("(", ")", 40)), json!({})).as_deref(), Ok("1"));
    let refused = made(&format!("{{{{ {} }}}}", around("(", ")", 41)), json!({}));
    assert_eq!(refused.unwrap_err(), "brackets are too deep within each other");
}

/// A list within itself is walked for ever; one that holds another twice, and so on forty times, has
/// as many leaves as would take a year; one that is thousands deep overflows the stack.
#[test]
fn what_a_template_makes_does_not_grow_by_a_name() {
    for step in [
        "{% set x = [x, x] %}",
        "{% set x = x, x %}",
        "{% set x = (x, x) %}",
        "{% set x = {'a': x, 'b': x} %}",
        "{% set x = x[0:] %}",
        "{% set x = x + x %}",
        "{% set x = [[x, x]][0] %}",
        "{% set x = {'a': [x, x]}.a %}",
        "{% set x = [[x, x]]|first %}",
        "{% set x = false or [x, x] %}",
        "{% set x = [x, x] if 1 else 2 %}",
        "{% set x = no|default([x, x]) %}",
        "{% set x = 'a'|int(default=[x, x]) %}",
        "{% set x = ['a', 'b']|map('int', default=x) %}",
        "{% set x = [1, 2]|map(attribute='no', default=x) %}",
        "{% set x = [1, 2]|map('attr', 'no')|map('default', x) %}",
        "{% set x = [1]|slice(2, x) %}",
        "{% set x = x|batch(1) %}",
        "{% set x = x|zip(x) %}",
        "{% set x = x|chain(x) %}",
        "{% set x = dict(a=x) %}",
        "{% set x = [[1], [2]]|sum(start=x) %}",
        "{% set x = x|map('batch', 1) %}",
        "{% set n = namespace() %}{% set n.n = n %}{{ n|string }}",
        "{% with x = [x, x] %}{% endwith %}",
        "{% macro m(x) %}{{ m([x, x]) }}{% endmacro %}{{ m(1) }}",
        "{% macro m(x) %}{{ m(x=[x, x]) }}{% endmacro %}{{ m(1) }}",
        "{% macro m(x) %}{{ m(**{'x': [x, x]}) }}{% endmacro %}{{ m(1) }}",
        "{% macro m(x, y=[x, x]) %}{{ m(y) }}{% endmacro %}{{ m(1) }}",
        "{% macro m() %}{{ caller([1]) }}{% endmacro %}{% call(x) m(x[0:]) %}{% endcall %}",
        "{% for y in [[x, x]] %}{% endfor %}",
        "{% for y in ([[x, x]] if 1 else 2) %}{% endfor %}",
        "{% for y in [[x, x]]|sort %}{% endfor %}",
        "{% for y in [1] + [[x, x]] %}{% endfor %}",
        "{% for k, y in {'a': [x, x]}|items %}{% endfor %}",
        "{% for y in [x]|batch(1) %}{% endfor %}",
        "{% for y in [1] recursive %}{{ loop([[y, y]]) }}{% endfor %}",
    ] {
        let source = format!("{{% set x = ['a', 'b'] %}}{step}{step}");
        let made = made(&source, json!({}));
        assert!(made.is_err(), "{step}: {made:?}");
    }
}

#[test]
fn lists_are_used_where_they_are_made() {
    let given = json!({
        "street": "Main St 1", "city": "Paris", "price": 10, "tax": 2.5,
        "items": [{ "n": "a", "p": 1, "k": "x" }, { "n": "b", "p": 2.5, "k": "y" },
                  { "n": "c", "p": 3, "k": "x" }],
        "tags": [["t", "u"], ["v"]],
    });
    for (source, wanted) in [
        ("{{ [street, city]|join(', ') }}", "Main St 1, Paris"),
        ("{% set line = [street, city]|join(', ') %}{{ line }}", "Main St 1, Paris"),
        ("{% if city in [street, city] %}yes{% endif %}", "yes"),
        ("{% for x in [street, city] %}{{ x }};{% endfor %}", "Main St 1;Paris;"),
        ("{% for x in items[:2] %}{{ x.n }}{% endfor %}", "ab"),
        ("{% set two = items[:2]|list %}{{ two|length }}", "2"),
        ("{% set short = city[:3]|string %}{{ short }}", "Par"),
        ("{% set sum = price + tax|float %}{{ sum }}", "12.5"),
        ("{% set sum = price + 1 %}{{ sum }}", "11"),
        ("{{ price + tax }}", "12.5"),
        ("{% set open = ['new', 'late'] %}{{ 'late' in open }}", "True"),
        ("{% set names = {'FR': 'France'} %}{{ names['FR'] }}", "France"),
        ("{% for row in items|batch(2, '-') %}{{ row|length }}{% endfor %}", "22"),
        ("{% for row in items|slice(2) %}{{ row|length }}{% endfor %}", "21"),
        ("{% for k, of in items|groupby('k') %}{{ k }}{{ of|length }}{% endfor %}", "x2y1"),
        ("{{ items|sum(attribute='p') }}", "6.5"),
        ("{{ items|map(attribute='n')|join }}", "abc"),
        ("{% set names = items|map(attribute='n') %}{{ names|join }}", "abc"),
        ("{{ tags|map('first')|map('upper')|join }}", "TV"),
        ("{{ items|reverse|map(attribute='n')|join }}", "cba"),
        ("{{ city|reverse }}", "siraP"),
        ("{% for n, v in items[0]|items %}{{ n }}{% endfor %}", "knp"),
        ("{{ items|selectattr('p', '>', 2)|map(attribute='n')|join }}", "bc"),
        ("{% macro cell(x) %}[{{ x.n }}]{% endmacro %}{{ cell(items[0]) }}", "[a]"),
        (
            "{{ items[-1].n }}{{ 'n' in items[0] }}{% for k in items[0] %}{{ k }}{% endfor %}",
            "cTrueknp",
        ),
        ("{% if tags and not no|default([]) %}yes{% endif %}", "yes"),
        ("{{ items[0] == items[0] }}{{ tags == [['t', 'u'], ['v']] }}", "TrueTrue"),
    ] {
        assert_eq!(made(source, given.clone()).as_deref(), Ok(wanted), "{source}");
    }
}

/// A minute and more, each of them, if looking at what was given cost nothing.
#[test]
fn what_is_given_is_not_looked_at_for_ever() {
    let numbers = || (0..9_000).collect::<Vec<u32>>();
    let given = json!({ "a": [numbers()], "b": [numbers()], "c": [[numbers()]] });
    for inner in ["a == b", "a in c", "a is eq(b)", "[a, b]|unique|first", "[a, b]|sort|first"] {
        let source =
            format!("{{% for i in range(90000) %}}{{% if {inner} %}}{{% endif %}}{{% endfor %}}");
        assert!(made(&source, given.clone()).is_err(), "{inner}");
    }
    let once = made("{{ a == b }}{{ a in c }}{{ a != c }}", given);
    assert_eq!(once.as_deref(), Ok("TrueTrueTrue"));
    let long = "x".repeat(MAX_VARIABLES_OCTETS);
    assert!(made("{{ x|length }}", json!({ "x": long })).unwrap_err().contains("256 KiB"));
}

#[test]
fn a_letter_of_a_thousand_rows_is_no_attack() {
    let row =
        |n: u32| json!({ "sku": format!("A-{n}"), "name": "Thing", "count": n, "price": 9.5 });
    let given = json!({ "rows": (0..1_000).map(row).collect::<Vec<_>>() });
    let source = "{% for row in rows|sort(attribute='sku') %}{{ loop.index }} {{ row.sku }} \
                  {{ row.name|upper }} {{ row.count }} {{ row.price|times(row.count)|round(2) }}\n\
                  {% if row.count > 500 %}discount{% endif %}{% endfor %}{{ rows|sum('price') }}";
    let text = made(source, given).unwrap();
    assert!(text.ends_with("9500.0") && text.lines().count() > 1_000, "{}", text.len());
}

/// The layout takes seconds or its stack for what is nested deeply, and memory without end for what
/// is opened anew in every paragraph.
#[test]
fn html_of_a_hostile_shape_becomes_no_text() {
    let anew: String = (0..1_900).map(|n| format!("<b class={n}>")).collect();
    for (what, html) in [
        ("deep", "<div>".repeat(2_001)),
        ("an end of another name", "<div></a>".repeat(50_000)),
        ("an end across another", "<p><div></p>".repeat(50_000)),
        ("an end in a comment", "<div><!-- </div> -->".repeat(50_000)),
        ("an end in a style", "<div><style></div></style>".repeat(40_000)),
        ("an end in an attribute", "<div title='</div>'>".repeat(50_000)),
        ("ends of what is far below", {
            format!("{}<div>{}", "<q>".repeat(1_000), "</q>".repeat(1_000)).repeat(100)
        }),
        ("void elsewhere", format!("<svg>{}", "<link>".repeat(50_000))),
        ("style elsewhere", format!("<svg>{}", "<style><g></style>".repeat(50_000))),
        ("opened anew", format!("<p>{anew}{}", "</p><p>x".repeat(100_000))),
    ] {
        assert_eq!(text_of_html(&html), None, "{what}");
    }
    let deep = Source { html: Some("<div>".repeat(2_001)), ..Source::default() };
    let failure = Compiled::new(deep.clone()).unwrap().render(&Map::new()).unwrap_err();
    assert_eq!(failure.field, Field::Html);
    let with_text = Source { text: Some("own".into()), ..deep };
    let rendered: Rendered = Compiled::new(with_text).unwrap().render(&Map::new()).unwrap();
    assert_eq!(rendered.text.unwrap(), "own");
}

#[test]
fn html_as_people_write_it_becomes_text() {
    let row = "<tr><td style=\"a\"><p>One <b>two</b><br><img alt=\"Don't\" src=x></p></td></tr>";
    let html = format!(
        "<!DOCTYPE html><html><head><title>t</title><style>td{{}}</style></head><body>\
         <!--[if mso]><table><tr><td><![endif]--><table>{}</table><ul><li>a<li>b</ul></body></html>",
        row.repeat(2_000)
    );
    let text = text_of_html(&html).unwrap();
    assert_eq!(text.matches("two").count(), 2_000);
}
