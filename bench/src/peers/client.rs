//! A plain SMTP client: one command, one reply.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufStream},
    net::TcpStream,
};

use crate::Outcome;

/// A server that is silent for so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// An open session.
pub(crate) struct Session {
    stream: BufStream<TcpStream>,
}

impl Session {
    /// Connects and says EHLO.
    pub(crate) async fn open(address: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut session = Self { stream: BufStream::new(stream) };
        session.reply(220).await?;
        session.command("EHLO client.sender.test\r\n", 250).await?;
        Ok(session)
    }

    /// One message to one recipient; back when it is accepted. `message` ends with a line end.
    pub(crate) async fn send(&mut self, from: &str, to: &str, message: &str) -> Outcome<()> {
        self.command(&format!("MAIL FROM:<{from}>\r\n"), 250).await?;
        self.command(&format!("RCPT TO:<{to}>\r\n"), 250).await?;
        self.command("DATA\r\n", 354).await?;
        self.stream.write_all(message.as_bytes()).await?;
        self.command(".\r\n", 250).await
    }

    /// Ends the session.
    pub(crate) async fn quit(mut self) -> Outcome<()> {
        self.command("QUIT\r\n", 221).await
    }

    async fn command(&mut self, command: &str, wanted: u16) -> Outcome<()> {
        self.stream.write_all(command.as_bytes()).await?;
        self.stream.flush().await?;
        self.reply(wanted).await
    }

    async fn reply(&mut self, wanted: u16) -> Outcome<()> {
        loop {
            let mut line = String::new();
            let read = tokio::time::timeout(PATIENCE, self.stream.read_line(&mut line));
            if read.await?? == 0 {
                return Err("the mail server closed the connection".into());
            }
            if line.as_bytes().get(3) == Some(&b'-') {
                continue;
            }
            let code = line.get(..3).and_then(|code| code.parse::<u16>().ok());
            return if code == Some(wanted) { Ok(()) } else { Err(line.trim().into()) };
        }
    }
}

/// A message with this text, as an application would hand it in: without a Message-ID.
pub(crate) fn message(text: &str) -> String {
    let text = text.replace('\n', "\r\n");
    format!(
        "From: bench@sender.test\r\nTo: reader@d0.receiver.test\r\nSubject: Message\r\n\
         Date: Thu, 26 Nov 2026 12:00:00 +0000\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n"
    )
}
