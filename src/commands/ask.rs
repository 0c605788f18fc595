//! Asking the running server: one request, one answer, over HTTP/1.1 on this host.

use std::{io, path::PathBuf, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    Failure,
    config::Config,
    operator::{find, nobody},
};

/// How long an answer may take: a long queue is gone through row by row.
const PATIENCE: Duration = Duration::from_mins(2);
/// Largest answer, in octets: a thousand messages of fifty receivers each.
const MAX_ANSWER: u64 = 64 * 1024 * 1024;

/// The server that runs on a data directory.
pub(super) struct Server {
    address: std::net::SocketAddr,
    token: String,
    file: PathBuf,
}

impl Server {
    /// The one that the configuration means. Paths are below `/operator`.
    pub(super) fn of(config: &Config) -> Result<Self, Failure> {
        let file = config.operator_file();
        let (address, token) = find(&file)?;
        Ok(Self { address, token, file })
    }

    /// The same, if one runs: a file that is left behind names a server that does not answer.
    pub(super) async fn running(config: &Config) -> Result<Option<Self>, Failure> {
        if !config.operator_file().exists() {
            return Ok(None);
        }
        let server = Self::of(config)?;
        match timeout(PATIENCE, TcpStream::connect(server.address)).await {
            Ok(Ok(_)) => Ok(Some(server)),
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(None),
            Ok(Err(error)) => Err(Failure::failed(format!("{}: {error}", server.address))),
            Err(_) => Err(Failure::failed("the server did not answer in time")),
        }
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.ask("GET", path, None).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.ask("POST", path, Some(body)).await
    }

    /// What is no JSON.
    pub(super) async fn get_bytes(&self, path: &str) -> Result<Vec<u8>, Failure> {
        let answer = self.answered("GET", path, None).await?;
        let (status, body) = split(&answer).ok_or_else(unclear)?;
        if status == 200 {
            return Ok(body.to_vec());
        }
        Err(Failure::failed(said(status, &serde_json::from_slice(body).unwrap_or_default())))
    }

    async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let answer = self.answered(method, path, body).await?;
        let (status, body) = parse(&answer).ok_or_else(unclear)?;
        if status == 200 { Ok(body) } else { Err(Failure::failed(said(status, &body))) }
    }

    async fn answered(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Vec<u8>, Failure> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let head = format!(
            "{method} /operator{path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            self.address,
            self.token,
            body.len()
        );
        let answered = timeout(PATIENCE, self.exchange(&[head, body].concat())).await;
        match answered {
            Err(_) => Err(Failure::failed("the server did not answer in time")),
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                Err(nobody(&self.file))
            }
            Ok(Err(error)) => Err(Failure::failed(format!("{}: {error}", self.address))),
            Ok(Ok(answer)) => Ok(answer),
        }
    }

    async fn exchange(&self, request: &str) -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
        Ok(answer)
    }
}

fn unclear() -> Failure {
    Failure::failed("the server's answer cannot be understood")
}

/// Status and body of an answer with a length or an end; the server sends no other. One that was
/// cut off is none.
fn split(answer: &[u8]) -> Option<(u16, &[u8])> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let (head, body) = answer.split_at_checked(end)?;
    let (head, body) = (std::str::from_utf8(head).ok()?, body.get(4..)?);
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let whole = length.is_none_or(|(_, len)| len.trim().parse() == Ok(body.len()));
    whole.then_some((status, body))
}

/// Status and JSON.
fn parse(answer: &[u8]) -> Option<(u16, Value)> {
    let (status, body) = split(answer)?;
    Some((status, serde_json::from_slice(body).ok()?))
}

/// What the server says of why not, in one line.
fn said(status: u16, body: &Value) -> String {
    let mut words = match body["message"].as_str() {
        Some(words) => words.trim_end_matches('.').to_owned(),
        None => format!("the server answered {status}"),
    };
    for detail in body["details"].as_array().into_iter().flatten() {
        if let (Some(field), Some(message)) = (detail["field"].as_str(), detail["message"].as_str())
        {
            words = format!("{words}; {field} {message}");
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_are_read_and_what_is_none_is_seen() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n{\"a\": 1}";
        assert_eq!(parse(answer), Some((200, json!({ "a": 1 }))));
        let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"a\": 1}";
        for wrong in
            [&cut[..], b"", b"HTTP/1.1 200 OK\r\n\r\n", b"SSH-2.0-x\r\n\r\n{}", b"HTTP/1.1 x"]
        {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_refusal_is_told_in_one_line() {
        let details = json!([{ "field": "site", "message": "is no name" }]);
        let body = json!({ "message": "Some fields are wrong.", "details": details });
        assert_eq!(said(422, &body), "Some fields are wrong; site is no name");
        assert_eq!(said(500, &Value::Null), "the server answered 500");
    }
}
