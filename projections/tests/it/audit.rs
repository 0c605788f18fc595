//! The audit, against a search through every event.

use std::{collections::BTreeMap, time::Duration};

use eventlog::{Batch, Position, Recorded};
use model::{
    AppId, By, Cause, Event, InstanceId, LetterId, ReadingId, StreamId, SuppressionId, TemplateId,
    TenantId, UserId,
    domain::DomainEvent,
    erasure::ErasureEvent,
    event::{KeyedHash, SealedText},
    instance::{InstanceEvent, LogPruned, MasterKeyRotated, Restored, SignInRefused},
    letter::LetterEvent,
    message::{MessageEvent, SuppressionReason},
    reading::{ContentRead, ReadingEvent, Shown},
    suppression::{SuppressionAdded, SuppressionEvent, SuppressionRemoved},
    template::{Slug, TemplateCreated, TemplateDeleted, TemplateEvent, TemplateVersionAdded},
    user::{PasswordRefused, SessionEnd, SessionEnded, SessionExtended, SessionStarted, UserEvent},
};
use projections::{
    Audit, AuditCursor, AuditQuery, AuditRow, MAX_AUDIT_PAGE, ReadModels, event_kinds,
};

use crate::support::{Draft, World, assert_same, deferred, delivered, follow, tables};

fn sealed() -> SealedText {
    SealedText("c2VhbGVk".into())
}

impl World {
    /// Somebody of the tenant signs in, works and signs out; `visits` times.
    fn visit(&mut self, tenant: TenantId, user: UserId, visits: u64) {
        let stream = StreamId::User(user);
        for _ in 0..visits {
            let session = KeyedHash(self.random.bytes());
            let idle_until = self.now.plus(Duration::from_hours(12));
            let started =
                SessionStarted { tenant, session, idle_until, expires_at: idle_until, refused: 0 };
            self.append(stream, UserEvent::from(started).encode(&model::By::CommandLine.into()));
            self.append(
                stream,
                UserEvent::from(SessionExtended { session, idle_until })
                    .encode(&model::By::CommandLine.into()),
            );
            let ended = SessionEnded { session, reason: SessionEnd::SignedOut };
            self.append(stream, UserEvent::from(ended).encode(&model::By::CommandLine.into()));
        }
    }

    fn template(&mut self, tenant: TenantId, app: AppId) {
        let stream = StreamId::Template(TemplateId::new(self.now, self.random.bytes()));
        let slug = Slug::parse("welcome").unwrap();
        let created = TemplateCreated { tenant, app, slug };
        let part =
            TemplateVersionAdded { version: 1, part: 1, parts: 1, profile: None, source: sealed() };
        self.append(stream, TemplateEvent::from(created).encode(&model::By::CommandLine.into()));
        self.append(stream, TemplateEvent::from(part).encode(&model::By::CommandLine.into()));
        self.append(
            stream,
            TemplateEvent::from(TemplateDeleted {}).encode(&model::By::CommandLine.into()),
        );
    }

    fn suppression(&mut self, tenant: TenantId, app: AppId) {
        let stream = StreamId::Suppression(SuppressionId::from_bytes(self.random.bytes()));
        let recipient = KeyedHash(self.random.bytes());
        let (reason, address) = (SuppressionReason::Manual, Some(sealed()));
        let added = SuppressionAdded { tenant, app, recipient, reason, address };
        self.append(stream, SuppressionEvent::from(added).encode(&model::By::CommandLine.into()));
        let removed = SuppressionRemoved { tenant, app, recipient };
        self.append(stream, SuppressionEvent::from(removed).encode(&model::By::CommandLine.into()));
    }

