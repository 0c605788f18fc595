//! Lists of `name=value; name=value`, as DKIM keys and DMARC policies are written (RFC 6376,
//! section 3.2).

/// The tags in their order; what is wrong in words otherwise.
pub(super) fn read(text: &str) -> Result<Vec<(&str, &str)>, String> {
    let text = text.trim();
    let text = text.strip_suffix(';').unwrap_or(text);
    let mut tags: Vec<(&str, &str)> = Vec::new();
    for tag in text.split(';') {
        let Some((name, value)) = tag.split_once('=') else {
            return Err(format!("“{}” is not of the form name=value", excerpt(tag)));
        };
        let (name, value) = (name.trim(), value.trim());
        let well_formed = name.starts_with(|first: char| first.is_ascii_alphabetic())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !well_formed {
            return Err(format!("“{}” is not the name of a tag", excerpt(name)));
        }
        if tags.iter().any(|(known, _)| *known == name) {
            return Err(format!("the tag {}= occurs twice", excerpt(name)));
        }
        tags.push((name, value));
    }
    Ok(tags)
}

/// The value of a tag.
pub(super) fn value<'a>(tags: &[(&'a str, &'a str)], name: &str) -> Option<&'a str> {
    tags.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

/// The beginning of a foreign text, to be shown in a sentence.
pub(super) fn excerpt(text: &str) -> String {
    const LONGEST: usize = 40;
    let mut excerpt: String =
        text.trim().chars().filter(|c| !c.is_control()).take(LONGEST).collect();
    if text.trim().chars().count() > LONGEST {
        excerpt.push('…');
    }
    excerpt
}
