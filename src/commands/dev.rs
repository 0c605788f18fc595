//! `lumora dev`: a whole world on loopback, for trying things.
//!
//! A name server that knows every domain, a mail server that takes every message (and refuses or
//! defers those that ask for it), and the real server between them. Nothing leaves the machine.

mod inbox;

use actors::{NewApiKey, NewApp};
use std::{net::Ipv4Addr, path::Path, sync::Arc, time::Duration};

use mail::sink::{Sink, SinkOptions};
use model::{
    By, DomainId, TenantId,
    address::{DomainName, EmailAddress, Mailbox},
    tenant::Scope,
};
use sandbox::dns::DnsServer;
use tokio::sync::mpsc;

use self::inbox::DemoPolicy;
use super::{
    Failure, print_line,
    serve::{DRAIN, Signals},
};
use crate::{
    cli::DevArguments,
    config::{Config, OneOrMany, Registration, Span},
    node::Node,
    telemetry,
};

/// The mail host that every domain has here.
const MAIL_HOST: &str = "mx.sandbox.test";
/// The domain that the demo app sends from.
const DEMO_DOMAIN: &str = "demo.lumora.test";
/// Messages that wait to be printed; more are received and not shown.
const WAITING_TO_SHOW: usize = 256;

pub(super) async fn run(arguments: DevArguments) -> Result<(), Failure> {
    telemetry::start_logging("warn");
    let mut signals = Signals::new()?;
    let kept = arguments.data_dir.clone();
    let temporary = tempfile::tempdir().map_err(Failure::failed)?;
    let data_dir = kept.as_deref().unwrap_or(temporary.path());

    let dns = DnsServer::start().await.map_err(Failure::failed)?;
    dns.set_mail_host_of_all(MAIL_HOST).map_err(Failure::failed)?;
    dns.add_address(MAIL_HOST, Ipv4Addr::LOCALHOST.into()).map_err(Failure::failed)?;
    let (inbox, received) = mpsc::channel(WAITING_TO_SHOW);
    let options = SinkOptions { name: MAIL_HOST.to_owned(), ..SinkOptions::default() };
    let policy = Arc::new(DemoPolicy::default());
    let sink = Sink::start((Ipv4Addr::LOCALHOST, 0).into(), options, policy, Some(inbox))
        .await
        .map_err(Failure::failed)?;

    let config = config(&arguments, data_dir, &dns, &sink);
    let node = Node::start(&config).await?;
    let demo = demo(&node, &dns).await?;
    greet(&node, &demo, kept.as_deref(), &sink)?;
    let showing = tokio::spawn(inbox::show(received));
    signals.first(&node).await;
    showing.abort();
    node.stop(DRAIN.min(Duration::from_secs(5))).await?;
    sink.stop().await;
    Ok(())
}

fn config(arguments: &DevArguments, data_dir: &Path, dns: &DnsServer, sink: &Sink) -> Config {
    let mut config = Config { data_dir: data_dir.to_owned(), ..Config::default() };
    config.http.listen = arguments.listen;
    config.portal.registration = Registration::Open;
    config.dns.servers = Some(OneOrMany(vec![dns.address()]));
    config.delivery.smtp_port = sink.address().port();
    config.delivery.helo_name = Some("lumora.sandbox.test".to_owned());
    config.delivery.allow_private_networks = true;
    // Its own name server signs nothing.
    config.delivery.dane = false;
    // A deferral should be seen to end while somebody watches.
    let retries = [2, 5, 15, 60].map(|seconds| Span(Duration::from_secs(seconds)));
    config.delivery.retry_schedule = Some(OneOrMany(retries.to_vec()));
    config
}

struct Demo {
    domain: DomainName,
    secret: String,
}