    /// Somebody is refused as a user, and as nobody; content is shown, of a tenant and of nobody's.
    fn look(&mut self, tenant: TenantId, user: UserId) {
        let by = Cause::by(By::Visitor);
        let refused = UserEvent::from(PasswordRefused { tenant, others: 0 }).encode(&by);
        self.append(StreamId::User(user), refused);
        let refused = InstanceEvent::from(SignInRefused { others: 2 }).encode(&by);
        self.append(StreamId::Instance(InstanceId::THIS), refused);
        let rotated =
            InstanceEvent::from(MasterKeyRotated { keys: 2 }).encode(&By::CommandLine.into());
        self.append(StreamId::Instance(InstanceId::THIS), rotated);
        for tenant in [Some(tenant), None] {
            let stream = StreamId::Reading(ReadingId::new(self.now, self.random.bytes()));
            let of = StreamId::Letter(LetterId::from_bytes(self.random.bytes()));
            let read = ReadingEvent::from(ContentRead { tenant, shown: Shown::Letter, of });
            self.append(stream, read.encode(&By::User(user).into()));
        }
    }

    /// Something happens in streams that are no tenant's, domain's or message's own.
    pub(crate) fn beside(&mut self) {
        let (tenant, app) = (self.apps[0].tenant, self.apps[0].id);
        let user = UserId::new(self.now, self.random.bytes());
        let session = KeyedHash(self.random.bytes());
        let idle_until = self.now.plus(Duration::from_hours(12));
        let started =
            SessionStarted { tenant, session, idle_until, expires_at: idle_until, refused: 0 };
        self.append(
            StreamId::User(user),
            UserEvent::from(started).encode(&model::By::CommandLine.into()),
        );
        self.visit(tenant, user, 1);
        self.look(tenant, user);
        self.template(tenant, app);
        self.suppression(tenant, app);
        let stream = StreamId::Suppression(SuppressionId::from_bytes(self.random.bytes()));
        let recipient = KeyedHash(self.random.bytes());
        let (reason, address) = (SuppressionReason::Bounce, Some(sealed()));
        let added = SuppressionAdded { tenant, app, recipient, reason, address };
        self.append(stream, SuppressionEvent::from(added).encode(&model::By::CommandLine.into()));
        let restored = Restored { through: 7, backed_up_at: self.now, signed_anew: false };
        let restored = InstanceEvent::from(restored).encode(&model::By::CommandLine.into());
        self.append(StreamId::Instance(InstanceId::THIS), restored);
        let pruned = LogPruned {
            up_to: 7,
            up_to_at: self.now,
            messages: 1,
            events: 2,
            gaps: 1,
            stubs: "00".repeat(32).into(),
        };
        let instance = StreamId::Instance(InstanceId::THIS);
        self.append(instance, InstanceEvent::from(pruned).encode(&By::Configuration.into()));
        if let Some(domain) = self.domains.first().map(|(id, ..)| *id) {
            self.add_dkim_key(domain, "s9");
            self.retire_dkim_key(domain, "s9");
        }
    }

    /// Two tenants, with events of every kind of stream mixed together.
    fn of_two(seed: u64, steps: usize) -> (Self, UserId) {
        let mut world = Self::with_app(seed);
        world.add_tenant();
        world.add_app(1, "app");
        world.add_key(1);
        let user = UserId::new(world.now, world.random.bytes());
        let apps: Vec<_> = world.apps.iter().map(|app| (app.tenant, app.id)).collect();
        let stranger = UserId::new(world.now, world.random.bytes());
        for step in 0..steps {
            world.step();
            if step % 5 == 0 {
                world.visit(apps[0].0, user, 1);
            }
            if step % 7 == 0 {
                let (beginner, nobody) = (world.random.bytes(), world.random.bytes());
                // The first that is known of a user can be that somebody was refused.
                world.look(apps[1].0, UserId::new(world.now, beginner));
                world.look(apps[0].0, UserId::new(world.now, nobody));
                world.visit(apps[1].0, stranger, 1);
                world.template(apps[1].0, apps[1].1);
                world.suppression(apps[0].0, apps[0].1);
            }
        }
        (world, user)
    }
}

