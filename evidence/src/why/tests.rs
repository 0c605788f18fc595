use std::sync::Arc;

use eventlog::{Append, MemoryLog, NewEvent};
use model::{
    ApiKeyId, AppId, MessageId, RecipientIndex, UserId,
    event::{KeyedHash, SealedText},
    message::{Canceled, Complained},
    suppression::SuppressionRemoved,
    tenant::{ApiKeyCreated, UserAdded},
};

use super::*;

const TENANT: TenantId = TenantId::from_bytes([1; 16]);
const USER: UserId = UserId::from_bytes([2; 16]);
const KEY: ApiKeyId = ApiKeyId::from_bytes([3; 16]);
const APP: AppId = AppId::from_bytes([4; 16]);
const MESSAGE: StreamId = StreamId::Message(MessageId::from_bytes([5; 16]));
const LIST: StreamId = StreamId::Suppression(model::SuppressionId::from_bytes([6; 16]));
const START_MS: u64 = 1_795_000_000_000;

struct World {
    log: Arc<MemoryLog>,
    events: u8,
}

impl World {
    fn new() -> Self {
        Self { log: Arc::new(MemoryLog::new()), events: 0 }
    }

    /// The id of the event that is recorded next, a second after the one before.
    fn next_id(&self) -> EventId {
        EventId::new(self.now(), [self.events; 10])
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(START_MS + u64::from(self.events) * 1_000)
    }

    async fn append(&mut self, stream: StreamId, data: Box<[u8]>) -> EventId {
        let before = self.log.read_stream(stream, Version::NONE, 100).unwrap();
        let expected = before.last().map_or(Version::NONE, |last| last.version);
        let id = self.next_id();
        let events = vec![NewEvent { id, data }];
        let append = Append { stream, expected, at: self.now(), events, content: Vec::new() };
        self.log.append(append).await.unwrap();
        self.events += 1;
        id
    }

    /// A user, and a key that it made.
    async fn key(&mut self) {
        let user = UserAdded {
            user: USER,
            email: KeyedHash([1; 16]),
            profile: SealedText("sealed".into()),
        };
        let user = TenantEvent::from(user).encode(&By::Registration.into());
        self.append(StreamId::Tenant(TENANT), user).await;
        let key = ApiKeyCreated {
            app: APP,
            key: KEY,
            prefix: "lum_sk_".into(),
            secret: KeyedHash([2; 32]),
            scopes: Vec::new(),
            rate_limit_per_minute: 60,
            expires_at: None,
            allowed_domains: Vec::new(),
            allowed_addresses: Vec::new(),
            profile: SealedText("sealed".into()),
        };
        let key = TenantEvent::from(key).encode(&By::User(USER).into());
        self.append(StreamId::Tenant(TENANT), key).await;
    }

    fn positions(&self, named: Named) -> Vec<(u64, bool)> {
        let trail = why(self.log.as_ref(), named).unwrap();
        let steps = trail.into_iter().flat_map(|trail| trail.steps);
        steps.map(|step| (step.position, step.lost)).collect()
    }
}

fn removed() -> SuppressionEvent {
    SuppressionRemoved { tenant: TENANT, app: APP, recipient: KeyedHash([3; 16]) }.into()
}

fn canceled(cause: Cause) -> Box<[u8]> {
    MessageEvent::from(Canceled { recipient: RecipientIndex(0), reason: None }).encode(&cause)
}

fn complained(cause: Cause) -> Box<[u8]> {
    MessageEvent::from(Complained { recipient: RecipientIndex(0) }).encode(&cause)
}

