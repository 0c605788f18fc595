//! Receivers that ask for it are told of the day's TLS sessions.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use actors::{Clock as _, PlatformOptions};
use mail::{
    dkim::{DkimAlgorithm, Selector, Signer, generate},
    sink::{AcceptAll, MessageAction, Policy, Received, SinkReply},
    tls_report::{TlsReport, addresses},
};
use model::{
    address::DomainName,
    delivery::TlsFailure,
    tls_report::{Day, PolicyType},
};
use tempfile::TempDir;

use crate::world::{World, request, until};

const OWN_DOMAIN: &str = "lumora.example";
const ASKS: &str = "v=TLSRPTv1; rua=mailto:tls@reports.example";

fn domain(name: &str) -> DomainName {
    DomainName::parse(name).unwrap()
}

fn signer() -> Signer {
    let key = generate(DkimAlgorithm::Ed25519).unwrap().private_pkcs8;
    let selector = Selector::parse("lumora").unwrap();
    Signer::new(&domain(OWN_DOMAIN), &selector, DkimAlgorithm::Ed25519, &key).unwrap()
}

fn reporting(file: &Path) -> impl FnOnce(PlatformOptions) -> PlatformOptions {
    let file = Some(file.to_owned());
    |options| PlatformOptions { own_signer: Some(signer()), tls_reports_file: file, ..options }
}

/// A world in which a message was delivered to a domain that asks for reports and to one that does
/// not; and the day.
async fn delivered(file: &Path) -> (World, mail::sink::Sink, Day) {
    let world = World::with(reporting(file)).await;
    let (sink, _inbox) = world.ground.receiver(2, Arc::new(AcceptAll)).await;
    for (name, asks) in [("asking.example", true), ("silent.example", false)] {
        world.ground.mail_goes_to(name, 2);
        if asks {
            world.ground.dns.add_txt(&format!("_smtp._tls.{name}"), ASKS).unwrap();
        }
    }
    let today = Day::of(world.ground.clock.now());
    world.send(request(&["a@asking.example", "b@asking.example", "c@silent.example"])).await;
    world.all_ended().await;
    assert_eq!(Day::of(world.ground.clock.now()), today);
    (world, sink, today)
}

/// A day, and the time in which reports are sent.
const ANOTHER_DAY: Duration = Duration::from_hours(24 + 5);

fn file(dir: &TempDir) -> PathBuf {
    dir.path().join("tls-reports")
}

fn names(file: &Path, day: Day) -> bool {
    std::fs::read_to_string(file).is_ok_and(|text| text == day.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_gets_a_signed_report_once() {
    let dir = TempDir::new().unwrap();
    let file = file(&dir);
    let (world, _sink, today) = delivered(&file).await;
    world.ground.mail_goes_to("reports.example", 3);
    let (_reports, mut inbox) = world.ground.receiver(3, Arc::new(AcceptAll)).await;
    world.ground.clock.advance(ANOTHER_DAY);
    let received = inbox.recv().await.unwrap();
    assert_eq!(
        (&*received.mail_from, &*received.recipients),
        ("", &["tls@reports.example".to_owned()][..])
    );
    until("it is kept that it was sent", || names(&file, today)).await;

    let counted = world.running.read.tls_sessions();
    let sessions = counted.of_domain(today, &domain("asking.example")).unwrap().unwrap();
    let [only] = sessions.0.as_slice() else { panic!("{sessions:?}") };
    assert_eq!((only.policy, only.successful, only.failures()), (PolicyType::NoPolicyFound, 0, 1));
    assert_eq!(only.failed[0].0.failure, TlsFailure::StarttlsNotSupported);
    let report = TlsReport::new(&domain(OWN_DOMAIN), &domain("asking.example"), today, &sessions);
    let expected = report.message(&addresses([ASKS]), world.ground.clock.now()).unwrap();
    let (text, expected) =
        (String::from_utf8(received.data).unwrap(), String::from_utf8(expected).unwrap());
    let (signature, message) = text.split_once("From: ").unwrap();
    let unfolded: String = signature.split_whitespace().collect();
    assert!(unfolded.contains("d=lumora.example;"), "{signature}");
    let signed = unfolded.split("h=").nth(1).unwrap().split(';').next().unwrap();
    for name in ["TLS-Report-Domain", "TLS-Report-Submitter", "Subject", "To"] {
        assert!(signed.split(':').any(|known| known == name), "{name}: {signed}");
    }
    let without_date = |text: &str| {
        text.lines().filter(|line| !line.starts_with("Date: ")).collect::<Vec<_>>().join("\n")
    };
    let expected = expected.split_once("From: ").unwrap().1;
    assert_eq!(without_date(message), without_date(expected));

    // The day after there is nothing to tell, and after a start nothing is told twice.
    world.ground.clock.advance(ANOTHER_DAY);
    until("the next day is done", || names(&file, today.after())).await;
    std::fs::write(&file, today.to_string()).unwrap();
    world.running.stop().await;
    let again = world.ground.platform(reporting(&file)(world.ground.options())).await;
    until("the next day is done again", || names(&file, today.after())).await;
    again.stop().await;
    assert!(inbox.try_recv().is_err());
}

/// Refuses the first message.
struct Reluctant(AtomicU32);

impl Policy for Reluctant {
    fn message(&self, _message: &Received) -> MessageAction {
        if self.0.fetch_add(1, Ordering::SeqCst) == 0 {
            return MessageAction::Reply(SinkReply::new(451, "4.3.0 later"));
        }
        MessageAction::Accept
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_that_was_not_taken_is_sent_again_later() {
    let dir = TempDir::new().unwrap();
    let file = file(&dir);
    let (world, _sink, today) = delivered(&file).await;
    world.ground.mail_goes_to("reports.example", 3);
    let (_reports, mut inbox) =
        world.ground.receiver(3, Arc::new(Reluctant(AtomicU32::new(0)))).await;
    world.ground.clock.advance(ANOTHER_DAY);
    until("the first try is over", || names(&file, today)).await;
    assert!(inbox.try_recv().is_err());
    world.ground.clock.advance(Duration::from_mins(65));
    assert_eq!(inbox.recv().await.unwrap().recipients, ["tls@reports.example"]);
    world.running.stop().await;
}
