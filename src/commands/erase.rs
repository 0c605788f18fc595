//! `lumora erase …`: forgets a person in all that a tenant has, by the server that runs on the data
//! directory or, where none does, by itself.

use std::time::Duration;

use model::{ErasureId, TenantId, address::EmailAddress, pause::Who};
use projections::ErasureView;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{Failure, administration::with_core, ask::Server, load, print_json, print_line};
use crate::{cli::EraseArguments, node::Core};

const PATH: &str = "/erasures";
/// How long a running server is asked how it stands, and how often.
const PATIENCE: Duration = Duration::from_mins(1);
const EVERY: Duration = Duration::from_millis(250);

pub(super) async fn run(arguments: EraseArguments) -> Result<(), Failure> {
    let EraseArguments { tenant, email, show, output } = arguments;
    let wanted = match (show, tenant, email) {
        (Some(erasure), None, None) => Wanted::Show(erasure),
        (None, Some(tenant), Some(email)) => {
            let email = EmailAddress::parse(email.trim())
                .map_err(|error| Failure::usage(format!("EMAIL: {error}")))?;
            Wanted::Erase(tenant, email)
        }
        _ => return Err(Failure::usage("name --tenant and an address, or --show and an erasure")),
    };
    let config = load(&output.config)?;
    let answer = match Server::running(&config).await? {
        Some(server) => ask(&server, &wanted).await?,
        None => with_core(&output.config, async |core| work(core, &wanted).await).await?,
    };
    if output.json {
        return print_json(&answer);
    }
    lines(&answer).iter().try_for_each(|line| print_line(line).map(|_| ()))
}

/// What is asked for.
enum Wanted {
    Erase(TenantId, EmailAddress),
    Show(ErasureId),
}

/// The running server begins; how it stands is asked until it is done or waits for messages.
async fn ask(server: &Server, wanted: &Wanted) -> Result<Value, Failure> {
    let mut answer = match wanted {
        Wanted::Show(erasure) => return server.get(&format!("{PATH}/{erasure}")).await,
        Wanted::Erase(tenant, email) => {
            server.post(PATH, &json!({ "tenant": tenant, "email": email })).await?
        }
    };
    let end = Instant::now() + PATIENCE;
    while text(&answer, "status") == "running" && Instant::now() < end {
        sleep(EVERY).await;
        let path = format!("{PATH}/{}", text(&answer, "id"));
        answer = server.get(&path).await?;
    }
    Ok(answer)
}

async fn work(core: &Core, wanted: &Wanted) -> Result<Value, Failure> {
    let view = match wanted {
        Wanted::Show(erasure) => {
            let found = core.read.erasures().get(*erasure).map_err(Failure::failed)?;
            found.ok_or_else(|| Failure::failed(format!("{erasure}: there is no such erasure")))?
        }
        Wanted::Erase(tenant, email) => {
            if core.read.policies().tenant(*tenant).is_none() {
                return Err(Failure::failed(format!("{tenant}: there is no such tenant")));
            }
            let asked = core.platform.erase(*tenant, email, Who::Operator).await;
            let asked = asked.map_err(Failure::failed)?;
            core.platform.pursue_erasure(asked.id).await.map_err(Failure::failed)?
        }
    };
    told(core, &view)
}

fn told(core: &Core, view: &ErasureView) -> Result<Value, Failure> {
    let waits_for = core.platform.erasure_waits_for(view).map_err(Failure::failed)?;
    let certificate = ::evidence::certify(core.log.as_ref(), &core.notary, view.id);
    Ok(api::erasure_answer(view, &waits_for, certificate.map_err(Failure::failed)?))
}

fn text<'a>(answer: &'a Value, name: &str) -> &'a str {
    answer.get(name).and_then(Value::as_str).unwrap_or("-")
}

fn lines(answer: &Value) -> Vec<String> {
    let text = |name: &str| text(answer, name);
    let count = |name: &str| answer[name].as_u64().unwrap_or_default();
    let waits = answer["waitsFor"].as_array().map_or(0, Vec::len);
    let (id, messages, letters) = (text("id"), count("messages"), count("letters"));
    match text("status") {
        "completed" => {
            let (lists, records) = (count("suppressions"), count("records"));
            let done = format!(
                "{id}: forgotten in {messages} messages, {letters} letters and {lists} suppression \
                 lists, {records} sealed records"
            );
            vec![done, String::new(), text("certificate").trim_end().to_owned()]
        }
        "waiting" => vec![format!(
            "{id}: {messages} messages and {letters} letters were found; {waits} of the messages \
             have not ended for others, and go then. It goes on while the server runs"
        )],
        _ => vec![format!("{id}: it goes on; `lumora erase --show {id}` tells how it stands")],
    }
}
