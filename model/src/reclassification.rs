//! What other rules would have made of the past.
//!
//! The record says what receivers replied, which class that was given, and by which version of the
//! rules. Here recorded replies are classified anew, and the differences are added up, with whom
//! they would have put on suppression lists or left off. Nothing follows from it: events are facts.
//!
//! # Why
//! - **A reply whose words were forgotten is judged by its codes where they suffice**, and else
//!   counted as untold: a difference that is only a gap in what is known would be a wrong one.
//! - **A refusal that was put off counts as a full mailbox**: that is the one class which is not
//!   recorded as a bounce, as the mailbox is tried again.

use std::collections::BTreeMap;

use crate::{
    delivery::{BounceClass, BounceRules, Outcome, Rejection, Stage, Verdict},
    event::{RecipientHash, SealedText},
    ids::{AppId, MessageId, RecipientIndex},
    message::{Accepted, Attempt, MessageEvent, RecordedAnswer, SuppressionReason},
    suppression::{SuppressionEvent, bounce_lists},
};

/// Messages named as examples of a change.
pub const MAX_EXAMPLES: usize = 5;

/// What a reply would be now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Afresh {
    /// Of this class.
    Class(BounceClass),
    /// Not a refusal for good.
    NoBounce,
    /// It depends on words that were forgotten.
    Untold,
}

/// A recorded reply, classified anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reclassified {
    /// Of which recipient.
    pub recipient: RecipientIndex,
    /// The class that was recorded.
    pub before: BounceClass,
    /// What it would be now.
    pub afresh: Afresh,
    /// The version of the rules that it was recorded by, where that was recorded.
    pub rules: Option<u32>,
    /// Where it was said; `None` in a report.
    stage: Option<Stage>,
}

/// The words of an event that can be classified anew, sealed under the message's key.
pub fn sealed_words(event: &MessageEvent) -> Option<&SealedText> {
    let words = match event {
        MessageEvent::Bounced(bounced) => words_of(&bounced.attempt)?,
        MessageEvent::Deferred(deferred) => words_of(&deferred.attempt)?,
        MessageEvent::Returned(returned) => &returned.text,
        _ => return None,
    };
    (!words.0.is_empty()).then_some(words)
}

fn words_of(attempt: &Attempt) -> Option<&SealedText> {
    match &attempt.answer {
        RecordedAnswer::Reply { text, .. } => Some(text),
        RecordedAnswer::Fault(_) => None,
    }
}

/// Classifies what an event records; `None` for one that says of nobody "no, for good". `words`:
/// those of [`sealed_words`], opened, while they are known.
pub fn reclassify(
    event: &MessageEvent,
    words: Option<&str>,
    rules: &BounceRules,
) -> Option<Reclassified> {
    let judge = |rejection: Option<Rejection>| {
        let Some(rejection) = rejection else { return Afresh::NoBounce };
        match words {
            Some(words) => Afresh::Class(rules.class(rejection, words)),
            None => rules.class_without_words(rejection).map_or(Afresh::Untold, Afresh::Class),
        }
    };
    Some(match event {
        MessageEvent::Bounced(bounced) => {
            let attempt = &bounced.attempt;
            let afresh = match attempt.answer {
                RecordedAnswer::Reply { code, enhanced, .. } => {
                    judge(Rejection::in_session(attempt.stage, code, enhanced))
                }
                RecordedAnswer::Fault(fault) => {
                    match Outcome::fault(attempt.stage, fault).verdict() {
                        Verdict::Bounced(class) => Afresh::Class(class),
                        _ => Afresh::NoBounce,
                    }
                }
            };
            let (recipient, before) = (attempt.recipient, bounced.class);
            let (rules, stage) = (bounced.rules, Some(attempt.stage));
            Reclassified { recipient, before, afresh, rules, stage }
        }
        MessageEvent::Deferred(deferred) => {
            let attempt = &deferred.attempt;
            let RecordedAnswer::Reply { code, enhanced, .. } = attempt.answer else { return None };
            let rejection = Rejection::in_session(attempt.stage, code, enhanced)?;
            Reclassified {
                recipient: attempt.recipient,
                before: BounceClass::MailboxFull,
                afresh: judge(Some(rejection)),
                rules: None,
                stage: Some(attempt.stage),
            }
        }
        MessageEvent::Returned(returned) => Reclassified {
            recipient: returned.recipient,
            before: returned.class,
            afresh: judge(Some(Rejection::reported(returned.code, returned.enhanced))),
            rules: returned.rules,
            stage: None,
        },
        _ => return None,
    })
}

