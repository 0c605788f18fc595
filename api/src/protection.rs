//! The headers by which a browser protects whoever reads an answer.
//!
//! # Why
//! They are named once, since two places write them: the edge on every answer of ours, and `serve`
//! on those that hyper gives by itself to what is no request.

use poem::http::{HeaderMap, HeaderName, HeaderValue, header};

/// What holds for every answer, whatever its route says.
const ALWAYS: [(HeaderName, &str); 3] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
];
/// What holds where a route says nothing else: an answer is data, and nothing in it is shown, run
/// or kept.
const UNLESS_SET: [(HeaderName, &str); 2] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
];
/// For a year no browser that was here speaks to this host without TLS (RFC 6797). Hosts below it
/// are not ours to speak for.
const TRANSPORT: (HeaderName, &str) = (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");

/// Sets them on an answer of a server with this public URL. A proxy in front passes them on;
/// without TLS browsers do not heed the one about it (RFC 6797, section 8.1).
pub(crate) fn protect(headers: &mut HeaderMap, public_url: &str) {
    for (name, value) in ALWAYS.into_iter().chain(transport(public_url)) {
        headers.insert(name, HeaderValue::from_static(value));
    }
    for (name, value) in UNLESS_SET {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// The same as lines of a head.
pub(crate) fn lines(public_url: &str) -> String {
    let all = ALWAYS.into_iter().chain(UNLESS_SET).chain(transport(public_url));
    let mut lines = String::new();
    for (name, value) in all {
        lines.extend([name.as_str(), ": ", value, "\r\n"]);
    }
    lines
}

fn transport(public_url: &str) -> Option<(HeaderName, &'static str)> {
    public_url.starts_with("https:").then_some(TRANSPORT)
}
