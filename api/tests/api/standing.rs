//! How a domain stands with others: what they write to it, what they find wrong, what the DNS says.

use std::{net::Ipv4Addr, time::Duration};

use eventlog::{Append, EventLog as _, NewEvent, Purpose, Version};
use model::{
    DomainId, EventId, LetterId, StreamId,
    address::DomainName,
    event::KeyedHash,
    letter::{LetterEvent, LetterHead, LetterReceived, Office},
};
use poem::{Request, http::Method};
use serde_json::{Value, json};

use crate::world::{Answer, START, World, email, email_with};

pub(crate) async fn get(world: &World, session: &str, path: &str) -> Answer {
    let request = Request::builder().method(Method::GET).uri_str(path);
    let request = request.header("cookie", format!("lumora_session={session}"));
    world.call(request.finish()).await
}

pub(crate) fn own_domain(world: &World) -> DomainId {
    world.read.policies().domains_of(world.tenant)[0].id
}

pub(crate) async fn letter(world: &World, domain: DomainId, number: u8) -> LetterId {
    let id = LetterId::from_bytes([number; 16]);
    let received = LetterReceived {
        tenant: Some(world.tenant),
        domain: Some(domain),
        at: DomainName::parse("bounces.mail.acme.test").unwrap(),
        office: Office::Abuse,
        octets: 100,
        hash: KeyedHash([number; 16]),
        cut: false,
    };
    let head = LetterHead { from: Some("ada@reader.test".into()), subject: None };
    let seal =
        |plain: &[u8]| world.parts.vault.seal(Purpose::Letter, id.as_bytes(), plain).unwrap();
    let event = LetterEvent::LetterReceived(received);
    let events = vec![NewEvent {
        id: EventId::from_bytes([number; 16]),
        data: event.encode(&model::By::CommandLine.into()),
    }];
    let content = vec![seal(&head.to_bytes()), seal(b"From: ada@reader.test\r\n\r\nNo\xff\r\n")];
    let (stream, expected) = (StreamId::Letter(id), Version::NONE);
    world.log.append(Append { stream, expected, at: START, events, content }).await.unwrap();
    id
}

