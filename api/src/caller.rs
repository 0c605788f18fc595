//! Who calls, and whether it may.

use std::{
    marker::PhantomData,
    sync::{Arc, OnceLock},
};

use actors::{Caller, RateDecision};
use model::tenant::Scope;
use poem::{Request, RequestBody, Result, http::header};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaSecurityScheme, Registry},
};
use projections::KeyView;

use crate::{
    body::Unread,
    parts::Shared,
    peer,
    problem::{Code, Problem},
};

/// Longest secret that is hashed: ours have 50 characters.
const MAX_SECRET_OCTETS: usize = 256;
/// What every secret begins with.
const SECRET_PREFIX: &str = "lum_sk_";

/// The names of the two ways to give a key, as the document has them.
pub(crate) const SCHEMES: [&str; 2] = ["apiKey", "bearer"];

/// What a caller must be allowed to do.
pub(crate) trait Needs: Send + Sync + 'static {
    const SCOPE: Scope;
}

/// To send and cancel.
pub(crate) struct Sending;

impl Needs for Sending {
    const SCOPE: Scope = Scope::EmailSend;
}

/// To read messages, logs and statistics.
pub(crate) struct Reading;

impl Needs for Reading {
    const SCOPE: Scope = Scope::EmailRead;
}

/// To read and try out templates.
pub(crate) struct TemplateReading;

impl Needs for TemplateReading {
    const SCOPE: Scope = Scope::TemplateRead;
}

/// To write and delete templates.
pub(crate) struct TemplateWriting;

impl Needs for TemplateWriting {
    const SCOPE: Scope = Scope::TemplateWrite;
}

/// To read the suppression list.
pub(crate) struct SuppressionReading;

impl Needs for SuppressionReading {
    const SCOPE: Scope = Scope::SuppressionRead;
}

/// To change the suppression list.
pub(crate) struct SuppressionWriting;

impl Needs for SuppressionWriting {
    const SCOPE: Scope = Scope::SuppressionWrite;
}

/// A caller whose key is good, within its rate and allowed to do this. Must be the first parameter
/// of an operation: nothing of a stranger's body is read.
pub(crate) struct Allowed<N> {
    /// Who it is.
    pub caller: Caller,
    needs: PhantomData<N>,
}

/// What a request leaves for the answer's headers.
#[derive(Clone, Default)]
pub(crate) struct Rate(pub Arc<OnceLock<RateDecision>>);

impl<'a, N: Needs> ApiExtractor<'a> for Allowed<N> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        let [api_key, bearer] = SCHEMES;
        let scheme = |ty| MetaSecurityScheme {
            ty,
            description: None,
            name: None,
            key_in: None,
            scheme: None,
            bearer_format: None,
            flows: None,
            openid_connect_url: None,
        };
        registry.create_security_scheme(
            api_key,
            MetaSecurityScheme {
                description: Some("The secret of an API key: `lum_sk_…`."),
                name: Some("x-api-key"),
                key_in: Some("header"),
                ..scheme("apiKey")
            },
        );
        registry.create_security_scheme(
            bearer,
            MetaSecurityScheme {
                description: Some("The same secret as `Authorization: Bearer lum_sk_…`."),
                scheme: Some("bearer"),
                bearer_format: Some("lum_sk_…"),
                ..scheme("http")
            },
        );
    }

    fn security_schemes() -> Vec<&'static str> {
        SCHEMES.to_vec()
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> Result<Self> {
        let shared = Shared::of(request)?;
        match admit(request, shared, N::SCOPE) {
            Ok(caller) => Ok(Self { caller, needs: PhantomData }),
            Err(problem) => {
                Unread::of(request, body).discard(&shared.options).await;
                Err(problem.into())
            }
        }
    }
}

/// The key of a request, counted; `None`: it has no good one.
pub(crate) fn count(request: &Request, shared: &Shared) -> Result<Option<Arc<KeyView>>, Problem> {
    let key = secret(request).and_then(|secret| {
        shared.platform.authenticate(secret, shared.clock.now(), address(request, shared))
    });
    let Some(key) = key else { return Ok(None) };
    let decision = shared.platform.rate(&key);
    if let Some(Rate(slot)) = request.data::<Rate>() {
        // Filled once: an operation has one caller.
        slot.get_or_init(|| decision);
    }
    if !decision.allowed {
        return Err(Problem::new(Code::RateLimited).retry_after_s(decision.retry_after_s.into()));
    }
    Ok(Some(key))
}

fn admit(request: &Request, shared: &Shared, scope: Scope) -> Result<Caller, Problem> {
    let key = count(request, shared)?.ok_or_else(|| Problem::new(Code::Unauthorized))?;
    if !key.scopes.contains(&scope) {
        return Err(Problem::new(Code::InsufficientScope));
    }
    Ok(Caller { tenant: key.tenant, app: key.app, key: key.id })
}

pub(crate) fn address(request: &Request, shared: &Shared) -> Option<std::net::IpAddr> {
    peer::address(request, &shared.options.trusted_proxies)
}

/// The secret that came with a request: from `x-api-key`, else from `Authorization`. One that is
/// given twice is none.
fn secret(request: &Request) -> Option<&str> {
    let headers = request.headers();
    let mut given = headers.get_all("x-api-key").iter();
    let secret = match (given.next(), given.next()) {
        (Some(secret), None) => secret.to_str().ok()?.trim(),
        (Some(_), Some(_)) => return None,
        (None, _) => {
            let mut given = headers.get_all(header::AUTHORIZATION).iter();
            let (Some(value), None) = (given.next(), given.next()) else { return None };
            let (scheme, secret) = value.to_str().ok()?.trim().split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())?
        }
    };
    let plausible = secret.len() <= MAX_SECRET_OCTETS && secret.starts_with(SECRET_PREFIX);
    plausible.then_some(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(headers: &[(&str, &str)]) -> Option<String> {
        let mut request = Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        secret(&request.finish()).map(ToOwned::to_owned)
    }

    #[test]
    fn a_secret_comes_in_one_of_two_headers() {
        let some = Some("lum_sk_a".to_owned());
        assert_eq!(found(&[("x-api-key", "lum_sk_a")]), some);
        assert_eq!(found(&[("Authorization", "Bearer lum_sk_a")]), some);
        assert_eq!(found(&[("Authorization", "bEARER  lum_sk_a ")]), some);
        assert_eq!(found(&[("x-api-key", "lum_sk_a"), ("Authorization", "Basic xyz")]), some);
    }

    #[test]
    fn what_is_no_secret_is_not_looked_up() {
        let long = format!("lum_sk_{}", "a".repeat(250));
        for headers in [
            &[][..],
            &[("x-api-key", "")],
            &[("x-api-key", "sk_a")],
            &[("x-api-key", long.as_str())],
            &[("x-api-key", "lum_sk_a"), ("x-api-key", "lum_sk_a")],
            &[("x-api-key", "wrong"), ("Authorization", "Bearer lum_sk_a")],
            &[("Authorization", "lum_sk_a")],
            &[("Authorization", "Basic lum_sk_a")],
            &[("Authorization", "Bearer lum_sk_a"), ("Authorization", "Bearer lum_sk_b")],
        ] {
            assert_eq!(found(headers), None, "{headers:?}");
        }
    }
}
