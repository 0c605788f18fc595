//! What large receivers ask of whoever sends in bulk, held against what is known of a domain.
//!
//! # Why
//! The rules are those that three receivers have in common: Google ("Email sender guidelines", in
//! force since February 2024), Yahoo ("Sender Best Practices", the same) and Microsoft ("Outlook's
//! new requirements for high-volume senders", since May 2025). Each requirement says what was found
//! and, where it is not met, what to do; what this server cannot see it says, too.

use std::net::IpAddr;

use super::{CheckedRecord, RecordPurpose, RecordStatus};

/// A requirement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Requirement {
    /// SPF passes for the envelope sender (RFC 7208).
    Spf,
    /// Messages are signed with a published key (RFC 6376).
    Dkim,
    /// The domain publishes a DMARC policy (RFC 7489).
    Dmarc,
    /// The author's domain is that of the signature, or of SPF.
    Alignment,
    /// Bounces find their way back.
    ReturnPath,
    /// Bulk mail can be left with one click (RFC 8058).
    OneClickUnsubscribe,
    /// Few recipients complain.
    ComplaintRate,
    /// Mail goes out encrypted where the receiver can.
    Encryption,
    /// The sending address has a name that leads back to it.
    ReverseDns,
}

impl Requirement {
    /// The name in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Spf => "spf",
            Self::Dkim => "dkim",
            Self::Dmarc => "dmarc",
            Self::Alignment => "alignment",
            Self::ReturnPath => "return_path",
            Self::OneClickUnsubscribe => "one_click_unsubscribe",
            Self::ComplaintRate => "complaint_rate",
            Self::Encryption => "encryption",
            Self::ReverseDns => "reverse_dns",
        }
    }
}

/// Whether a requirement is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It is.
    Met,
    /// It is not.
    Unmet,
    /// Nobody can tell from here, or not yet.
    Unknown,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What is asked.
    pub requirement: Requirement,
    /// Whether it is met.
    pub standing: Standing,
    /// What was found, in words.
    pub found: String,
    /// What to do, in words, unless it is met.
    pub to_do: Option<String>,
}

/// What the DNS says of the addresses that mail leaves from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReverseDns {
    /// Mail leaves from a relay, which shows its own address.
    Relayed,
    /// They are not known here: none is set and the server's name has none, or they are private and
    /// become others on their way out.
    Unknown,
    /// The DNS gave no usable answer.
    Unanswered,
    /// Each leads to a name and back.
    Confirmed(Vec<IpAddr>),
    /// This one does not; the names that it leads to.
    Unconfirmed(IpAddr, Vec<String>),
}

/// What is known besides the domain's records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Whether links in messages are `https`.
    pub links_are_https: bool,
    /// Whether this server takes complaints.
    pub takes_complaints: bool,
    /// Recipients that the domain's messages reached in the last 30 days.
    pub delivered: u64,
    /// How many of them complained.
    pub complained: u64,
    /// What the DNS says of the server's addresses.
    pub reverse_dns: ReverseDns,
}

/// At 3 in 1000 Google and Yahoo begin to refuse; they ask for less than 1 in 1000.
const MOST_COMPLAINTS_PERMILLE: u64 = 3;
/// With fewer recipients one complaint says nothing.
const FEWEST_DELIVERED: u64 = 1_000;

/// The report on a domain with these records, as they were last seen.
pub fn report(records: &[CheckedRecord], known: &Known) -> Vec<Finding> {
    vec![
        of_record(records, Requirement::Spf, RecordPurpose::Spf),
        of_record(records, Requirement::Dkim, RecordPurpose::Dkim),
        of_record(records, Requirement::Dmarc, RecordPurpose::Dmarc),
        alignment(records),
        of_record(records, Requirement::ReturnPath, RecordPurpose::ReturnPath),
        one_click(known),
        complaint_rate(known),
        Finding {
            requirement: Requirement::Encryption,
            standing: Standing::Met,
            found: "STARTTLS is used wherever a receiver offers it.".to_owned(),
            to_do: None,
        },
        reverse_dns(&known.reverse_dns),
    ]
}

fn standing(records: &[CheckedRecord], purpose: RecordPurpose) -> Standing {
    let of_purpose = || records.iter().filter(|record| record.purpose == purpose);
    if of_purpose().any(|record| record.status == RecordStatus::Verified) {
        Standing::Met
    } else if of_purpose()
        .any(|r| matches!(r.status, RecordStatus::Missing | RecordStatus::Mismatch))
    {
        Standing::Unmet
    } else {
        Standing::Unknown
    }
}

