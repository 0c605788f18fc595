//! TLS sessions with receivers' mail hosts, counted as their domains are told of them (RFC 8460).
//!
//! # Why
//! - **A session is a connection, not a message**: what goes over a connection that is kept says
//!   nothing new of TLS (RFC 8460, section 4.4 counts negotiated connections). Recipients of one
//!   transaction share theirs; an attempt that tried several mail hosts tells of the last one.
//! - **A host that offers no STARTTLS is a failure also where no policy asks for it**: the report
//!   is how its domain learns that it is spoken to in clear.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    delivery::{Peer, Stage, TlsFailure, TlsRule},
    time::Timestamp,
};

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// A day in UTC: what a report is about (RFC 8460, section 4.1). Written as `YYYY-MM-DD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(u32);

/// The text was not a date between 1970 and 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a date: expected YYYY-MM-DD")]
pub struct InvalidDay;

impl Day {
    /// The day of this moment.
    pub fn of(at: Timestamp) -> Self {
        Self(u32::try_from(at.as_millis() / DAY_MS).unwrap_or(u32::MAX))
    }

    /// The day so many days after 1970-01-01.
    pub const fn from_number(number: u32) -> Self {
        Self(number)
    }

    /// How many days after 1970-01-01.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// Its first moment.
    pub fn start(self) -> Timestamp {
        Timestamp::from_millis(u64::from(self.0) * DAY_MS)
    }

    /// The one before; that before 1970-01-01 is the same.
    #[must_use]
    pub const fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// The one after.
    #[must_use]
    pub const fn after(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = self.start().to_string();
        f.write_str(start.split_once('T').map_or(&*start, |(date, _)| date))
    }
}

impl FromStr for Day {
    type Err = InvalidDay;

    fn from_str(text: &str) -> Result<Self, InvalidDay> {
        let start = format!("{text}T00:00:00Z").parse::<Timestamp>().map_err(|_| InvalidDay)?;
        let day = Self::of(start);
        if day.to_string() == text { Ok(day) } else { Err(InvalidDay) }
    }
}

/// Different failures of one domain, day and policy type that are told apart; hosts and addresses
/// of further ones are not kept.
pub const MAX_FAILURES: usize = 32;

/// By which policy of the receiver a session was to be judged (RFC 8460, section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyType {
    /// Its TLSA records.
    Tlsa,
    /// Its MTA-STS policy.
    Sts,
    /// There was none.
    NoPolicyFound,
}

impl PolicyType {
    /// The `policy-type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tlsa => "tlsa",
            Self::Sts => "sts",
            Self::NoPolicyFound => "no-policy-found",
        }
    }
}

/// What went wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FailureDetail {
    /// What.
    pub failure: TlsFailure,
    /// The address that the host was dialled from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
    /// The mail host; `None` where there were too many to tell apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mx: Option<Box<str>>,
    /// Its address, where one was dialled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
}

impl FailureDetail {
    /// What says more than the result type does, if anything (`failure-reason-code`).
    pub const fn reason_code(&self) -> Option<&'static str> {
        match self.failure {
            TlsFailure::MxNotInPolicy => Some("mx-not-in-policy"),
            _ => None,
        }
    }
}

/// One session, or an attempt at one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Session {
    /// By what it was to be judged.
    pub policy: PolicyType,
    /// What was wrong, if anything was.
    pub failure: Option<FailureDetail>,
}

