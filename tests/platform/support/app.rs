//! A platform in this process, with a tenant that can send.

use actors::{NewApiKey, NewApp};
use std::time::Duration;

use lumora::{config::Config, node::Node};
use model::{
    AppId, TenantId,
    address::{DomainName, EmailAddress, Mailbox},
    tenant::Scope,
};

use super::{client::Client, world::World};

/// The tenant's verified domain.
pub(crate) const SENDING_DOMAIN: &str = "sender.test";
/// The app's default sender.
pub(crate) const SENDER: &str = "Acme Billing <billing@sender.test>";

const DRAIN: Duration = Duration::from_secs(20);

/// A running platform.
pub(crate) struct TestApp {
    pub(crate) world: World,
    pub(crate) config: Config,
    node: Option<Node>,
    pub(crate) tenant: TenantId,
    pub(crate) app: AppId,
    pub(crate) secret: String,
    pub(crate) api: Client,
}

impl TestApp {
    /// A platform in a new world.
    pub(crate) async fn start() -> Self {
        Self::start_in(World::new().await, |_| {}).await
    }

    /// A platform in `world`, set up as `edit` says.
    pub(crate) async fn start_in(world: World, edit: impl FnOnce(&mut Config)) -> Self {
        let mut config = world.config();
        edit(&mut config);
        let node = Node::start(&config).await.unwrap();
        let (tenant, app, secret) = sign_up(&node, &world).await;
        let api = Client::new(format!("http://{}", node.address()), Some(&secret));
        Self { world, config, node: Some(node), tenant, app, secret, api }
    }

    pub(crate) fn node(&self) -> &Node {
        self.node.as_ref().unwrap()
    }

    /// A key of the app with these scopes only.
    pub(crate) async fn key(&self, scopes: &[Scope], rate_limit_per_minute: u32) -> String {
        let platform = &self.node().core().platform;
        let new = NewApiKey::new("another", scopes, rate_limit_per_minute);
        platform
            .create_api_key(model::By::CommandLine, self.tenant, self.app, new)
            .await
            .unwrap()
            .secret
            .reveal()
            .to_owned()
    }

    /// Stops in order; the directory is free afterwards.
    pub(crate) async fn stop(&mut self) {
        self.node.take().unwrap().stop(DRAIN).await.unwrap();
    }

    /// Starts again on the same directory.
    pub(crate) async fn start_again(&mut self) {
        assert!(self.node.is_none(), "it runs");
        let node = Node::start(&self.config).await.unwrap();
        self.api = Client::new(format!("http://{}", node.address()), Some(&self.secret));
        self.node = Some(node);
    }
}

/// A tenant with an app, a key and a domain that was verified by asking the DNS.
async fn sign_up(node: &Node, world: &World) -> (TenantId, AppId, String) {
    let core = node.core();
    let platform = &core.platform;
    let user = EmailAddress::parse("owner@acme.test").unwrap();
    let tenant = platform.create_tenant(model::By::CommandLine, "Acme", user, None).await.unwrap();
    let sender = Mailbox::parse(SENDER).unwrap();
    let app = platform
        .create_app(
            model::By::CommandLine,
            tenant,
            NewApp { default_sender: Some(sender), ..NewApp::new("Shop") },
        )
        .await
        .unwrap();
    let name = DomainName::parse(SENDING_DOMAIN).unwrap();
    let domain = platform.add_domain(model::By::CommandLine, tenant, name).await.unwrap();
    let view = core.read.policies().domain(domain).unwrap();
    let records = platform.expected_records(&view);
    let records = records.iter().map(|r| (r.record_type, r.name.as_str(), r.value.as_str()));
    world.publish(records);
    platform.verify_domain(model::By::CommandLine, tenant, domain).await.unwrap();
    let view = core.read.policies().domain(domain).unwrap();
    assert_eq!(serde_json::to_value(view.status).unwrap(), "verified", "{:?}", view.records);
    let new = NewApiKey::new("first", &Scope::ALL, 1_000_000);
    let key = platform.create_api_key(model::By::CommandLine, tenant, app, new);
    let secret = key.await.unwrap().secret.reveal().to_owned();
    (tenant, app, secret)
}