fn of_record(
    records: &[CheckedRecord],
    requirement: Requirement,
    purpose: RecordPurpose,
) -> Finding {
    let standing = standing(records, purpose);
    let of_purpose = || records.iter().filter(|record| record.purpose == purpose);
    let (found, to_do) = match standing {
        Standing::Met => ("The record was there when it was last looked for.".to_owned(), None),
        Standing::Unmet => {
            let name = of_purpose().next().map_or("", |record| &record.name);
            let problem = of_purpose().find_map(|record| record.problem.as_deref());
            let found = format!("The record at {name} is missing, or says something else.");
            (found, Some(problem.unwrap_or("Publish the record that the domain shows.").to_owned()))
        }
        Standing::Unknown => (
            "The DNS has not been asked yet, or gave no answer.".to_owned(),
            Some("Have the domain verified.".to_owned()),
        ),
    };
    Finding { requirement, standing, found, to_do }
}

/// The signature is of the author's very domain, and the return path lies below it.
fn alignment(records: &[CheckedRecord]) -> Finding {
    let requirement = Requirement::Alignment;
    let all = [RecordPurpose::Dkim, RecordPurpose::Spf, RecordPurpose::ReturnPath];
    let [dkim, spf, return_path] = all.map(|purpose| standing(records, purpose));
    if dkim == Standing::Met {
        let spf = spf == Standing::Met && return_path == Standing::Met;
        let also = if spf { " and so does SPF" } else { "; SPF does not" };
        let found = format!("DKIM aligns with the author's domain{also}.");
        return Finding { requirement, standing: Standing::Met, found, to_do: None };
    }
    Finding {
        requirement,
        standing: dkim,
        found: "Without a published DKIM key nothing aligns with the author's domain.".to_owned(),
        to_do: Some("Publish the DKIM record that the domain shows.".to_owned()),
    }
}

