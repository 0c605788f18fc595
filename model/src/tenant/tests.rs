use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_000);
const APP: AppId = AppId::from_bytes([1; 16]);

fn sealed() -> SealedText {
    SealedText("sealed".into())
}

fn key(number: u8) -> ApiKeyCreated {
    ApiKeyCreated {
        app: APP,
        key: ApiKeyId::from_bytes([number; 16]),
        prefix: "lum_sk_abcde".into(),
        secret: crate::event::KeyedHash([number; 32]),
        scopes: vec![Scope::EmailSend],
        rate_limit_per_minute: 60,
        expires_at: None,
        allowed_domains: vec![],
        allowed_addresses: vec![],
        profile: sealed(),
    }
}

fn created() -> TenantEvent {
    TenantCreated { profile: sealed() }.into()
}

fn app() -> TenantEvent {
    AppCreated { app: APP, profile: sealed(), permissions: None }.into()
}

fn limited_to(permissions: &[Scope]) -> AppUpdated {
    AppUpdated { app: APP, profile: sealed(), permissions: Some(permissions.to_vec()) }
}

fn decided(given: &[TenantEvent], when: &Command) -> Result<Vec<TenantEvent>, Refusal> {
    let stream = crate::StreamId::Tenant(crate::TenantId::from_bytes([9; 16]));
    let mut tenant = Tenant::default();
    for event in given {
        let crate::Event::Tenant(read) =
            crate::Event::decode(stream, &event.encode(&crate::By::CommandLine.into())).unwrap()
        else {
            panic!("a tenant's event")
        };
        assert_eq!(&read, event);
        tenant.evolve(&read, NOW);
    }
    decide(&tenant, when, NOW)
}

#[test]
fn a_tenant_is_made_once() {
    let create = Command::Create(TenantCreated { profile: sealed() });
    assert_eq!(decided(&[], &create), Ok(vec![created()]));
    assert_eq!(decided(&[created()], &create), Err(Refusal::AlreadyExists));
}

#[test]
fn nothing_belongs_to_a_tenant_that_is_not_there() {
    assert_eq!(decided(&[], &Command::CreateApiKey(key(1))), Err(Refusal::Unknown));
}

#[test]
fn an_address_signs_in_to_one_user() {
    let user = UserAdded {
        user: UserId::from_bytes([1; 16]),
        email: crate::event::KeyedHash([7; 16]),
        profile: sealed(),
    };
    let given = [created(), user.clone().into()];
    assert_eq!(decided(&given, &Command::AddUser(user)), Err(Refusal::AlreadyExists));
}

#[test]
fn a_key_needs_an_app_a_scope_and_a_sane_limit() {
    let given = [created(), app()];
    let refused = |key| decided(&given, &Command::CreateApiKey(key)).unwrap_err();
    assert_eq!(decided(&[created()], &Command::CreateApiKey(key(1))), Err(Refusal::Unknown));
    assert_eq!(refused(ApiKeyCreated { scopes: vec![], ..key(1) }), Refusal::NoScope);
    for rate_limit_per_minute in [0, MAX_RATE_LIMIT_PER_MINUTE + 1] {
        assert_eq!(refused(ApiKeyCreated { rate_limit_per_minute, ..key(1) }), Refusal::RateLimit);
    }
    let expired = ApiKeyCreated { expires_at: Some(NOW), ..key(1) };
    assert_eq!(refused(expired), Refusal::AlreadyExpired);
    assert_eq!(decided(&given, &Command::CreateApiKey(key(1))), Ok(vec![key(1).into()]));
}

#[test]
fn a_key_never_has_more_than_its_app_when_it_is_made() {
    let limited = limited_to(&[Scope::EmailRead]);
    let given = [created(), app(), limited.into()];
    let create = |scopes| Command::CreateApiKey(ApiKeyCreated { scopes, ..key(1) });
    for scopes in [vec![Scope::EmailSend], vec![Scope::EmailRead, Scope::EmailSend]] {
        assert_eq!(decided(&given, &create(scopes)), Err(Refusal::BeyondPermissions));
    }
    assert!(decided(&given, &create(vec![Scope::EmailRead])).is_ok());
    // Absent permissions are all of them again.
    let all = AppUpdated { app: APP, profile: sealed(), permissions: None };
    let given = [created(), app(), limited_to(&[Scope::EmailRead]).into(), all.into()];
    assert!(decided(&given, &create(Scope::ALL.to_vec())).is_ok());
}