/// A tenant with an app, a verified domain and a new key; the first three stay with the data.
async fn demo(node: &Node, dns: &DnsServer) -> Result<Demo, Failure> {
    let core = node.core();
    let platform = &core.platform;
    let name = DomainName::parse(DEMO_DOMAIN).map_err(Failure::failed)?;
    let address = |local: &str| {
        EmailAddress::parse(&format!("{local}@{DEMO_DOMAIN}")).map_err(Failure::failed)
    };
    let known = core.read.policies().tenants().into_iter().next();
    let tenant = if let Some(tenant) = known {
        tenant.id
    } else {
        let created = platform.create_tenant(By::CommandLine, "Demo", address("you")?, None).await;
        created.map_err(Failure::failed)?
    };
    let known = core.read.policies().apps_of(tenant).into_iter().next();
    let app = if let Some(app) = known {
        app.id
    } else {
        let sender = Mailbox::parse(&format!("Lumora Demo <hello@{DEMO_DOMAIN}>"));
        let sender = sender.map_err(Failure::failed)?;
        platform
            .create_app(
                By::CommandLine,
                tenant,
                NewApp { default_sender: Some(sender), ..NewApp::new("Demo") },
            )
            .await
            .map_err(Failure::failed)?
    };
    let known = core.read.policies().sender(tenant, &name);
    let domain = match known {
        Some(domain) => domain.id,
        None => platform
            .add_domain(By::CommandLine, tenant, name.clone())
            .await
            .map_err(Failure::failed)?,
    };
    publish(node, dns, tenant, domain).await?;
    let key = NewApiKey::new("Demo", &Scope::ALL, 6_000);
    let key = platform.create_api_key(By::CommandLine, tenant, app, key).await;
    let key = key.map_err(Failure::failed)?;
    Ok(Demo { domain: name, secret: key.secret.reveal().to_owned() })
}

/// Does what a tenant does in its DNS, and has the domain verified by really asking.
async fn publish(
    node: &Node,
    dns: &DnsServer,
    tenant: TenantId,
    domain: DomainId,
) -> Result<(), Failure> {
    let core = node.core();
    let view = core.read.policies().domain(domain);
    let view = view.ok_or_else(|| Failure::failed("the demo domain is not there"))?;
    for record in core.platform.expected_records(&view) {
        match record.record_type {
            "TXT" => dns.add_txt(&record.name, &record.value).map_err(Failure::failed)?,
            _ => dns.add_mx(&record.name, 10, MAIL_HOST).map_err(Failure::failed)?,
        }
    }
    core.platform
        .verify_domain(By::CommandLine, tenant, domain)
        .await
        .map_err(Failure::failed)
        .map(|_| ())
}

fn greet(node: &Node, demo: &Demo, kept: Option<&Path>, sink: &Sink) -> Result<(), Failure> {
    let url = format!("http://{}", node.address());
    let Demo { domain, secret } = demo;
    let store = match kept {
        Some(dir) => format!("kept in {}", dir.display()),
        None => "gone at the end (--data-dir DIR keeps it)".to_owned(),
    };
    let mail = sink.address();
    let text = format!(
        r#"
Lumora is running. Mail goes to the built-in mail server on {mail} and nowhere else.

  API          {url}
  Swagger UI   {url}/docs
  API key      {secret}
  Sender       hello@{domain} (verified)
  Data         {store}

Send a message:

  curl -sS {url}/v1/email/send \
    -H 'x-api-key: {secret}' -H 'content-type: application/json' \
    -d '{{"to":["Ada <ada@example.com>"],"subject":"Hello","text":"It works.","tags":["welcome"]}}'

See what happened to it (put the messageId in), and to all of them:

  curl -sS {url}/v1/messages/MESSAGE_ID -H 'x-api-key: {secret}'
  curl -sS '{url}/v1/emails/logs?limit=10' -H 'x-api-key: {secret}'
  curl -sS {url}/v1/emails/stats -H 'x-api-key: {secret}'

A recipient whose name begins with "bounce" is refused for good; with "defer", twice for now.
What arrives is shown below. Ctrl-C ends it.
"#
    );
    print_line(&text).map(|_| ())
}
