//! A server with its outside, ready to be measured.

use std::{
    ops::Range,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    Outcome, Setting,
    fill::fill,
    load::{Accepting, Load},
    receiver::Receiver,
    server::{Sender, Server, Site},
};

/// Messages sent before a measurement, so that connections, caches and keys are there.
const WARM_UP: usize = 200;

/// A running server, its name server and the mail server that it delivers to.
pub(crate) struct World {
    pub(crate) site: Site,
    pub(crate) server: Server,
    pub(crate) receiver: Receiver,
    pub(crate) sender: Sender,
    // Last: the data goes when the server is gone.
    _directory: tempfile::TempDir,
}

impl World {
    /// A server with one tenant, which delivers to so many domains.
    pub(crate) async fn start(setting: &Setting, domains: usize) -> Outcome<Self> {
        Self::start_filled(setting, domains, 0).await
    }

    /// The same; the tenant has so many events already.
    pub(crate) async fn start_filled(
        setting: &Setting,
        domains: usize,
        events: usize,
    ) -> Outcome<Self> {
        let directory = directory(setting)?;
        let receiver = Receiver::start(domains).await?;
        let site = site(directory.path(), &receiver)?;
        let sender = site.sign_up(receiver.dns())?;
        if events > 0 {
            fill(&site, &sender, events).await?;
        }
        let server = Server::start(&site).await?;
        Ok(Self { site, server, receiver, sender, _directory: directory })
    }

    /// Clients of the server.
    pub(crate) fn load(&self, setting: &Setting, clients: usize, domains: usize) -> Outcome<Load> {
        let senders = Arc::from(vec![self.sender.clone()]);
        Load::new(self.server.url(), senders, clients, domains, setting.text_octets)
    }

    /// Sends and receives a few messages.
    pub(crate) async fn warm_up(&self, load: &Load) -> Outcome<()> {
        self.through(load, 0..WARM_UP).await?;
        Ok(())
    }

    /// Sends messages and waits until all have arrived.
    pub(crate) async fn through(&self, load: &Load, numbers: Range<usize>) -> Outcome<Through> {
        let before = self.receiver.received();
        let (started, count) = (Instant::now(), numbers.len());
        let accepting = load.send(numbers).await?;
        let delivered_at = self.receiver.has(before + count).await?;
        Ok(Through { accepting, delivering: delivered_at.saturating_duration_since(started) })
    }
}

/// Messages that went all the way.
pub(crate) struct Through {
    pub(crate) accepting: Accepting,
    /// From the first request to the last delivery.
    pub(crate) delivering: Duration,
}

/// A directory on the disk that is measured.
pub(crate) fn directory(setting: &Setting) -> Outcome<tempfile::TempDir> {
    Ok(match &setting.data_parent {
        Some(parent) => tempfile::tempdir_in(parent)?,
        None => tempfile::tempdir()?,
    })
}

/// A server below `directory` that delivers to `receiver`.
pub(crate) fn site(directory: &Path, receiver: &Receiver) -> Outcome<Site> {
    Site::new(directory, receiver.dns().address(), receiver.address().port(), "")
}