/// Whose each event is, found by going through all of them.
fn owned(world: &World) -> Vec<(TenantId, Recorded, Event)> {
    let mut owners: BTreeMap<StreamId, TenantId> = BTreeMap::new();
    let all = world.decoded().into_iter();
    // The instance is no tenant's, and neither is what somebody writes to the operator.
    let all = all.filter(|(recorded, event)| match event {
        Event::Letter(LetterEvent::LetterReceived(received)) => received.tenant.is_some(),
        Event::Reading(ReadingEvent::ContentRead(read)) => read.tenant.is_some(),
        _ => !matches!(recorded.stream, StreamId::Instance(_)),
    });
    let owned = all.map(|(recorded, event)| {
        let first = match &event {
            Event::Domain(DomainEvent::DomainAdded(added)) => Some(added.tenant),
            Event::Message(MessageEvent::Accepted(accepted)) => Some(accepted.tenant),
            Event::User(UserEvent::SessionStarted(started)) => Some(started.tenant),
            Event::User(UserEvent::PasswordRefused(refused)) => Some(refused.tenant),
            Event::Template(TemplateEvent::TemplateCreated(created)) => Some(created.tenant),
            Event::Suppression(SuppressionEvent::SuppressionAdded(added)) => Some(added.tenant),
            Event::Letter(LetterEvent::LetterReceived(received)) => received.tenant,
            Event::Reading(ReadingEvent::ContentRead(read)) => read.tenant,
            Event::Erasure(ErasureEvent::PersonErasureRequested(asked)) => Some(asked.tenant),
            _ => None,
        };
        let owner = match (recorded.stream, first) {
            (StreamId::Tenant(tenant), _) | (_, Some(tenant)) => tenant,
            (stream, None) => owners[&stream],
        };
        owners.insert(recorded.stream, owner);
        (owner, recorded, event)
    });
    owned.collect()
}

fn searched(world: &World, tenant: TenantId, query: &AuditQuery) -> Vec<Recorded> {
    let owned = owned(world).into_iter().rev();
    let fitting = owned.filter(|(owner, recorded, event)| {
        *owner == tenant
            && query.stream.is_none_or(|stream| stream == recorded.stream)
            && query.kind.as_deref().is_none_or(|kind| kind == event.kind())
            && query.from.is_none_or(|from| recorded.at >= from)
            && query.to.is_none_or(|to| recorded.at < to)
            && query.by.is_none_or(|by| {
                let data: serde_json::Value = serde_json::from_slice(&recorded.data).unwrap();
                data["cause"] == by.to_string()
            })
    });
    fitting.map(|(_, recorded, _)| recorded).collect()
}

/// Every page, one after another; `between` happens after each.
fn paged(
    audit: &Audit,
    tenant: TenantId,
    query: &AuditQuery,
    mut between: impl FnMut(),
) -> Vec<AuditRow> {
    let (mut rows, mut query) = (Vec::new(), query.clone());
    for _ in 0..5_000 {
        let page = audit.page(tenant, &query).unwrap();
        assert!(page.rows.len() <= query.limit);
        rows.extend(page.rows);
        between();
        let Some(next) = page.next else { return rows };
        let text = next.to_string();
        query.cursor = Some(AuditCursor::parse(tenant, query.stream, &text).unwrap());
        assert_eq!(query.cursor, Some(next));
    }
    panic!("the pages do not end: {query:?}");
}

fn recorded(rows: Vec<AuditRow>) -> Vec<Recorded> {
    rows.into_iter().map(|row| row.recorded).collect()
}

fn opened(world: &World) -> (ReadModels, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (world.open(dir.path()), dir)
}

#[test]
fn every_event_is_somebodys_and_pages_are_what_a_search_finds() {
    let (world, _) = World::of_two(31, 400);
    let (read, _dir) = opened(&world);
    let tenants = world.tenants.clone();
    let mut all: Vec<Position> = Vec::new();
    for tenant in &tenants {
        for limit in [1, 7, 100] {
            if limit == 1 && *tenant != tenants[1] {
                continue;
            }
            let query = AuditQuery { limit, ..AuditQuery::default() };
            let found = recorded(paged(read.audit(), *tenant, &query, || ()));
            assert_eq!(found, searched(&world, *tenant, &query), "{tenant} by {limit}");
            if limit == 7 {
                all.extend(found.iter().map(|event| event.position));
            }
        }
    }
    all.sort();
    let every: Vec<_> = owned(&world).iter().map(|(_, event, _)| event.position).collect();
    assert_eq!(all, every, "each event of a tenant is in the audit of that one alone");
}