impl Session {
    /// The session that an attempt tells of; `None` when it tells of none: the host is not the
    /// receiver's, the connection was counted before, or it was lost before TLS had its turn.
    pub fn of(stage: Stage, peer: &Peer) -> Option<Self> {
        if peer.reused || peer.relay {
            return None;
        }
        let failure = match (peer.tls_failure, &peer.tls, stage) {
            (Some(failure), ..) => Some(failure),
            (None, Some(_), _) => None,
            (None, None, Stage::Dns | Stage::Connect | Stage::Greeting | Stage::Hello) => {
                return None;
            }
            (None, None, Stage::StartTls) => Some(TlsFailure::ValidationFailure),
            (
                None,
                None,
                Stage::Auth
                | Stage::MailFrom
                | Stage::RcptTo
                | Stage::Data
                | Stage::Transfer
                | Stage::EndOfData,
            ) => Some(TlsFailure::StarttlsNotSupported),
        };
        let detail = |failure| FailureDetail {
            failure,
            from: peer.from,
            mx: Some(peer.mx.clone()),
            ip: peer.ip,
        };
        Some(Self { policy: policy_of(peer, failure), failure: failure.map(detail) })
    }
}

const fn policy_of(peer: &Peer, failure: Option<TlsFailure>) -> PolicyType {
    match (failure, peer.tls_rule) {
        // A policy that could not be had made no rule.
        (
            Some(
                TlsFailure::StsPolicyFetchError
                | TlsFailure::StsPolicyInvalid
                | TlsFailure::StsWebpkiInvalid,
            ),
            _,
        )
        | (_, Some(TlsRule::MtaSts | TlsRule::MtaStsTesting)) => PolicyType::Sts,
        (_, Some(TlsRule::Dane)) => PolicyType::Tlsa,
        // What the sender demands is no policy of the receiver.
        (_, Some(TlsRule::Required) | None) => PolicyType::NoPolicyFound,
    }
}

/// Sessions that were judged by one policy type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicySessions {
    /// By which.
    pub policy: PolicyType,
    /// How many came to stand as the policy wants.
    pub successful: u64,
    /// How many did not, by what was wrong; in the order of what.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<(FailureDetail, u64)>,
}

impl PolicySessions {
    /// How many did not come to stand as the policy wants.
    pub fn failures(&self) -> u64 {
        self.failed.iter().map(|(_, count)| count).sum()
    }

    fn fail(&mut self, detail: FailureDetail) {
        let place = self.failed.binary_search_by(|(known, _)| known.cmp(&detail));
        let place = match place {
            Err(_) if self.failed.len() >= MAX_FAILURES && detail.mx.is_some() => {
                let failure = detail.failure;
                return self.fail(FailureDetail { failure, from: None, mx: None, ip: None });
            }
            place => place,
        };
        match place {
            Ok(known) => {
                if let Some((_, count)) = self.failed.get_mut(known) {
                    *count = count.saturating_add(1);
                }
            }
            Err(place) => self.failed.insert(place, (detail, 1)),
        }
    }
}

/// The sessions with the mail hosts of one receiver's domain on one day (UTC), by policy type and
/// in its order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DomainDay(pub Vec<PolicySessions>);

