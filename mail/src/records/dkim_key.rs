//! A published DKIM key beside the one that signs (RFC 6376, section 3.6.1).

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{Seen, tags};

/// Whether one of the records publishes the key of `expected`. The key counts, not the text: tags
/// may come in another order, and blanks within the key mean nothing.
pub(super) fn compare(expected: &str, found: Vec<String>) -> Seen {
    // Other TXT records at the name are ignored by verifiers as far as they are no keys.
    let keys: Vec<&String> = found.iter().filter(|text| text.contains("p=")).collect();
    let problem = match keys.as_slice() {
        [] => Some("There is a TXT record at this name, but it holds no key (p=…).".to_owned()),
        [only] => problem_of(only, expected),
        _ => Some(
            "There is more than one key at this name, so receivers may take the wrong one. Keep \
             only the value shown here."
                .to_owned(),
        ),
    };
    match problem {
        None => Seen::verified(found),
        Some(problem) => Seen::mismatch(found, problem),
    }
}

/// What keeps a receiver from verifying our signatures with this record.
fn problem_of(record: &str, expected: &str) -> Option<String> {
    if record.contains('"') {
        return Some(
            "The value has quotation marks in it. Enter it without them; your DNS provider parts \
             long values by itself."
                .into(),
        );
    }
    let tags = match tags::read(record) {
        Ok(tags) => tags,
        Err(problem) => return Some(format!("The record cannot be read: {problem}.")),
    };
    let wanted = tags::read(expected).unwrap_or_default();
    let is_version = |tag: &(&str, &str)| tag.0 == "v";
    if tags.iter().skip(1).any(is_version)
        || tags.first().is_some_and(|tag| is_version(tag) && tag.1 != "DKIM1")
    {
        return Some("The record must begin with v=DKIM1.".into());
    }
    let algorithm = |tags: &[(&str, &str)]| tags::value(tags, "k").unwrap_or("rsa").to_owned();
    if algorithm(&tags) != algorithm(&wanted) {
        return Some(format!("The key type k= is not {}.", algorithm(&wanted)));
    }
    let lists = |name: &str, needed: &[&str]| {
        tags::value(&tags, name)
            .is_none_or(|list| list.split(':').any(|item| needed.contains(&item.trim())))
    };
    if !lists("h", &["sha256"]) {
        return Some("The tag h= leaves sha256 out, which all signatures use. Remove it.".into());
    }
    if !lists("s", &["*", "email"]) {
        return Some("The tag s= leaves email out. Remove it.".into());
    }
    let published = tags::value(&tags, "p").unwrap_or_default();
    if published.is_empty() {
        return Some("The key is revoked: p= is empty.".into());
    }
    let key = |text: &str| {
        let text: String = text.split_whitespace().collect();
        STANDARD.decode(text).ok()
    };
    let Some(published_key) = key(published) else {
        return Some(
            "The key is damaged, most often because it was cut off when it was pasted. Copy the \
             whole value again."
                .into(),
        );
    };
    if Some(&published_key) != tags::value(&wanted, "p").and_then(key).as_ref() {
        return Some(
            "There is another key than the one that signs your messages. Replace it by the value \
             shown here."
                .into(),
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTED: &str = "v=DKIM1; k=rsa; p=AAECAwQFBgcICQ==";

    #[test]
    fn the_key_counts_and_not_the_text() {
        for same in [
            EXPECTED,
            "p=AAECAwQFBgcICQ==",
            "v=DKIM1;k=rsa;p=AAECAwQF BgcICQ==;",
            "v=DKIM1; p=AAECAwQFBgcICQ==; t=s; n=note; s=email:x; h=sha1:sha256",
        ] {
            assert_eq!(problem_of(same, EXPECTED), None, "{same}");
        }
    }

    #[test]
    fn each_way_to_publish_it_wrongly_is_named() {
        for (record, word) in [
            ("v=DKIM1; k=rsa; p=AAECAwQFBgcI", "another key"),
            ("v=DKIM1; k=rsa; p=AAECAwQFBgcICQ", "damaged"),
            ("v=DKIM1; k=rsa; p=", "revoked"),
            ("v=DKIM2; p=AAECAwQFBgcICQ==", "v=DKIM1"),
            ("k=rsa; v=DKIM1; p=AAECAwQFBgcICQ==", "v=DKIM1"),
            ("v=DKIM1; k=ed25519; p=AAECAwQFBgcICQ==", "not rsa"),
            ("v=DKIM1; h=sha1; p=AAECAwQFBgcICQ==", "sha256"),
            ("v=DKIM1; s=tlsrpt; p=AAECAwQFBgcICQ==", "email"),
            ("v=DKIM1; p=AAECAwQFBgcICQ==; p=BB==", "twice"),
            ("\"v=DKIM1; p=AAECAwQFBgcICQ==\"", "quotation"),
            ("v=DKIM1 k=rsa p=AAECAwQFBgcICQ==; x", "name=value"),
        ] {
            let problem = problem_of(record, EXPECTED).unwrap_or_default();
            assert!(problem.contains(word), "{record}: {problem}");
        }
    }

    #[test]
    fn two_keys_at_a_name_are_none() {
        let two = vec![EXPECTED.to_owned(), "v=DKIM1; p=BB==".to_owned()];
        assert_eq!(compare(EXPECTED, two).status, model::domain::RecordStatus::Mismatch);
        let beside = vec!["site-verification".to_owned(), EXPECTED.to_owned()];
        assert_eq!(compare(EXPECTED, beside).status, model::domain::RecordStatus::Verified);
    }
}
