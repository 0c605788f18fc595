//! `lumora doctor`: whether this machine can send mail that others take.
//!
//! It changes nothing and sends nothing: it looks names up, opens connections to a mail server and
//! takes leave again, and asks a time server. Everything has a deadline.

mod alerts;
mod finding;
mod machine;
mod network;
mod own_signature;

use std::collections::{BTreeSet, HashMap};

use mail::{
    dns::{DnsOptions, Resolver},
    smtp::Smarthost,
};
use model::{
    address::DomainName,
    routing::{Label, Routes, WayOut},
    source::{Pools, Source},
};
use serde_json::json;

use self::finding::{Finding, State};
use super::{Failure, load, print_json, print_line};
use crate::{cli::DoctorArguments, config::Config, node};

/// What the checks are about.
struct Setup<'a> {
    config: &'a Config,
    arguments: &'a DoctorArguments,
    resolver: Resolver,
    helo_name: DomainName,
    relays: HashMap<Label, Smarthost>,
    routes: Routes,
    pools: Pools,
}

impl Setup<'_> {
    /// The addresses that mail leaves from, as far as the settings tell.
    fn sources(&self) -> Vec<&Source> {
        self.pools.sources().collect()
    }

    /// Every way that mail may take.
    fn ways(&self) -> BTreeSet<&WayOut> {
        self.routes.all_ways().collect()
    }
}

pub(super) async fn run(arguments: DoctorArguments) -> Result<(), Failure> {
    let config = load(&arguments.output.config)?;
    let resolver = Resolver::new(&DnsOptions {
        servers: config.dns.servers.as_ref().map(|servers| servers.0.clone()),
        ..DnsOptions::default()
    })
    .map_err(Failure::failed)?;
    let helo_name = node::helo_name(&config)?;
    let setup = Setup {
        relays: config.relays().map_err(Failure::usage)?,
        routes: config.routes().map_err(Failure::usage)?,
        pools: config.pools(&helo_name).map_err(Failure::usage)?,
        helo_name,
        config: &config,
        arguments: &arguments,
        resolver,
    };
    let mut findings = machine::storage(&config);
    let (dns, clock, helo, ways, listed, own_key, alerts) = tokio::join!(
        network::dns(&setup),
        machine::clock(&setup),
        network::names(&setup),
        network::ways_out(&setup),
        network::blocklists(&setup),
        own_signature::record(&setup),
        alerts::alerts(&setup),
    );
    findings.extend([dns, clock]);
    findings.extend(helo.into_iter().chain(ways).chain(listed).chain(own_key));
    findings.push(alerts);
    report(&findings, arguments.output.json)
}

fn report(findings: &[Finding], as_json: bool) -> Result<(), Failure> {
    let failed = findings.iter().filter(|finding| finding.state == State::Failed).count();
    if as_json {
        print_json(&json!({ "holds": failed == 0, "findings": findings }))?;
    } else {
        for finding in findings {
            finding.lines().iter().try_for_each(|line| print_line(line).map(|_| ()))?;
        }
    }
    if failed == 0 {
        return Ok(());
    }
    Err(Failure::failed(format!("{failed} of {} checks do not hold", findings.len())))
}
