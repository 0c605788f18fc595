//! Addresses, names and domains, as people write them.

use model::address::{
    DisplayName, DomainName, EmailAddress, MAX_ADDRESS_OCTETS, MAX_LOCAL_OCTETS, Mailbox,
};

pub(super) fn run(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    if let Ok(domain) = DomainName::parse(&text) {
        check_domain(&domain);
    }
    if let Ok(address) = EmailAddress::parse(&text) {
        check_address(&address);
        let mailbox = Mailbox::parse(&text).expect("an address alone is a mailbox");
        assert_eq!(mailbox, Mailbox { email: address, name: None });
    }
    if let Ok(mailbox) = Mailbox::parse(&text) {
        check_address(&mailbox.email);
        let json = serde_json::to_string(&mailbox).unwrap();
        assert_eq!(serde_json::from_str::<Mailbox>(&json).unwrap(), mailbox, "{json}");
        if let Some(name) = &mailbox.name {
            check_name(name, &mailbox.email);
        }
    }
}

fn check_domain(domain: &DomainName) {
    let text = domain.as_str();
    assert!(text.is_ascii() && text == text.to_ascii_lowercase(), "{text:?}");
    let is_harmless = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    assert!(text.chars().all(is_harmless), "{text:?}");
    assert_eq!(DomainName::parse(text).as_ref(), Ok(domain));
    assert_eq!(DomainName::parse(&format!("{text}.")).as_ref(), Ok(domain));
    // What is shown to people leads to the same place.
    let shown = domain.to_unicode();
    assert_eq!(DomainName::parse(&shown).as_ref(), Ok(domain), "{text} is shown as {shown:?}");
}

fn check_address(address: &EmailAddress) {
    let text = address.to_string();
    assert!(text.len() <= MAX_ADDRESS_OCTETS && address.local().len() <= MAX_LOCAL_OCTETS);
    let bad = |c: char| c.is_control() || c.is_whitespace() || "<>()[],;:\\\"".contains(c);
    assert!(!text.contains(bad), "{text:?}");
    assert_eq!(text.matches('@').count(), 1, "{text:?}");
    assert_eq!(EmailAddress::parse(&text).as_ref(), Ok(address));
    assert_eq!(address.needs_smtputf8(), !text.is_ascii());
    check_domain(address.domain());
    // By which people are recognised: again, it is the same.
    let canonical = address.canonical();
    if let Ok(again) = EmailAddress::parse(&canonical) {
        assert_eq!(again.canonical(), canonical, "of {text:?}");
    }
}

fn check_name(name: &DisplayName, email: &EmailAddress) {
    let text = name.as_str();
    assert!(!text.contains(['\r', '\n', '\0', '\u{2028}', '\u{2029}']), "{text:?}");
    assert_eq!(text.trim(), text);
    assert_eq!(DisplayName::parse(text), Ok(Some(name.clone())));
    let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
    if let Ok(again) = Mailbox::parse(&format!("\"{quoted}\" <{email}>")) {
        assert_eq!(again.name.as_ref(), Some(name), "{text:?}");
    }
}