fn reverse_dns(known: &ReverseDns) -> Finding {
    let list = |addresses: &[IpAddr]| {
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    let (standing, found) = match known {
        ReverseDns::Confirmed(addresses) => {
            (Standing::Met, format!("{} leads to a name and back.", list(addresses)))
        }
        ReverseDns::Unconfirmed(address, names) if names.is_empty() => {
            (Standing::Unmet, format!("{address} has no PTR record."))
        }
        ReverseDns::Unconfirmed(address, names) => {
            let names = names.join(", ");
            (Standing::Unmet, format!("{address} leads to {names}, which does not lead back."))
        }
        ReverseDns::Relayed => {
            (Standing::Unknown, "Mail leaves by a relay, which shows its own address.".to_owned())
        }
        ReverseDns::Unknown => (
            Standing::Unknown,
            "The public address that mail leaves from is not known to the server.".to_owned(),
        ),
        ReverseDns::Unanswered => {
            (Standing::Unknown, "The DNS gave no answer about the server's address.".to_owned())
        }
    };
    let to_do = "Ask who runs the server: its sending address needs a PTR record whose name leads \
                 back to that address.";
    let to_do = (standing != Standing::Met).then(|| to_do.to_owned());
    Finding { requirement: Requirement::ReverseDns, standing, found, to_do }
}

fn one_click(known: &Known) -> Finding {
    let requirement = Requirement::OneClickUnsubscribe;
    if known.links_are_https {
        let found = "Messages sent with `bulk` carry both header fields, signed.".to_owned();
        return Finding { requirement, standing: Standing::Met, found, to_do: None };
    }
    Finding {
        requirement,
        standing: Standing::Unmet,
        found: "The links are http, and RFC 8058 asks for https.".to_owned(),
        to_do: Some("Set `http.public_url` to an address that begins with https://.".to_owned()),
    }
}

fn complaint_rate(known: &Known) -> Finding {
    let (delivered, complained) = (known.delivered, known.complained);
    let found = format!("{complained} of {delivered} recipients complained in the last 30 days.");
    let is_high = complained.saturating_mul(1_000) >= delivered * MOST_COMPLAINTS_PERMILLE;
    let (standing, to_do) = match (known.takes_complaints, delivered < FEWEST_DELIVERED, is_high) {
        (false, _, _) => (
            Standing::Unknown,
            Some("Turn `inbound` on and subscribe to the receivers' feedback loops."),
        ),
        (true, true, _) => (Standing::Unknown, Some("Too few were sent to tell.")),
        (true, false, true) => (
            Standing::Unmet,
            Some("Write only to those who asked for it, and stay below 1 in 1000."),
        ),
        (true, false, false) => (Standing::Met, None),
    };
    let requirement = Requirement::ComplaintRate;
    Finding { requirement, standing, found, to_do: to_do.map(str::to_owned) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Known = Known {
        links_are_https: true,
        takes_complaints: true,
        delivered: 10_000,
        complained: 9,
        reverse_dns: ReverseDns::Unknown,
    };

    fn record(purpose: RecordPurpose, status: RecordStatus) -> CheckedRecord {
        CheckedRecord {
            purpose,
            name: "name.acme.example".into(),
            status,
            required: false,
            found: vec![],
            problem: Some("Publish it.".into()),
        }
    }

    fn standing_of(records: &[CheckedRecord], known: &Known, wanted: Requirement) -> Standing {
        let report = report(records, known);
        let finding = report.iter().find(|finding| finding.requirement == wanted).unwrap();
        assert_eq!(finding.to_do.is_none(), finding.standing == Standing::Met, "{finding:?}");
        finding.standing
    }

    #[test]
    fn records_decide_what_they_are_for() {
        for (requirement, purpose) in [
            (Requirement::Spf, RecordPurpose::Spf),
            (Requirement::Dkim, RecordPurpose::Dkim),
            (Requirement::Dmarc, RecordPurpose::Dmarc),
            (Requirement::ReturnPath, RecordPurpose::ReturnPath),
            (Requirement::Alignment, RecordPurpose::Dkim),
        ] {
            for (status, expected) in [
                (RecordStatus::Verified, Standing::Met),
                (RecordStatus::Missing, Standing::Unmet),
                (RecordStatus::Mismatch, Standing::Unmet),
                (RecordStatus::TemporaryFailure, Standing::Unknown),
                (RecordStatus::Pending, Standing::Unknown),
            ] {
                let found = standing_of(&[record(purpose, status)], &QUIET, requirement);
                assert_eq!(found, expected, "{requirement:?} {status:?}");
            }
            assert_eq!(standing_of(&[], &QUIET, requirement), Standing::Unknown);
        }
        // One of two keys is enough.
        let keys = [RecordStatus::Missing, RecordStatus::Verified];
        let keys = keys.map(|status| record(RecordPurpose::Dkim, status));
        assert_eq!(standing_of(&keys, &QUIET, Requirement::Dkim), Standing::Met);
    }

    #[test]
    fn complaints_count_from_three_in_a_thousand_on() {
        let rate = |known: Known| standing_of(&[], &known, Requirement::ComplaintRate);
        assert_eq!(rate(QUIET), Standing::Met);
        assert_eq!(rate(Known { complained: 29, ..QUIET }), Standing::Met);
        assert_eq!(rate(Known { complained: 30, ..QUIET }), Standing::Unmet);
        assert_eq!(rate(Known { delivered: 999, complained: 99, ..QUIET }), Standing::Unknown);
        assert_eq!(rate(Known { takes_complaints: false, ..QUIET }), Standing::Unknown);
    }

    #[test]
    fn the_servers_address_leads_to_a_name_and_back() {
        let ip = IpAddr::from([192, 0, 2, 7]);
        for (reverse_dns, expected) in [
            (ReverseDns::Confirmed(vec![ip]), Standing::Met),
            (ReverseDns::Unconfirmed(ip, vec![]), Standing::Unmet),
            (ReverseDns::Unconfirmed(ip, vec!["mx.acme.example".into()]), Standing::Unmet),
            (ReverseDns::Relayed, Standing::Unknown),
            (ReverseDns::Unknown, Standing::Unknown),
            (ReverseDns::Unanswered, Standing::Unknown),
        ] {
            let known = Known { reverse_dns: reverse_dns.clone(), ..QUIET };
            let standing = standing_of(&[], &known, Requirement::ReverseDns);
            assert_eq!(standing, expected, "{reverse_dns:?}");
        }
    }

    #[test]
    fn one_click_needs_https() {
        let standing = |known: Known| standing_of(&[], &known, Requirement::OneClickUnsubscribe);
        assert_eq!(standing(QUIET), Standing::Met);
        assert_eq!(standing(Known { links_are_https: false, ..QUIET }), Standing::Unmet);
    }
}