impl DomainDay {
    /// Counts a session.
    pub fn count(&mut self, session: Session) {
        let Session { policy, failure } = session;
        let place = self.0.binary_search_by_key(&policy, |sessions| sessions.policy);
        let place = place.unwrap_or_else(|place| {
            self.0.insert(place, PolicySessions { policy, successful: 0, failed: Vec::new() });
            place
        });
        let Some(sessions) = self.0.get_mut(place) else { return };
        match failure {
            None => sessions.successful = sessions.successful.saturating_add(1),
            Some(detail) => sessions.fail(detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::Tls;

    fn peer() -> Peer {
        Peer::new("mx.example", Some("192.0.2.1".parse().unwrap()))
    }

    fn tls() -> Tls {
        Tls {
            version: "TLSv1.3".into(),
            cipher: "x".into(),
            verified: false,
            verification: None,
            certificate_sha256: None,
        }
    }

    /// Policy type and result type, as a report has them.
    fn told(stage: Stage, peer: &Peer) -> Option<(&'static str, &'static str)> {
        let session = Session::of(stage, peer)?;
        let result = session.failure.map_or("", |detail| detail.failure.result_type());
        Some((session.policy.as_str(), result))
    }

    #[test]
    fn days_are_whole_days_in_utc() {
        let at = "2026-11-26T23:59:59.999Z".parse::<Timestamp>().unwrap();
        let day = Day::of(at);
        assert_eq!(day.to_string(), "2026-11-26");
        assert_eq!("2026-11-26".parse(), Ok(day));
        assert_eq!(day.after().start(), Timestamp::from_millis(at.as_millis() + 1));
        assert_eq!((day.after().before(), Day::of(day.start())), (day, day));
        for wrong in ["", "2026-11-31", "26-11-26", "2026-11-26T00:00:00Z", "2026-11-26 ", "today"]
        {
            assert_eq!(wrong.parse::<Day>(), Err(InvalidDay), "{wrong}");
        }
    }

    #[test]
    fn what_an_attempt_saw_is_a_session_of_a_policy_type() {
        use TlsFailure as F;
        use TlsRule as R;
        let none = "no-policy-found";
        for (tls, rule, failure, stage, expected) in [
            (Some(tls()), None, None, Stage::EndOfData, Some((none, ""))),
            (Some(tls()), Some(R::MtaSts), None, Stage::RcptTo, Some(("sts", ""))),
            (Some(tls()), Some(R::Dane), None, Stage::EndOfData, Some(("tlsa", ""))),
            (Some(tls()), Some(R::Required), None, Stage::EndOfData, Some((none, ""))),
            (None, None, None, Stage::MailFrom, Some((none, "starttls-not-supported"))),
            (None, None, None, Stage::StartTls, Some((none, "validation-failure"))),
            (None, None, None, Stage::Connect, None),
            (None, None, None, Stage::Greeting, None),
            (
                Some(tls()),
                Some(R::MtaStsTesting),
                Some(F::CertificateExpired),
                Stage::EndOfData,
                Some(("sts", "certificate-expired")),
            ),
            (
                None,
                Some(R::MtaSts),
                Some(F::MxNotInPolicy),
                Stage::StartTls,
                Some(("sts", "validation-failure")),
            ),
            (
                None,
                Some(R::Dane),
                Some(F::TlsaInvalid),
                Stage::StartTls,
                Some(("tlsa", "tlsa-invalid")),
            ),
            (
                Some(tls()),
                None,
                Some(F::StsPolicyFetchError),
                Stage::EndOfData,
                Some(("sts", "sts-policy-fetch-error")),
            ),
        ] {
            let peer = Peer { tls, tls_rule: rule, tls_failure: failure, ..peer() };
            assert_eq!(told(stage, &peer), expected, "{peer:?} {stage:?}");
        }
    }

    #[test]
    fn a_connection_counts_once_and_a_relay_never() {
        let reused = Peer { tls: Some(tls()), reused: true, ..peer() };
        let relay = Peer { tls: Some(tls()), relay: true, ..peer() };
        for peer in [reused, relay] {
            assert_eq!(Session::of(Stage::EndOfData, &peer), None, "{peer:?}");
        }
    }

    #[test]
    fn counts_are_sorted_and_bounded_whoever_invents_hosts() {
        let mut day = DomainDay::default();
        for number in (0..2 * MAX_FAILURES).rev() {
            for _ in 0..2 {
                let peer = Peer::new(&format!("mx{number:03}.example"), None);
                day.count(Session::of(Stage::MailFrom, &peer).unwrap());
            }
        }
        day.count(Session::of(Stage::MailFrom, &Peer { tls: Some(tls()), ..peer() }).unwrap());
        let [sessions] = day.0.as_slice() else { panic!("one policy type: {day:?}") };
        assert_eq!((sessions.successful, sessions.failures()), (1, 4 * MAX_FAILURES as u64));
        assert!(sessions.failed.is_sorted());
        assert_eq!(sessions.failed.len(), MAX_FAILURES + 1);
        let (detail, count) = &sessions.failed[0];
        assert_eq!((&detail.mx, *count), (&None, 2 * MAX_FAILURES as u64));
    }
}
