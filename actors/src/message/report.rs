//! What reports say of a message: it came back, or somebody complains.

use model::{
    By, RecipientIndex,
    delivery::Diagnosis,
    event::{RecipientHash, SealedText},
    message::{Accepted, Command, Returning},
};

use super::State;

/// Of whom a report speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Whom {
    /// The signed address names them.
    Recipient(RecipientIndex),
    /// Those of these keyed hashes that the message went to; others are claims about somebody else.
    Among(Vec<RecipientHash>),
}

/// What a report says of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// They did not get it.
    Returned(Diagnosis),
    /// They did not want it.
    Complained,
}

/// One thing that a report says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) whom: Whom,
    pub(crate) said: Said,
}

impl State {
    /// Records what is new of it; of how many recipients. `None`: it is not durable.
    pub(super) async fn report(&mut self, claims: Vec<Claim>) -> Option<usize> {
        let loaded = self.loaded().await?;
        let Some((_, accepted)) = loaded.state().accepted() else { return Some(0) };
        let (mut returned, mut complained) = (Vec::new(), Vec::new());
        for Claim { whom, said } in claims {
            for recipient in recipients(&whom, accepted) {
                match &said {
                    Said::Returned(diagnosis) => returned.push((recipient, diagnosis.clone())),
                    Said::Complained => complained.push(recipient),
                }
            }
        }
        let mut recorded = 0;
        if !returned.is_empty() {
            let returning = self.seal_diagnoses(returned).await;
            recorded += self.record_report(&Command::RecordReturn(returning)).await?;
        }
        if !complained.is_empty() {
            recorded += self.record_report(&Command::RecordComplaint(complained)).await?;
        }
        Some(recorded)
    }

    async fn record_report(&mut self, command: &Command) -> Option<usize> {
        let events = self.record(command, By::Report).await?;
        self.count(&events);
        Some(events.len())
    }

    async fn seal_diagnoses(
        &mut self,
        returned: Vec<(RecipientIndex, Diagnosis)>,
    ) -> Vec<Returning> {
        let id = self.id();
        let key = self.content().await.ok().map(|content| content.head.reply_key);
        let seal = |text: &str| {
            let key = eventlog::ReplyKey::from_bytes(key?);
            key.seal(id.as_bytes(), text.as_bytes()).ok()
        };
        returned
            .into_iter()
            .map(|(recipient, diagnosis)| {
                let sealed = seal(&diagnosis.text).map_or(String::new(), |text| text.to_base64());
                Returning { recipient, diagnosis, sealed_text: SealedText(sealed.into()) }
            })
            .collect()
    }
}

fn recipients(whom: &Whom, accepted: &Accepted) -> Vec<RecipientIndex> {
    match whom {
        Whom::Recipient(recipient) => vec![*recipient],
        Whom::Among(hashes) => (0_u8..)
            .map(RecipientIndex)
            .zip(&accepted.recipients)
            .filter(|(_, recipient)| hashes.contains(&recipient.hash))
            .map(|(index, _)| index)
            .collect(),
    }
}
