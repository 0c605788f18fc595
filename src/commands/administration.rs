//! Tenants, apps, keys and domains, made on a stopped server's data directory.

use actors::{NewApiKey, NewApp, Password};
use std::{io::BufRead as _, time::Duration};

use eventlog::Rotated;
use model::{
    By, DomainId, TenantId,
    address::{EmailAddress, Mailbox},
    tenant::Scope,
};
use projections::DomainView;
use serde_json::{Value, json};

use super::{Failure, load, print_json, print_line};
use crate::{
    cli::{AppCommand, ConfigArguments, DomainCommand, KeyCommand, OutputArguments, TenantCommand},
    node::Core,
    telemetry,
};

/// Nothing is under way in these commands but what they did themselves.
const CLOSE: Duration = Duration::from_secs(10);

/// Longest password, in octets, read from standard input.
const MAX_PASSWORD_OCTETS: u64 = 1_024;

/// Opens the data directory without delivering, does `work`, closes it.
pub(super) async fn with_core<T>(
    config: &ConfigArguments,
    work: impl AsyncFnOnce(&Core) -> Result<T, Failure>,
) -> Result<T, Failure> {
    telemetry::start_logging("warn");
    let core = Core::open(&load(config)?, false).await?;
    let done = work(&core).await;
    core.close(CLOSE).await?;
    done
}

pub(super) async fn tenant(command: TenantCommand) -> Result<(), Failure> {
    match command {
        TenantCommand::Create { name, email, password_stdin, output } => {
            let email = EmailAddress::parse(&email)
                .map_err(|error| Failure::usage(format!("--email: {error}")))?;
            let password = if password_stdin {
                Some(read_password(&[&name, &email.to_string()])?)
            } else {
                None
            };
            let tenant = with_core(&output.config, async |core| {
                let created =
                    core.platform.create_tenant(By::CommandLine, &name, email, password).await;
                created.map_err(Failure::failed)
            })
            .await?;
            show(&output, &json!({ "id": tenant, "name": name }), &tenant.to_string())
        }
        TenantCommand::List { output } => {
            let tenants =
                with_core(&output.config, async |core| Ok(core.read.policies().tenants())).await?;
            if output.json {
                let rows = tenants.iter().map(|t| json!({ "id": t.id, "name": t.name }));
                return print_json(&Value::Array(rows.collect()));
            }
            for tenant in tenants {
                print_line(&format!("{}  {}", tenant.id, tenant.name))?;
            }
            Ok(())
        }
    }
}

/// Reads a line: a password by the same rules as in the portal.
fn read_password(known: &[&str]) -> Result<Password, Failure> {
    let mut line = String::new();
    std::io::Read::take(std::io::stdin().lock(), MAX_PASSWORD_OCTETS)
        .read_line(&mut line)
        .map_err(Failure::usage)?;
    let password = Password::new(line.trim_end_matches(['\r', '\n']));
    password.check(known).map_err(|weak| Failure::usage(format!("the password {weak}")))?;
    Ok(password)
}

pub(super) async fn app(command: AppCommand) -> Result<(), Failure> {
    let AppCommand::Create { tenant, name, default_sender, output } = command;
    let sender = default_sender
        .map(|text| Mailbox::parse(&text))
        .transpose()
        .map_err(|error| Failure::usage(format!("--default-sender: {error}")))?;
    let app = with_core(&output.config, async |core| {
        core.platform
            .create_app(
                By::CommandLine,
                tenant,
                NewApp { default_sender: sender, ..NewApp::new(&name) },
            )
            .await
            .map_err(Failure::failed)
    })
    .await?;
    show(&output, &json!({ "id": app, "name": name }), &app.to_string())
}

pub(super) async fn key(command: KeyCommand) -> Result<(), Failure> {
    match command {
        KeyCommand::Create { tenant, app, name, scopes, rate_limit_per_minute, output } => {
            let scopes = scopes_named(&scopes)?;
            let key = with_core(&output.config, async |core| {
                let new = NewApiKey::new(&name, &scopes, rate_limit_per_minute);
                core.platform
                    .create_api_key(By::CommandLine, tenant, app, new)
                    .await
                    .map_err(Failure::failed)
            })
            .await?;
            let secret = key.secret.reveal();
            let fields = json!({
                "id": key.id, "name": name, "prefix": key.prefix, "secret": secret,
            });
            show(&output, &fields, secret)
        }
        KeyCommand::Rotate { output } => rotate(&output).await,
        KeyCommand::Revoke { tenant, app, key, config } => {
            with_core(&config, async |core| {
                core.platform
                    .revoke_api_key(By::CommandLine, tenant, app, key)
                    .await
                    .map_err(Failure::failed)
            })
            .await
        }
    }
}

