//! Whether SPF lets this server send (RFC 7208).
//!
//! # Why
//! mail-auth's parser takes records that no receiver would (`foo:bar`), and a tenant is not helped
//! by a page that calls such a record good. The parser here is strict and names what is wrong, and
//! the evaluation counts look-ups as receivers do.

mod parse;

use std::{future::Future, net::IpAddr, pin::Pin};

use self::parse::{Mechanism, Qualifier, SpfRecord, Target, is_spf};
use super::{DomainSpec, ExpectedRecord, Seen, missing_text};
use crate::dns::{LookupError, Resolver};

/// Most terms that ask the DNS (RFC 7208, section 4.6.4).
const MAX_LOOKUPS: usize = 10;
/// Most of them whose answer is empty.
const MAX_VOID_LOOKUPS: usize = 2;
/// Most mail hosts of one `mx` term.
const MAX_MX_HOSTS: usize = 10;

/// What receivers would conclude (RFC 7208, section 2.6).
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    None,
    Pass,
    Neutral,
    SoftFail,
    Fail,
    Unavailable,
    /// What is wrong, in words.
    Error(String),
}

/// The state of an evaluation of one address.
struct Evaluation<'a> {
    resolver: &'a Resolver,
    ip: IpAddr,
    lookups: usize,
    void_lookups: usize,
    /// A term was left out because it has macros, whose values only a receiver knows.
    skipped_macros: bool,
}

/// Whether the record at the name lets all addresses of this server send.
pub(super) async fn look(
    resolver: &Resolver,
    spec: &DomainSpec<'_>,
    record: &ExpectedRecord,
) -> Seen {
    let found = match resolver.txt(&record.name).await {
        Ok(found) => found,
        Err(LookupError::Unavailable) => return Seen::unavailable(),
        Err(_) => return missing_text(resolver, spec, record).await,
    };
    let addresses = match sending_addresses(resolver, spec).await {
        Ok(addresses) => addresses,
        Err(LookupError::Unavailable) => return Seen::unavailable(),
        // Without an address only the record's own words can be compared.
        Err(_) => return compare(record, found),
    };
    for ip in addresses {
        let mut evaluation =
            Evaluation { resolver, ip, lookups: 0, void_lookups: 0, skipped_macros: false };
        let verdict = evaluation.of_domain(record.name.clone()).await;
        match verdict {
            Verdict::Pass => {}
            Verdict::Unavailable => return Seen::unavailable(),
            Verdict::None => {
                return Seen::mismatch(
                    found,
                    "There are TXT records at this name, but none is an SPF record. Add the value \
                     shown here beside them.",
                );
            }
            Verdict::Error(problem) => {
                let problem = format!("Receivers reject the SPF record as a whole: {problem}.");
                return Seen::mismatch(found, problem);
            }
            Verdict::Neutral | Verdict::SoftFail | Verdict::Fail => {
                let mut problem = format!(
                    "The SPF record does not let this server ({ip}) send. Add a:{} before the \
                     “all” at its end.",
                    spec.mail_host
                );
                if evaluation.skipped_macros {
                    problem.push_str(
                        " Parts of the record have macros (%{…}), which cannot be judged from here.",
                    );
                }
                return Seen::mismatch(found, problem);
            }
        }
    }
    Seen::verified(found)
}

async fn sending_addresses(
    resolver: &Resolver,
    spec: &DomainSpec<'_>,
) -> Result<Vec<IpAddr>, LookupError> {
    if spec.sending_addresses.is_empty() {
        resolver.addresses(spec.mail_host).await
    } else {
        Ok(spec.sending_addresses.to_vec())
    }
}

fn compare(record: &ExpectedRecord, found: Vec<String>) -> Seen {
    let squeezed =
        |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ").to_ascii_lowercase();
    if found.iter().any(|text| squeezed(text) == squeezed(&record.value)) {
        return Seen::verified(found);
    }
    Seen::mismatch(found, "The record is another than the value shown here.")
}

type Boxed<'f, T> = Pin<Box<dyn Future<Output = T> + Send + 'f>>;