#[test]
fn an_app_that_may_do_nothing_is_refused() {
    let given = [created(), app()];
    let nothing = limited_to(&[]);
    assert_eq!(decided(&given, &Command::UpdateApp(nothing)), Err(Refusal::NoScope));
    let update = limited_to(&[Scope::EmailRead]);
    assert_eq!(
        decided(&given, &Command::UpdateApp(update.clone())),
        Ok(vec![update.clone().into()])
    );
    assert_eq!(decided(&[created()], &Command::UpdateApp(update)), Err(Refusal::Unknown));
}

#[test]
fn the_longest_lists_of_a_key_fit_into_an_event() {
    let label = "a".repeat(63);
    let domain = format!("{label}.{label}.{label}.{}", "a".repeat(61));
    let domain = DomainName::parse(&domain).unwrap();
    let network: IpNet = "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff/128".parse().unwrap();
    let full = |count| ApiKeyCreated {
        allowed_domains: vec![domain.clone(); count],
        allowed_addresses: vec![network; count],
        scopes: Scope::ALL.to_vec(),
        profile: SealedText("a".repeat(4_096).into()),
        ..key(1)
    };
    let given = [created(), app()];
    let events = decided(&given, &Command::CreateApiKey(full(MAX_ALLOWED))).unwrap();
    assert!(
        events[0].encode(&crate::By::CommandLine.into()).len() <= crate::event::MAX_EVENT_OCTETS
    );
    let refused = decided(&given, &Command::CreateApiKey(full(MAX_ALLOWED + 1)));
    assert_eq!(refused, Err(Refusal::TooManyAllowed));
}

#[test]
fn revoked_keys_make_room_and_are_revoked_once() {
    let mut given = vec![created(), app()];
    given.extend((0..100).map(|number| TenantEvent::from(key(number))));
    assert_eq!(decided(&given, &Command::CreateApiKey(key(200))), Err(Refusal::TooMany));
    let revoke = ApiKeyRevoked { app: APP, key: ApiKeyId::from_bytes([5; 16]) };
    let command = Command::RevokeApiKey(revoke.clone());
    assert_eq!(decided(&given, &command), Ok(vec![revoke.clone().into()]));
    given.push(revoke.into());
    assert_eq!(decided(&given, &command), Ok(vec![]));
    assert!(decided(&given, &Command::CreateApiKey(key(200))).is_ok());
}

#[test]
fn scopes_have_names() {
    for scope in Scope::ALL {
        assert_eq!(Scope::parse(scope.as_str()), Some(scope));
        assert_eq!(serde_json::to_value(scope).unwrap(), scope.as_str());
    }
    assert_eq!(Scope::parse("email:*"), None);
}

fn paused(by: Who) -> TenantPaused {
    TenantPaused { by, reason: Some(sealed()) }
}

#[test]
fn a_tenant_is_paused_until_it_is_resumed_and_by_whom_it_may_be() {
    let user = Who::User(UserId::from_bytes([3; 16]));
    let pause = |by| Command::Pause(paused(by));
    let resume = |by| Command::Resume(TenantResumed { by });
    assert_eq!(decided(&[], &pause(user)), Err(Refusal::Unknown));
    assert_eq!(decided(&[created()], &pause(user)), Ok(vec![paused(user).into()]));
    assert_eq!(decided(&[created()], &resume(user)), Ok(vec![]));
    let held = [created(), paused(user).into()];
    assert_eq!(decided(&held, &pause(user)), Ok(vec![]));
    assert_eq!(decided(&held, &resume(user)), Ok(vec![TenantResumed { by: user }.into()]));
    let taken_over = paused(Who::Operator).into();
    assert_eq!(decided(&held, &pause(Who::Operator)), Ok(vec![taken_over]));
    let held = [created(), paused(user).into(), paused(Who::Operator).into()];
    assert_eq!(decided(&held, &resume(user)), Err(PausedByOperator.into()));
    let resumed: TenantEvent = TenantResumed { by: Who::Operator }.into();
    assert_eq!(decided(&held, &resume(Who::Operator)), Ok(vec![resumed.clone()]));
    let over = [created(), paused(Who::Operator).into(), resumed];
    assert_eq!(decided(&over, &pause(user)), Ok(vec![paused(user).into()]));
}
