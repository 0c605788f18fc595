//! Whoever sends: made once, by the platform itself, and put into the log of every run.

use std::sync::{Arc, OnceLock};

use actors::{Caller, NewApiKey, NewApp, Platform};
use eventlog::{Position, Recorded};
use mail::{
    dns::{Mx, NameRecord, RecordKind},
    smtp::Tcp,
};
use model::{
    Timestamp,
    address::{DomainName, EmailAddress, Mailbox},
    domain::DomainStatus,
    tenant::Scope,
};
use projections::ReadModels;
use tempfile::TempDir;

use crate::{
    clock::SimClock,
    dice::Dice,
    end::EndOfLife,
    life::{follow, parts, runtime, vault},
    log::SimLog,
    names::NameServers,
};

pub const SENDING_DOMAIN: &str = "mail.acme.example";
pub const BEGINNING: Timestamp = Timestamp::from_millis(1_795_000_000_000);

/// The account with what is known of it.
pub struct Account {
    pub caller: Caller,
    pub events: Vec<Recorded>,
    pub names: Arc<NameServers>,
}

/// The same for every run: making its RSA key takes longer than a run.
pub fn account() -> &'static Account {
    static ACCOUNT: OnceLock<Account> = OnceLock::new();
    ACCOUNT.get_or_init(create)
}

fn create() -> Account {
    let (dice, dir, runtime) = (Dice::new(0), TempDir::new().unwrap(), runtime());
    let log = SimLog::new(dice, EndOfLife::default(), &[]);
    let read = ReadModels::open(dir.path(), Arc::new(log.clone()), vault()).unwrap();
    let names = NameServers::new(dice);
    let caller = runtime.block_on(async {
        let clock = SimClock::starting_at(BEGINNING);
        names.begin(true, clock);
        let parts = parts(dice, 0, clock, &log, &read, &names, Arc::new(Tcp));
        let platform = Platform::start(parts).await.unwrap();
        tokio::spawn(follow(read.clone(), log.clone(), dice, 0));
        sign_up(&platform, &read, &names).await
    });
    drop(runtime);
    Account { caller, events: log.events_after(Position::START), names }
}

/// A tenant with an app, a key and a domain that was verified by asking the DNS.
async fn sign_up(platform: &Platform, read: &ReadModels, names: &NameServers) -> Caller {
    let email = EmailAddress::parse("owner@acme.example").unwrap();
    let tenant = platform.create_tenant(model::By::CommandLine, "Acme", email, None).await.unwrap();
    let sender = Mailbox::parse(&format!("Shop <shop@{SENDING_DOMAIN}>")).unwrap();
    let app = NewApp { default_sender: Some(sender), ..NewApp::new("Shop") };
    let app = platform.create_app(model::By::CommandLine, tenant, app).await.unwrap();
    let key = NewApiKey::new("simulation", &Scope::ALL, 60);
    let key = platform.create_api_key(model::By::CommandLine, tenant, app, key).await.unwrap().id;
    let name = DomainName::parse(SENDING_DOMAIN).unwrap();
    let domain = platform.add_domain(model::By::CommandLine, tenant, name).await.unwrap();
    let view = read.policies().domain(domain).unwrap();
    for record in platform.expected_records(&view) {
        if record.record_type == "TXT" {
            names.publish(&record.name, RecordKind::Txt, NameRecord::Txt(record.value));
        } else {
            let (preference, host) = record.value.split_once(' ').unwrap();
            let mx = Mx { preference: preference.parse().unwrap(), host: host.into() };
            names.publish(&record.name, RecordKind::Mx, NameRecord::Mx(mx));
        }
    }
    let verified = platform.verify_domain(model::By::CommandLine, tenant, domain).await.unwrap();
    assert_eq!(verified.status, DomainStatus::Verified, "{:?}", verified.records);
    Caller { tenant, app, key }
}
