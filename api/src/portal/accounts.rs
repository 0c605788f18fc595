//! Registering, signing in and out.

use actors::{Password, SESSION_LIFETIME, SignedIn as Begun};
use model::{TenantId, UserId, address::EmailAddress};
use poem::web::Data;
use poem_openapi::{OpenApi, payload::Json};

use super::{
    SharedData, Topic, cookie,
    problems::{change_problem, sign_in_problem},
    session::{SignedIn, Visitor},
    text,
};
use crate::{
    body::SmallJsonBody,
    fields::{Fields, read_body},
    parts::Shared,
    problem::{Code, Findings, Problem},
    wire::account::{
        Account, Credentials, LoginAnswer, LogoutAnswer, PasswordAnswer, PasswordChange,
        RegisterAnswer, Registration, SignedOut, TenantWire, UserWire,
    },
};

/// Registering, signing in and out.
pub(crate) struct Accounts;

#[OpenApi]
impl Accounts {
    /// Register a tenant
    ///
    /// Makes a tenant with its first user, who is signed in. Refused where the server does not let
    /// strangers register.
    #[oai(
        path = "/portal/register",
        method = "post",
        operation_id = "register",
        tag = "Topic::Account"
    )]
    async fn register(
        &self,
        visitor: Visitor,
        body: SmallJsonBody<Registration>,
        Data(shared): SharedData<'_>,
    ) -> Result<RegisterAnswer, Problem> {
        if !shared.options.registration_open {
            return Err(Problem::new(Code::RegistrationClosed));
        }
        let (name, email, password) = read_body(&body.bytes, registration)?;
        let begun = shared.platform.register(&name, email, password, visitor.address).await;
        let begun = begun.map_err(|error| sign_in_problem(error, "password"))?;
        let account = account(shared, begun.tenant, begun.user)?;
        Ok(RegisterAnswer::Registered(Json(account), cookie_of(shared, &begun)))
    }

    /// Sign in
    ///
    /// A wrong password and an unknown address are answered alike, and take as long. After several
    /// failures from one address the next attempts must wait. A session that the browser had before
    /// ends.
    #[oai(path = "/portal/login", method = "post", operation_id = "login", tag = "Topic::Account")]
    async fn login(
        &self,
        visitor: Visitor,
        body: SmallJsonBody<Credentials>,
        Data(shared): SharedData<'_>,
    ) -> Result<LoginAnswer, Problem> {
        let (email, password) = read_body(&body.bytes, credentials)?;
        let before = visitor.secret.as_deref();
        let begun = shared.platform.sign_in(&email, password, visitor.address, before).await;
        let begun = begun.map_err(|error| sign_in_problem(error, "password"))?;
        let account = account(shared, begun.tenant, begun.user)?;
        Ok(LoginAnswer::SignedIn(Json(account), cookie_of(shared, &begun)))
    }

    /// Sign out
    ///
    /// The session is over on the server at once, wherever its cookie still is.
    #[oai(
        path = "/portal/logout",
        method = "post",
        operation_id = "logout",
        tag = "Topic::Account"
    )]
    async fn logout(
        &self,
        signed_in: SignedIn,
        Data(shared): SharedData<'_>,
    ) -> Result<LogoutAnswer, Problem> {
        shared.platform.sign_out(&signed_in.secret).await.map_err(change_problem)?;
        let answer = SignedOut { status: "signed_out".into() };
        Ok(LogoutAnswer::SignedOut(Json(answer), cookie::forget(&shared.options.public_url)))
    }

    /// Who am I?
    ///
    /// The user who signed in, and the tenant.
    #[oai(path = "/portal/me", method = "get", operation_id = "getMe", tag = "Topic::Account")]
    async fn me(
        &self,
        signed_in: SignedIn,
        Data(shared): SharedData<'_>,
    ) -> Result<Json<Account>, Problem> {
        shared.settled().await;
        account(shared, signed_in.session.tenant, signed_in.session.user).map(Json)
    }

    /// Change the password
    ///
    /// Every other session of the user ends.
    #[oai(
        path = "/portal/password",
        method = "post",
        operation_id = "changePassword",
        tag = "Topic::Account"
    )]
    async fn password(
        &self,
        signed_in: SignedIn,
        body: SmallJsonBody<PasswordChange>,
        Data(shared): SharedData<'_>,
    ) -> Result<PasswordAnswer, Problem> {
        let (current, new) = read_body(&body.bytes, password_change)?;
        let SignedIn { session, address, .. } = &signed_in;
        let changed = shared.platform.change_password(session, *address, current, new).await;
        changed.map_err(|error| sign_in_problem(error, "newPassword"))?;
        Ok(PasswordAnswer::Changed)
    }
}

fn cookie_of(shared: &Shared, begun: &Begun) -> String {
    cookie::set(begun.secret.reveal(), SESSION_LIFETIME, &shared.options.public_url)
}

fn account(shared: &Shared, tenant: TenantId, user: UserId) -> Result<Account, Problem> {
    let policies = shared.read.policies();
    let (Some(tenant), Some(user)) = (policies.tenant(tenant), policies.user(user)) else {
        return Err(Problem::internal("a session without its user", &user));
    };
    Ok(Account {
        user: UserWire { id: user.id.to_string(), email: user.profile.email.to_string() },
        tenant: TenantWire { id: tenant.id.to_string(), name: tenant.name.clone() },
    })
}

fn registration(
    mut fields: Fields<'_>,
    findings: &mut Findings,
) -> Option<(String, EmailAddress, Password)> {
    let name = text::required_name(&mut fields, "tenantName", findings);
    let email = fields.required_text("email", findings).and_then(|email| {
        let parsed = EmailAddress::parse(email.trim());
        parsed.map_err(|error| findings.add("email", error.to_string())).ok()
    });
    let password = password(&mut fields, "password", findings);
    if let (Some(name), Some(email), Some(password)) = (&name, &email, &password)
        && let Err(weak) = password.check(&[name, &email.to_string()])
    {
        findings.add("password", weak.to_string());
    }
    fields.finish(findings);
    Some((name?, email?, password?))
}

fn credentials(mut fields: Fields<'_>, findings: &mut Findings) -> Option<(String, Password)> {
    let email = fields.required_text("email", findings);
    let password = password(&mut fields, "password", findings);
    fields.finish(findings);
    Some((email?.into_owned(), password?))
}

fn password_change(
    mut fields: Fields<'_>,
    findings: &mut Findings,
) -> Option<(Password, Password)> {
    let current = password(&mut fields, "currentPassword", findings);
    let new = password(&mut fields, "newPassword", findings);
    if let Some(Err(weak)) = new.as_ref().map(|new| new.check(&[])) {
        findings.add("newPassword", weak.to_string());
    }
    fields.finish(findings);
    Some((current?, new?))
}

fn password(fields: &mut Fields<'_>, name: &str, findings: &mut Findings) -> Option<Password> {
    fields.required_text(name, findings).map(|typed| Password::new(&typed))
}
