//! What is known of receivers beyond the life of their sites: where the mail of which domain goes,
//! and what each site said last.
//!
//! It is in memory alone, so a start forgets it; nothing is decided by it but whom the alarm passes
//! over while a receiver is paused or its lane is full.

use std::{collections::HashMap, sync::Arc, time::Duration};

use model::{
    Timestamp,
    delivery::{Answer, Outcome, Stage},
};
use parking_lot::Mutex;

use crate::site::SiteKey;

/// Domains that are remembered: of more, nothing is known here.
const MOST_DOMAINS: usize = 50_000;
/// Sites whose last words are remembered; for one more, the half that spoke longest ago is
/// forgotten: one by one, each would be looked for among all.
const MOST_SITES: usize = 10_000;
/// How long it counts where the mail of a domain goes: mail hosts change.
const HEADING_TTL: Duration = Duration::from_mins(15);
/// Longest words that are kept, in characters.
const MAX_WORDS: usize = 200;

/// Where the mail of a domain goes.
#[derive(Debug, Clone)]
pub(crate) struct Heading {
    /// The site's name.
    pub(crate) site: Arc<str>,
    /// Its hosts, best first.
    pub(crate) hosts: Arc<[Box<str>]>,
    /// Whose lane it goes by.
    pub(crate) lane: Arc<SiteKey>,
    noted_at: Timestamp,
}

/// What a site said last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastReply {
    /// When.
    pub at: Timestamp,
    /// How far the attempt got.
    pub stage: Stage,
    /// The three-digit code; `None` when it did not answer.
    pub code: Option<u16>,
    /// The enhanced status code, the server's or ours.
    pub enhanced: Option<String>,
    /// Its words, or ours when it did not answer: at most 200 characters, without addresses.
    pub words: String,
    /// The mail host, once one was dialled.
    pub mx: Option<String>,
}

impl LastReply {
    fn of(outcome: &Outcome, at: Timestamp) -> Self {
        let (code, enhanced, words) = match &outcome.answer {
            Answer::Reply(reply) => (Some(reply.code), reply.enhanced, reply.text.as_str()),
            Answer::Fault(fault) => (None, Some(fault.enhanced()), fault.words()),
        };
        Self {
            at,
            stage: outcome.stage,
            code,
            enhanced: enhanced.map(|enhanced| enhanced.to_string()),
            words: without_addresses(words),
            mx: outcome.peer.as_ref().map(|peer| peer.mx.to_string()),
        }
    }
}

/// Receivers like to repeat the address that they refuse. Cut to [`MAX_WORDS`].
pub fn without_addresses(words: &str) -> String {
    let cut = words
        .char_indices()
        .nth(MAX_WORDS)
        .map_or(words, |(end, _)| words.get(..end).unwrap_or_default());
    // Nothing of it may steer a terminal.
    let plain: String = cut.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let shown = plain.split_whitespace().map(|word| if word.contains('@') { "…@…" } else { word });
    shown.collect::<Vec<_>>().join(" ")
}

#[derive(Default)]
struct Pages {
    headings: HashMap<Box<str>, Heading>,
    replies: HashMap<Box<str>, LastReply>,
}

/// The book.
#[derive(Default)]
pub(crate) struct Book(Mutex<Pages>);