async fn rotate(output: &OutputArguments) -> Result<(), Failure> {
    let config = load(&output.config)?;
    let (dir, file) = (config.log_dir(), config.master_key_file());
    if !dir.is_dir() {
        return Err(Failure::usage(format!("{}: there is no log", dir.display())));
    }
    let rotated = eventlog::rotate_master_key(&dir, &file).map_err(Failure::failed)?;
    let Rotated { keys, old_key_opens_the_past } = rotated;
    let recorded = with_core(&output.config, async |core| {
        let noted = core.platform.note_master_key(By::CommandLine, keys).await;
        noted.map_err(Failure::failed)
    });
    recorded.await.map_err(|error| {
        let file = file.display();
        Failure::failed(format!("{file} holds a new master key, which is not on record: {error}"))
    })?;
    let fields = json!({
        "masterKeyFile": file.display().to_string(),
        "keys": keys,
        "oldKeyOpensThePast": old_key_opens_the_past,
    });
    let past = if old_key_opens_the_past {
        "; the old one opens what was sealed before this directory had a key ring: keep its copies \
         secret until that content is gone"
    } else {
        "; destroy the copies of the old one"
    };
    let file = file.display();
    show(output, &fields, &format!("{file} holds a new master key: keep a copy of it{past}"))
}

pub(super) fn scopes_named(names: &[String]) -> Result<Vec<Scope>, Failure> {
    if names.is_empty() {
        return Ok(Scope::ALL.to_vec());
    }
    let known = || Scope::ALL.map(Scope::as_str).join(", ");
    let parse = |name: &String| {
        Scope::parse(name)
            .ok_or_else(|| Failure::usage(format!("--scope: `{name}` is none of {}", known())))
    };
    names.iter().map(parse).collect()
}

pub(super) async fn domain(command: DomainCommand) -> Result<(), Failure> {
    match command {
        DomainCommand::Add { tenant, name, output } => {
            with_core(&output.config, async |core| {
                let domain = core.platform.add_domain(By::CommandLine, tenant, name).await;
                let domain = domain.map_err(Failure::failed)?;
                show_domain(core, tenant, domain, &output)
            })
            .await
        }
        DomainCommand::Verify { tenant, domain, output } => {
            with_core(&output.config, async |core| {
                let verified = core.platform.verify_domain(By::CommandLine, tenant, domain).await;
                verified.map_err(Failure::failed)?;
                show_domain(core, tenant, domain, &output)
            })
            .await
        }
        DomainCommand::List { tenant, output } => {
            let domains =
                with_core(&output.config, async |core| Ok(core.read.policies().domains_of(tenant)))
                    .await?;
            for domain in domains {
                let status = status_name(&domain);
                let fields = json!({ "id": domain.id, "domain": domain.name, "status": status });
                show(&output, &fields, &format!("{}  {}  {status}", domain.id, domain.name))?;
            }
            Ok(())
        }
    }
}

fn status_name(domain: &DomainView) -> String {
    let name = serde_json::to_value(domain.status).ok();
    name.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The domain with the records to publish and what was found of them.
fn show_domain(
    core: &Core,
    tenant: TenantId,
    domain: DomainId,
    output: &OutputArguments,
) -> Result<(), Failure> {
    let view = core.read.policies().domain(domain).filter(|view| view.tenant == tenant);
    let view = view.ok_or_else(|| Failure::failed("there is no such domain"))?;
    let expected = core.platform.expected_records(&view);
    let found = |purpose, name: &str| {
        view.records.iter().find(|r| r.purpose == purpose && *r.name == *name)
    };
    let status = status_name(&view);
    if output.json {
        let records: Vec<Value> = expected
            .iter()
            .map(|record| {
                let check = found(record.purpose, &record.name);
                json!({
                    "purpose": record.purpose, "type": record.record_type, "name": record.name,
                    "value": record.value, "required": record.required,
                    "status": check.map(|check| check.status),
                    "found": check.map(|check| &check.found),
                    "problem": check.and_then(|check| check.problem.as_deref()),
                })
            })
            .collect();
        return print_json(&json!({
            "id": domain, "domain": view.name, "status": status, "records": records,
        }));
    }
    print_line(&format!("{domain}  {}  {status}", view.name))?;
    for record in &expected {
        print_line(&format!("\n{} {}", record.record_type, record.name))?;
        print_line(&format!("  {}", record.value))?;
        if let Some(check) = found(record.purpose, &record.name) {
            let status = serde_json::to_value(check.status).unwrap_or_default();
            let problem = check.problem.as_deref().unwrap_or_default();
            print_line(&format!("  {} {problem}", status.as_str().unwrap_or_default()))?;
        }
    }
    Ok(())
}

fn show(output: &OutputArguments, json: &Value, words: &str) -> Result<(), Failure> {
    if output.json { print_json(json) } else { print_line(words).map(|_| ()) }
}
