//! Keys and policies in memory.

use std::{fs, sync::Arc, time::Duration};

use eventlog::{MasterKey, Vault};
use model::{address::DomainName, domain::DomainStatus, event::KeyedHash, pause::Who};
use projections::{KeyStatus, Paused, ReadModels};

use crate::support::{World, follow};

#[test]
fn a_key_is_found_by_its_secret_and_a_revoked_one_is_seen_to_be() {
    let mut world = World::with_app(1);
    let dir = tempfile::tempdir().unwrap();
    let read = world.open(dir.path());
    read.start();
    let secret = world.add_key(0);
    follow(&read, world.head());
    let key = read.keys().find(&secret).unwrap();
    assert_eq!((key.tenant, key.app), (world.tenants[0], world.apps[0].id));
    assert_eq!((key.name.as_str(), key.status), ("canary key", KeyStatus::Active));
    assert_eq!(&*key.prefix, "lum_sk_abcde");
    assert!(key.is_usable(world.now));
    assert!(!key.is_usable(world.now.plus(Duration::from_hours(24))));
    assert!(read.keys().find(&KeyedHash([0; 32])).is_none());

    world.revoke_key(0, 1);
    follow(&read, world.head());
    let revoked = read.keys().find(&secret).unwrap();
    assert_eq!(revoked.status, KeyStatus::Revoked);
    assert!(!revoked.is_usable(world.now));
    let statuses: Vec<_> =
        read.policies().keys_of(world.apps[0].id).iter().map(|key| key.status).collect();
    assert_eq!(statuses, [KeyStatus::Active, KeyStatus::Revoked]);
    assert_eq!((read.keys().len(), read.keys().active()), (2, 1));

    // And so it stays after a restart.
    drop(read);
    let read = world.open(dir.path());
    assert_eq!(read.keys().find(&secret).unwrap().status, KeyStatus::Revoked);
}

#[test]
fn a_domain_is_a_sender_for_its_own_tenant_and_name_alone() {
    let mut world = World::with_app(2);
    world.add_tenant();
    let dir = tempfile::tempdir().unwrap();
    let read = world.open(dir.path());
    read.start();
    follow(&read, world.head());
    let name = |text| DomainName::parse(text).unwrap();
    let (own, other) = (world.tenants[0], world.tenants[1]);
    let domain = read.policies().sender(own, &name("mail.acme.example")).unwrap();
    assert_eq!(domain.status, DomainStatus::Verified);
    assert!(domain.returns_bounces);
    assert_eq!(domain.keys.len(), 1);
    assert_eq!(domain.checked_at, Some(world.now));
    assert!(read.policies().sender(other, &name("mail.acme.example")).is_none());
    for wrong in ["acme.example", "x.mail.acme.example"] {
        assert!(read.policies().sender(own, &name(wrong)).is_none(), "{wrong}");
    }

    // Added once more, the verified one still counts; removed, the other one is left.
    let second = world.add_domain(0, "mail.acme.example");
    follow(&read, world.head());
    let found = read.policies().sender(own, &name("mail.acme.example")).unwrap();
    assert_eq!(found.id, domain.id);
    assert_eq!(read.policies().domains_of(own).len(), 2);
    world.add_dkim_key(second, "s2");
    world.remove_domain(0);
    follow(&read, world.head());
    let left = read.policies().sender(own, &name("mail.acme.example")).unwrap();
    assert_eq!((left.id, left.status), (second, DomainStatus::Pending));
    assert_eq!(left.keys.iter().map(|key| key.selector.as_str()).collect::<Vec<_>>(), ["s1", "s2"]);
    assert!(read.policies().domain(domain.id).is_none());
    world.remove_domain(0);
    follow(&read, world.head());
    assert!(read.policies().sender(own, &name("mail.acme.example")).is_none());
    assert!(read.policies().domains_of(own).is_empty());
}