impl Evaluation<'_> {
    /// `check_host` (RFC 7208, section 4). Recursion ends with the look-ups.
    fn of_domain(&mut self, domain: String) -> Boxed<'_, Verdict> {
        Box::pin(async move {
            let texts = match self.resolver.txt(&domain).await {
                Ok(texts) => texts,
                Err(LookupError::Unavailable) => return Verdict::Unavailable,
                Err(_) => return Verdict::None,
            };
            let mut records = texts.iter().filter(|text| is_spf(text));
            let Some(text) = records.next() else { return Verdict::None };
            if records.next().is_some() {
                return Verdict::Error(format!("there are two SPF records at {domain}"));
            }
            match SpfRecord::read(text) {
                Ok(record) => self.of_record(&record, &domain).await,
                Err(problem) => Verdict::Error(format!("{problem}, in the record at {domain}")),
            }
        })
    }

    async fn of_record(&mut self, record: &SpfRecord, domain: &str) -> Verdict {
        for directive in &record.directives {
            match self.matches(&directive.mechanism, domain).await {
                Ok(true) => {
                    return match directive.qualifier {
                        Qualifier::Pass => Verdict::Pass,
                        Qualifier::Neutral => Verdict::Neutral,
                        Qualifier::SoftFail => Verdict::SoftFail,
                        Qualifier::Fail => Verdict::Fail,
                    };
                }
                Ok(false) => {}
                Err(verdict) => return verdict,
            }
        }
        let Some(target) = &record.redirect else { return Verdict::Neutral };
        if let Err(verdict) = self.count_lookup() {
            return verdict;
        }
        let Target::Name(target) = target else {
            self.skipped_macros = true;
            return Verdict::Neutral;
        };
        match self.of_domain(target.clone()).await {
            Verdict::None => Verdict::Error(format!("redirect={target} leads to no SPF record")),
            verdict => verdict,
        }
    }

    /// Whether a mechanism takes the address in, or the verdict that ends it all.
    async fn matches(&mut self, mechanism: &Mechanism, domain: &str) -> Result<bool, Verdict> {
        let own = Target::Name(domain.to_owned());
        let (target, prefix) = match mechanism {
            Mechanism::All => return Ok(true),
            Mechanism::Ip(network) => return Ok(network.contains(self.ip)),
            Mechanism::A(target, prefix) | Mechanism::Mx(target, prefix) => {
                (target.as_ref().unwrap_or(&own), Some(prefix))
            }
            Mechanism::Ptr(target) => (target.as_ref().unwrap_or(&own), None),
            Mechanism::Include(target) | Mechanism::Exists(target) => (target, None),
        };
        self.count_lookup()?;
        let Target::Name(name) = target else {
            self.skipped_macros = true;
            return Ok(false);
        };
        match mechanism {
            Mechanism::Include(_) => self.includes(name).await,
            // For IPv6 clients, too, a name exists by its A records (section 5.7).
            Mechanism::Exists(_) => {
                let addresses = quiet(self.resolver.addresses(name).await)?;
                let v4 = addresses.into_iter().filter(IpAddr::is_ipv4).collect();
                Ok(!self.found::<IpAddr>(Ok(v4))?.is_empty())
            }
            Mechanism::Mx(..) => {
                let hosts = self.found(self.resolver.mx(name).await)?;
                if hosts.len() > MAX_MX_HOSTS {
                    return Err(Verdict::Error(format!(
                        "mx:{name} has more than {MAX_MX_HOSTS} mail hosts"
                    )));
                }
                for host in hosts {
                    let addresses = self.resolver.addresses(&host.host).await;
                    if self.covers(&quiet(addresses)?, prefix) {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            // Of the client's family alone are addresses asked for (section 5).
            Mechanism::A(..) => {
                let mut addresses = quiet(self.resolver.addresses(name).await)?;
                addresses.retain(|address| address.is_ipv4() == self.ip.is_ipv4());
                let addresses = self.found(Ok(addresses))?;
                Ok(self.covers(&addresses, prefix))
            }
            // Receivers are told not to use ptr (section 5.5): nothing is gained by believing it.
            Mechanism::Ptr(_) | Mechanism::All | Mechanism::Ip(_) => Ok(false),
        }
    }

    async fn includes(&mut self, name: &str) -> Result<bool, Verdict> {
        match self.of_domain(name.to_owned()).await {
            Verdict::Pass => Ok(true),
            Verdict::Fail | Verdict::SoftFail | Verdict::Neutral => Ok(false),
            Verdict::None => Err(Verdict::Error(format!("include:{name} leads to no SPF record"))),
            ended @ (Verdict::Unavailable | Verdict::Error(_)) => Err(ended),
        }
    }

    fn covers(&self, addresses: &[IpAddr], prefix: Option<&parse::DualPrefix>) -> bool {
        prefix.is_some_and(|prefix| addresses.iter().any(|at| prefix.around(*at).contains(self.ip)))
    }

    fn count_lookup(&mut self) -> Result<(), Verdict> {
        self.lookups += 1;
        if self.lookups > MAX_LOOKUPS {
            return Err(Verdict::Error(format!(
                "it needs more than {MAX_LOOKUPS} DNS look-ups with all it includes"
            )));
        }
        Ok(())
    }

    /// What a look-up found; empty answers are counted.
    fn found<T>(&mut self, answer: Result<Vec<T>, LookupError>) -> Result<Vec<T>, Verdict> {
        let found = quiet(answer)?;
        if found.is_empty() {
            self.void_lookups += 1;
            if self.void_lookups > MAX_VOID_LOOKUPS {
                return Err(Verdict::Error(format!(
                    "more than {MAX_VOID_LOOKUPS} of its names do not exist"
                )));
            }
        }
        Ok(found)
    }
}

/// What a look-up found, where "nothing" is no error.
fn quiet<T>(answer: Result<Vec<T>, LookupError>) -> Result<Vec<T>, Verdict> {
    match answer {
        Ok(found) => Ok(found),
        Err(LookupError::Unavailable) => Err(Verdict::Unavailable),
        Err(LookupError::NoSuchDomain | LookupError::NoRecords) => Ok(vec![]),
    }
}