#[test]
fn types_and_streams_are_filtered() {
    let (world, user) = World::of_two(32, 300);
    let (read, _dir) = opened(&world);
    let tenant = world.tenants[0];
    let streams = [
        Some(StreamId::Tenant(tenant)),
        Some(StreamId::User(user)),
        Some(StreamId::Domain(world.domains[0].0)),
        Some(StreamId::Message(world.messages[0].id)),
        None,
    ];
    let mut seen = 0;
    for stream in streams {
        for kind in event_kinds().iter().copied().map(Some).chain([None]) {
            let kind = kind.map(str::to_owned);
            let query = AuditQuery { limit: 9, stream, kind, ..AuditQuery::default() };
            let rows = paged(read.audit(), tenant, &query, || ());
            assert!(rows.iter().all(|row| query.kind.as_deref().is_none_or(|k| k == row.kind)));
            seen += rows.len();
            assert_eq!(recorded(rows), searched(&world, tenant, &query), "{query:?}");
        }
    }
    assert!(seen > 1_000, "{seen}");
    let query = AuditQuery { limit: 9, kind: Some("no.such".into()), ..AuditQuery::default() };
    assert!(paged(read.audit(), tenant, &query, || ()).is_empty());
}

#[test]
fn times_and_actors_are_filtered_with_everything_else() {
    let (world, user) = World::of_two(37, 500);
    let (read, _dir) = opened(&world);
    let tenant = world.tenants[0];
    let (first, last) = (world.decoded()[0].0.at, world.now);
    let third = last.since(first) / 3;
    let times = [
        (None, None),
        (Some(first.plus(third)), None),
        (None, Some(last.minus(third))),
        (Some(first.plus(third)), Some(last.minus(third))),
        (Some(last.minus(third)), Some(first.plus(third))),
    ];
    let key = world.apps.iter().find(|app| app.tenant == tenant).unwrap().keys[0].0;
    let actors = [By::CommandLine, By::Attempt, By::Key(key), By::Alarm, By::Registration];
    let mut seen = 0;
    for (from, to) in times {
        for by in actors.into_iter().map(Some).chain([None]) {
            for stream in [None, Some(StreamId::User(user))] {
                for kind in [None, Some("message.accepted".to_owned())] {
                    let query = AuditQuery { limit: 8, stream, kind, by, from, to, cursor: None };
                    let rows = paged(read.audit(), tenant, &query, || ());
                    seen += rows.len();
                    assert_eq!(recorded(rows), searched(&world, tenant, &query), "{query:?}");
                }
            }
        }
    }
    assert!(seen > 1_000, "{seen}");
}

#[test]
fn a_long_stream_is_read_from_its_end() {
    let mut world = World::with_app(33);
    let (tenant, user) = (world.tenants[0], UserId::from_bytes([5; 16]));
    // Its length crosses what one page looks at.
    world.visit(tenant, user, 1_500);
    let (read, _dir) = opened(&world);
    let query =
        AuditQuery { limit: 100, stream: Some(StreamId::User(user)), ..AuditQuery::default() };
    let found = recorded(paged(read.audit(), tenant, &query, || ()));
    assert_eq!(found.len(), 4_500);
    assert_eq!(found, searched(&world, tenant, &query));
    let rare = AuditQuery { kind: Some("tenant.created".into()), ..query.clone() };
    assert!(paged(read.audit(), tenant, &rare, || ()).is_empty());
}

#[test]
fn nobody_sees_what_is_anothers() {
    let (world, user) = World::of_two(34, 100);
    let (read, _dir) = opened(&world);
    let (tenant, other) = (world.tenants[0], world.tenants[1]);
    let mine = StreamId::User(user);
    let first = AuditQuery { limit: 1, ..AuditQuery::default() };
    for stream in [
        Some(mine),
        Some(StreamId::Tenant(tenant)),
        Some(StreamId::User(UserId::from_bytes([0; 16]))),
    ] {
        let query = AuditQuery { stream, ..first.clone() };
        let page = read.audit().page(other, &query).unwrap();
        assert!(page.rows.is_empty() && page.next.is_none(), "{stream:?}");
    }
    // A cursor serves the pages that it was made for.
    let text = read.audit().page(tenant, &first).unwrap().next.unwrap().to_string();
    assert!(AuditCursor::parse(tenant, None, &text).is_some());
    assert_eq!(AuditCursor::parse(other, None, &text), None);
    assert_eq!(AuditCursor::parse(tenant, Some(mine), &text), None);
    for nonsense in [
        "",
        "x",
        &"0".repeat(32),
        &text.to_uppercase(),
        &format!("{text}0"),
        "é".repeat(16).as_str(),
    ] {
        assert!(
            nonsense == text || AuditCursor::parse(tenant, None, nonsense).is_none(),
            "{nonsense}"
        );
    }
    let nobody = TenantId::from_bytes([9; 16]);
    assert!(read.audit().page(nobody, &first).unwrap().rows.is_empty());
}

