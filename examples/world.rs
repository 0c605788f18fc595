//! The outside world for a walk through a real server, on loopback: a name server that serves what
//! stands in a zone file, and a mail server that keeps what it receives.
//!
//! `cargo run --example world -- DIRECTORY` prints the two ports. It serves the records that are
//! appended to `DIRECTORY/zone`, one a line, as `TYPE<tab>NAME<tab>VALUE` (TXT and MX), and
//! writes each message to `DIRECTORY/mail/N.eml`. Every domain has the same mail host.
#![allow(clippy::print_stdout, reason = "a program that tells its user where it listens")]

use std::{
    error::Error,
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use mail::sink::{AcceptAll, Received, Sink, SinkOptions};
use sandbox::dns::DnsServer;
use tokio::sync::mpsc;

const MAIL_HOST: &str = "mx.receiver.test";
const OWN_HOST: &str = "lumora.sandbox.test";
/// How often the zone file is looked at.
const LOOK: Duration = Duration::from_millis(100);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: world DIRECTORY")?);
    let (zone, mail) = (directory.join("zone"), directory.join("mail"));
    fs::create_dir_all(&mail)?;
    let dns = DnsServer::start().await?;
    dns.set_mail_host_of_all(MAIL_HOST)?;
    dns.add_address(MAIL_HOST, Ipv4Addr::LOCALHOST.into())?;
    dns.add_address(OWN_HOST, Ipv4Addr::LOCALHOST.into())?;
    let (taken, received) = mpsc::channel(64);
    let options = SinkOptions { name: MAIL_HOST.to_owned(), ..SinkOptions::default() };
    let sink =
        Sink::start((Ipv4Addr::LOCALHOST, 0).into(), options, Arc::new(AcceptAll), Some(taken))
            .await?;
    println!("dns={}\nsmtp_port={}", dns.address(), sink.address().port());

    tokio::select! {
        ended = publish(&dns, &zone) => ended?,
        ended = keep(received, &mail) => ended?,
        ended = tokio::signal::ctrl_c() => ended?,
    }
    sink.stop().await;
    Ok(())
}

/// Serves each line of the zone file from the time it is whole.
async fn publish(dns: &DnsServer, zone: &Path) -> Result<(), Box<dyn Error>> {
    let mut served = 0;
    loop {
        tokio::time::sleep(LOOK).await;
        let Ok(text) = fs::read_to_string(zone) else { continue };
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        for line in text.get(served..whole).unwrap_or_default().lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            match *fields {
                ["TXT", name, value] => dns.add_txt(name, value)?,
                ["MX", name, value] => {
                    let (preference, host) = value.split_once(' ').ok_or("an MX without a host")?;
                    dns.add_mx(name, preference.parse()?, host)?;
                }
                _ => return Err(format!("not a record: {line}").into()),
            }
        }
        served = whole;
    }
}

/// Writes each message as it came off the wire.
async fn keep(mut received: mpsc::Receiver<Received>, mail: &Path) -> Result<(), Box<dyn Error>> {
    let mut number = 0;
    while let Some(message) = received.recv().await {
        number += 1;
        let unfinished = mail.join("unfinished");
        fs::write(&unfinished, &message.data)?;
        fs::rename(&unfinished, mail.join(format!("{number}.eml")))?;
    }
    Ok(())
}
