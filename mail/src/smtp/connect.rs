//! From an address to a session that can deliver.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use lettre::transport::smtp::{
    authentication::{Credentials as Secret, Mechanism},
    commands::{Auth, Ehlo, Starttls},
    extension::ClientId,
};
use model::delivery::{Answer, Fault, Outcome, Peer, Stage, TlsFailure};
use tokio::time::{Instant, timeout};

use super::{
    ClientOptions, Connection, Dialled, Extensions, TlsClient, TlsPolicy,
    session::{CLOSING, Lost, Timings},
    tls::Secured,
    wire::Wire,
};
use crate::stream::{Socket, Stream};

/// A connection did not come to stand.
#[derive(Debug, Clone)]
pub struct ConnectFailure {
    /// The same for every recipient.
    pub outcome: Outcome,
    /// Whether another mail host or address may do better; not when credentials are refused.
    pub next_host: bool,
}

/// Why `open` gave up.
enum Failed {
    Lost(Lost),
    /// There is no TLS such as the policy wants: none offered, or the handshake failed.
    Tls(TlsFailure),
}

impl From<Lost> for Failed {
    fn from(lost: Lost) -> Self {
        Self::Lost(lost)
    }
}

impl Failed {
    const fn fault(stage: Stage, fault: Fault) -> Self {
        Self::Lost(Lost::fault(stage, fault))
    }
}

/// Opens a session with the mail host `mx` at `ip`.
///
/// `mx` is the name that a certificate is checked against and that outcomes tell; the port is the
/// options'. Every wait is bounded by [`Timeouts`](super::Timeouts).
pub async fn connect(
    mx: &str,
    ip: IpAddr,
    options: &ClientOptions,
    tls: &TlsClient,
) -> Result<Connection, ConnectFailure> {
    let mut peer =
        Peer { tls_rule: options.tls.rule(), ..Peer::new(mx, Some(ip)).on(options.way.clone()) };
    if options.tls == (TlsPolicy::Testing { named: false }) {
        peer.tls_failure = Some(TlsFailure::MxNotInPolicy);
    }
    let lost = match open(&mut peer, ip, options, tls, &options.tls).await {
        Ok(connection) => return Ok(connection),
        Err(Failed::Lost(lost)) => lost,
        Err(Failed::Tls(failure)) => {
            peer.tls_failure = Some(failure);
            // In clear is better than not at all, where nothing forbids it (RFC 7435).
            if options.tls.allows_clear() {
                match open(&mut peer, ip, options, tls, &TlsPolicy::Never).await {
                    Ok(connection) => return Ok(connection),
                    Err(Failed::Lost(lost)) => lost,
                    Err(Failed::Tls(_)) => Lost::fault(Stage::StartTls, Fault::Protocol),
                }
            } else {
                Lost::fault(Stage::StartTls, Fault::TlsRequired)
            }
        }
    };
    let next_host = lost.stage != Stage::Auth
        || !matches!(lost.answer, Answer::Fault(Fault::AuthRefused | Fault::TlsRequired));
    let outcome = Outcome { stage: lost.stage, answer: lost.answer, peer: Some(peer) };
    Err(ConnectFailure { outcome, next_host })
}

