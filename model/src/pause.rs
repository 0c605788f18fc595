//! Pausing delivery: for a tenant, a sending domain, or a receiver.
//!
//! A pause holds attempts back and nothing else: messages are accepted as ever, wait, and expire
//! when their time runs out, for the time that they are paused counts. What an operator paused,
//! only an operator resumes; and an operator's pause takes the place of a user's.

use serde::{Deserialize, Serialize};

use crate::{ids::UserId, time::Timestamp};

/// Longest reason for a pause, in characters. It is sealed in events: people write names into such
/// texts.
pub const MAX_REASON_CHARACTERS: usize = 200;

/// The text is no reason for a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a reason has 1 to 200 characters, none of them a control character")]
pub struct InvalidReason;

/// Why somebody paused, in their words.
#[derive(Clone, PartialEq, Eq)]
pub struct Reason(Box<str>);

impl Reason {
    /// Reads a reason; white space around it is not part of it.
    ///
    /// # Errors
    /// It is empty, longer than [`MAX_REASON_CHARACTERS`], or has control characters.
    pub fn parse(text: &str) -> Result<Self, InvalidReason> {
        let text = text.trim();
        let fits = (1..=MAX_REASON_CHARACTERS).contains(&text.chars().count());
        let clean =
            !text.contains(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'));
        if fits && clean { Ok(Self(text.into())) } else { Err(InvalidReason) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

// Printed by mistake, it must not become a leak.
impl std::fmt::Debug for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reason(…)")
    }
}

/// Who asked for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// Somebody who runs the server.
    Operator,
    /// A user of the portal.
    User(UserId),
}

/// A pause that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// Since when.
    pub since: Timestamp,
    /// Who paused.
    pub by: Who,
}

/// An operator paused, and a user asks to resume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an operator paused this: only an operator resumes it")]
pub struct PausedByOperator;

/// Whether a pause by `by` is news. Pausing twice is pausing.
pub fn begins(held: Option<Pause>, by: Who) -> bool {
    held.is_none_or(|pause| by == Who::Operator && pause.by != Who::Operator)
}

/// Whether resuming by `by` is news. Resuming what is not paused is no fault.
///
/// # Errors
/// It is not theirs to resume.
pub fn ends(held: Option<Pause>, by: Who) -> Result<bool, PausedByOperator> {
    match held {
        None => Ok(false),
        Some(pause) if pause.by == Who::Operator && by != Who::Operator => Err(PausedByOperator),
        Some(_) => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: Who = Who::User(UserId::from_bytes([1; 16]));

    fn pause(by: Who) -> Pause {
        Pause { since: Timestamp::from_millis(1), by }
    }

    #[test]
    fn pausing_twice_is_pausing_and_an_operator_takes_over() {
        assert!(begins(None, USER) && begins(None, Who::Operator));
        assert!(!begins(Some(pause(USER)), USER));
        assert!(begins(Some(pause(USER)), Who::Operator));
        assert!(!begins(Some(pause(Who::Operator)), USER));
        assert!(!begins(Some(pause(Who::Operator)), Who::Operator));
    }

    #[test]
    fn what_an_operator_paused_only_an_operator_resumes() {
        assert_eq!(ends(None, USER), Ok(false));
        assert_eq!(ends(Some(pause(USER)), USER), Ok(true));
        assert_eq!(ends(Some(pause(USER)), Who::Operator), Ok(true));
        assert_eq!(ends(Some(pause(Who::Operator)), USER), Err(PausedByOperator));
        assert_eq!(ends(Some(pause(Who::Operator)), Who::Operator), Ok(true));
    }

    #[test]
    fn reasons_are_short_and_of_one_line() {
        assert_eq!(
            Reason::parse(" blocklisted \t").map(|r| r.as_str().to_owned()),
            Ok("blocklisted".into())
        );
        assert!(Reason::parse(&"é".repeat(MAX_REASON_CHARACTERS)).is_ok());
        for wrong in ["", "  ", "a\nb", "a\u{0}b", "a\u{2028}b", &"é".repeat(201)] {
            assert!(Reason::parse(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(format!("{:?}", Reason::parse("Ada").unwrap()), "Reason(…)");
    }
}
