//! The cookie that carries a session (RFC 6265).

use std::time::Duration;

use poem::http::{HeaderMap, header};

/// Its name.
pub(crate) const NAME: &str = "lumora_session";
/// Longest value that is looked at, in octets: ours have 47.
const MAX_OCTETS: usize = 128;

/// The secret that came with a request. Two different ones are none: one of them was put there by
/// somebody else.
pub(super) fn read(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|cookies| cookies.to_str().ok())
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|cookie| cookie.split_once('='))
        .filter(|(name, _)| name.trim() == NAME)
        .map(|(_, value)| value.trim());
    let first = values.next()?;
    let plain = first.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let plausible = (1..=MAX_OCTETS).contains(&first.len()) && plain;
    (plausible && values.all(|other| other == first)).then_some(first)
}

/// Gives the browser a session: no script sees it, no other site's page sends it, and over a public
/// URL of https it never leaves without TLS.
pub(super) fn set(secret: &str, lifetime: Duration, public_url: &str) -> String {
    let seconds = lifetime.as_secs();
    let secure = if public_url.starts_with("https:") { "; Secure" } else { "" };
    format!("{NAME}={secret}; Max-Age={seconds}; Path=/; HttpOnly; SameSite=Strict{secure}")
}

/// Has the browser forget it.
pub(super) fn forget(public_url: &str) -> String {
    set("", Duration::ZERO, public_url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(cookies: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(header::COOKIE, cookie.parse().unwrap());
        }
        read(&headers).map(ToOwned::to_owned)
    }

    #[test]
    fn a_secret_is_found_among_other_cookies() {
        let some = Some("ses_a".to_owned());
        assert_eq!(found(&["lumora_session=ses_a"]), some);
        assert_eq!(found(&["a=b; lumora_session=ses_a ;c"]), some);
        assert_eq!(found(&["a=b", "lumora_session=ses_a"]), some);
        assert_eq!(found(&["lumora_session=ses_a; lumora_session=ses_a"]), some);
    }

    #[test]
    fn what_is_no_secret_is_not_looked_up() {
        let long = format!("lumora_session={}", "a".repeat(129));
        for cookies in [
            &[][..],
            &["lumora_session"],
            &["lumora_session="],
            &["Lumora_Session=ses_a"],
            &["x_lumora_session=ses_a"],
            &["lumora_session=ses_a; lumora_session=ses_b"],
            &["lumora_session=ses_a", "lumora_session=ses_b"],
            &["lumora_session=\"ses_a\""],
            &["lumora_session=ses_a b"],
            &[long.as_str()],
        ] {
            assert_eq!(found(cookies), None, "{cookies:?}");
        }
    }

    #[test]
    fn it_is_kept_from_scripts_other_sites_and_plain_http() {
        let week = Duration::from_hours(7 * 24);
        assert_eq!(
            set("ses_a", week, "https://mail.acme.test"),
            "lumora_session=ses_a; Max-Age=604800; Path=/; HttpOnly; SameSite=Strict; Secure"
        );
        assert_eq!(
            forget("http://127.0.0.1:8080"),
            "lumora_session=; Max-Age=0; Path=/; HttpOnly; SameSite=Strict"
        );
    }
}
