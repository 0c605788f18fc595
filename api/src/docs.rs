//! The document and Swagger UI, served without anything from elsewhere.
//!
//! # Why
//! poem-openapi embeds Swagger UI as one page with its script inline, which no strict content
//! security policy allows. So the page is cut into its parts once, at start: the script and the
//! style become files of their own, and only `'self'` may run.

use poem::{
    Endpoint, IntoResponse, Response, Route,
    endpoint::make_sync,
    get,
    http::{StatusCode, header},
};
use poem_openapi::OpenApiService;

use crate::document;

/// Styles stand in attributes all over Swagger UI; scripts come from files alone.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                      img-src 'self' data:; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

const PAGE: &str = include_str!("docs/page.html");
const START: &str = include_str!("docs/start.js");

/// Adds `/openapi.json`, `/docs` and the redirect from `/`.
pub(crate) fn routes(route: Route) -> Route {
    let parts = SwaggerUi::cut();
    let document = document::text();
    route
        .at("/", get(make_sync(|_| redirect())))
        .at("/docs", get(file("text/html; charset=utf-8", "no-cache", PAGE)))
        .at("/docs/start.js", get(file("text/javascript", "no-cache", START)))
        .at("/docs/swagger-ui.js", get(file("text/javascript", "max-age=86400", parts.script)))
        .at("/docs/swagger-ui.css", get(file("text/css", "max-age=86400", parts.style)))
        .at("/openapi.json", get(file("application/json", "no-cache", document)))
}

fn redirect() -> Response {
    Response::builder().status(StatusCode::FOUND).header(header::LOCATION, "/docs").finish()
}

fn file(kind: &'static str, cache: &'static str, text: impl Into<String>) -> impl Endpoint {
    let bytes = bytes::Bytes::from(text.into());
    make_sync(move |_| {
        Response::builder()
            .content_type(kind)
            .header(header::CACHE_CONTROL, cache)
            .header(header::CONTENT_SECURITY_POLICY, POLICY)
            .body(bytes.clone())
            .into_response()
    })
}

/// Swagger UI's own two files.
struct SwaggerUi {
    script: String,
    style: String,
}

impl SwaggerUi {
    fn cut() -> Self {
        let page = OpenApiService::new((), "", "").swagger_ui_html();
        let between = |open: &str, close: &str| {
            let (_, rest) = page.split_once(open)?;
            let (part, _) = rest.split_once(close)?;
            Some(part.to_owned())
        };
        // Were the page ever built otherwise, the test below fails before anybody sees it.
        Self {
            style: between("<style charset=\"UTF-8\">", "</style>\n").unwrap_or_default(),
            script: between("<script charset=\"UTF-8\">", "</script>\n</head>").unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swagger_ui_is_cut_whole() {
        let parts = SwaggerUi::cut();
        assert!(parts.script.len() > 1_000_000 && parts.script.contains("SwaggerUIBundle"));
        assert!(parts.style.len() > 100_000 && parts.style.contains(".swagger-ui"));
        assert!(!parts.style.contains("<script"));
    }

    #[test]
    fn the_page_asks_nobody_else() {
        for text in [PAGE, START] {
            assert!(!text.contains("://"), "{text}");
        }
        assert!(!PAGE.contains("<script>"), "scripts inline are against the policy");
        // Whatever else Swagger UI's files name, its style loads nothing.
        let style = SwaggerUi::cut().style;
        assert!(!style.contains("@import"));
        assert!(!style.contains("url(http") && !style.contains("url(//"));
    }
}
