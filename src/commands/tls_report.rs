//! `lumora tls-report`: what receivers' domains are told of TLS.

use std::sync::Arc;

use eventlog::{EventLog, Log, LogOptions};
use mail::tls_report::TlsReport;
use model::{address::DomainName, tls_report::DomainDay};
use projections::ReadModels;

use super::{Failure, Printed, load, print_line};
use crate::{cli::TlsReportArguments, keys, node, telemetry};

/// Domains that are read at a time.
const PAGE: usize = 1_000;

pub(super) fn run(arguments: &TlsReportArguments) -> Result<(), Failure> {
    telemetry::start_logging("warn");
    let config = load(&arguments.config)?;
    let dir = config.log_dir();
    if !dir.is_dir() {
        return Err(Failure::usage(format!("{}: there is no log", dir.display())));
    }
    let submitter = node::report_submitter(&config)?;
    let log = Log::open(&dir, LogOptions::default()).map_err(Failure::failed)?;
    let log: Arc<dyn EventLog> = Arc::new(log);
    let read = ReadModels::open(&config.read_dir(), log, keys::vault(&config)?);
    let read = read.map_err(Failure::failed)?;
    let day = arguments.date;
    let print = |domain: &DomainName, sessions: &DomainDay| {
        let report = TlsReport::new(&submitter, domain, day, sessions);
        print_line(&serde_json::to_string(&report).map_err(Failure::failed)?)
    };
    let counted = read.tls_sessions();
    if let Some(domain) = &arguments.domain {
        let sessions = counted.of_domain(day, domain).map_err(Failure::failed)?;
        let none = || Failure::failed(format!("no TLS sessions with {domain} on {day}"));
        return print(domain, &sessions.ok_or_else(none)?).map(|_| ());
    }
    let mut after: Option<DomainName> = None;
    loop {
        let page = counted.domains(day, after.as_ref(), PAGE).map_err(Failure::failed)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = Some(last.clone());
        for (domain, sessions) in &page {
            if print(domain, sessions)? == Printed::Closed {
                return Ok(());
            }
        }
    }
}
