//! `[delivery.pools.NAME]`: the addresses that mail leaves from.

use std::net::IpAddr;

use model::{
    AppId, TenantId,
    address::DomainName,
    source::{AssignedPool, Pool, Pools, Source},
};
use serde::Deserialize;

use super::{Config, ConfigError, OneOrMany, ways::label};

const KEY: &str = "delivery.pools";
/// What the pool of `delivery.bind_addresses` is called.
const BOUND: &str = "bind_addresses";

/// A pool.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PoolSettings {
    /// Addresses of this machine, each with its name.
    pub addresses: Vec<SourceSettings>,
    /// Tenants whose mail leaves from here.
    pub tenants: OneOrMany<TenantId>,
    /// Apps whose mail does, whatever pool their tenant has.
    pub apps: OneOrMany<AppId>,
}

/// An address and who it is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceSettings {
    /// The address.
    pub ip: IpAddr,
    /// The name after EHLO from there: what the address's PTR says.
    pub helo_name: DomainName,
}

impl Config {
    /// The pools, and whose mail leaves from which. `helo_name` is the server's own.
    pub fn pools(&self, helo_name: &DomainName) -> Result<Pools, ConfigError> {
        let invalid = |problem: String| ConfigError::Invalid { key: KEY, problem };
        let delivery = &self.delivery;
        let mut assigned = Vec::new();
        for (name, settings) in &delivery.pools {
            let source = |source: &SourceSettings| Source {
                ip: source.ip,
                helo_name: source.helo_name.clone(),
            };
            let sources = settings.addresses.iter().map(source).collect();
            let pool = Pool::new(label(KEY, name)?, sources);
            assigned.push(AssignedPool {
                pool: pool.map_err(|error| invalid(format!("{name}: {error}")))?,
                tenants: settings.tenants.0.clone(),
                apps: settings.apps.0.clone(),
            });
        }
        let mut default =
            delivery.pool.as_ref().map(|name| label("delivery.pool", name)).transpose()?;
        if !delivery.bind_addresses.0.is_empty() {
            let source = |ip: &IpAddr| Source { ip: *ip, helo_name: helo_name.clone() };
            let sources = delivery.bind_addresses.0.iter().map(source).collect();
            let pool = Pool::new(label("delivery.bind_addresses", BOUND)?, sources);
            let pool = pool.map_err(|error| ConfigError::Invalid {
                key: "delivery.bind_addresses",
                problem: error.to_string(),
            })?;
            default = default.or_else(|| Some(pool.name().clone()));
            assigned.push(AssignedPool { pool, tenants: Vec::new(), apps: Vec::new() });
        }
        Pools::new(assigned, default.as_ref()).map_err(|error| invalid(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::load, *};

    fn helo() -> DomainName {
        DomainName::parse("mx.lumora.example").unwrap()
    }

    fn of(pools: &Pools, tenant: TenantId, app: AppId) -> Option<String> {
        let number = pools.of_app(tenant, app)?;
        Some(pools.get(number)?.name().to_string())
    }

    #[test]
    fn pools_are_given_to_tenants_apps_and_all_others() {
        let (tenant, app) = (TenantId::from_bytes([1; 16]), AppId::from_bytes([2; 16]));
        let toml = format!(
            r#"
            [delivery]
            pool = "usual"
            bind_addresses = "198.51.100.9"
            [delivery.pools.usual]
            addresses = [
              {{ ip = "192.0.2.1", helo_name = "out1.example.com" }},
              {{ ip = "2001:db8::1", helo_name = "out1.example.com" }},
            ]
            [delivery.pools.bulk]
            addresses = [{{ ip = "192.0.2.3", helo_name = "out3.example.com" }}]
            tenants = ["{tenant}"]
            [delivery.pools.codes]
            addresses = [{{ ip = "192.0.2.4", helo_name = "out4.example.com" }}]
            apps = "{app}"
            "#
        );
        let pools = load(&toml, &[]).unwrap().pools(&helo()).unwrap();
        let (stranger, other) = (TenantId::from_bytes([8; 16]), AppId::from_bytes([9; 16]));
        assert_eq!(of(&pools, tenant, other).unwrap(), "bulk");
        assert_eq!(of(&pools, tenant, app).unwrap(), "codes");
        assert_eq!(of(&pools, stranger, other).unwrap(), "usual");
        assert_eq!(pools.sources().count(), 5);
    }

    #[test]
    fn bind_addresses_are_a_pool_for_everybody_with_the_servers_own_name() {
        let toml = "[delivery]\nbind_addresses = [\"192.0.2.1\", \"192.0.2.2\"]";
        let pools = load(toml, &[]).unwrap().pools(&helo()).unwrap();
        let anybody = (TenantId::from_bytes([8; 16]), AppId::from_bytes([9; 16]));
        assert_eq!(of(&pools, anybody.0, anybody.1).unwrap(), BOUND);
        assert!(pools.sources().all(|source| source.helo_name == helo()));
        let none = load("", &[]).unwrap().pools(&helo()).unwrap();
        assert_eq!(of(&none, anybody.0, anybody.1), None);
    }

    #[test]
    fn what_cannot_be_a_pool_is_named() {
        let pool = |lines: &str| format!("[delivery.pools.one]\n{lines}\n");
        let address = "addresses = [{ ip = \"192.0.2.1\", helo_name = \"out.example.com\" }]";
        for (toml, named) in [
            (pool(""), "addresses"),
            (pool("addresses = [{ ip = \"192.0.2.1\" }]"), "helo_name"),
            (pool("addresses = [{ ip = \"here\", helo_name = \"out.example.com\" }]"), "address"),
            (
                pool("addresses = [{ ip = \"0.0.0.0\", helo_name = \"out.example.com\" }]"),
                "0.0.0.0",
            ),
            (pool(&format!("{address}\ntenants = [\"acme\"]")), "acme"),
            (pool(&format!("{address}\napps = [\"ten_00000000000000000000000000\"]")), "ten_"),
            (pool(address).replace("one", "One!"), "One!"),
            (format!("{}{}", pool(address), pool(address).replace("one", "two")), "192.0.2.1"),
            (format!("[delivery]\npool = \"two\"\n{}", pool(address)), "two"),
        ] {
            let error = load(&toml, &[]).unwrap_err().to_string();
            assert!(error.contains(named), "{toml}: {error}");
        }
    }
}
