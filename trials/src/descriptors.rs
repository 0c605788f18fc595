//! There are too few file descriptors: many connections take those that the server would need for
//! its files and its receivers.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use bench::{Outcome, figures::print_line as tell, server::Server};
use tokio::{net::TcpSocket, task::JoinSet, time::sleep};

use crate::{
    Setting,
    reconcile::Account,
    stage::{PATIENCE, Stage},
};

const CLIENTS: usize = 8;
const PACE: Duration = Duration::from_millis(20);
const ANSWERS: usize = 60;
/// What the server may open.
const LIMIT: usize = 256;
/// Connections that do nothing: more than there is room for.
const IDLE: usize = 400;
/// So long nothing can be opened.
const SHORT_FOR: Duration = Duration::from_secs(6);

pub(crate) async fn run(setting: &Setting) -> Outcome<Account> {
    let more = "max_in_flight = 20\n";
    let stage = Stage::set_with(setting.data_parent.as_deref(), None, more).await?;
    let clients = stage.clients(CLIENTS, PACE)?;
    let limit = format!("--nofile={LIMIT}");
    let (server, _) = stage.start_under(&["prlimit", &limit]).await?;
    accepted(&stage, "before").await?;
    let idle = connect(&server)?;
    sleep(SHORT_FOR).await;
    let most = server.usage()?.open_files;
    drop(idle);
    accepted(&stage, "once there are descriptors again").await?;
    tell(&format!("  {IDLE} idle connections, {most} of {LIMIT} descriptors taken; goes on after"));
    stage.settle(clients, server).await
}

async fn accepted(stage: &Stage, when: &str) -> Outcome<()> {
    if stage.accepts(ANSWERS, PATIENCE).await {
        return Ok(());
    }
    Err(format!("{when}: nothing is accepted").into())
}

/// Connections from several addresses, as an attacker's would be.
fn connect(server: &Server) -> Outcome<JoinSet<()>> {
    let address: SocketAddr = server.url().trim_start_matches("http://").parse()?;
    let mut idle = JoinSet::new();
    for number in 0..IDLE {
        let from = Ipv4Addr::new(127, 0, 9, u8::try_from(number % 250)? + 2);
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        idle.spawn(async move {
            // Where no more are taken, it waits; held until it is aborted.
            let _stream = socket.connect(address).await;
            std::future::pending::<()>().await;
        });
    }
    Ok(idle)
}
