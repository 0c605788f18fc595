//! Parameters of a path, a query string or a header, each read by its own rule.
//!
//! # Why
//! poem-openapi's own extractors stop at the first bad parameter and name those of a path by their
//! number. Here a bad one is kept until the operation asks for all of them at once.

use actors::IdempotencyKey;
use model::{
    ApiKeyId, AppId, By, DomainId, ErasureId, LetterId, MessageId, StreamId, Timestamp,
    address::EmailAddress, message::Tag,
};
use poem::{Request, RequestBody, Result};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaParamIn, MetaSchema, MetaSchemaRef, Registry},
    types::Type,
};
use serde_json::json;

use crate::{
    epochs::{Epoch, MAX_EPOCH},
    problem::{Code, Findings, Problem},
    wire::{
        apps::EXAMPLE_APP,
        domains::EXAMPLE_DOMAIN,
        erasures::EXAMPLE_ERASURE,
        keys::EXAMPLE_KEY,
        letters::EXAMPLE_LETTER,
        message::{EXAMPLE_ID, EventKind},
        stats::{GroupName, IntervalName},
    },
};

/// Longest cursor, in characters.
const MAX_CURSOR: usize = 512;

/// What a parameter can be.
pub(crate) trait Asked: Sized + Send {
    /// Its schema.
    fn schema() -> MetaSchemaRef;

    /// Reads it, or says what it must be.
    fn read(text: &str) -> Result<Self, &'static str>;

    /// Notes the named schemas that it uses.
    fn register(_registry: &mut Registry) {}
}

/// An optional parameter of the query string.
pub(crate) struct Query<T> {
    name: &'static str,
    value: Result<Option<T>, &'static str>,
}

impl<T> Query<T> {
    /// What was asked; a bad value is noted and counts as absent.
    pub(crate) fn take(self, findings: &mut Findings) -> Option<T> {
        self.value.unwrap_or_else(|words| {
            findings.add(self.name, words);
            None
        })
    }
}

impl Query<Cursor> {
    /// The place that a cursor names; one that names none is noted and counts as absent.
    pub(crate) fn take_place<P>(
        self,
        findings: &mut Findings,
        parse: impl FnOnce(&str) -> Option<P>,
    ) -> Option<P> {
        let name = self.name;
        let Cursor(text) = self.take(findings)?;
        let place = parse(&text);
        if place.is_none() {
            findings.add(name, Cursor::WORDS);
        }
        place
    }
}

impl<'a, T: Asked> ApiExtractor<'a> for Query<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Query)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(T::schema())
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        options: ExtractParamOptions<()>,
    ) -> Result<Self> {
        let name = options.name;
        let pairs: Vec<(String, String)> = request.params().unwrap_or_default();
        let mut given = pairs.into_iter().filter(|(key, _)| key == name).map(|(_, value)| value);
        let value = match (given.next(), given.next()) {
            (None, _) => Ok(None),
            (Some(text), None) => T::read(&text).map(Some),
            (Some(_), Some(_)) => Err("is given more than once"),
        };
        Ok(Self { name, value })
    }
}

/// An id in a path, the `PLACE`th from 0. What is no id names nothing.
pub(crate) struct InPath<T, const PLACE: usize = 0>(pub T);

impl<'a, T: Asked, const PLACE: usize> ApiExtractor<'a> for InPath<T, PLACE> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];
    const PARAM_IS_REQUIRED: bool = true;

    type ParamType = ();
    type ParamRawType = ();

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Path)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(T::schema())
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> Result<Self> {
        // poem-openapi numbers the parameters of a path.
        let text = request.raw_path_param(&format!("param{PLACE}")).unwrap_or_default();
        T::read(text).map(Self).map_err(|_| Problem::new(Code::NotFound).into())
    }
}

/// The `Idempotency-Key` header, if there is one.
pub(crate) struct IdempotencyHeader(pub Option<IdempotencyKey>);