#[test]
fn tenants_users_and_apps_are_found() {
    let mut world = World::with_app(3);
    let dir = tempfile::tempdir().unwrap();
    let read = world.open(dir.path());
    read.start();
    let (user, email) = world.add_user(0, "Ada@users.example");
    let second = world.add_app(0, "second");
    follow(&read, world.head());
    let tenant = world.tenants[0];
    let found = read.policies().user_by_email(&email).unwrap();
    assert_eq!((found.id, found.tenant), (user, tenant));
    assert_eq!(found.profile.email.to_string(), "Ada@users.example");
    let names = || {
        let apps = read.policies().apps_of(tenant);
        apps.iter().map(|app| app.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(), ["app", "second"]);
    world.update_app(1, "renamed");
    world.update_app(1, "renamed again");
    follow(&read, world.head());
    assert_eq!(names(), ["app", "renamed again"]);
    let app = read.policies().app(second).unwrap();
    assert_eq!(app.default_sender.as_ref().unwrap().email.to_string(), "canary@mail.acme.example");
    assert_eq!(read.policies().tenant(tenant).unwrap().name, "Canary Tenant GmbH");
    // Printed by mistake, none of it says who.
    assert!(!format!("{app:?}{found:?}{:?}", read.policies().tenant(tenant)).contains("anary"));
}

#[test]
fn another_master_key_is_named_not_survived() {
    let world = World::with_app(4);
    let dir = tempfile::tempdir().unwrap();
    let vault = Vault::new(&MasterKey::from_bytes([8; 32]));
    let error = ReadModels::open(dir.path(), world.dyn_log(), vault).unwrap_err();
    assert!(error.to_string().contains("master key"), "{error}");
    // Nothing is harmed: with the right one they open.
    let read = world.open(dir.path());
    assert_eq!(read.position(), world.head());
    assert!(!fs::exists(dir.path().join("condemned")).unwrap());
    assert_eq!(Arc::strong_count(&read.policies().tenants()[0]), 2);
}

#[test]
fn what_is_paused_is_known_in_memory_and_after_a_restart() {
    let mut world = World::with_app(7);
    let dir = tempfile::tempdir().unwrap();
    let read = world.open(dir.path());
    read.start();
    let (tenant, domain) = (world.tenants[0], world.domains[0].0);
    let site = Paused::Site(DomainName::parse("mx.reader.test").unwrap());
    let all = [Paused::Tenant(tenant), Paused::Domain(domain), site];
    for what in &all {
        world.pause(what, true);
    }
    let since = world.now;
    follow(&read, world.head());
    let check = |read: &ReadModels, held: &[Paused]| {
        let pauses = read.policies().pauses();
        let found = pauses.all();
        assert_eq!(found.iter().map(|(what, _)| what.clone()).collect::<Vec<_>>(), held);
        for (_, view) in found {
            assert_eq!((view.since, view.by), (since, Who::Operator));
            assert_eq!(view.reason.as_deref(), Some("canary reason"));
        }
        assert_eq!(pauses.of_site("mx.reader.test").is_some(), held.contains(&all[2]));
        let by = pauses.of_sender(tenant, domain).map(|(what, _)| what);
        assert_eq!(by.as_ref(), held.first().filter(|what| !matches!(what, Paused::Site(_))));
    };
    check(&read, &all);
    drop(read);
    let read = world.open(dir.path());
    check(&read, &all);
    read.start();
    world.pause(&all[0], false);
    follow(&read, world.head());
    check(&read, &all[1..]);
    // With the domain its pause goes.
    world.remove_domain(0);
    follow(&read, world.head());
    check(&read, &all[2..]);
    drop(read);
    let read = world.open(dir.path());
    check(&read, &all[2..]);
    read.start();
    world.pause(&all[2], false);
    follow(&read, world.head());
    check(&read, &[]);
    assert!(read.policies().pauses().is_empty());
}
