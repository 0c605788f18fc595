//! The logs, against a search through every event.

use std::time::Duration;

use model::{
    AppId, Event, MessageId, StreamId, Timestamp,
    event::RecipientHash,
    message::{Accepted, MessageEvent, Tag},
};
use projections::{LogCursor, LogKind, LogQuery, LogRow, Logs, MAX_PAGE, ReadModels};
use proptest::prelude::*;

use crate::support::{Draft, MAIL_DOMAINS, Random, TAGS, World, deferred, delivered, follow};

/// Every event of an app that fits, newest first, found the slow way.
fn searched(world: &World, app: AppId, query: &LogQuery) -> Vec<eventlog::Position> {
    let events = world.decoded();
    let accepted = |message: MessageId| -> Accepted {
        let stream = StreamId::Message(message);
        let first = events.iter().find(|(recorded, _)| recorded.stream == stream).unwrap();
        match &first.1 {
            Event::Message(MessageEvent::Accepted(accepted)) => accepted.clone(),
            other => panic!("{other:?}"),
        }
    };
    let mut found: Vec<_> = events
        .iter()
        .filter(|(recorded, event)| {
            let (StreamId::Message(message), Event::Message(event)) = (recorded.stream, event)
            else {
                return false;
            };
            let accepted = accepted(message);
            let about = match event {
                MessageEvent::Accepted(_) | MessageEvent::Scheduled(_) => None,
                // No row tells of it.
                MessageEvent::RetryRequested(_) => return false,
                MessageEvent::Suppressed(event) => Some(event.recipient),
                MessageEvent::Delivered(event) => Some(event.attempt.recipient),
                MessageEvent::Deferred(event) => Some(event.attempt.recipient),
                MessageEvent::Bounced(event) => Some(event.attempt.recipient),
                MessageEvent::Failed(event) => Some(event.recipient),
                MessageEvent::Canceled(event) => Some(event.recipient),
                MessageEvent::Returned(event) => Some(event.recipient),
                MessageEvent::Complained(event) => Some(event.recipient),
            };
            let is_about = |wanted: RecipientHash| match about {
                None => accepted.recipients.iter().any(|recipient| recipient.hash == wanted),
                Some(index) => accepted.recipients[index.as_usize()].hash == wanted,
            };
            accepted.app == app
                && query.message.is_none_or(|wanted| wanted == message)
                && query.recipient.is_none_or(is_about)
                && query.kind.is_none_or(|kind| Some(kind) == LogKind::of(event))
                && query.tag.as_ref().is_none_or(|tag| accepted.tags.contains(tag))
                && query.from.is_none_or(|from| recorded.at >= from)
                && query.to.is_none_or(|to| recorded.at < to)
        })
        .map(|(recorded, _)| recorded.position)
        .collect();
    found.reverse();
    found
}

/// Every page, one after another; `between` happens after each.
fn paged(logs: &Logs, app: AppId, query: &LogQuery, mut between: impl FnMut()) -> Vec<LogRow> {
    let (mut rows, mut query) = (Vec::new(), query.clone());
    for _ in 0..5_000 {
        let page = logs.page(app, &query).unwrap();
        assert!(page.rows.len() <= query.limit);
        rows.extend(page.rows);
        between();
        let Some(next) = page.next else { return rows };
        // What a client holds is the text.
        let text = next.to_string();
        query.cursor = Some(LogCursor::parse(app, &text).unwrap());
        assert_eq!(query.cursor, Some(next));
    }
    panic!("the pages do not end: {query:?}");
}

fn positions(rows: &[LogRow]) -> Vec<eventlog::Position> {
    rows.iter().map(|row| row.position).collect()
}

fn random_query(world: &World, random: &mut Random) -> (AppId, LogQuery) {
    let app = random.pick(&world.apps).id;
    let of_app: Vec<_> = world.messages.iter().filter(|sent| sent.app == app).collect();
    let first = world.decoded()[0].0.at;
    let span = world.now.since(first).as_millis() as u64;
    let mut query = LogQuery { limit: 1 + random.below(30) as usize, ..LogQuery::default() };
    if random.one_in(3) && !of_app.is_empty() {
        query.message = Some(random.pick(&of_app).id);
    }
    if random.one_in(3) {
        let domain = random.pick(&MAIL_DOMAINS);
        let address = format!("canary{}.0@{domain}", random.below(12));
        query.recipient = Some(world.recipient_hash(&address));
    }
    query.kind = random.one_in(3).then(|| random.pick(&LogKind::ALL));
    query.tag = random.one_in(3).then(|| Tag::parse(random.pick(&TAGS)).unwrap());
    let mut time = || first.plus(Duration::from_millis(random.below(span)));
    let (one, other) = (time(), time());
    query.from = random.one_in(3).then_some(one.min(other));
    query.to = random.one_in(3).then_some(one.max(other));
    (app, query)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn every_filter_finds_what_a_search_finds(seed in any::<u64>()) {
        let world = World::grown(seed, 220);
        let dir = tempfile::tempdir().unwrap();
        let read = world.open(dir.path());
        let mut random = Random(seed ^ 1);
        for _ in 0..60 {
            let (app, query) = random_query(&world, &mut random);
            let rows = paged(read.logs(), app, &query, || {});
            prop_assert_eq!(positions(&rows), searched(&world, app, &query), "{:?}", query);
        }
    }
}

