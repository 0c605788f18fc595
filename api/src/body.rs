//! The body of a request: read within bounds of size and time, then handed on as bytes.

use std::{io, marker::PhantomData, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream::BoxStream};
use poem::{Request, RequestBody, Result, http::header};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaMediaType, MetaRequest, Registry},
    types::Type,
};
use tokio::time::{Instant, timeout_at};

use crate::{
    parts::{ApiOptions, Shared},
    problem::{Code, Problem},
};

/// How long a refused body is read on.
const DISCARD_WITHIN: Duration = Duration::from_secs(5);

/// The bytes of a body; the document has `T` for them. At most `MAX_BYTES`, whatever the server
/// takes elsewhere.
pub(crate) struct JsonBody<T, const MAX_BYTES: usize = { usize::MAX }> {
    pub bytes: Bytes,
    form: PhantomData<fn() -> T>,
}

/// A body of the portal: texts and lists that people write. Strangers may send some of them, so
/// they are not let send as much as a message may have.
pub(crate) type SmallJsonBody<T> = JsonBody<T, SMALL_BODY>;
/// The same in bytes.
pub(crate) const SMALL_BODY: usize = 256 * 1024;

impl<'a, T: Type, const MAX_BYTES: usize> ApiExtractor<'a> for JsonBody<T, MAX_BYTES> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let content_type = "application/json";
        let content = vec![MetaMediaType { content_type, schema: T::schema_ref() }];
        Some(MetaRequest { description: None, content, required: true })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> Result<Self> {
        let options = &Shared::of(request)?.options;
        let mut unread = Unread::of(request, body);
        match unread.json(request, options, MAX_BYTES.min(options.max_body_bytes)).await {
            Ok(bytes) => Ok(Self { bytes, form: PhantomData }),
            Err(problem) => {
                unread.discard(options).await;
                Err(problem.into())
            }
        }
    }
}

/// A body, or what is left of it.
pub(crate) struct Unread {
    chunks: Option<BoxStream<'static, io::Result<Bytes>>>,
    /// The caller sends nothing before we ask for it (RFC 9110, section 10.1.1).
    waits: bool,
}

impl Unread {
    /// The body of a request, unless somebody took it.
    pub(crate) fn of(request: &Request, body: &mut RequestBody) -> Self {
        let expected = request.header(header::EXPECT);
        Self {
            chunks: body.take().ok().map(|body| body.into_bytes_stream().boxed()),
            waits: expected.is_some_and(|words| words.eq_ignore_ascii_case("100-continue")),
        }
    }

    /// All of it, when it is JSON within the bounds.
    pub(crate) async fn json(
        &mut self,
        request: &Request,
        options: &ApiOptions,
        most: usize,
    ) -> Result<Bytes, Problem> {
        let length = request.header(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.parse::<usize>().ok()).unwrap_or_default();
        if length > most {
            return Err(Problem::new(Code::PayloadTooLarge));
        }
        let coding = request.header(header::CONTENT_ENCODING);
        let plain = coding.is_none_or(|coding| coding.eq_ignore_ascii_case("identity"));
        if !plain || !request.content_type().is_some_and(is_json) {
            return Err(Problem::new(Code::UnsupportedMediaType));
        }
        self.read(length, options, most).await
    }

    /// All of it. What counts is what arrives, not what was announced.
    async fn read(
        &mut self,
        announced: usize,
        options: &ApiOptions,
        most: usize,
    ) -> Result<Bytes, Problem> {
        let deadline = Instant::now() + options.body_deadline;
        // Announced is not sent: memory grows with what arrives.
        let mut bytes = BytesMut::with_capacity(announced.min(64 * 1024));
        self.waits = false;
        loop {
            let Some(chunks) = &mut self.chunks else { return Ok(bytes.freeze()) };
            let patience = deadline.min(Instant::now() + options.body_idle);
            match timeout_at(patience, chunks.next()).await {
                Err(_) => {
                    self.chunks = None;
                    return Err(Problem::new(Code::RequestTimeout));
                }
                Ok(None) => self.chunks = None,
                Ok(Some(Err(_))) => {
                    self.chunks = None;
                    let words = "The body ended early or is not as HTTP wants it.";
                    return Err(Problem::new(Code::BadRequest).saying(words));
                }
                Ok(Some(Ok(chunk))) => {
                    if chunk.len() > most.saturating_sub(bytes.len()) {
                        return Err(Problem::new(Code::PayloadTooLarge));
                    }
                    bytes.extend_from_slice(&chunk);
                }
            }
        }
    }

    /// Reads on for a while and keeps nothing. A connection that is closed while its other end
    /// still sends is reset, and the answer that says why is lost with it (RFC 9112, section 9.6).
    pub(crate) async fn discard(self, options: &ApiOptions) {
        let Some(mut chunks) = self.chunks.filter(|_| !self.waits) else { return };
        let deadline = Instant::now() + DISCARD_WITHIN.min(options.body_deadline);
        // A body a little above the bound is read to its end.
        let mut left = options.max_body_bytes.saturating_mul(2);
        while let Ok(Some(Ok(chunk))) = timeout_at(deadline, chunks.next()).await {
            let Some(rest) = left.checked_sub(chunk.len()) else { return };
            left = rest;
        }
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

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    fn options() -> ApiOptions {
        ApiOptions { max_body_bytes: 10, ..ApiOptions::default() }
    }

    fn unread(chunks: impl futures_util::Stream<Item = Bytes> + Send + 'static) -> Unread {
        Unread { chunks: Some(chunks.map(Ok).boxed()), waits: false }
    }

    fn chunks(chunks: &[&'static str]) -> Unread {
        let chunks: Vec<_> =
            chunks.iter().map(|text| Bytes::from_static(text.as_bytes())).collect();
        unread(stream::iter(chunks))
    }

    #[tokio::test]
    async fn what_arrives_is_counted() {
        let bytes = chunks(&["12345", "67890"]).read(0, &options(), 10).await;
        assert_eq!(bytes.unwrap(), "1234567890");
        let mut body = chunks(&["12345", "678901", "rest"]);
        let error = body.read(3, &options(), 10).await.unwrap_err();
        assert_eq!(error.code(), Code::PayloadTooLarge);
        body.discard(&options()).await;
    }

    #[tokio::test(start_paused = true)]
    async fn silence_and_trickle_end() {
        let error = unread(stream::pending()).read(5, &options(), 10).await.unwrap_err();
        assert_eq!(error.code(), Code::RequestTimeout);
        let trickle = || {
            unread(stream::repeat(()).then(|()| async {
                tokio::time::sleep(Duration::from_secs(4)).await;
                Bytes::new()
            }))
        };
        let started = Instant::now();
        let error = trickle().read(5, &options(), 10).await.unwrap_err();
        assert_eq!(error.code(), Code::RequestTimeout);
        assert_eq!(started.elapsed(), options().body_deadline);
        let started = Instant::now();
        trickle().discard(&options()).await;
        assert_eq!(started.elapsed(), DISCARD_WITHIN);
    }

    #[tokio::test]
    async fn what_is_not_asked_for_is_not_waited_for() {
        let silent = Unread { waits: true, ..unread(stream::pending()) };
        silent.discard(&options()).await;
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