impl<'a> ApiExtractor<'a> for IdempotencyHeader {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];

    type ParamType = ();
    type ParamRawType = ();

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Header)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(inline(MetaSchema {
            min_length: Some(1),
            max_length: Some(IdempotencyKey::MAX_OCTETS),
            pattern: Some("^[ -~]+$".into()),
            example: Some(json!("invoice-1042")),
            ..MetaSchema::new("string")
        }))
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        options: ExtractParamOptions<()>,
    ) -> Result<Self> {
        let mut given = request.headers().get_all(options.name).iter();
        let Some(value) = given.next() else { return Ok(Self(None)) };
        let key = value.to_str().ok().and_then(IdempotencyKey::parse);
        match (key, given.next()) {
            (Some(key), None) => Ok(Self(Some(key))),
            _ => Err(Problem::new(Code::InvalidIdempotencyKey).into()),
        }
    }
}

fn inline(schema: MetaSchema) -> MetaSchemaRef {
    MetaSchemaRef::Inline(Box::new(schema))
}

/// How many rows a page has.
pub(crate) struct PageSize(pub usize);

impl PageSize {
    /// Without a wish.
    pub(crate) const DEFAULT: Self = Self(50);
    const MAX: usize = 100;
}

impl Asked for PageSize {
    #[expect(clippy::cast_precision_loss, reason = "a schema's bounds are numbers of JSON")]
    fn schema() -> MetaSchemaRef {
        inline(MetaSchema {
            minimum: Some(1.0),
            maximum: Some(Self::MAX as f64),
            default: Some(json!(Self::DEFAULT.0)),
            example: Some(json!(20)),
            ..MetaSchema::new_with_format("integer", "int32")
        })
    }

    fn read(text: &str) -> Result<Self, &'static str> {
        let number = text.parse().ok().filter(|number| (1..=Self::MAX).contains(number));
        number.map(Self).ok_or("must be a whole number from 1 to 100")
    }
}

/// The number of an event in the feed of its app; 0 is before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Seq(pub u64);

impl Seq {
    /// What every program can count to: 2⁵³ − 1.
    const MAX: u64 = (1 << 53) - 1;
}

impl Asked for Seq {
    #[expect(clippy::cast_precision_loss, reason = "a schema's bounds are numbers of JSON")]
    fn schema() -> MetaSchemaRef {
        inline(MetaSchema {
            minimum: Some(0.0),
            maximum: Some(Self::MAX as f64),
            default: Some(json!(0)),
            example: Some(json!(1042)),
            ..MetaSchema::new_with_format("integer", "int64")
        })
    }

    fn read(text: &str) -> Result<Self, &'static str> {
        let digits = text.len() <= 16 && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| digits && *number <= Self::MAX);
        number.map(Self).ok_or("must be the number of an event, or 0")
    }
}

/// Which history a number belongs to: opaque.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EpochName(pub Epoch);

impl Asked for EpochName {
    fn schema() -> MetaSchemaRef {
        inline(MetaSchema {
            max_length: Some(MAX_EPOCH),
            example: Some(json!("0")),
            ..MetaSchema::new("string")
        })
    }

    fn read(text: &str) -> Result<Self, &'static str> {
        Epoch::read(text).map(Self).ok_or("must be the epoch of an answer")
    }
}

/// How long to wait, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct WaitSeconds(pub u64);

impl WaitSeconds {
    /// Proxies give up on an answer after a minute, as a rule.
    const MAX: u64 = 30;
}

impl Asked for WaitSeconds {
    #[expect(clippy::cast_precision_loss, reason = "a schema's bounds are numbers of JSON")]
    fn schema() -> MetaSchemaRef {
        inline(MetaSchema {
            minimum: Some(0.0),
            maximum: Some(Self::MAX as f64),
            default: Some(json!(0)),
            example: Some(json!(20)),
            ..MetaSchema::new_with_format("integer", "int32")
        })
    }

    fn read(text: &str) -> Result<Self, &'static str> {
        let number = text.parse().ok().filter(|number| *number <= Self::MAX);
        number.map(Self).ok_or("must be a whole number from 0 to 30")
    }
}

