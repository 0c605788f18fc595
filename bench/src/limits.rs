//! What the machine can do, whatever a mail server is made of.

use std::{
    fs::File,
    io::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::RSA_PKCS1_SHA256,
};
use tokio::task::JoinSet;

use crate::{
    Outcome, Setting,
    figures::{Row, Table, as_f64},
    load::text,
    peers::client,
    receiver::Receiver,
    world::directory,
};

/// How long each is measured.
const FOR: Duration = Duration::from_secs(3);
/// What a small append writes.
const APPENDED: usize = 512;
const MESSAGES: usize = 20_000;

pub(crate) async fn run(setting: &Setting) -> Outcome<()> {
    let mut table = Table::new("limits", "What the machine can do", "perSecond");
    for row in measure(setting).await? {
        table.push(row);
    }
    table.finish(setting)
}

/// A row for each limit.
pub(crate) async fn measure(setting: &Setting) -> Outcome<Vec<Row>> {
    let signature_ms = signature_ms()?;
    let cores = std::thread::available_parallelism()?.get();
    let all = signatures_per_second(cores)?;
    let syncs = syncs_per_second(setting)?;
    let received = receiver_per_second(setting).await?;
    Ok(vec![
        Row::new("RSA-2048 signatures, one core")
            .with("perSecond", 1_000.0 / signature_ms)
            .with("msEach", signature_ms),
        Row::new(format!("RSA-2048 signatures, {cores} cores")).with("perSecond", all),
        Row::new("fdatasync after 512 octets").with("perSecond", syncs),
        Row::new("the receiver, 10 connections").with("perSecond", received),
    ])
}

/// CPU time of one signature.
pub(crate) fn signature_ms() -> Outcome<f64> {
    Ok(1_000.0 / signatures_per_second(1)?)
}

fn signatures_per_second(threads: usize) -> Outcome<f64> {
    let key = Arc::new(KeyPair::generate(KeySize::Rsa2048)?);
    let workers: Vec<_> = (0..threads)
        .map(|_| {
            let key = Arc::clone(&key);
            std::thread::spawn(move || sign_for_a_while(&key))
        })
        .collect();
    let mut all = 0.0;
    for worker in workers {
        all += worker.join().map_err(|_| "a signature could not be made")??;
    }
    Ok(all)
}

fn sign_for_a_while(key: &KeyPair) -> Outcome<f64> {
    let (random, mut signature) = (SystemRandom::new(), vec![0; key.public_modulus_len()]);
    let (started, mut made) = (Instant::now(), 0_u64);
    while started.elapsed() < FOR {
        key.sign(&RSA_PKCS1_SHA256, &random, &made.to_be_bytes(), &mut signature)?;
        made += 1;
    }
    Ok(as_f64(made) / started.elapsed().as_secs_f64())
}

fn syncs_per_second(setting: &Setting) -> Outcome<f64> {
    let directory = directory(setting)?;
    let mut file = File::create(directory.path().join("appended"))?;
    let (started, mut made) = (Instant::now(), 0_u64);
    while started.elapsed() < FOR {
        file.write_all(&[7; APPENDED])?;
        file.sync_data()?;
        made += 1;
    }
    Ok(as_f64(made) / started.elapsed().as_secs_f64())
}

/// How fast messages can be handed to the receiver by a client that does nothing else.
async fn receiver_per_second(setting: &Setting) -> Outcome<f64> {
    let receiver = Receiver::start(1).await?;
    let (messages, connections) = (setting.count(MESSAGES), 10);
    let message: Arc<str> = client::message(&text(setting.text_octets)).into();
    let started = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        let (address, message) = (receiver.address(), Arc::clone(&message));
        clients.spawn(async move {
            let mut session = client::Session::open(address).await?;
            for _ in 0..messages / connections {
                session.send("bench@sender.test", "reader@d0.receiver.test", &message).await?;
            }
            session.quit().await
        });
    }
    while let Some(done) = clients.join_next().await {
        done??;
    }
    Ok(as_f64(messages) / started.elapsed().as_secs_f64())
}