/// A key's request, what it led to, and what that led to elsewhere: told by id and by position.
#[tokio::test]
async fn causes_are_walked_back_over_streams_to_who_made_the_key() {
    let mut world = World::new();
    world.key().await;
    // What stands before what it follows from, and is named by its id.
    let accepted = include_bytes!("../../../model/tests/golden/message.accepted+least.json");
    let accepted: serde_json::Value = serde_json::from_slice(accepted).unwrap();
    let mut accepted = accepted;
    accepted["tenant"] = TENANT.to_string().into();
    accepted["key"] = KEY.to_string().into();
    accepted["cause"] = KEY.to_string().into();
    world.append(MESSAGE, serde_json::to_vec(&accepted).unwrap().into()).await;
    let report = EventId::new(world.now(), [99; 10]);
    let cause = Cause { by: By::Report, after: Some(After::Other(MESSAGE, report)) };
    let listed = world.append(LIST, removed().encode(&cause)).await;
    let own = Cause { by: By::Report, after: Some(After::Own(1)) };
    let append = Append {
        stream: MESSAGE,
        expected: Version::new(1),
        at: world.now(),
        events: vec![NewEvent { id: report, data: complained(own) }],
        content: Vec::new(),
    };
    world.log.append(append).await.unwrap();

    let all = [(4, false), (5, false), (3, false), (2, false), (1, false)];
    assert_eq!(world.positions(Named::Id(listed)), all);
    assert_eq!(world.positions(Named::Position(Position::new(4))), all);
    assert_eq!(world.positions(Named::Position(Position::new(5))), all[1..]);
    let trail = why(world.log.as_ref(), Named::Id(listed)).unwrap().unwrap();
    let told: Vec<_> = trail.steps.iter().map(|step| step.cause.unwrap()).collect();
    assert_eq!(told, [By::Report, By::Report, By::Key(KEY), By::User(USER), By::Registration]);
}

#[tokio::test]
async fn what_is_not_there_is_not_told_and_what_was_lost_is_said() {
    let mut world = World::new();
    world.key().await;
    world.append(MESSAGE, canceled(By::Operator.into())).await;
    let never = EventId::new(world.now(), [98; 10]);
    let cause = Cause { by: By::Attempt, after: Some(After::Other(MESSAGE, never)) };
    let listed = world.append(LIST, removed().encode(&cause)).await;
    // The walk goes on where the stream began.
    assert_eq!(world.positions(Named::Id(listed)), [(4, true), (3, false)]);
    for nothing in [
        Named::Position(Position::new(5)),
        Named::Id(never),
        Named::Id(EventId::from_bytes([0; 16])),
        Named::Id(EventId::from_bytes([255; 16])),
    ] {
        assert_eq!(world.positions(nothing), [], "{nothing}");
    }
}

#[tokio::test]
async fn events_of_before_causes_tell_what_they_say_themselves() {
    let mut world = World::new();
    world.key().await;
    let old = include_bytes!("../../../model/tests/golden/message.accepted+least.json");
    let mut old: serde_json::Value = serde_json::from_slice(old).unwrap();
    old["tenant"] = TENANT.to_string().into();
    old["key"] = KEY.to_string().into();
    world.append(MESSAGE, serde_json::to_vec(&old).unwrap().into()).await;
    let delivered = include_bytes!("../../../model/tests/golden/message.delivered.json");
    world.append(MESSAGE, delivered.as_slice().into()).await;
    assert_eq!(
        world.positions(Named::Position(Position::new(3))),
        [(3, false), (2, false), (1, false)]
    );
    let trail = why(world.log.as_ref(), Named::Position(Position::new(4))).unwrap().unwrap();
    let [step] = trail.steps.as_slice() else { panic!("{trail:?}") };
    assert_eq!((step.cause, step.after), (None, None));
}

/// Each of many events is found by its id, whatever stands around it.
#[tokio::test]
async fn ids_are_found_by_the_time_that_they_begin_with() {
    let mut world = World::new();
    let mut ids = Vec::new();
    for _ in 0..37 {
        ids.push(world.append(MESSAGE, canceled(By::Operator.into())).await);
    }
    for (position, id) in (1..).zip(ids) {
        assert_eq!(world.positions(Named::Id(id)), [(position, false)]);
    }
}

/// What nobody wrote, and yet might stand there.
#[tokio::test]
async fn circles_end() {
    let mut world = World::new();
    let around = Cause { by: By::Attempt, after: Some(After::Own(1)) };
    world.append(MESSAGE, canceled(around)).await;
    assert_eq!(world.positions(Named::Position(Position::new(1))), [(1, false)]);
}

#[test]
fn events_are_named_by_id_or_position() {
    assert_eq!("7".parse(), Ok(Named::Position(Position::new(7))));
    let id = EventId::from_bytes([9; 16]);
    assert_eq!(id.to_string().parse(), Ok(Named::Id(id)));
    for wrong in ["", "0", "-1", "evt_", "msg_01kb05yt7qe5tvnr4w8jhjkz2m", "7.5"] {
        assert_eq!(wrong.parse::<Named>(), Err(InvalidName), "{wrong}");
    }
}
