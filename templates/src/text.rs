//! Plain text from HTML, for those who read mail without it.

mod shape;

/// Columns at which lines are broken: RFC 5322, section 2.1.1, asks for 78 at the most.
const COLUMNS: usize = 76;

/// What a reader without HTML is shown: words, lists, and links by number with their targets
/// below. `None` for elements nested thousands deep, or opened anew a hundred thousand times, which
/// no letter has.
pub fn text_of_html(html: &str) -> Option<String> {
    if !shape::is_bounded(html) {
        return None;
    }
    let text = html2text::config::plain()
        .link_footnotes(true)
        .allow_width_overflow()
        .string_from_read(html.as_bytes(), COLUMNS)
        .ok()?;
    Some(text.trim().to_owned())
}