#[tokio::test]
async fn letters_are_listed_and_read_by_the_domains_owner_alone() {
    let world = World::start().await;
    let (owner, eve) = (world.session().await, world.stranger().await);
    let domain = own_domain(&world);
    let mut ids = Vec::new();
    for number in 1..=3 {
        ids.push(letter(&world, domain, number).await.to_string());
    }
    let list = format!("/portal/domains/{domain}/letters");
    let page = get(&world, &owner, &format!("{list}?limit=2")).await.expect(200).json;
    let listed = |page: &Value| -> Vec<String> {
        let rows = page["data"].as_array().unwrap().iter();
        rows.map(|row| row["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(listed(&page), [&*ids[2], &*ids[1]]);
    assert_eq!(
        (&page["data"][0]["from"], &page["data"][0]["subject"]),
        (&json!("ada@reader.test"), &json!(null))
    );
    let cursor = page["nextCursor"].as_str().unwrap();
    let rest = get(&world, &owner, &format!("{list}?cursor={cursor}")).await.expect(200).json;
    assert_eq!((listed(&rest), &rest["hasMore"]), (vec![ids[0].clone()], &json!(false)));
    let read = get(&world, &owner, &format!("{list}/{}", ids[0])).await.expect(200).json;
    assert_eq!(read["source"], "From: ada@reader.test\r\n\r\nNo\u{fffd}\r\n");
    assert_eq!(read["letter"]["office"], "abuse");

    assert_eq!(get(&world, &owner, &format!("{list}?cursor=x")).await.fields(), ["cursor"]);
    for path in [list.clone(), format!("{list}/{}", ids[0])] {
        assert_eq!(get(&world, &eve, &path).await.status, 404);
    }
    // Of another domain, even of the same tenant, it is none.
    let other = DomainName::parse("other.acme.test").unwrap();
    let other =
        world.platform.add_domain(model::By::CommandLine, world.tenant, other).await.unwrap();
    let path = format!("/portal/domains/{other}/letters/{}", ids[0]);
    assert_eq!(get(&world, &owner, &path).await.status, 404);
}

#[tokio::test]
async fn an_alert_shows_a_tenant_its_own_part_with_the_receivers_words() {
    let world = World::start().await;
    let (owner, eve) = (world.session().await, world.stranger().await);
    assert_eq!(get(&world, &owner, "/portal/alerts").await.expect(200).json["data"], json!([]));
    let id = world.accepted(&email_with(json!({ "to": ["unproven@reader.test"] }))).await;
    world.until(&id, &["bounced"]).await;
    let alerts = get(&world, &owner, "/portal/alerts").await.expect(200).json;
    let alert = &alerts["data"][0];
    assert_eq!((&alert["kind"], &alert["site"]), (&json!("authentication"), &json!("reader.test")));
    assert_eq!(alert["domains"], json!(["mail.acme.test"]));
    assert_eq!((&alert["count"], &alert["messageId"]), (&json!(1), &json!(id)));
    assert_eq!(alert["lastResponse"]["message"], "unproven@reader.test: no SPF, no DKIM");
    assert_eq!(get(&world, &eve, "/portal/alerts").await.expect(200).json["data"], json!([]));

    let id = world.accepted(&email_with(json!({ "to": ["ada@reader.test"] }))).await;
    world.until(&id, &["delivered"]).await;
    assert_eq!(get(&world, &owner, "/portal/alerts").await.expect(200).json["data"], json!([]));
}

#[tokio::test]
async fn where_the_servers_address_cannot_be_known_its_name_is_not_either() {
    let world = World::start().await;
    let owner = world.session().await;
    let path = format!("/portal/domains/{}/compliance", own_domain(&world));
    // Its name is not in the DNS: nobody can tell which address it is.
    let report = get(&world, &owner, &path).await.expect(200).json;
    assert_eq!(reverse_dns(&report)["status"], "unknown");
}

fn reverse_dns(report: &Value) -> &Value {
    let mut all = report["requirements"].as_array().unwrap().iter();
    all.find(|one| one["requirement"] == "reverse_dns").unwrap()
}

#[tokio::test]
async fn an_address_that_leads_elsewhere_is_said_to_be_so() {
    for (names, expected) in [
        (&[][..], "unmet"),
        (&["elsewhere.lumora.test"][..], "unmet"),
        (&["mx.lumora.test"][..], "met"),
    ] {
        let world = World::start().await;
        let address = Ipv4Addr::new(192, 0, 2, 7);
        world.dns.add_address("mx.lumora.test", address.into()).unwrap();
        for name in names {
            world.dns.add_pointer("7.2.0.192.in-addr.arpa", name).unwrap();
        }
        let owner = world.session().await;
        let path = format!("/portal/domains/{}/compliance", own_domain(&world));
        let report = get(&world, &owner, &path).await.expect(200).json;
        let found = reverse_dns(&report);
        assert_eq!(found["status"], expected, "{found}");
        assert!(found["found"].as_str().unwrap().contains("192.0.2.7"), "{found}");
    }
}

#[tokio::test]
async fn messages_that_should_have_ended_long_ago_are_an_alert_of_their_tenant() {
    let world = World::start_asleep().await;
    let first = world.accepted(&email()).await;
    world.clock.advance(Duration::from_millis(1));
    world.accepted(&email()).await;
    let expires_in = Duration::from_hours(48);
    let long_after = expires_in + Duration::from_mins(15);
    world.clock.advance(long_after.saturating_sub(Duration::from_millis(1)));
    let (owner, eve) = (world.session().await, world.stranger().await);
    // Late is not overdue.
    let alerts = get(&world, &owner, "/portal/alerts").await.expect(200).json;
    assert_eq!(alerts["data"], json!([]));
    world.clock.advance(Duration::from_millis(2));
    let alerts = get(&world, &owner, "/portal/alerts").await.expect(200).json;
    let alert = &alerts["data"][0];
    assert_eq!((&alert["kind"], &alert["count"]), (&json!("overdue"), &json!(2)), "{alerts}");
    assert_eq!(alert["messageId"], first.as_str());
    assert_eq!(alert["site"], "reader.test");
    assert_eq!(alert["domains"], json!(["mail.acme.test"]));
    assert_eq!(alert["since"], START.plus(expires_in).to_string());
    let others = get(&world, &eve, "/portal/alerts").await.expect(200).json;
    assert_eq!(others["data"], json!([]));
    // They are not lost: they are in flight, and counted so.
    let stats = world.get("/v1/emails/stats").await.expect(200).json;
    let expected = json!({ "accepted": 2, "ended": 0, "inFlight": 2, "difference": 0 });
    assert_eq!(stats["conservation"], expected);
}
