//! A policy host: HTTPS on loopback, whose answer is set octet by octet.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

pub(crate) struct PolicyHost {
    pub(crate) port: u16,
    answer: Arc<Mutex<Vec<u8>>>,
    asked: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

impl Drop for PolicyHost {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A policy as a good host serves it.
pub(crate) fn ok(policy: &str) -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\n";
    format!("{head}content-length: {}\r\n\r\n{policy}", policy.len()).into_bytes()
}

impl PolicyHost {
    pub(crate) async fn start(tls: Arc<rustls::ServerConfig>, answer: Vec<u8>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (answer, asked) = (Arc::new(Mutex::new(answer)), Arc::<Mutex<Vec<String>>>::default());
        let (answers, asks) = (Arc::clone(&answer), Arc::clone(&asked));
        let serving = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let acceptor = TlsAcceptor::from(Arc::clone(&tls));
                let (answers, asks) = (Arc::clone(&answers), Arc::clone(&asks));
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(socket).await else { return };
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
                            return;
                        }
                    }
                    asks.lock().unwrap().push(String::from_utf8(head).unwrap());
                    let answer = answers.lock().unwrap().clone();
                    if answer.is_empty() {
                        // Silent until the other end leaves.
                        drop(stream.read(&mut [0]).await);
                    }
                    drop(stream.write_all(&answer).await);
                    drop(stream.shutdown().await);
                });
            }
        });
        Self { port, answer, asked, serving }
    }

    pub(crate) fn answer(&self, answer: Vec<u8>) {
        *self.answer.lock().unwrap() = answer;
    }

    /// The requests so far, as they came.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}