/// A class that became another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Change {
    /// How many replies.
    pub count: u64,
    /// The first of their messages, at most [`MAX_EXAMPLES`].
    pub messages: Vec<MessageId>,
}

/// An address that would stand otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The app whose list it is.
    pub app: AppId,
    /// By which the address is found.
    pub recipient: RecipientHash,
    /// A message whose reply makes the difference.
    pub message: MessageId,
    /// Whether it is on the list at the end of the record.
    pub listed: bool,
}

/// An address of an app, and what says that nobody is there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Gone {
    /// As it was recorded.
    recorded: u64,
    /// As it would be.
    afresh: u64,
    /// The first message in which the two differ.
    differs: Option<MessageId>,
}

/// How an address stands on a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Entry {
    now: Option<SuppressionReason>,
    was_for_bounce: bool,
}

/// The differences, added up over the record from its beginning.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Comparison {
    /// Replies that were classified anew.
    pub replies: u64,
    /// Those whose class stays.
    pub unchanged: u64,
    /// Those of which nothing can be said, as their words were forgotten.
    pub untold: u64,
    /// How many were recorded by which version of the rules.
    pub recorded_by: BTreeMap<Option<u32>, u64>,
    /// What became what.
    pub changes: BTreeMap<(BounceClass, Afresh), Change>,
    gone: BTreeMap<(AppId, RecipientHash), Gone>,
    entries: BTreeMap<(AppId, RecipientHash), Entry>,
}

impl Comparison {
    /// Takes in a reply of a message. One that is not `asked` for, outside of the time that is
    /// compared, counts for the suppression lists alone, and as it was recorded.
    pub fn take(
        &mut self,
        message: MessageId,
        accepted: &Accepted,
        reply: &Reclassified,
        asked: bool,
    ) {
        let Reclassified { recipient, before, afresh, rules, stage } = *reply;
        let afresh = if asked { afresh } else { Afresh::Class(before) };
        if asked {
            self.replies += 1;
            // A refusal that was put off records no version.
            if before != BounceClass::MailboxFull || stage.is_none() {
                *self.recorded_by.entry(rules).or_default() += 1;
            }
            match afresh {
                Afresh::Class(class) if class == before => self.unchanged += 1,
                Afresh::Untold => self.untold += 1,
                _ => {
                    let change = self.changes.entry((before, afresh)).or_default();
                    change.count += 1;
                    if change.messages.len() < MAX_EXAMPLES {
                        change.messages.push(message);
                    }
                }
            }
        }
        let recorded = bounce_lists(before, stage, accepted);
        let now = match afresh {
            Afresh::Class(class) => bounce_lists(class, stage, accepted),
            Afresh::NoBounce => false,
            Afresh::Untold => recorded,
        };
        let known = accepted.recipients.get(recipient.as_usize());
        if let Some(known) = known.filter(|_| recorded || now) {
            let nobody = Gone { recorded: 0, afresh: 0, differs: None };
            let gone = self.gone.entry((accepted.app, known.hash)).or_insert(nobody);
            gone.recorded += u64::from(recorded);
            gone.afresh += u64::from(now);
            if recorded != now {
                gone.differs.get_or_insert(message);
            }
        }
    }