/// The `Last-Event-ID` header, by which a client of server-sent events goes on.
pub(crate) struct LastEventId(Result<Option<Seq>, &'static str>);

impl LastEventId {
    const NAME: &'static str = "Last-Event-ID";

    /// What was given; a bad value is noted and counts as absent.
    pub(crate) fn take(self, findings: &mut Findings) -> Option<Seq> {
        self.0.unwrap_or_else(|words| {
            findings.add(Self::NAME, words);
            None
        })
    }
}

impl<'a> ApiExtractor<'a> for LastEventId {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];

    type ParamType = ();
    type ParamRawType = ();

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Header)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(Seq::schema())
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> Result<Self> {
        let mut given = request.headers().get_all(Self::NAME).iter();
        let text = match (given.next(), given.next()) {
            (None, _) => return Ok(Self(Ok(None))),
            (Some(value), None) => value.to_str().unwrap_or("-"),
            (Some(_), Some(_)) => return Ok(Self(Err("is given more than once"))),
        };
        Ok(Self(Seq::read(text).map(Some)))
    }
}

/// Where a page begins: opaque.
pub(crate) struct Cursor(pub String);

impl Cursor {
    const WORDS: &'static str = "must be the nextCursor of an answer";
}

impl Asked for Cursor {
    fn schema() -> MetaSchemaRef {
        inline(MetaSchema {
            max_length: Some(MAX_CURSOR),
            example: Some(json!("AZrAV3tPAAAAAAAAAAAAAAAq")),
            ..MetaSchema::new("string")
        })
    }

    fn read(text: &str) -> Result<Self, &'static str> {
        let fits = (1..=MAX_CURSOR).contains(&text.len());
        fits.then(|| Self(text.to_owned())).ok_or(Self::WORDS)
    }
}

macro_rules! asked_id {
    ($($name:ident, $example:expr, $words:literal;)+) => {
        $(impl Asked for $name {
            fn schema() -> MetaSchemaRef {
                inline(MetaSchema { example: Some(json!($example)), ..MetaSchema::new("string") })
            }

            fn read(text: &str) -> Result<Self, &'static str> {
                text.parse().map_err(|_| concat!("must be the id of ", $words))
            }
        })+
    };
}

asked_id! {
    MessageId, EXAMPLE_ID, "a message";
    AppId, EXAMPLE_APP, "an app";
    ApiKeyId, EXAMPLE_KEY, "an API key";
    DomainId, EXAMPLE_DOMAIN, "a domain";
    LetterId, EXAMPLE_LETTER, "a letter";
    ErasureId, EXAMPLE_ERASURE, "an erasure";
    StreamId, EXAMPLE_DOMAIN, "a tenant, user, domain, template, message, suppression, letter or erasure";
}

/// The `type` of a recorded event.
pub(crate) struct RecordedKind(pub &'static str);

impl Asked for RecordedKind {
    fn schema() -> MetaSchemaRef {
        let example = Some(json!("domain.checked"));
        inline(MetaSchema { example, ..MetaSchema::new("string") })
    }

    fn read(text: &str) -> Result<Self, &'static str> {
        let known = projections::event_kinds().iter().find(|kind| **kind == text);
        let words = "must be the type of a recorded event, such as domain.checked";
        known.map(|kind| Self(kind)).ok_or(words)
    }
}

impl Asked for By {
    fn schema() -> MetaSchemaRef {
        inline(MetaSchema { example: Some(json!(EXAMPLE_KEY)), ..MetaSchema::new("string") })
    }

    fn read(text: &str) -> Result<Self, &'static str> {
        let words = "must be the id of an API key or a user, or a word such as operator or alarm";
        text.parse().map_err(|_| words)
    }
}

impl Asked for EmailAddress {
    fn schema() -> MetaSchemaRef {
        inline(MetaSchema {
            example: Some(json!("ada@example.com")),
            ..MetaSchema::new_with_format("string", "email")
        })
    }

    fn read(text: &str) -> Result<Self, &'static str> {
        Self::parse(text).map_err(|_| "must be an address such as user@host.example")
    }
}