/// Of the attempt itself `peer` learns from where it was made.
async fn open(
    peer: &mut Peer,
    ip: IpAddr,
    options: &ClientOptions,
    tls: &TlsClient,
    policy: &TlsPolicy,
) -> Result<Connection, Failed> {
    let begun = Instant::now();
    let Dialled { socket, from } = dial(ip, options).await?;
    let mut timings = Timings { connect: begun.elapsed(), tls: None };
    peer.from = from;
    let mut peer = peer.clone();
    let stream = if *policy == TlsPolicy::Implicit {
        let (stream, took) = secure(socket, &mut peer, options, tls, policy).await?;
        timings.tls = Some(took);
        stream
    } else {
        Stream::Plain(socket)
    };
    let connection = Connection::new(Wire::new(stream), peer, options.timeouts, policy.clone());
    let mut connection = connection.timed(timings);
    let deadline = Instant::now() + options.timeouts.greeting;
    let greeting = connection.hear(Stage::Greeting, deadline).await?;
    if !greeting.is_class(2) {
        return Err(leave(connection, Lost::reply(Stage::Greeting, &greeting)).await);
    }
    if let Err(lost) = hello(&mut connection, options).await {
        return Err(leave(connection, lost).await);
    }
    if policy.starts_tls() {
        connection = start_tls(connection, options, tls, policy).await?;
    }
    if options.credentials.is_some()
        && let Err(lost) = authenticate(&mut connection, options).await
    {
        return Err(leave(connection, lost).await);
    }
    Ok(connection)
}

/// Takes leave of a server that still listens, and passes on why.
async fn leave(connection: Connection, lost: Lost) -> Failed {
    let listens = match &lost.answer {
        Answer::Reply(reply) => reply.code != CLOSING,
        Answer::Fault(fault) => matches!(fault, Fault::TlsRequired | Fault::AuthRefused),
    };
    if listens {
        connection.quit().await;
    }
    Failed::Lost(lost)
}

async fn dial(ip: IpAddr, options: &ClientOptions) -> Result<Dialled, Failed> {
    let unreachable = || Failed::fault(Stage::Connect, Fault::Unreachable);
    if !options.sources.can_reach(ip) {
        return Err(unreachable());
    }
    let source = options.sources.towards(ip).map(|source| source.ip);
    let dialling = options.dial.dial(SocketAddr::new(ip, options.port), source);
    timeout(options.timeouts.connect, dialling)
        .await
        .map_err(|_| Failed::fault(Stage::Connect, Fault::Timeout))?
        .map_err(|_| unreachable())
}

async fn secure(
    socket: Socket,
    peer: &mut Peer,
    options: &ClientOptions,
    tls: &TlsClient,
    policy: &TlsPolicy,
) -> Result<(Stream, Duration), Failed> {
    let begun = Instant::now();
    let handshake = tls.handshake(socket, &peer.mx, policy);
    let Secured { stream, tls, unverified } = timeout(options.timeouts.handshake, handshake)
        .await
        .map_err(|_| Failed::Tls(TlsFailure::ValidationFailure))?
        .map_err(Failed::Tls)?;
    peer.tls = Some(tls);
    if matches!(policy, TlsPolicy::Testing { .. }) {
        peer.tls_failure = peer.tls_failure.or(unverified);
    }
    Ok((Stream::Tls(Box::new(stream.into())), begun.elapsed()))
}

/// EHLO, and HELO where a server does not know EHLO (RFC 5321, section 3.2).
async fn hello(connection: &mut Connection, options: &ClientOptions) -> Result<(), Lost> {
    let name = options.helo_towards(connection.peer.ip).as_str();
    let patience = options.timeouts.hello;
    let ehlo = Ehlo::new(ClientId::Domain(name.to_owned()));
    let lines = connection.ask(Stage::Hello, ehlo, patience).await?;
    if lines.is_class(2) {
        connection.extensions = Extensions::read(&lines);
        return Ok(());
    }
    let refused = Lost::reply(Stage::Hello, &lines);
    if !lines.is_class(5) {
        return Err(refused);
    }
    connection.extensions = Extensions::default();
    // Owned: format_args! held across an await would make the session unfit to be spawned.
    let helo = format!("HELO {name}\r\n");
    match connection.ask(Stage::Hello, helo, patience).await {
        Ok(lines) if lines.is_class(2) => Ok(()),
        Ok(lines) => Err(Lost::reply(Stage::Hello, &lines)),
        // It refused EHLO and closed: that no is what it said.
        Err(Lost { answer: Answer::Fault(Fault::Disconnected), .. }) => Err(refused),
        Err(lost) => Err(lost),
    }
}