#[test]
fn pages_stay_as_they_are_while_events_come() {
    let mut world = World::with_app(2);
    let app = world.apps[0].id;
    let dir = tempfile::tempdir().unwrap();
    let read = world.open(dir.path());
    read.start();
    for _ in 0..30 {
        let message =
            world.send(&Draft { recipients: 2, tags: vec!["welcome"], ..Draft::default() });
        world.attempt(message, &[(0, delivered()), (1, deferred())]);
    }
    follow(&read, world.head());
    let tag = Some(Tag::parse("welcome").unwrap());
    for query in [
        LogQuery { limit: 7, ..LogQuery::default() },
        LogQuery { limit: 7, tag, ..LogQuery::default() },
        LogQuery { limit: 7, message: Some(world.messages[4].id), ..LogQuery::default() },
        LogQuery { limit: 2, kind: Some(LogKind::Deferred), ..LogQuery::default() },
    ] {
        let before = searched(&world, app, &query);
        assert!(before.len() > 2);
        let rows = paged(read.logs(), app, &query, || {
            let message = world.send(&Draft { tags: vec!["welcome"], ..Draft::default() });
            world.attempt(message, &[(0, delivered())]);
            world.attempt(4, &[(1, deferred())]);
            follow(&read, world.head());
        });
        assert_eq!(positions(&rows), before, "{query:?}");
    }
}

#[test]
fn a_row_tells_its_event() {
    let mut world = World::with_app(3);
    let message = world.send(&Draft::default());
    world.pass(Duration::from_secs(3));
    world.attempt(message, &[(0, delivered())]);
    let dir = tempfile::tempdir().unwrap();
    let read = world.open(dir.path());
    let app = world.apps[0].id;
    let page = read.logs().page(app, &LogQuery { limit: 10, ..LogQuery::default() }).unwrap();
    let view = read.messages().get(world.messages[message].id).unwrap().unwrap();
    assert_eq!(page.next, None);
    assert_eq!(page.rows.len(), 2);
    for (row, event) in page.rows.iter().zip(view.events.iter().rev()) {
        assert_eq!((row.id, row.at, row.position), (event.id, event.at, event.position));
        assert_eq!((row.message, &row.event, row.head), (view.id, &event.event, view.head));
        assert_eq!(LogKind::parse(row.kind.as_str()), Some(row.kind));
    }
    assert_eq!(page.rows[0].kind, LogKind::Delivered);
    assert!(matches!(page.rows[0].event, MessageEvent::Delivered(_)));
}

#[test]
fn another_app_sees_nothing_and_its_cursor_is_refused() {
    let mut world = World::with_app(4);
    world.add_app(0, "other");
    for _ in 0..5 {
        world.send(&Draft::default());
    }
    let dir = tempfile::tempdir().unwrap();
    let read: ReadModels = world.open(dir.path());
    let (own, other) = (world.apps[0].id, world.apps[1].id);
    let page = read.logs().page(own, &LogQuery { limit: 2, ..LogQuery::default() }).unwrap();
    let text = page.next.unwrap().to_string();
    assert!(LogCursor::parse(own, &text).is_some());
    assert_eq!(LogCursor::parse(other, &text), None);
    for wrong in ["", "x", &text[1..], &text.to_uppercase(), &text.replace(&text[..4], "ffff")] {
        assert_eq!(LogCursor::parse(own, wrong), None, "{wrong}");
    }
    for query in [
        LogQuery { limit: 10, ..LogQuery::default() },
        LogQuery { limit: 10, message: Some(world.messages[0].id), ..LogQuery::default() },
    ] {
        assert!(read.logs().page(other, &query).unwrap().rows.is_empty());
    }
}

#[test]
fn limits_are_kept_within_bounds() {
    let mut world = World::with_app(5);
    for _ in 0..150 {
        world.send(&Draft::default());
    }
    let dir = tempfile::tempdir().unwrap();
    let read = world.open(dir.path());
    let rows = |limit| {
        let query = LogQuery { limit, ..LogQuery::default() };
        read.logs().page(world.apps[0].id, &query).unwrap().rows.len()
    };
    assert_eq!((rows(0), rows(1), rows(usize::MAX)), (1, 1, MAX_PAGE));
}

#[test]
fn a_filter_that_finds_little_gives_short_pages_that_go_on() {
    // More rows than are looked at for one page, the only one that fits being the oldest.
    let mut world = World::with_app(6);
    let oldest = world.send(&Draft { suppressed: 1, tags: vec!["welcome"], ..Draft::default() });
    let filler = world.send(&Draft { recipients: 50, ..Draft::default() });
    for _ in 0..410 {
        world.pass(Duration::from_millis(1));
        let all: Vec<_> = (0..50).map(|index| (index, deferred())).collect();
        world.attempt(filler, &all);
    }
    let dir = tempfile::tempdir().unwrap();
    let read = world.open(dir.path());
    let app = world.apps[0].id;
    let kind = Some(LogKind::Suppressed);
    let query = LogQuery { limit: 5, kind, ..LogQuery::default() };
    let first = read.logs().page(app, &query).unwrap();
    assert!(first.rows.is_empty() && first.next.is_some());
    let rows = paged(read.logs(), app, &query, || {});
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].message, world.messages[oldest].id);
    // A tag has a list of its own.
    let tag = Some(Tag::parse("welcome").unwrap());
    let tagged = LogQuery { limit: 5, tag, ..LogQuery::default() };
    let found = read.logs().page(app, &tagged).unwrap();
    assert_eq!((found.rows.len(), found.next), (2, None));
    // A span of time is found without looking at what lies after it.
    let to = Some(Timestamp::from_millis(world.now.as_millis() - 405));
    let early = LogQuery { to, ..query };
    assert_eq!(read.logs().page(app, &early).unwrap().rows.len(), 1);
}