impl Asked for Tag {
    fn schema() -> MetaSchemaRef {
        inline(MetaSchema {
            min_length: Some(1),
            max_length: Some(Self::MAX_OCTETS),
            example: Some(json!("invoice")),
            ..MetaSchema::new("string")
        })
    }

    fn read(text: &str) -> Result<Self, &'static str> {
        Self::parse(text).ok_or("must be a tag: 1 to 64 octets, no control characters")
    }
}

impl Asked for Timestamp {
    fn schema() -> MetaSchemaRef {
        inline(MetaSchema {
            example: Some(json!("2025-11-26T00:00:00Z")),
            ..MetaSchema::new_with_format("string", "date-time")
        })
    }

    fn read(text: &str) -> Result<Self, &'static str> {
        rfc_3339(text).ok_or("must be an RFC 3339 time such as 2026-01-31T09:00:00Z")
    }
}

macro_rules! asked_enum {
    ($name:ident, $words:literal, $($text:literal => $value:expr),+ $(,)?) => {
        impl Asked for $name {
            fn schema() -> MetaSchemaRef {
                <Self as Type>::schema_ref()
            }

            fn read(text: &str) -> Result<Self, &'static str> {
                match text {
                    $($text => Ok($value),)+
                    _ => Err($words),
                }
            }

            fn register(registry: &mut Registry) {
                <Self as Type>::register(registry);
            }
        }
    };
}

asked_enum!(
    IntervalName,
    "must be hour or day",
    "hour" => Self::Hour,
    "day" => Self::Day,
);
asked_enum!(
    GroupName,
    "must be none, domain, recipientDomain, tag or template",
    "none" => Self::None,
    "domain" => Self::Domain,
    "recipientDomain" => Self::RecipientDomain,
    "tag" => Self::Tag,
    "template" => Self::Template,
);
asked_enum!(
    EventKind,
    "must be accepted, scheduled, deferred, delivered, bounced, failed, suppressed, canceled or \
     complained",
    "accepted" => Self::Accepted,
    "scheduled" => Self::Scheduled,
    "deferred" => Self::Deferred,
    "delivered" => Self::Delivered,
    "bounced" => Self::Bounced,
    "failed" => Self::Failed,
    "suppressed" => Self::Suppressed,
    "canceled" => Self::Canceled,
    "complained" => Self::Complained,
);

/// A time as RFC 3339 (section 5.6) writes it, and no other form of ISO 8601.
pub(crate) fn rfc_3339(text: &str) -> Option<Timestamp> {
    let shape = text.as_bytes();
    let fixed = shape.len() >= 20
        && shape.len() <= 40
        && shape.iter().take(19).zip(b"0000-00-00T00:00:00").all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            other => byte.eq_ignore_ascii_case(other),
        });
    let rest = shape.get(19..)?;
    let fraction = match rest.split_first() {
        Some((b'.', digits)) => 1 + digits.iter().take_while(|byte| byte.is_ascii_digit()).count(),
        _ => 0,
    };
    let zone = match rest.get(fraction..)? {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => [h1, h2, m1, m2].into_iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if fixed && zone && fraction != 1 { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_and_nothing_else() {
        for good in [
            "2026-01-31T09:00:00Z",
            "2026-01-31t09:00:00.123456789z",
            "2026-01-31T09:00:00+05:30",
            "2026-01-31T09:00:00.5-08:00",
        ] {
            assert!(rfc_3339(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "2026-01-31",
            "20260131T090000Z",
            "2026-01-31 09:00:00Z",
            "2026-01-31T09:00:00",
            "2026-01-31T09:00:00.Z",
            "2026-01-31T09:00:00+0530",
            "2026-01-31T09:00:00Z[UTC]",
            "2026-02-30T09:00:00Z",
            "1969-12-31T23:59:59Z",
            "2026-01-31T09:00:00Z\n",
        ] {
            assert!(rfc_3339(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn page_sizes_have_bounds() {
        for bad in ["0", "101", "-1", "1.5", "ten", "", "18446744073709551616"] {
            assert!(PageSize::read(bad).is_err(), "{bad}");
        }
        assert_eq!(PageSize::read("100").map(|size| size.0), Ok(100));
    }
}
