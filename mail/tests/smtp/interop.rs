//! The client against a server that others wrote: Python's aiosmtpd, where it is installed.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use mail::smtp::{ClientOptions, Envelope, TlsClient, connect};
use model::{
    address::EmailAddress,
    delivery::{Outcome, Stage, Verdict},
};

/// Receives one message and prints what it got as a line of numbers.
const RECEIVER: &str = "
import asyncio, sys
from aiosmtpd.smtp import SMTP
class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith('bob'):
            return '550 5.1.1 no bob'
        envelope.rcpt_tos.append(address)
        return '250 2.1.5 ok'
    async def handle_DATA(self, server, session, envelope):
        print(list(envelope.content), flush=True)
        return '250 2.0.0 got it'
async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(Handler(), hostname='mx.receiver.example', enable_SMTPUTF8=True),
        '127.0.0.1', 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
";

/// Ends the process that this test started.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test]
async fn aiosmtpd_gets_what_was_sent() {
    let python = std::env::var("AIOSMTPD_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let child = Command::new(python)
        .args(["-c", RECEIVER])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else {
        println!("skipped: there is no python3");
        return;
    };
    let mut printed = BufReader::new(child.stdout.take().unwrap()).lines();
    let _ended = Ended(child);
    let Some(Ok(port)) = printed.next() else {
        println!("skipped: python3 has no aiosmtpd (AIOSMTPD_PYTHON names another python)");
        return;
    };
    let mut options = ClientOptions::new("out.lumora.example".parse().unwrap());
    options.port = port.parse().unwrap();
    let client = TlsClient::new(&[]).unwrap();
    let home = "127.0.0.1".parse().unwrap();
    let mut connection = connect("mx.receiver.example", home, &options, &client).await.unwrap();
    let recipients: [EmailAddress; 3] =
        ["ada@b.example", "bob@b.example", "eve@b.example"].map(|text| text.parse().unwrap());
    let envelope =
        Envelope { sender: Some(&recipients[0]), recipients: &recipients, smtputf8: false };
    for message in
        [&b"Subject: x\r\n\r\n.dot\r\n..\r\n.\r\nend\r\n"[..], b"Subject: y\r\n\r\n\r\n\r\n"]
    {
        let transaction = connection.deliver(&envelope, &[message]).await;
        let verdicts: Vec<Verdict> = transaction.outcomes.iter().map(Outcome::verdict).collect();
        assert_eq!((verdicts[0], verdicts[2]), (Verdict::Delivered, Verdict::Delivered));
        assert_eq!(transaction.outcomes[1].stage, Stage::RcptTo);
        assert_eq!(printed.next().unwrap().unwrap(), format!("{message:?}"));
    }
    connection.quit().await;
}
