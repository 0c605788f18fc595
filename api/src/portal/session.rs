//! Who is signed in, and from where somebody who is not asks.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use actors::SessionView;
use model::By;
use poem::{FromRequest, Request, RequestBody, Result};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaSecurityScheme, Registry},
};

use super::{cookie, origin};
use crate::{
    body::Unread,
    parts::Shared,
    peer,
    problem::{Code, Problem},
};

/// The name of the way to show a session, as the document has it.
const SCHEME: &str = "session";

/// Somebody who may not be signed in, on a page of ours.
pub(crate) struct Visitor {
    /// From where it asks.
    pub address: IpAddr,
    /// The session's secret, if there is one; nobody has looked whether it is good.
    pub secret: Option<String>,
}

/// Somebody who is signed in, on a page of ours. Must be the first parameter of an operation:
/// nothing of a stranger's body is read.
pub(crate) struct SignedIn {
    /// The session.
    pub session: Arc<SessionView>,
    /// Its secret.
    pub secret: String,
    /// From where it is used.
    pub address: IpAddr,
}

impl SignedIn {
    /// What is asked for is recorded to come of.
    pub(crate) fn by(&self) -> By {
        By::User(self.session.user)
    }
}

impl<'a> FromRequest<'a> for Visitor {
    async fn from_request(request: &'a Request, body: &mut RequestBody) -> Result<Self> {
        let shared = Shared::of(request)?;
        let visitor = refuse_strangers(request, shared).map(|()| Self {
            address: address(request, shared),
            secret: cookie::read(request.headers()).map(ToOwned::to_owned),
        });
        or_discard(visitor, request, body, shared).await
    }
}

impl<'a> ApiExtractor<'a> for SignedIn {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        registry.create_security_scheme(
            SCHEME,
            MetaSecurityScheme {
                ty: "apiKey",
                description: Some("The cookie that a login sets."),
                name: Some(cookie::NAME),
                key_in: Some("cookie"),
                scheme: None,
                bearer_format: None,
                flows: None,
                openid_connect_url: None,
            },
        );
    }

    fn security_schemes() -> Vec<&'static str> {
        vec![SCHEME]
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> Result<Self> {
        let shared = Shared::of(request)?;
        let signed_in = match refuse_strangers(request, shared) {
            Ok(()) => admit(request, shared).await,
            Err(problem) => Err(problem),
        };
        or_discard(signed_in, request, body, shared).await
    }
}

async fn admit(request: &Request, shared: &Shared) -> Result<SignedIn, Problem> {
    let nobody = || Problem::new(Code::NoSession);
    let secret = cookie::read(request.headers()).ok_or_else(nobody)?;
    let session = shared.platform.session(secret, shared.clock.now()).await;
    let session = session.ok_or_else(nobody)?;
    Ok(SignedIn { session, secret: secret.to_owned(), address: address(request, shared) })
}

fn refuse_strangers(request: &Request, shared: &Shared) -> Result<(), Problem> {
    origin::check(request.method(), request.headers(), &shared.options.public_url)
}

/// Reads a refused body away, so that its sender hears why it was refused.
async fn or_discard<T>(
    answer: Result<T, Problem>,
    request: &Request,
    body: &mut RequestBody,
    shared: &Shared,
) -> Result<T> {
    if answer.is_err() {
        Unread::of(request, body).discard(&shared.options).await;
    }
    Ok(answer?)
}

/// From where somebody asks. Nothing is served without a connection; who asks without one is taken
/// for this host.
fn address(request: &Request, shared: &Shared) -> IpAddr {
    let address = peer::address(request, &shared.options.trusted_proxies);
    address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}