impl Book {
    /// Notes where the mail of `domain` goes; whether it is known from now on.
    pub(crate) fn note<'a>(
        &self,
        domain: &str,
        (site, lane): (&str, &SiteKey),
        hosts: impl Iterator<Item = &'a str>,
        now: Timestamp,
    ) -> bool {
        let mut pages = self.0.lock();
        let fresh = |known: &Heading| now.since(known.noted_at) < HEADING_TTL;
        if let Some(known) = pages.headings.get_mut(domain) {
            if *known.site != *site {
                known.hosts = hosts.map(Into::into).collect();
                known.site = site.into();
            }
            if *known.lane != *lane {
                known.lane = Arc::new(lane.clone());
            }
            known.noted_at = now;
            return true;
        }
        if pages.headings.len() >= MOST_DOMAINS {
            pages.headings.retain(|_, known| fresh(known));
            if pages.headings.len() >= MOST_DOMAINS {
                return false;
            }
        }
        let hosts = hosts.map(Into::into).collect();
        let lane = Arc::new(lane.clone());
        let heading = Heading { site: site.into(), hosts, lane, noted_at: now };
        pages.headings.insert(domain.into(), heading);
        true
    }

    /// Where the mail of `domain` went of late.
    pub(crate) fn heading(&self, domain: &str, now: Timestamp) -> Option<Heading> {
        let pages = self.0.lock();
        let known = pages.headings.get(domain)?;
        (now.since(known.noted_at) < HEADING_TTL).then(|| known.clone())
    }

    /// Notes what a site said.
    pub(crate) fn told(&self, site: &str, outcome: &Outcome, now: Timestamp) {
        let reply = LastReply::of(outcome, now);
        let mut pages = self.0.lock();
        if let Some(known) = pages.replies.get_mut(site) {
            *known = reply;
            return;
        }
        if pages.replies.len() >= MOST_SITES {
            let mut times: Vec<Timestamp> = pages.replies.values().map(|reply| reply.at).collect();
            let (_, middle, _) = times.select_nth_unstable(MOST_SITES / 2);
            let middle = *middle;
            pages.replies.retain(|_, reply| reply.at > middle);
        }
        pages.replies.insert(site.into(), reply);
    }

    /// What every site said last.
    pub(crate) fn replies(&self) -> HashMap<Box<str>, LastReply> {
        self.0.lock().replies.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use model::{
        delivery::{Fault, Reply},
        routing::Label,
        shaping::{Limits, Shape},
    };

    use super::*;
    use crate::site::Hosts;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn refused(text: &str) -> Outcome {
        let reply = Reply { code: 451, enhanced: None, text: text.to_owned() };
        Outcome { stage: Stage::RcptTo, answer: Answer::Reply(reply), peer: None }
    }

    #[test]
    fn words_are_cut_and_hold_no_address() {
        let words = without_addresses("4.2.2 <Ada@reader.test>: mailbox   full");
        assert_eq!(words, "4.2.2 …@… mailbox full");
        assert_eq!(without_addresses("a\u{1b}[2Jb\r\nc"), "a [2Jb c");
        assert_eq!(without_addresses(&"é".repeat(500)).chars().count(), MAX_WORDS);
    }

    #[test]
    fn the_last_reply_of_each_site_is_kept_and_their_number_bounded() {
        let book = Book::default();
        for number in 0..=MOST_SITES {
            let at = NOW.plus(Duration::from_secs(number as u64));
            book.told(&format!("s{number}"), &refused("first"), at);
        }
        let replies = book.replies();
        assert!((MOST_SITES / 3..MOST_SITES).contains(&replies.len()), "{}", replies.len());
        assert_eq!(replies.get("s0"), None, "who spoke longest ago is forgotten");
        let last = format!("s{MOST_SITES}");
        assert!(replies.contains_key(&*last) && replies.contains_key("s9000"));
        book.told(&last, &Outcome::fault(Stage::Connect, Fault::Unreachable), NOW);
        let reply = book.replies()[&*last].clone();
        assert_eq!((reply.code, reply.words.as_str()), (None, Fault::Unreachable.words()));
    }

    #[test]
    fn where_mail_goes_counts_for_a_while() {
        let book = Book::default();
        let one = NonZeroU32::MIN;
        let limits = Limits { connections: one, messages_per_connection: one, per_minute: None };
        let lane = |name: &str| SiteKey {
            hosts: Hosts::Relay(Label::parse(name).unwrap()),
            shape: Shape { group: None, limits },
            pool: None,
        };
        let (first, second) = (lane("first"), lane("second"));
        assert!(book.note("a.test", ("mx1+2", &first), ["mx1", "mx2"].into_iter(), NOW));
        let later = NOW.plus(HEADING_TTL);
        assert_eq!(&*book.heading("a.test", NOW).unwrap().site, "mx1+2");
        assert!(book.heading("a.test", later).is_none());
        assert!(book.note("a.test", ("mx3", &second), ["mx3"].into_iter(), later));
        let heading = book.heading("a.test", later).unwrap();
        assert_eq!((&*heading.hosts, &*heading.lane), (&["mx3".into()][..], &second));
    }
}