#[test]
fn pages_stay_as_they_are_while_events_come() {
    let (mut world, _) = World::of_two(35, 60);
    let (read, _dir) = opened(&world);
    read.start();
    let tenant = world.tenants[0];
    for stream in [None, Some(StreamId::Tenant(tenant))] {
        let query = AuditQuery { limit: 3, stream, ..AuditQuery::default() };
        let before = searched(&world, tenant, &query);
        let found = paged(read.audit(), tenant, &query, || {
            world.add_key(0);
            follow(&read, world.head());
        });
        assert_eq!(recorded(found), before);
    }
}

#[test]
fn made_anew_the_rows_have_the_same_bytes() {
    let (mut world, _) = World::of_two(36, 120);
    let (live, _dir) = opened(&world);
    live.start();
    for step in 0..200 {
        world.step();
        let (tenant, user) = (world.tenants[0], UserId::from_bytes([8; 16]));
        world.visit(tenant, user, 1);
        if step % 20 == 0 {
            follow(&live, world.head());
        }
    }
    follow(&live, world.head());
    let (fresh, _fresh_dir) = opened(&world);
    assert_same(&world, &live, &fresh, "audit");
}

#[test]
fn a_tenant_with_few_events_among_many_is_found_page_by_page() {
    let mut world = World::with_app(37);
    world.add_tenant();
    let (busy, quiet) = (world.tenants[0], world.tenants[1]);
    // Some thousand events of another tenant between two of this one.
    world.visit(busy, UserId::from_bytes([1; 16]), 1_000);
    let message = world.send(&Draft::default());
    world.attempt(message, &[(0, deferred())]);
    world.attempt(message, &[(0, delivered())]);
    world.add_app(1, "late");
    let (read, _dir) = opened(&world);
    let query = AuditQuery { limit: MAX_AUDIT_PAGE, ..AuditQuery::default() };
    let found = paged(read.audit(), quiet, &query, || ());
    let kinds: Vec<_> = found.iter().map(|row| row.kind).collect();
    assert_eq!(kinds, ["tenant.app_created", "tenant.created"]);
    assert_eq!(recorded(found), searched(&world, quiet, &query));
}

#[test]
fn a_page_looks_at_a_bounded_number_of_rows() {
    let world = World::with_app(38);
    let dir = tempfile::tempdir().unwrap();
    drop(world.open(dir.path()));
    let tenant = world.tenants[0];
    // Pieces of a list that is far longer, of events of another type before all others.
    let store = tables(dir.path());
    let mut batch = Batch::new();
    for piece in 1..=1_600_u64 {
        let place = [piece.to_be_bytes(), piece.to_be_bytes()].concat();
        let key = [&[1][..], tenant.as_bytes(), &place].concat();
        let header = [&256_u16.to_le_bytes()[..], &place, &place].concat();
        batch.put(key, [header, vec![0; 3 * 256]].concat());
    }
    store.table("audit").unwrap().apply(batch).unwrap();
    drop(store);
    let read = world.open(dir.path());
    let kind = Some("tenant.created".to_owned());
    let mut query = AuditQuery { limit: 10, kind, ..AuditQuery::default() };
    let mut pages = Vec::new();
    loop {
        let page = read.audit().page(tenant, &query).unwrap();
        pages.push(page.rows.len());
        query.cursor = page.next;
        if page.next.is_none() {
            break;
        }
    }
    assert_eq!(pages, [1, 0, 0]);
}