/// STARTTLS (RFC 3207). Where the policy allows it, a server that does not offer it or takes the
/// offer back is spoken to in clear.
async fn start_tls(
    mut connection: Connection,
    options: &ClientOptions,
    tls: &TlsClient,
    policy: &TlsPolicy,
) -> Result<Connection, Failed> {
    let agreed = connection.extensions.starttls && {
        let asked = connection.ask(Stage::StartTls, Starttls, options.timeouts.hello).await;
        asked.map_err(or_handshake)?.is_class(2)
    };
    if !agreed {
        if !policy.allows_clear() {
            connection.quit().await;
            return Err(Failed::Tls(TlsFailure::StarttlsNotSupported));
        }
        if matches!(policy, TlsPolicy::Testing { .. }) {
            connection.peer.tls_failure = Some(TlsFailure::StarttlsNotSupported);
        }
        return Ok(connection);
    }
    // What came in clear behind the reply would count as said inside TLS (CVE-2011-0411).
    if connection.wire.has_read_ahead() {
        return Err(Failed::fault(Stage::StartTls, Fault::Protocol));
    }
    let connect = connection.timings().connect;
    let mut peer = connection.peer;
    let socket = connection
        .wire
        .into_stream()
        .take_socket()
        .ok_or(Failed::fault(Stage::StartTls, Fault::Protocol))?;
    let (stream, took) = secure(socket, &mut peer, options, tls, policy).await?;
    let connection = Connection::new(Wire::new(stream), peer, options.timeouts, policy.clone());
    let mut connection = connection.timed(Timings { connect, tls: Some(took) });
    match hello(&mut connection, options).await {
        Ok(()) => Ok(connection),
        Err(lost) => match or_handshake(lost) {
            Failed::Lost(lost) => Err(leave(connection, lost).await),
            failed @ Failed::Tls(_) => Err(failed),
        },
    }
}

/// A server that leaves at STARTTLS, or right after the handshake (a TLS 1.3 server refuses the
/// client only then), cannot do TLS with us.
fn or_handshake(lost: Lost) -> Failed {
    match lost.answer {
        Answer::Fault(Fault::Disconnected) => Failed::Tls(TlsFailure::ValidationFailure),
        Answer::Fault(_) | Answer::Reply(_) => Failed::Lost(lost),
    }
}

/// AUTH PLAIN, else LOGIN (RFC 4954).
async fn authenticate(connection: &mut Connection, options: &ClientOptions) -> Result<(), Lost> {
    let Some(credentials) = &options.credentials else { return Ok(()) };
    if connection.peer.tls.is_none() && !credentials.in_clear {
        return Err(Lost::fault(Stage::Auth, Fault::TlsRequired));
    }
    let refused = || Lost::fault(Stage::Auth, Fault::AuthRefused);
    let secret = Secret::new(credentials.user.clone(), credentials.password.clone());
    let offered = connection.extensions;
    let mechanism = match (offered.auth_plain, offered.auth_login) {
        (true, _) => Mechanism::Plain,
        (false, true) => Mechanism::Login,
        (false, false) => return Err(refused()),
    };
    let patience = options.timeouts.hello;
    let start = Auth::new(mechanism, secret.clone(), None).map_err(|_| refused())?;
    let mut lines = connection.ask(Stage::Auth, start, patience).await?;
    // LOGIN asks for the user and for the password.
    for _ in 0..2 {
        if lines.code != 334 {
            break;
        }
        let question = lines.texts().next().and_then(|text| STANDARD.decode(text).ok());
        let question = question.and_then(|octets| String::from_utf8(octets).ok());
        let answer = Auth::new(mechanism, secret.clone(), question.or(Some(String::new())))
            .map_err(|_| refused())?;
        lines = connection.ask(Stage::Auth, answer, patience).await?;
    }
    match lines {
        lines if lines.is_class(2) => Ok(()),
        lines if lines.is_class(4) => Err(Lost::reply(Stage::Auth, &lines)),
        _ => Err(refused()),
    }
}
