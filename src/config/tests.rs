use super::*;

pub(super) fn load(toml: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::fs::write(file.path(), toml).unwrap();
    let variables = variables.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Config::load_with(Some(file.path()), variables.collect())
}

#[test]
fn defaults_are_those_of_the_documentation() {
    let config = load("", &[]).unwrap();
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.public_url(), "http://127.0.0.1:8080");
    assert_eq!(config.http.max_body_bytes, 41_943_040);
    assert_eq!(config.delivery.smtp_port, 25);
    assert_eq!(config.delivery.expire_after.0.as_secs(), 48 * 3_600);
    assert_eq!(config.master_key_file(), PathBuf::from("./data/master.key"));
    assert!(!config.delivery.allow_private_networks);
    assert_eq!(config.inbound.listen, None);
    assert_eq!(config.inbound.max_message_bytes, 5_242_880);
}

#[test]
fn the_file_is_read_and_the_environment_has_the_last_word() {
    let toml = r#"
        data_dir = "/var/lib/lumora"
        [http]
        listen = "127.0.0.1:1"
        [dns]
        servers = ["127.0.0.1:5300", "[::1]:53"]
        [delivery]
        retry_schedule = ["1s", "5m"]
        smtp_port = 2525
    "#;
    let variables = [
        ("LUMORA_HTTP__LISTEN", "127.0.0.1:2"),
        ("LUMORA_DELIVERY__SMTP_PORT", "26"),
        ("LUMORA_DELIVERY__ALLOW_PRIVATE_NETWORKS", "true"),
        ("LUMORA_DELIVERY__HELO_NAME", "mx.example.com"),
        ("LUMORA_HTTP__TRUSTED_PROXIES", "10.0.0.0/8,::1"),
        ("OTHER_HTTP__LISTEN", "nonsense"),
    ];
    let config = load(toml, &variables).unwrap();
    assert_eq!(config.http.listen.port(), 2);
    assert_eq!(config.http.trusted_proxies.0.len(), 2);
    assert_eq!(config.delivery.smtp_port, 26);
    assert!(config.delivery.allow_private_networks);
    assert_eq!(config.dns.servers.as_ref().unwrap().0.len(), 2);
    assert_eq!(config.delivery.retry_schedule.as_ref().unwrap().0[1].0.as_secs(), 300);
    assert_eq!(config.log_dir(), PathBuf::from("/var/lib/lumora/log"));
}

#[test]
fn lists_can_come_from_the_environment() {
    let variables = [
        ("LUMORA_DNS__SERVERS", "127.0.0.1:5300,127.0.0.1:5301"),
        ("LUMORA_DELIVERY__RETRY_SCHEDULE", "500ms, 2s"),
        ("LUMORA_DELIVERY__REQUIRE_TLS_FOR", "bank.example,clinic.example"),
    ];
    let config = load("", &variables).unwrap();
    assert_eq!(config.dns.servers.as_ref().unwrap().0.len(), 2);
    assert_eq!(config.delivery.retry_schedule.as_ref().unwrap().0[0].0.as_millis(), 500);
    assert_eq!(config.delivery.require_tls_for.0[1].as_str(), "clinic.example");
}

#[test]
fn receivers_can_be_given_limits_of_their_own() {
    let toml = r#"
        [[delivery.shaping]]
        mx = ["*.google.com", "mx.example.com"]
        connections = 20
        [[delivery.shaping]]
        domain = "example.com"
        per_minute = 60
        messages_per_connection = 2
    "#;
    let rules = load(toml, &[]).unwrap().shaping_rules().unwrap();
    assert_eq!((rules.len(), rules[0].patterns.len()), (2, 2));
    assert_eq!(rules[0].setting.connections.unwrap().get(), 20);
    assert_eq!(rules[1].setting.per_minute.unwrap().get(), 60);
    for (line, named) in [
        ("connections = 1", "domain"),
        ("mx = \"*.com*\"\nconnections = 1", "mx"),
        ("domain = \"*.example.com\"\nconnections = 1", "domain"),
        ("mx = \"mx.example.com\"", "per_minute"),
        ("mx = \"mx.example.com\"\nconnections = 0", "connections"),
        ("mx = \"mx.example.com\"\nper_minute = 1000001", "per_minute"),
        ("mx = \"mx.example.com\"\nper_hour = 1", "per_hour"),
    ] {
        let error = load(&format!("[[delivery.shaping]]\n{line}"), &[]).unwrap_err();
        assert!(error.to_string().contains(named), "{line}: {error}");
    }
}

#[test]
fn unknown_keys_are_named() {
    let error = load("[http]\nlisten_on = \"127.0.0.1:1\"", &[]).unwrap_err().to_string();
    assert!(error.contains("listen_on"), "{error}");
    let error = load("", &[("LUMORA_HTTP__PORT", "1")]).unwrap_err().to_string();
    assert!(error.contains("port"), "{error}");
}

#[test]
fn values_out_of_bounds_are_refused() {
    for toml in [
        "[delivery]\nexpire_after = \"forever\"",
        "[delivery]\nexpire_after = \"5\"",
        "[delivery]\nretry_schedule = []",
        "[delivery]\nretry_schedule = [\"0s\"]",
        "[delivery]\nper_destination = 0",
        "[delivery]\ntls = \"maybe\"",
        "[delivery]\nrequire_tls_for = [\"not a domain\"]",
        "[delivery]\nmta_sts = \"sometimes\"",
        "[http]\nmax_body_bytes = 1",
        "[http]\npublic_url = \"mail.acme.test\"",
        "[http]\ntrusted_proxies = [\"localhost\"]",
        "[http]\ntrusted_proxies = [\"10.0.0.0/8\", \"::/0\"]",
        "[inbound]\nmax_connections = 0",
        "[inbound]\nidle = \"0s\"",
        "[inbound]\nlisten = \"everywhere\"",
        "[inbound]\ntls_key_file = \"key.pem\"",
        "[retention]\ncontent = \"soon\"",
        "[retention]\nevents = \"29d\"",
        "[portal]\nregistration = \"perhaps\"",
    ] {
        assert!(load(toml, &[]).is_err(), "{toml}");
    }
}
