//! Sending domains: proved, looked at again, given new keys.

use std::time::Duration;

use actors::{ChangeError, Clock as _};
use mail::sink::AcceptAll;
use model::{
    DomainId,
    address::{DomainName, EmailAddress},
    domain::{DomainStatus, RecordPurpose, RecordStatus, Refusal},
};
use projections::DomainView;
use sandbox::dns::DnsFailure;
use std::sync::Arc;

use crate::world::{SENDING_DOMAIN, World, mailbox, request, until};

impl World {
    fn view(&self, domain: DomainId) -> Arc<DomainView> {
        self.running.read.policies().domain(domain).unwrap()
    }

    /// Publishes what a domain is asked to, unless it is there already.
    fn publish(&self, domain: DomainId) {
        for record in self.running.platform.expected_records(&self.view(domain)) {
            match record.record_type {
                "TXT" => self.ground.dns.add_txt(&record.name, &record.value).unwrap(),
                _ => {
                    let (preference, host) = record.value.split_once(' ').unwrap();
                    let preference = preference.parse().unwrap();
                    self.ground.dns.add_mx(&record.name, preference, host).unwrap();
                }
            }
        }
    }
}

fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

fn selector(data: &[u8]) -> String {
    let text = String::from_utf8_lossy(data).replace("\r\n\t", "").replace("\r\n ", "");
    let (_, after) = text.split_once("s=").unwrap();
    after.split(';').next().unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_key_signs_once_its_record_is_seen_and_there_is_no_gap() {
    let world = World::start().await;
    let (_sink, mut inbox) = world.ground.receiver(2, Arc::new(AcceptAll)).await;
    world.ground.mail_goes_to("example.com", 2);
    let (platform, account) = (&world.running.platform, &world.account);
    let (tenant, domain) = (account.caller.tenant, account.domain);
    let mut signed = async || {
        world.send(request(&["ada@example.com"])).await;
        selector(&inbox.recv().await.unwrap().data)
    };
    let first = world.view(domain).keys[0].selector.as_str().to_owned();
    assert_eq!(signed().await, first);
    let rotated = platform.rotate_dkim(model::By::CommandLine, tenant, domain).await.unwrap();
    assert_eq!((rotated.keys.len(), rotated.status), (2, DomainStatus::Verified));
    // Twice is once: the new key that waits is the answer.
    assert_eq!(
        platform.rotate_dkim(model::By::CommandLine, tenant, domain).await.unwrap().keys,
        rotated.keys
    );
    let second = rotated.keys[1].selector.as_str().to_owned();
    let checked = platform.verify_domain(model::By::CommandLine, tenant, domain).await.unwrap();
    assert_eq!(checked.status, DomainStatus::Verified, "the old key carries the domain");
    assert_eq!(signed().await, first);
    let record = platform
        .expected_records(&checked)
        .into_iter()
        .find(|record| record.name.starts_with(&second))
        .unwrap();
    world.ground.dns.add_txt(&record.name, &record.value).unwrap();
    platform.verify_domain(model::By::CommandLine, tenant, domain).await.unwrap();
    assert_eq!(signed().await, second);
    // The old record is taken away early, and the name server fails: that is no answer, and the
    // key that nobody can look up any more must not sign again.
    let names: Vec<String> =
        platform.expected_records(&world.view(domain)).into_iter().map(|r| r.name).collect();
    for name in &names {
        world.ground.dns.fail(name, DnsFailure::ServFail).unwrap();
    }
    let silent = platform.verify_domain(model::By::CommandLine, tenant, domain).await.unwrap();
    assert_eq!(silent.status, DomainStatus::Verified);
    assert!(silent.records.iter().all(|r| r.status == RecordStatus::TemporaryFailure));
    assert_eq!(signed().await, second);
    for name in &names {
        world.ground.dns.remove(name).unwrap();
    }
    world.publish(domain);
    // A week after, the daily look retires the old one by itself.
    until("the old key retired", || {
        world.ground.clock.advance(Duration::from_hours(6));
        world.view(domain).keys.len() == 1
    })
    .await;
    assert_eq!(world.view(domain).keys[0].selector.as_str(), second);
    assert_eq!(signed().await, second);
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_is_verified_without_being_asked_for() {
    let world = World::start().await;
    let tenant = world.account.caller.tenant;
    let domain = world
        .running
        .platform
        .add_domain(model::By::CommandLine, tenant, name("late.example"))
        .await
        .unwrap();
    until("it was looked at", || world.view(domain).checked_at.is_some()).await;
    assert_eq!(world.view(domain).status, DomainStatus::Pending);
    world.publish(domain);
    until("it is verified", || {
        world.ground.clock.advance(Duration::from_mins(1));
        world.view(domain).status == DomainStatus::Verified
    })
    .await;
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vanished_record_demotes_only_after_the_grace() {
    let world = World::start().await;
    let (account, clock) = (&world.account, &world.ground.clock);
    let view = world.view(account.domain);
    let ownership = world
        .running
        .platform
        .expected_records(&view)
        .into_iter()
        .find(|record| record.purpose == RecordPurpose::Ownership)
        .unwrap();
    world.ground.dns.remove(&ownership.name).unwrap();
    until("it is missed", || {
        clock.advance(Duration::from_hours(1));
        world.view(account.domain).failing_since.is_some()
    })
    .await;
    let since = world.view(account.domain).failing_since.unwrap();
    assert_eq!(world.view(account.domain).status, DomainStatus::Verified);
    world.send(request(&["ada@example.com"])).await;
    until("it is demoted", || {
        clock.advance(Duration::from_mins(30));
        world.view(account.domain).status == DomainStatus::Failed
    })
    .await;
    assert!(clock.now().since(since) >= Duration::from_hours(72));
    let refused = world.running.platform.send(&account.caller, request(&["a@example.com"])).await;
    assert!(refused.is_err());
    // Put back, it is found again.
    world.ground.dns.add_txt(&ownership.name, &ownership.value).unwrap();
    until("it is verified again", || {
        clock.advance(Duration::from_hours(1));
        world.view(account.domain).status == DomainStatus::Verified
    })
    .await;
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_tenants_that_name_a_domain_the_one_that_proves_it_sends() {
    let world = World::start().await;
    let (platform, account) = (&world.running.platform, &world.account);
    let email = EmailAddress::parse("eve@eve.example").unwrap();
    let stranger =
        platform.create_tenant(model::By::CommandLine, "Eve", email, None).await.unwrap();
    let claimed =
        platform.add_domain(model::By::CommandLine, stranger, name(SENDING_DOMAIN)).await.unwrap();
    let checked = platform.verify_domain(model::By::CommandLine, stranger, claimed).await.unwrap();
    assert_ne!(checked.status, DomainStatus::Verified);
    let found =
        |purpose| checked.records.iter().find(|record| record.purpose == purpose).unwrap().clone();
    let ownership = found(RecordPurpose::Ownership);
    assert_eq!(ownership.status, RecordStatus::Mismatch);
    assert!(ownership.problem.unwrap().contains("another account"));
    // The one that has proved it is not touched by the other.
    world.send(request(&["ada@example.com"])).await;
    // Neither sees the other's.
    let unknown = Err(ChangeError::Domain(Refusal::Unknown));
    assert_eq!(
        platform.remove_domain(model::By::CommandLine, account.caller.tenant, claimed).await,
        unknown
    );
    let rotated = platform.rotate_dkim(model::By::CommandLine, stranger, account.domain).await;
    assert_eq!(rotated.map(|_| ()), unknown);
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_name_below_or_above_inherits_and_idn_names_are_sent_from() {
    let world = World::start().await;
    let (platform, account) = (&world.running.platform, &world.account);
    for author in [format!("a@sub.{SENDING_DOMAIN}"), "a@acme.example".to_owned()] {
        let mut request = request(&["ada@example.com"]);
        request.from = Some(mailbox(&author));
        assert!(platform.send(&account.caller, request).await.is_err(), "{author}");
    }
    let tenant = account.caller.tenant;
    let idn =
        platform.add_domain(model::By::CommandLine, tenant, name("bücher.example")).await.unwrap();
    let records = platform.expected_records(&world.view(idn));
    assert!(records.iter().all(|record| record.name.ends_with("xn--bcher-kva.example")));
    world.publish(idn);
    let verified = platform.verify_domain(model::By::CommandLine, tenant, idn).await.unwrap();
    assert_eq!(verified.status, DomainStatus::Verified);
    let mut letter = request(&["ada@example.com"]);
    letter.from = Some(mailbox("laden@bücher.example"));
    world.send(letter).await;
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_nobody_s_own_is_refused() {
    let world = World::start().await;
    let (platform, tenant) = (&world.running.platform, world.account.caller.tenant);
    for (text, refusal) in [
        ("co.uk", Refusal::PublicSuffix),
        ("gmail.com", Refusal::Freemail),
        (SENDING_DOMAIN, Refusal::AlreadyExists),
    ] {
        let refused = platform.add_domain(model::By::CommandLine, tenant, name(text)).await;
        assert_eq!(refused, Err(ChangeError::Domain(refusal)), "{text}");
    }
    world.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_second_signature_each_message_has_two() {
    let world =
        World::with(|options| actors::PlatformOptions { ed25519_signature: true, ..options }).await;
    let (_sink, mut inbox) = world.ground.receiver(2, Arc::new(AcceptAll)).await;
    world.ground.mail_goes_to("example.com", 2);
    assert_eq!(world.view(world.account.domain).keys.len(), 2);
    world.send(request(&["ada@example.com"])).await;
    let text = String::from_utf8_lossy(&inbox.recv().await.unwrap().data).into_owned();
    assert!(text.contains("a=rsa-sha256") && text.contains("a=ed25519-sha256"), "{text}");
    world.running.stop().await;
}
