//! What PIPELINING gains: `cargo run --release -p mail --example pipelining [messages] [connections]`.
//!
//! The client sends to the built-in receiver through a wire that counts how often the client has
//! to wait for the other end, and that can be as long as wires to other continents are.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::large_futures,
    reason = "a measurement, not a product"
)]

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use mail::{
    sink::{AcceptAll, Sink, SinkOptions},
    smtp::{ClientOptions, Envelope, TlsClient, connect},
};
use model::{address::EmailAddress, delivery::Verdict};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A wire to `server`: each direction takes half the round trip, and every change of who speaks
/// from the server to the client and back is counted.
async fn wire(server: SocketAddr, round_trip: Duration, turns: Arc<AtomicUsize>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(server).await.unwrap();
            near.set_nodelay(true).unwrap();
            far.set_nodelay(true).unwrap();
            let (near_in, near_out) = near.into_split();
            let (far_in, far_out) = far.into_split();
            let server_spoke = Arc::new(AtomicBool::new(false));
            let asks = (Arc::clone(&server_spoke), Arc::clone(&turns));
            tokio::spawn(carry(near_in, far_out, round_trip / 2, move || {
                asks.1
                    .fetch_add(usize::from(asks.0.swap(false, Ordering::SeqCst)), Ordering::SeqCst);
            }));
            tokio::spawn(carry(far_in, near_out, round_trip / 2, move || {
                server_spoke.store(true, Ordering::SeqCst);
            }));
        }
    });
    address
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    delay: Duration,
    seen: impl Fn(),
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(octets @ 1..) = from.read(&mut buffer).await {
        seen();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let piece = buffer.get(..octets).unwrap_or_default();
        if to.write_all(piece).await.is_err() {
            break;
        }
    }
    drop(to.shutdown().await);
}

async fn send(address: SocketAddr, messages: usize) {
    let mut options = ClientOptions::new("out.lumora.example".parse().unwrap());
    options.port = address.port();
    let tls = TlsClient::new(&[]).unwrap();
    let mut connection = connect("mx.example", address.ip(), &options, &tls).await.unwrap();
    let recipients: [EmailAddress; 1] = ["ada@b.example".parse().unwrap()];
    let envelope = Envelope { sender: None, recipients: &recipients, smtputf8: false };
    let message = b"all work and no play makes jack a dull boy\r\n".repeat(5 * 1024 / 44);
    for _ in 0..messages {
        let transaction = connection.deliver(&envelope, &[&message]).await;
        let taken = transaction.outcomes.first().map(model::delivery::Outcome::verdict);
        assert_eq!(taken, Some(Verdict::Delivered));
    }
    connection.quit().await;
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse().expect("a number"));
    let messages: usize = arguments.next().unwrap_or(20_000);
    let connections: usize = arguments.next().unwrap_or(8);
    println!("{messages} messages of 5 KB, one recipient each, over {connections} connections");
    for round_trip in [Duration::ZERO, Duration::from_millis(20)] {
        // A long wire is slow enough to be measured with few.
        let messages = if round_trip.is_zero() { messages } else { messages / 50 };
        for pipelining in [false, true] {
            let options = SinkOptions { pipelining, ..SinkOptions::default() };
            let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let sink = Sink::start(any, options, Arc::new(AcceptAll), None).await.unwrap();
            let turns = Arc::new(AtomicUsize::new(0));
            let direct = round_trip.is_zero();
            let counted = wire(sink.address(), round_trip, Arc::clone(&turns)).await;
            // What the wire itself costs stays out of the rate where it adds no delay.
            let address = if direct { sink.address() } else { counted };
            let each = (messages / connections).max(1);
            let started = Instant::now();
            let mut sending = tokio::task::JoinSet::new();
            for _ in 0..connections {
                sending.spawn(send(address, each));
            }
            while let Some(ended) = sending.join_next().await {
                ended.unwrap();
            }
            let rate = (each * connections) as f64 / started.elapsed().as_secs_f64();
            turns.store(0, Ordering::SeqCst);
            // Greeting, EHLO and QUIT are once a connection: the difference is the messages'.
            send(counted, 1).await;
            let once = turns.swap(0, Ordering::SeqCst);
            send(counted, 11).await;
            let a_message = (turns.load(Ordering::SeqCst) - once) as f64 / 10.0;
            println!(
                "round trip {:>2} ms, PIPELINING {}: {a_message} waits a message, {rate:.0} messages/s",
                round_trip.as_millis(),
                if pipelining { "yes" } else { "no " },
            );
        }
    }
}
