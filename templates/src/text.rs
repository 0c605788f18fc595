//! Plain text from HTML, for those who read mail without it.

/// Columns at which lines are broken: RFC 5322, section 2.1.1, asks for 78 at the most.
const COLUMNS: usize = 76;
/// Elements within elements. The time of the layout grows with the square of it: 2 000 take some
/// 20 ms, 50 000 eight seconds.
const MAX_DEPTH: usize = 2_000;
/// Elements that hold nothing, so that they need no end (HTML, section 13.1.2).
const VOID: &[&str] = &[
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track",
    "wbr",
];

/// What a reader without HTML is shown: words, lists, and links by number with their targets
/// below. `None` for elements nested thousands deep, which no letter has.
pub fn text_of_html(html: &str) -> Option<String> {
    if depth(html) > MAX_DEPTH {
        return None;
    }
    let text = html2text::config::plain()
        .link_footnotes(true)
        .allow_width_overflow()
        .string_from_read(html.as_bytes(), COLUMNS)
        .ok()?;
    Some(text.trim().to_owned())
}

/// How deep elements are nested at the most: an estimate from above, since ends that may be left
/// out are waited for.
fn depth(html: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for after in html.split('<').skip(1) {
        if let Some(end) = after.strip_prefix('/') {
            depth -= usize::from(depth > 0 && end.starts_with(|c: char| c.is_ascii_alphabetic()));
            continue;
        }
        let name = after.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        if name.is_empty() || VOID.iter().any(|void| void.eq_ignore_ascii_case(name)) {
            continue;
        }
        depth += 1;
        deepest = deepest.max(depth);
    }
    deepest
}
