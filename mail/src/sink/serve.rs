//! The receiver's side of the dialogue (RFC 5321, section 4.1).

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use super::{
    Action, Asked, MessageAction, Policy, Received, SinkOptions, SinkReply,
    places::Places,
    receive::{Data, Ended, Wire},
};
use crate::stream::{Socket, Stream};

/// What all connections of one sink share.
pub(super) struct House {
    pub(super) options: SinkOptions,
    pub(super) policy: Arc<dyn Policy>,
    pub(super) inbox: Option<mpsc::Sender<Received>>,
}

impl House {
    /// One connection, from the greeting to its end.
    pub(super) async fn receive(&self, socket: Socket, from: SocketAddr, number: u64) {
        Session::new(self, socket, from, number).run().await;
    }
}

/// Commands without effect on one connection before it is closed: an endless NOOP costs the
/// sender a connection, not us a task for ever.
const MAX_IDLE_COMMANDS: u32 = 1_000;

/// Accepting fails at once again while the process has no file descriptor left.
const PAUSE_AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(20);

pub(super) async fn accept(listener: TcpListener, house: Arc<House>) {
    let room = Arc::new(Semaphore::new(house.options.max_connections));
    let places = Arc::new(Places::default());
    let mut connections = JoinSet::new();
    let mut count = 0;
    loop {
        let (socket, from) = tokio::select! {
            accepted = listener.accept() => {
                let Ok(accepted) = accepted else {
                    // Out of file descriptors, or the peer left in between: others may come.
                    tokio::time::sleep(PAUSE_AFTER_FAILED_ACCEPT).await;
                    continue;
                };
                accepted
            }
            Some(_) = connections.join_next() => continue,
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            // Best effort: the socket's buffer is empty, so this does not wait.
            drop(socket.try_write(b"421 4.3.2 too many connections\r\n"));
            continue;
        };
        let most = house.options.max_connections_per_address;
        let Some(of_address) = places.take(from.ip(), most) else {
            drop(socket.try_write(b"421 4.7.0 too many connections from your address\r\n"));
            continue;
        };
        let house = Arc::clone(&house);
        let number = count;
        count += 1;
        connections.spawn(async move {
            // Replies are whole; waiting for more to send would cost 40 ms each.
            drop(socket.set_nodelay(true));
            house.receive(Box::new(socket), from, number).await;
            drop((place, of_address));
        });
    }
}

/// The envelope while it is being told.
#[derive(Default)]
struct Envelope {
    mail_from: Option<String>,
    recipients: Vec<String>,
}

struct Session<'a> {
    house: &'a House,
    wire: Wire,
    from: SocketAddr,
    number: u64,
    messages: u32,
    helo: Option<String>,
    tls: bool,
    envelope: Envelope,
}

/// What the loop does next.
enum Next {
    Command,
    StartTls,
    Close,
}

impl<'a> Session<'a> {
    fn new(house: &'a House, socket: Socket, from: SocketAddr, number: u64) -> Self {
        let wire = Wire::new(Stream::Plain(socket), house.options.idle);
        Self {
            house,
            wire,
            from,
            number,
            messages: 0,
            helo: None,
            tls: false,
            envelope: Envelope::default(),
        }
    }

    async fn run(mut self) {
        let ended = match self.house.options.longest_connection {
            Some(longest) => timeout(longest, self.dialogue()).await.unwrap_or(Err(Ended::Idle)),
            None => self.dialogue().await,
        };
        match ended {
            Ok(()) => {}
            Err(Ended::Gone) => return self.wire.flush().await.unwrap_or_default(),
            Err(Ended::Idle) => self.wire.reply("421 4.4.2 this takes too long"),
            Err(Ended::BareLineEnd) => {
                self.wire.reply("521 5.5.2 a line did not end in CRLF");
            }
            Err(Ended::LongLine) => self.wire.reply("500 5.5.2 line too long"),
        }
        self.wire.close().await;
    }

    async fn dialogue(&mut self) -> Result<(), Ended> {
        let greeting = format!("220 {} ESMTP", self.house.options.name);
        match self.house.policy.connection(self.from) {
            Action::Accept => self.wire.reply(&greeting),
            Action::Reply(reply) => {
                self.say(&reply);
                return Ok(());
            }
            Action::Stall => return self.stall().await,
            Action::Disconnect => return Ok(()),
        }
        let mut idle_commands = 0;
        while idle_commands < MAX_IDLE_COMMANDS {
            let messages = self.messages;
            let line = self.wire.line().await?;
            match self.command(&line).await? {
                Next::Command => {}
                Next::Close => return Ok(()),
                Next::StartTls => {
                    let Some(upgraded) = self.start_tls().await else { return Err(Ended::Gone) };
                    self.wire = upgraded;
                }
            }
            idle_commands = if self.messages > messages { 0 } else { idle_commands + 1 };
        }
        self.wire.reply("421 4.7.0 too many commands without a message");
        Ok(())
    }

