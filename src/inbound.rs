//! The listener for bounces and complaints.
//!
//! Says at RCPT whether an address is one that this server signed or an office of its own, and at
//! the final dot 250 only for what is durable by then. Everything else is refused, so nothing is
//! ever relayed and no bounce of ours goes to anybody.

use std::{net::SocketAddr, sync::Arc};

use actors::{MailTaken, NotTaken, Platform};
use certificates::Certificate;
use mail::sink::{
    Action, Asked, MessageAction, Policy, Received, Settled, Sink, SinkOptions, SinkReply,
};

use crate::{Failure, config::Inbound, shown};

/// Recipients of one message: a report has one.
const MAX_RECIPIENTS: usize = 10;

struct Desk {
    platform: Platform,
}

impl Desk {
    async fn take(&self, message: &Received) -> MessageAction {
        let to = message.recipients.iter().filter_map(|to| self.platform.inbound_address(to));
        match self.platform.take_mail(to.collect(), message.data.clone()).await {
            Ok(taken) => {
                tracing::debug!(from = %message.from, ?taken, "mail was taken");
                let text = match taken {
                    MailTaken::Stray => "2.0.0 taken; nobody reads mail here",
                    _ => "2.0.0 taken",
                };
                MessageAction::Reply(SinkReply::new(250, text))
            }
            Err(not_taken) => {
                tracing::warn!(from = %message.from, error = %not_taken, "mail was put off");
                MessageAction::Reply(match not_taken {
                    NotTaken::Now => SinkReply::new(451, "4.3.0 try again later"),
                    NotTaken::Full => SinkReply::new(452, "4.2.2 full for now, try again later"),
                })
            }
        }
    }
}

impl Policy for Desk {
    fn recipient(&self, asked: Asked<'_>) -> Action {
        match self.platform.inbound_address(asked.recipient) {
            Some(_) => Action::Accept,
            // The same for a forged token, an unknown name and a foreign domain.
            None => Action::Reply(SinkReply::new(550, "5.1.1 no such address here")),
        }
    }

    fn settle<'a>(&'a self, message: &'a Received) -> Settled<'a> {
        Box::pin(self.take(message))
    }
}

/// A listener, and the certificate that it shows, if it has one.
pub(crate) struct Listening {
    pub(crate) sink: Sink,
    pub(crate) certificate: Option<Arc<Certificate>>,
}

/// Listens where the configuration says so.
pub(crate) async fn listen(
    settings: &Inbound,
    platform: &Platform,
) -> Result<Option<Listening>, Failure> {
    let (Some(address), Some(hostname)) = (settings.listen, platform.inbound_hostname()) else {
        return Ok(None);
    };
    let certificate =
        settings.certificate().map(|files| shown::load("inbound", files)).transpose()?;
    let options = SinkOptions {
        tls: certificate
            .as_ref()
            .map(|shown| shown.server(&[]))
            .transpose()
            .map_err(Failure::failed)?,
        name: hostname.to_string(),
        max_message_octets: settings.max_message_bytes,
        max_connections: settings.max_connections,
        max_connections_per_address: settings.max_connections_per_address,
        longest_connection: Some(settings.longest_connection.0),
        max_recipients: MAX_RECIPIENTS,
        idle: settings.idle.0,
        ..SinkOptions::default()
    };
    let desk = Arc::new(Desk { platform: platform.clone() });
    let sink = Sink::start(address, options, desk, None).await;
    let sink = sink.map_err(|error| failed(address, &error))?;
    Ok(Some(Listening { sink, certificate }))
}

fn failed(address: SocketAddr, error: &std::io::Error) -> Failure {
    Failure::failed(format!("inbound.listen: {address}: {error}"))
}
