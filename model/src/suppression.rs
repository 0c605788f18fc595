//! The suppression list: whom an app does not write to.
//!
//! Each address of each app is an aggregate of its own, named by a keyed hash of the two: adding
//! one of a million looks at one stream, not at a list.

use serde::{Deserialize, Serialize};

use crate::{
    delivery::{BounceClass, Stage},
    event::{RecipientHash, SealedText, events},
    ids::{AppId, RecipientIndex, TenantId},
    message::{Accepted, MessageEvent, SuppressionReason},
};

events! {
    /// An event of an address on the list.
    SuppressionEvent {
        /// The app does not write to the address from now on.
        SuppressionAdded = "suppression.added" v 1,
        /// It may again.
        SuppressionRemoved = "suppression.removed" v 1,
    }
}

/// See [`SuppressionEvent::SuppressionAdded`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuppressionAdded {
    /// Whose app it is.
    pub tenant: TenantId,
    /// The app that does not write to it.
    pub app: AppId,
    /// By which the address is found.
    pub recipient: RecipientHash,
    /// Why.
    pub reason: SuppressionReason,
    /// The address, sealed, as it was recorded before it became content: that lies beside the
    /// event, and is absent when it was not known any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<SealedText>,
}

/// See [`SuppressionEvent::SuppressionRemoved`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuppressionRemoved {
    /// Whose app it is.
    pub tenant: TenantId,
    /// The app that may write to it again.
    pub app: AppId,
    /// By which the address was found.
    pub recipient: RecipientHash,
}

/// An address folded from its events. [`Suppression::default`] is one that was never on the list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Suppression {
    listed: Option<SuppressionAdded>,
}

impl Suppression {
    /// Takes in what happened.
    pub fn evolve(&mut self, event: &SuppressionEvent) {
        self.listed = match event {
            SuppressionEvent::SuppressionAdded(added) => Some(added.clone()),
            SuppressionEvent::SuppressionRemoved(_) => None,
        };
    }

    /// Why it is on the list, if it is.
    pub fn listed(&self) -> Option<&SuppressionAdded> {
        self.listed.as_ref()
    }
}

/// What somebody wants of an address.
#[derive(Debug, Clone)]
pub enum Command {
    /// Put it on the list.
    Add(SuppressionAdded),
    /// Take it off.
    Remove,
    /// Keep it on the list without knowing who it is.
    Forget,
}

/// Why a command is not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not on the list.
    #[error("the address is not on the list")]
    Unknown,
}

/// The events that `command` leads to, or why it is refused. Who is on the list already stays
/// there for the reason that came first, but for one that only holds for bulk mail.
pub fn decide(
    suppression: &Suppression,
    command: &Command,
) -> Result<Vec<SuppressionEvent>, Refusal> {
    match (command, &suppression.listed) {
        (Command::Add(added), Some(listed)) if !listed.reason.yields_to(added.reason) => {
            Ok(Vec::new())
        }
        (Command::Add(added), _) => Ok(vec![added.clone().into()]),
        // What was sealed into an event stays there; from here on the list goes by another.
        (Command::Forget, Some(listed)) if listed.address.is_some() => {
            let SuppressionAdded { tenant, app, recipient, .. } = *listed;
            let added = SuppressionAdded { address: None, ..listed.clone() };
            Ok(vec![SuppressionRemoved { tenant, app, recipient }.into(), added.into()])
        }
        (Command::Forget, _) => Ok(Vec::new()),
        (Command::Remove, None) => Err(Refusal::Unknown),
        (Command::Remove, Some(SuppressionAdded { tenant, app, recipient, .. })) => {
            let (tenant, app, recipient) = (*tenant, *app, *recipient);
            Ok(vec![SuppressionRemoved { tenant, app, recipient }.into()])
        }
    }
}

/// Whom the app does not write to any more, now that `event` happens to a message of its.
///
/// An answer to the message as a whole names nobody when several were to get it: then nobody is
/// listed for it.
pub fn follows_from(
    event: &MessageEvent,
    accepted: &Accepted,
) -> Option<(RecipientIndex, SuppressionReason)> {
    let (recipient, class, stage) = match event {
        MessageEvent::Bounced(bounced) => {
            (bounced.attempt.recipient, bounced.class, Some(bounced.attempt.stage))
        }
        MessageEvent::Returned(returned) => (returned.recipient, returned.class, None),
        MessageEvent::Complained(complained) => {
            return Some((complained.recipient, SuppressionReason::Complaint));
        }
        _ => return None,
    };
    let listed = bounce_lists(class, stage, accepted);
    listed.then_some((recipient, SuppressionReason::Bounce))
}

