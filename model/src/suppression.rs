//! The suppression list: whom an app does not write to.
//!
//! Each address of each app is an aggregate of its own, named by a keyed hash of the two: adding
//! one of a million looks at one stream, not at a list.

use serde::{Deserialize, Serialize};

use crate::{
    event::{RecipientHash, SealedText, events},
    ids::{AppId, TenantId},
    message::SuppressionReason,
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
    /// The address, sealed.
    pub address: SealedText,
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
}

/// Why a command is not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not on the list.
    #[error("the address is not on the list")]
    Unknown,
}

/// The events that `command` leads to, or why it is refused. Who is on the list already stays
/// there for the reason that came first.
pub fn decide(
    suppression: &Suppression,
    command: &Command,
) -> Result<Vec<SuppressionEvent>, Refusal> {
    match (command, &suppression.listed) {
        (Command::Add(_), Some(_)) => Ok(Vec::new()),
        (Command::Add(added), None) => Ok(vec![added.clone().into()]),
        (Command::Remove, None) => Err(Refusal::Unknown),
        (Command::Remove, Some(SuppressionAdded { tenant, app, recipient, .. })) => {
            let (tenant, app, recipient) = (*tenant, *app, *recipient);
            Ok(vec![SuppressionRemoved { tenant, app, recipient }.into()])
        }
    }
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
            address: SealedText("sealed".into()),
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
                crate::Event::decode(stream, &event.encode()).unwrap()
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
    fn who_was_taken_off_can_be_listed_again() {
        let mut given = vec![added(SuppressionReason::Complaint).into()];
        assert_eq!(decided(&given, &Command::Remove), Ok(vec![removed().into()]));
        given.push(removed().into());
        assert_eq!(decided(&given, &Command::Remove), Err(Refusal::Unknown));
        let again = added(SuppressionReason::Manual);
        assert_eq!(decided(&given, &Command::Add(again.clone())), Ok(vec![again.into()]));
    }
}
