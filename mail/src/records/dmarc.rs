//! The DMARC policy that holds for a domain (RFC 9989; RFC 7489 before it).

use model::address::DomainName;

use super::{DomainSpec, ExpectedRecord, Seen, tags};
use crate::dns::{LookupError, Resolver};

/// Most names asked on the way up from the domain (RFC 9989, section 4.10).
const MAX_QUERIES: usize = 8;

/// The tags that matter here.
#[derive(Debug, PartialEq, Eq)]
struct Policy {
    strict_spf: bool,
    public_suffix: bool,
}

/// Any valid policy counts, the domain's own or that of a domain above it.
pub(super) async fn look(
    resolver: &Resolver,
    spec: &DomainSpec<'_>,
    record: &ExpectedRecord,
) -> Seen {
    for (depth, domain) in walk(spec.domain).enumerate() {
        let found = match resolver.txt(&format!("_dmarc.{domain}")).await {
            Ok(found) => found,
            Err(LookupError::Unavailable) => return Seen::unavailable(),
            Err(_) => continue,
        };
        let policies: Vec<&String> = found.iter().filter(|text| is_dmarc(text)).collect();
        let policy = match policies.as_slice() {
            [] => continue,
            [only] => read(only),
            _ => Err("there is more than one DMARC record, so receivers ignore them all".into()),
        };
        match policy {
            // A registry's record says nothing about domains below it.
            Ok(Policy { public_suffix: true, .. }) if depth > 0 => {}
            Ok(policy) => return judged(&policy, spec, found),
            Err(problem) => {
                let problem = format!("The record at _dmarc.{domain} does not hold: {problem}.");
                return Seen::mismatch(found, problem);
            }
        }
    }
    Seen::missing(format!(
        "There is no DMARC record for this domain. Large receivers refuse bulk mail without one. \
         Start with {} at {}, which asks for nothing but shows that you know of DMARC.",
        record.value, record.name
    ))
}

/// Messages are signed with the domain itself, so DKIM aligns in both modes; SPF stands on a name
/// below it, so it aligns in the relaxed mode alone.
fn judged(policy: &Policy, spec: &DomainSpec<'_>, found: Vec<String>) -> Seen {
    let mut seen = Seen::verified(found);
    if policy.strict_spf {
        seen.problem = Some(format!(
            "The policy says aspf=s, so SPF of {} does not count for {}; messages pass by DKIM \
             alone. Remove aspf=s to let both count.",
            spec.return_path(),
            spec.domain
        ));
    }
    seen
}

/// The domain and those above it, down to two labels, at most [`MAX_QUERIES`]: of a longer name
/// the middle is left out.
fn walk(domain: &DomainName) -> impl Iterator<Item = &str> {
    let name = domain.as_str();
    let above: Vec<&str> = name
        .match_indices('.')
        .filter_map(|(at, _)| name.get(at + 1..))
        .filter(|above| above.contains('.'))
        .collect();
    let skipped = above.len().saturating_sub(MAX_QUERIES - 1);
    std::iter::once(name).chain(above.into_iter().skip(skipped))
}

/// Whether a TXT record means to be DMARC at all.
fn is_dmarc(text: &str) -> bool {
    text.trim().get(..7).is_some_and(|start| start.eq_ignore_ascii_case("v=dmarc"))
}

fn read(text: &str) -> Result<Policy, String> {
    let tags = tags::read(text)?;
    // The version is case-sensitive and comes first.
    if tags.first() != Some(&("v", "DMARC1")) {
        return Err("it must begin with v=DMARC1".into());
    }
    let one_of = |name: &str, allowed: &[&str]| match tags::value(&tags, name) {
        Some(value) if !allowed.contains(&value.to_ascii_lowercase().as_str()) => {
            Err(format!("{name}= must be one of {}", allowed.join(", ")))
        }
        _ => Ok(()),
    };
    let policies = ["none", "quarantine", "reject"];
    for name in ["p", "sp", "np"] {
        one_of(name, &policies)?;
    }
    for name in ["adkim", "aspf"] {
        one_of(name, &["r", "s"])?;
    }
    if tags::value(&tags, "p").is_none() && tags::value(&tags, "rua").is_none() {
        return Err("the policy p= is missing".into());
    }
    let is = |name: &str, value: &str| {
        tags::value(&tags, name).is_some_and(|found| found.eq_ignore_ascii_case(value))
    };
    Ok(Policy { strict_spf: is("aspf", "s"), public_suffix: is("psd", "y") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_policies_are_read() {
        for (text, strict_spf) in [
            ("v=DMARC1; p=none", false),
            ("v=DMARC1;p=reject;aspf=s;", true),
            ("v=DMARC1; p=Quarantine; sp=none; adkim=s; rua=mailto:a@b.example; fo=1; x=y", false),
            ("v=DMARC1; rua=mailto:a@b.example", false),
        ] {
            assert_eq!(read(text).map(|policy| policy.strict_spf), Ok(strict_spf), "{text}");
        }
    }

    #[test]
    fn invalid_policies_are_named() {
        for (text, word) in [
            ("v=DMARC1", "missing"),
            ("v=dmarc1; p=none", "v=DMARC1"),
            ("v=DMARC1; p=nothing", "p= must"),
            ("v=DMARC1; p=none; aspf=x", "aspf="),
            ("v=DMARC1; p=none; p=reject", "twice"),
            ("v=DMARC1 p=none", "v=DMARC1"),
            ("v=DMARC1; none", "name=value"),
        ] {
            let problem = read(text).unwrap_err();
            assert!(problem.contains(word), "{text}: {problem}");
        }
    }

    #[test]
    fn the_walk_up_is_bounded() {
        let names = |text: &str| {
            let domain = DomainName::parse(text).unwrap();
            walk(&domain).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(names("acme.com"), ["acme.com"]);
        assert_eq!(names("a.b.acme.com"), ["a.b.acme.com", "b.acme.com", "acme.com"]);
        let long = names("a.b.c.d.e.f.g.h.i.j.k.acme.com");
        assert_eq!(long.len(), MAX_QUERIES);
        assert_eq!(long.last().unwrap(), "acme.com");
    }
}
