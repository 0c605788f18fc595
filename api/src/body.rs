//! The body of a send: read within bounds of size and time, then handed on as bytes.

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use poem::{Body, Request, RequestBody, Result, http::header};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaMediaType, MetaRequest, Registry},
    types::Type as _,
};
use tokio::time::{Instant, timeout_at};

use crate::{
    parts::{ApiOptions, Shared},
    problem::{Code, Problem},
    wire::send::SendEmail,
};

/// The bytes of a send body; the document has [`SendEmail`] for them.
pub(crate) struct SendBody(pub Bytes);

impl<'a> ApiExtractor<'a> for SendBody {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        SendEmail::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let content_type = "application/json";
        let content = vec![MetaMediaType { content_type, schema: SendEmail::schema_ref() }];
        Some(MetaRequest { description: None, content, required: true })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> Result<Self> {
        let options = &Shared::of(request)?.options;
        let known_length =
            request.header(header::CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
        if known_length.is_some_and(|length| length > options.max_body_bytes) {
            return Err(Problem::new(Code::PayloadTooLarge).into());
        }
        if !request.content_type().is_some_and(is_json) {
            return Err(Problem::new(Code::UnsupportedMediaType).into());
        }
        let body = body.take().map_err(|error| Problem::internal("a body read twice", &error))?;
        Ok(Self(read(body, known_length.unwrap_or_default(), options).await?))
    }
}

/// JSON, and in no other encoding than UTF-8 (RFC 8259, section 8.1).
fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let json = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    json && parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
            value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    })
}

/// All of a body. What counts is what arrives, not what was announced.
async fn read(body: Body, announced: usize, options: &ApiOptions) -> Result<Bytes, Problem> {
    let deadline = Instant::now() + options.body_deadline;
    let mut stream = body.into_bytes_stream();
    // Announced is not sent: memory grows with what arrives.
    let mut bytes = BytesMut::with_capacity(announced.min(64 * 1024));
    loop {
        let patience = deadline.min(Instant::now() + options.body_idle);
        match timeout_at(patience, stream.next()).await {
            Err(_) => return Err(Problem::new(Code::RequestTimeout)),
            Ok(None) => return Ok(bytes.freeze()),
            Ok(Some(Err(_))) => {
                let words = "The body ended early or is not as HTTP wants it.";
                return Err(Problem::new(Code::BadRequest).saying(words));
            }
            Ok(Some(Ok(chunk))) => {
                if chunk.len() > options.max_body_bytes.saturating_sub(bytes.len()) {
                    return Err(Problem::new(Code::PayloadTooLarge));
                }
                bytes.extend_from_slice(&chunk);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::stream;

    use super::*;

    fn options() -> ApiOptions {
        ApiOptions { max_body_bytes: 10, ..ApiOptions::default() }
    }

    fn chunks(chunks: &[&'static str]) -> Body {
        let chunks: Vec<_> =
            chunks.iter().map(|chunk| Ok(Bytes::from_static(chunk.as_bytes()))).collect();
        Body::from_bytes_stream::<_, Bytes, std::io::Error>(stream::iter(chunks))
    }

    #[tokio::test]
    async fn what_arrives_is_counted() {
        assert_eq!(read(chunks(&["12345", "67890"]), 0, &options()).await.unwrap(), "1234567890");
        let error = read(chunks(&["12345", "678901"]), 3, &options()).await.unwrap_err();
        assert_eq!(error.code(), Code::PayloadTooLarge);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_and_trickle_end() {
        let silent = Body::from_bytes_stream::<_, Bytes, std::io::Error>(stream::pending());
        let error = read(silent, 5, &options()).await.unwrap_err();
        assert_eq!(error.code(), Code::RequestTimeout);
        let trickle = stream::repeat(()).then(|()| async {
            tokio::time::sleep(Duration::from_secs(14)).await;
            Ok(Bytes::new())
        });
        let trickle = Body::from_bytes_stream::<_, Bytes, std::io::Error>(Box::pin(trickle));
        let started = Instant::now();
        let error = read(trickle, 5, &options()).await.unwrap_err();
        assert_eq!(error.code(), Code::RequestTimeout);
        assert_eq!(started.elapsed(), options().body_deadline);
    }

    #[test]
    fn only_json_in_utf_8_is_json() {
        for good in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/json;charset=\"utf-8\"",
        ] {
            assert!(is_json(good), "{good}");
        }
        for bad in ["text/json", "application/json; charset=latin1", "application/jsonx", "", ";"] {
            assert!(!is_json(bad), "{bad}");
        }
    }
}