    /// Takes in what happened to an address on a list.
    pub fn list(&mut self, event: &SuppressionEvent) {
        match event {
            SuppressionEvent::SuppressionAdded(added) => {
                let entry = self.entries.entry((added.app, added.recipient)).or_default();
                entry.now = Some(added.reason);
                entry.was_for_bounce |= added.reason == SuppressionReason::Bounce;
            }
            SuppressionEvent::SuppressionRemoved(removed) => {
                let entry = self.entries.entry((removed.app, removed.recipient)).or_default();
                entry.now = None;
            }
        }
    }

    /// Who was listed for a bounce and would not have been.
    pub fn not_listed(&self) -> impl Iterator<Item = Moved> {
        self.moved(|gone, entry| gone.recorded > 0 && gone.afresh == 0 && entry.was_for_bounce)
    }

    /// Who is not listed, for all mail, and would have been.
    pub fn newly_listed(&self) -> impl Iterator<Item = Moved> {
        self.moved(|gone, entry| {
            let free = entry.now.is_none_or(|reason| reason.yields_to(SuppressionReason::Bounce));
            gone.recorded == 0 && gone.afresh > 0 && free
        })
    }

    fn moved(&self, wanted: impl Fn(&Gone, Entry) -> bool) -> impl Iterator<Item = Moved> {
        self.gone.iter().filter_map(move |(key, gone)| {
            let entry = self.entries.get(key).copied().unwrap_or_default();
            let message = gone.differs.filter(|_| wanted(gone, entry))?;
            let (app, recipient) = *key;
            Some(Moved { app, recipient, message, listed: entry.now.is_some() })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::{Event, StreamId, delivery::TextRule, suppression::SuppressionAdded};

    fn event(json: &str) -> MessageEvent {
        let stream = StreamId::Message(MessageId::from_bytes([8; 16]));
        match Event::decode(stream, json.as_bytes()).unwrap() {
            Event::Message(event) => event,
            other => panic!("{other:?}"),
        }
    }

    fn answered(kind: &str, stage: &str, reply: &str, more: &str) -> MessageEvent {
        event(&format!(
            r#"{{"type":"message.{kind}","v":1,"recipient":0,"attempt":1,"stage":"{stage}",
                "reply":{{{reply},"text":"c2VhbGVk"}},{more}}}"#
        ))
    }

    fn accepted(recipients: usize) -> Accepted {
        let json = include_str!("../tests/golden/message.accepted+least.json");
        let MessageEvent::Accepted(mut accepted) = event(json) else { panic!() };
        let one = accepted.recipients[0].clone();
        accepted.recipients = vec![one; recipients];
        accepted
    }

    /// The shipped rules, and one phrase more.
    fn with(phrase: &'static str, means: BounceClass) -> BounceRules {
        let mut rules = BounceRules { version: 2, ..BounceRules::shipped().clone() };
        let says = Cow::Owned(vec![Cow::Borrowed(phrase)]);
        rules.text.to_mut().insert(0, TextRule { means, mend: None, says, source: "".into() });
        rules
    }

    #[test]
    fn a_recorded_reply_is_judged_by_the_rules_at_hand() {
        let refused = answered("bounced", "rcpt_to", r#""code":550"#, r#""class":"recipient""#);
        let judged = |words, rules: &BounceRules| {
            let judged = reclassify(&refused, words, rules).unwrap();
            assert_eq!((judged.before, judged.rules), (BounceClass::Recipient, None));
            judged.afresh
        };
        let (shipped, other) =
            (BounceRules::shipped(), with("greylisted for ever", BounceClass::Policy));
        let words = Some("Greylisted for ever");
        assert_eq!(judged(words, shipped), Afresh::Class(BounceClass::Recipient));
        assert_eq!(judged(words, &other), Afresh::Class(BounceClass::Policy));
        assert_eq!(judged(None, &other), Afresh::Untold);
        assert_eq!(sealed_words(&refused), Some(&SealedText("c2VhbGVk".into())));
    }

    #[test]
    fn what_was_put_off_as_a_full_mailbox_is_judged_and_other_delays_are_not() {
        let put_off = |stage, reply| answered("deferred", stage, reply, r#""next_attempt_at":1"#);
        let full = put_off("rcpt_to", r#""code":552,"enhanced":"5.2.2""#);
        let judged = reclassify(&full, Some(""), BounceRules::shipped()).unwrap();
        let full = BounceClass::MailboxFull;
        assert_eq!((judged.before, judged.afresh), (full, Afresh::Class(full)));
        for (stage, reply) in [
            ("rcpt_to", r#""code":451"#),
            ("greeting", r#""code":554"#),
            ("rcpt_to", r#""code":552,"enhanced":"5.5.3""#),
        ] {
            assert_eq!(reclassify(&put_off(stage, reply), Some(""), BounceRules::shipped()), None);
        }
        let fault = r#"{"type":"message.bounced","v":1,"recipient":0,"attempt":1,"stage":"dns",
            "fault":"null_mx","class":"policy","rules":1}"#;
        let judged = reclassify(&event(fault), None, BounceRules::shipped()).unwrap();
        assert_eq!(judged.afresh, Afresh::Class(BounceClass::Recipient));
        assert_eq!(judged.rules, Some(1));
    }

    #[test]
    fn differences_are_added_up_and_addresses_move() {
        let rules = with("moved to tahiti", BounceClass::Policy);
        let (accepted, message) = (accepted(1), MessageId::from_bytes([7; 16]));
        let listed = SuppressionEvent::from(SuppressionAdded {
            tenant: accepted.tenant,
            app: accepted.app,
            recipient: accepted.recipients[0].hash,
            reason: SuppressionReason::Bounce,
            address: None,
        });
        let gone = answered("bounced", "rcpt_to", r#""code":550"#, r#""class":"recipient""#);
        let judge = |words| reclassify(&gone, words, &rules).unwrap();
        let mut comparison = Comparison::default();
        comparison.list(&listed);
        comparison.take(message, &accepted, &judge(Some("moved to Tahiti")), true);
        comparison.take(message, &accepted, &judge(None), true);
        assert_eq!((comparison.replies, comparison.untold), (2, 1));
        let key = (BounceClass::Recipient, Afresh::Class(BounceClass::Policy));
        let change = Change { count: 1, messages: vec![message] };
        assert_eq!(comparison.changes, BTreeMap::from([(key, change)]));
        // The other reply may well have said so.
        assert_eq!(comparison.not_listed().count(), 0);

        let mut comparison = Comparison::default();
        comparison.list(&listed);
        comparison.take(message, &accepted, &judge(Some("moved to Tahiti")), true);
        let moved: Vec<_> = comparison.not_listed().collect();
        assert!(moved.len() == 1 && moved[0].listed && moved[0].message == message, "{moved:?}");
        // A reply outside of the time that is compared holds it there.
        comparison.take(message, &accepted, &judge(Some("moved to Tahiti")), false);
        assert_eq!(comparison.not_listed().count(), 0);
    }

    #[test]
    fn who_would_be_listed_is_told_unless_they_are() {
        let rules = with("left the building", BounceClass::Recipient);
        let refused = answered("bounced", "end_of_data", r#""code":550"#, r#""class":"content""#);
        let reply = reclassify(&refused, Some("Elvis left the building"), &rules).unwrap();
        let message = MessageId::from_bytes([7; 16]);
        let mut comparison = Comparison::default();
        // It names nobody of several.
        comparison.take(message, &accepted(2), &reply, true);
        assert_eq!(comparison.newly_listed().count(), 0);
        comparison.take(message, &accepted(1), &reply, true);
        assert_eq!(comparison.newly_listed().count(), 1);
        let (accepted, reason) = (accepted(1), SuppressionReason::Complaint);
        comparison.list(&SuppressionEvent::from(SuppressionAdded {
            tenant: accepted.tenant,
            app: accepted.app,
            recipient: accepted.recipients[0].hash,
            reason,
            address: None,
        }));
        assert_eq!(comparison.newly_listed().count(), 0);
    }
}