    async fn command(&mut self, line: &[u8]) -> Result<Next, Ended> {
        let line = String::from_utf8_lossy(line);
        let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => self.hello(rest, true),
            "HELO" => self.hello(rest, false),
            "STARTTLS" => return Ok(self.offer_tls()),
            "MAIL" => return self.mail(rest).await,
            "RCPT" => return self.rcpt(rest).await,
            "DATA" => return self.data().await,
            "RSET" => {
                self.envelope = Envelope::default();
                self.wire.reply("250 2.0.0 forgotten");
            }
            "NOOP" => self.wire.reply("250 2.0.0 here"),
            "VRFY" => self.wire.reply("252 2.1.5 send it and see"),
            "QUIT" => {
                self.wire.reply("221 2.0.0 bye");
                return Ok(Next::Close);
            }
            _ => self.wire.reply("500 5.5.1 no such command"),
        }
        Ok(Next::Command)
    }

    fn hello(&mut self, name: &str, extended: bool) {
        if name.trim().is_empty() {
            self.wire.reply("501 5.5.4 who are you");
            return;
        }
        self.helo = Some(name.trim().to_owned());
        self.envelope = Envelope::default();
        let options = &self.house.options;
        if !extended {
            self.wire.reply(&format!("250 {}", options.name));
            return;
        }
        self.wire.reply(&format!("250-{}", options.name));
        if options.pipelining {
            self.wire.reply("250-PIPELINING");
        }
        if options.international {
            self.wire.reply("250-8BITMIME");
            self.wire.reply("250-SMTPUTF8");
        }
        if options.tls.is_some() && !self.tls {
            self.wire.reply("250-STARTTLS");
        }
        self.wire.reply("250-ENHANCEDSTATUSCODES");
        self.wire.reply(&format!("250 SIZE {}", options.max_message_octets));
    }

    fn offer_tls(&mut self) -> Next {
        if self.house.options.tls.is_none() || self.tls {
            self.wire.reply("502 5.5.1 not offered");
            return Next::Command;
        }
        // What was sent in clear behind STARTTLS would otherwise count as sent inside it.
        if self.wire.has_read_ahead() {
            self.wire.reply("421 4.7.0 nothing may follow STARTTLS");
            return Next::Close;
        }
        self.wire.reply("220 2.0.0 go ahead");
        Next::StartTls
    }

    async fn start_tls(&mut self) -> Option<Wire> {
        self.wire.flush().await.ok()?;
        if self.wire.has_read_ahead() {
            return None;
        }
        let acceptor = TlsAcceptor::from(Arc::clone(self.house.options.tls.as_ref()?));
        let idle = self.house.options.idle;
        let socket = self.wire.stream.take_socket()?;
        let stream = timeout(idle, acceptor.accept(socket)).await.ok()?.ok()?;
        self.tls = true;
        self.helo = None;
        self.envelope = Envelope::default();
        Some(Wire::new(Stream::Tls(Box::new(stream.into())), idle))
    }

    async fn mail(&mut self, rest: &str) -> Result<Next, Ended> {
        if self.helo.is_none() {
            self.wire.reply("503 5.5.1 EHLO first");
            return Ok(Next::Command);
        }
        if self.envelope.mail_from.is_some() {
            self.wire.reply("503 5.5.1 one message at a time");
            return Ok(Next::Command);
        }
        let Some((address, parameters)) = path(rest, "FROM:") else {
            self.wire.reply("501 5.5.4 MAIL FROM:<address>");
            return Ok(Next::Command);
        };
        let size = parameters.split(' ').find_map(|parameter| {
            let (keyword, value) = parameter.split_once('=')?;
            keyword.eq_ignore_ascii_case("SIZE").then(|| value.parse::<usize>().ok())?
        });
        if size.is_some_and(|size| size > self.house.options.max_message_octets) {
            self.wire.reply("552 5.3.4 message too large");
            return Ok(Next::Command);
        }
        let action = self.house.policy.sender(self.asked(address, ""));
        let (address, text) = (address.to_owned(), "250 2.1.0 sender ok");
        self.act(action, text, |envelope| envelope.mail_from = Some(address)).await
    }

    async fn rcpt(&mut self, rest: &str) -> Result<Next, Ended> {
        let Some(mail_from) = self.envelope.mail_from.as_deref() else {
            self.wire.reply("503 5.5.1 MAIL first");
            return Ok(Next::Command);
        };
        let Some((address, _)) = path(rest, "TO:").filter(|(address, _)| !address.is_empty())
        else {
            self.wire.reply("501 5.5.4 RCPT TO:<address>");
            return Ok(Next::Command);
        };
        if self.envelope.recipients.len() >= self.house.options.max_recipients {
            self.wire.reply("452 4.5.3 too many recipients");
            return Ok(Next::Command);
        }
        let action = self.house.policy.recipient(self.asked(mail_from, address));
        let (address, text) = (address.to_owned(), "250 2.1.5 recipient ok");
        self.act(action, text, |envelope| envelope.recipients.push(address)).await
    }

    fn asked<'b>(&'b self, mail_from: &'b str, recipient: &'b str) -> Asked<'b> {
        let helo = self.helo.as_deref().unwrap_or_default();
        Asked { from: self.from, helo, mail_from, recipient, tls: self.tls }
    }

    async fn act(
        &mut self,
        action: Action,
        accepted: &str,
        take: impl FnOnce(&mut Envelope),
    ) -> Result<Next, Ended> {
        match action {
            Action::Accept => {
                take(&mut self.envelope);
                self.wire.reply(accepted);
            }
            Action::Reply(reply) => {
                if reply.code / 100 == 2 {
                    take(&mut self.envelope);
                }
                return Ok(self.say(&reply));
            }
            Action::Stall => {
                self.stall().await?;
                return Ok(Next::Close);
            }
            Action::Disconnect => return Err(Ended::Gone),
        }
        Ok(Next::Command)
    }

    async fn data(&mut self) -> Result<Next, Ended> {
        if self.envelope.recipients.is_empty() {
            self.wire.reply("503 5.5.1 RCPT first");
            return Ok(Next::Command);
        }
        self.wire.reply("354 end with a dot");
        let limit = self.house.options.max_message_octets;
        let data = self.wire.data(limit).await?;
        let at = Instant::now();
        let envelope = std::mem::take(&mut self.envelope);
        let data = match data {
            Data::Whole(data) => data,
            Data::TooLarge => {
                self.wire.reply("552 5.3.4 message too large");
                return Ok(Next::Command);
            }
        };
        let message = Received {
            from: self.from,
            helo: self.helo.clone().unwrap_or_default(),
            mail_from: envelope.mail_from.unwrap_or_default(),
            recipients: envelope.recipients,
            data,
            tls: self.tls,
            at,
            connection: self.number,
            nth_on_connection: self.messages,
        };
        self.messages = self.messages.saturating_add(1);
        match self.house.policy.settle(&message).await {
            MessageAction::Accept => {
                let text = format!("2.0.0 taken as {}-{}", self.number, self.messages);
                Ok(self.hand_on(message, SinkReply::new(250, text)).await)
            }
            MessageAction::Reply(reply) if reply.code / 100 == 2 => {
                Ok(self.hand_on(message, reply).await)
            }
            MessageAction::Reply(reply) => Ok(self.say(&reply)),
            MessageAction::AcceptAndDisconnect => {
                // Nobody is told whether the inbox still took it.
                self.take(message).await;
                Err(Ended::Gone)
            }
            MessageAction::Disconnect => Err(Ended::Gone),
            MessageAction::Stall => {
                self.stall().await?;
                Ok(Next::Close)
            }
        }
    }

    /// Hands the message to the inbox, then answers: what got a 250 was handed over.
    async fn hand_on(&mut self, message: Received, reply: SinkReply) -> Next {
        if self.take(message).await {
            self.say(&reply)
        } else {
            self.wire.reply("451 4.3.0 nobody takes mail here any more");
            Next::Command
        }
    }

    async fn take(&self, message: Received) -> bool {
        match &self.house.inbox {
            Some(inbox) => inbox.send(message).await.is_ok(),
            None => true,
        }
    }

    fn say(&mut self, reply: &SinkReply) -> Next {
        let text: String = reply.text.chars().filter(|c| !c.is_control()).collect();
        self.wire.reply(&format!("{} {text}", reply.code));
        if reply.code == 421 { Next::Close } else { Next::Command }
    }

    /// Waits in silence until the sender gives up.
    async fn stall(&mut self) -> Result<(), Ended> {
        self.wire.flush().await?;
        loop {
            match self.wire.line().await {
                Ok(_) => {}
                // The sender is to learn nothing.
                Err(_) => return Err(Ended::Gone),
            }
        }
    }
}

/// The address between the angle brackets, and the parameters behind them.
fn path<'a>(rest: &'a str, keyword: &str) -> Option<(&'a str, &'a str)> {
    let rest = rest.trim_start();
    let (word, rest) = rest.split_at_checked(keyword.len())?;
    if !word.eq_ignore_ascii_case(keyword) {
        return None;
    }
    let (address, parameters) = rest.trim_start().strip_prefix('<')?.split_once('>')?;
    // None is in any address (RFC 5321, section 4.1.2), and what is noted of one must not hold any.
    (!address.contains(char::is_control)).then(|| (address, parameters.trim()))
}

#[cfg(test)]
mod tests {
    use super::path;

    #[test]
    fn paths_are_read_with_their_parameters() {
        assert_eq!(path("FROM:<a@b.example> SIZE=3", "FROM:"), Some(("a@b.example", "SIZE=3")));
        assert_eq!(path("from: <>", "FROM:"), Some(("", "")));
        assert_eq!(path("TO:a@b.example", "TO:"), None);
        assert_eq!(path("é", "TO:"), None);
        assert_eq!(path("TO:<a@b.ex\0ample>", "TO:"), None);
        assert_eq!(path("TO:<a\u{85}@b.example>", "TO:"), None);
    }
}