/// Whether a bounce of this class lists its recipient: said at this stage, or by a report (`None`),
/// which names whom it is about.
pub(crate) fn bounce_lists(class: BounceClass, stage: Option<Stage>, accepted: &Accepted) -> bool {
    let names_one = stage.is_none_or(|stage| matches!(stage, Stage::Dns | Stage::RcptTo))
        || accepted.recipients.len() == 1;
    class.suppresses() && names_one
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(reason: SuppressionReason) -> SuppressionAdded {
        SuppressionAdded {
            tenant: TenantId::from_bytes([1; 16]),
            app: AppId::from_bytes([2; 16]),
            recipient: crate::event::KeyedHash([3; 16]),
            reason,
            address: Some(SealedText("sealed".into())),
        }
    }

    fn removed() -> SuppressionRemoved {
        let SuppressionAdded { tenant, app, recipient, .. } = added(SuppressionReason::Manual);
        SuppressionRemoved { tenant, app, recipient }
    }

    fn decided(
        given: &[SuppressionEvent],
        when: &Command,
    ) -> Result<Vec<SuppressionEvent>, Refusal> {
        let stream = crate::StreamId::Suppression(crate::SuppressionId::from_bytes([9; 16]));
        let mut state = Suppression::default();
        for event in given {
            let crate::Event::Suppression(read) =
                crate::Event::decode(stream, &event.encode(&crate::By::CommandLine.into()))
                    .unwrap()
            else {
                panic!("a suppression's event")
            };
            assert_eq!(&read, event);
            state.evolve(&read);
        }
        decide(&state, when)
    }

    #[test]
    fn who_is_listed_stays_for_the_first_reason() {
        let first = added(SuppressionReason::Bounce);
        let add = Command::Add(first.clone());
        assert_eq!(decided(&[], &add), Ok(vec![first.clone().into()]));
        let again = Command::Add(added(SuppressionReason::Manual));
        assert_eq!(decided(&[first.into()], &again), Ok(vec![]));
    }

    #[test]
    fn who_is_forgotten_stays_listed_by_the_hash_alone() {
        let known = added(SuppressionReason::Complaint);
        let unknown = SuppressionAdded { address: None, ..known.clone() };
        let forgotten = decided(&[known.into()], &Command::Forget);
        assert_eq!(forgotten, Ok(vec![removed().into(), unknown.clone().into()]));
        assert_eq!(decided(&[unknown.into()], &Command::Forget), Ok(vec![]));
        assert_eq!(decided(&[], &Command::Forget), Ok(vec![]));
    }

    #[test]
    fn a_reason_for_all_mail_takes_the_place_of_one_for_bulk_mail() {
        let unsubscribed = added(SuppressionReason::Unsubscribe);
        let given = [unsubscribed.clone().into()];
        assert_eq!(decided(&given, &Command::Add(unsubscribed)), Ok(vec![]));
        let bounced = added(SuppressionReason::Bounce);
        let both = [given[0].clone(), bounced.clone().into()];
        assert_eq!(decided(&given, &Command::Add(bounced.clone())), Ok(vec![bounced.into()]));
        let again = Command::Add(added(SuppressionReason::Unsubscribe));
        assert_eq!(decided(&both, &again), Ok(vec![]));
    }

    #[test]
    fn who_was_taken_off_can_be_listed_again() {
        let mut given = vec![added(SuppressionReason::Complaint).into()];
        assert_eq!(decided(&given, &Command::Remove), Ok(vec![removed().into()]));
        given.push(removed().into());
        assert_eq!(decided(&given, &Command::Remove), Err(Refusal::Unknown));
        let again = added(SuppressionReason::Manual);
        assert_eq!(decided(&given, &Command::Add(again.clone())), Ok(vec![again.into()]));
    }

    #[test]
    fn an_answer_to_the_whole_message_names_nobody_of_several() {
        use crate::{Event, MessageId, RecipientIndex, StreamId};
        let read = |text: &[u8]| {
            let stream = StreamId::Message(MessageId::from_bytes([8; 16]));
            let Event::Message(event) = Event::decode(stream, text).unwrap() else { panic!() };
            event
        };
        let accepted = include_bytes!("../tests/golden/message.accepted+least.json");
        let MessageEvent::Accepted(mut accepted) = read(accepted) else { panic!() };
        let bounced = include_bytes!("../tests/golden/message.bounced.json");
        let MessageEvent::Bounced(mut bounced) = read(bounced) else { panic!() };
        bounced.attempt.recipient = RecipientIndex(0);
        accepted.recipients.truncate(1);
        let mut listed = |recipients: usize, stage, class| {
            let one = accepted.recipients[0].clone();
            accepted.recipients = vec![one; recipients];
            (bounced.attempt.stage, bounced.class) = (stage, class);
            follows_from(&bounced.clone().into(), &accepted).is_some()
        };
        assert!(listed(2, Stage::RcptTo, BounceClass::Recipient));
        assert!(listed(2, Stage::Dns, BounceClass::Recipient));
        assert!(listed(1, Stage::EndOfData, BounceClass::Recipient));
        assert!(!listed(2, Stage::EndOfData, BounceClass::Recipient));
        for class in BounceClass::ALL.into_iter().filter(|class| !class.suppresses()) {
            assert!(!listed(1, Stage::RcptTo, class), "{class:?}");
        }
    }
}
