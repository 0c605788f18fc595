//! Where a request comes from: a page of ours, no page at all, or another site's.
//!
//! # Why
//! The cookie is `SameSite=Strict`, which the browser keeps; this is what the server keeps. Tokens
//! in forms would say no more: a browser that sends neither header is older than the cookie's own
//! protection, and a program that sends neither holds no cookie that it was not given.

use poem::http::{HeaderMap, Method, Uri, header, uri::Authority};

use crate::problem::{Code, Problem};

/// What a browser may say of where a request comes from: from our own pages, or from the user.
const NEAR: [&str; 2] = ["same-origin", "none"];

/// Refuses a request that changes something and was made by another site's page: one whose
/// `Sec-Fetch-Site` says so, or whose `Origin` is not ours.
pub(super) fn check(method: &Method, headers: &HeaderMap, public_url: &str) -> Result<(), Problem> {
    if method.is_safe() {
        return Ok(());
    }
    let near = |site: &str| NEAR.iter().any(|known| site.eq_ignore_ascii_case(known));
    let mut sites = headers.get_all("sec-fetch-site").iter();
    let sites_fit = sites.all(|site| site.to_str().is_ok_and(|site| near(site.trim())));
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let origins_fit = origins.all(|origin| {
        let origin = origin.to_str().ok().and_then(Origin::read);
        origin.is_some_and(|origin| origin.is_ours(public_url, host))
    });
    if sites_fit && origins_fit { Ok(()) } else { Err(Problem::new(Code::CrossSiteRequest)) }
}

/// A scheme with a host and a port (RFC 6454, section 4).
#[derive(Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    /// Reads the origin of a URL; `None` for what has none, `null` too.
    fn read(url: &str) -> Option<Self> {
        let url: Uri = url.parse().ok()?;
        Self::of(url.scheme_str()?, url.authority()?)
    }

    fn of(scheme: &str, authority: &Authority) -> Option<Self> {
        let usual = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let port = authority.port_u16().unwrap_or(usual);
        Some(Self { scheme: scheme.into(), host: authority.host().to_ascii_lowercase(), port })
    }

    /// Whether it is that of the public URL, or that of the host which the request itself names:
    /// whoever reaches the server by another name than its public one is no stranger for that. For
    /// the public name, the scheme counts as well.
    fn is_ours(&self, public_url: &str, host: Option<&str>) -> bool {
        let public = Self::read(public_url);
        if public.as_ref() == Some(self) {
            return true;
        }
        let host = host.and_then(|host| host.parse::<Authority>().ok());
        let same = host.and_then(|host| Self::of(&self.scheme, &host));
        let known = public.is_some_and(|public| public.host == self.host);
        same.as_ref() == Some(self) && !(known && public_url.starts_with("https:"))
    }
}

#[cfg(test)]
mod tests {
    use poem::http::HeaderName;

    use super::*;

    const PUBLIC: &str = "https://mail.acme.test";

    fn goes(method: &Method, public_url: &str, headers: &[(&'static str, &str)]) -> bool {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        check(method, &headers.collect(), public_url).is_ok()
    }

    #[test]
    fn who_reads_may_come_from_anywhere() {
        let strange = [("origin", "https://evil.test"), ("sec-fetch-site", "cross-site")];
        assert!(goes(&Method::GET, PUBLIC, &strange));
        for method in [Method::POST, Method::PATCH, Method::DELETE, Method::PUT] {
            assert!(!goes(&method, PUBLIC, &strange), "{method}");
        }
    }

    #[test]
    fn a_browser_says_where_a_request_comes_from() {
        for (site, near) in [
            ("same-origin", true),
            ("none", true),
            ("Same-Origin", true),
            ("same-site", false),
            ("cross-site", false),
            ("", false),
            ("same-origin, cross-site", false),
        ] {
            assert_eq!(goes(&Method::POST, PUBLIC, &[("sec-fetch-site", site)]), near, "{site}");
        }
        assert!(goes(&Method::POST, PUBLIC, &[]), "a program says nothing");
    }

    #[test]
    fn an_origin_is_the_public_one_or_that_of_the_host() {
        let host = ("host", "127.0.0.1:8080");
        for (origin, ours) in [
            ("https://mail.acme.test", true),
            ("https://MAIL.acme.test:443", true),
            ("http://mail.acme.test", false),
            ("https://mail.acme.test:8443", false),
            ("https://mail.acme.test.evil.test", false),
            ("https://acme.test", false),
            ("http://127.0.0.1:8080", true),
            ("http://127.0.0.1:9090", false),
            ("http://127.0.0.1", false),
            ("null", false),
            ("", false),
            ("file://", false),
            ("chrome-extension://abc", false),
        ] {
            let answer = goes(&Method::POST, PUBLIC, &[host, ("origin", origin)]);
            assert_eq!(answer, ours, "{origin}");
        }
    }

    #[test]
    fn the_public_name_wants_the_public_scheme() {
        // A page that was read without TLS can be anybody's.
        let headers = [("host", "mail.acme.test"), ("origin", "http://mail.acme.test")];
        assert!(!goes(&Method::POST, PUBLIC, &headers));
        assert!(goes(&Method::POST, "http://mail.acme.test:80", &headers));
        // Behind a proxy of another port, or with a public URL that nobody set.
        let headers = [("host", "localhost:8080"), ("origin", "http://localhost:8080")];
        assert!(goes(&Method::POST, "http://127.0.0.1:8080", &headers));
    }

    #[test]
    fn every_header_must_fit() {
        let host = ("host", "mail.acme.test");
        let ours = ("origin", "https://mail.acme.test");
        let evil = ("origin", "https://evil.test");
        let near = ("sec-fetch-site", "same-origin");
        assert!(goes(&Method::POST, PUBLIC, &[host, ours, near]));
        assert!(!goes(&Method::POST, PUBLIC, &[host, ours, ("sec-fetch-site", "cross-site")]));
        assert!(!goes(&Method::POST, PUBLIC, &[host, evil, near]));
    }
}
