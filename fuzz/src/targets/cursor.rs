//! Cursors of pages, and names of things, as callers give them back.

use std::{fmt::Display, str::FromStr};

use model::{
    ApiKeyId, AppId, DomainId, ErasureId, EventId, LetterId, MessageId, StreamId, SuppressionId,
    TemplateId, TenantId, UserId,
};
use projections::{AuditCursor, ErasureCursor, LetterCursor, LogCursor, SuppressionCursor};

pub(super) fn run(octets: &[u8]) {
    let text = &*String::from_utf8_lossy(octets);
    let (app, other_app) = (AppId::from_bytes([1; 16]), AppId::from_bytes([2; 16]));
    if let Some(cursor) = same(text, LogCursor::parse(app, text)) {
        assert_eq!(LogCursor::parse(other_app, text), None, "{cursor:?} of another app");
    }
    let (tenant, other) = (TenantId::from_bytes([1; 16]), TenantId::from_bytes([2; 16]));
    let streams = [
        None,
        Some(StreamId::Tenant(tenant)),
        Some(StreamId::Domain(DomainId::from_bytes([3; 16]))),
    ];
    let read = streams.map(|stream| same(text, AuditCursor::parse(tenant, stream, text)));
    assert!(read.iter().flatten().count() <= 1, "a cursor of two streams");
    assert!(streams.iter().all(|stream| {
        read.iter().flatten().count() == 0 || AuditCursor::parse(other, *stream, text).is_none()
    }));
    same(text, ErasureCursor::parse(text));
    same(text, LetterCursor::parse(text));
    same(text, SuppressionCursor::parse(text));
    named::<TenantId>(text);
    named::<UserId>(text);
    named::<AppId>(text);
    named::<ApiKeyId>(text);
    named::<DomainId>(text);
    named::<TemplateId>(text);
    named::<MessageId>(text);
    named::<EventId>(text);
    named::<LetterId>(text);
    named::<ErasureId>(text);
    named::<SuppressionId>(text);
}

/// One text for one thing.
fn same<T: Display>(text: &str, read: Option<T>) -> Option<T> {
    if let Some(read) = &read {
        assert_eq!(read.to_string(), text);
    }
    read
}

fn named<T: FromStr + Display>(text: &str) {
    same(text, text.parse::<T>().ok());
}
