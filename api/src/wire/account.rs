//! Who is signed in to the portal.

use poem_openapi::{ApiResponse, Object, payload::Json, types::Example};

pub(crate) const EXAMPLE_TENANT: &str = "ten_01kb05yt7qe5tvnr4w8jhjkz2m";
pub(crate) const EXAMPLE_USER: &str = "usr_01kb05yt7qe5tvnr4w8jhjkz2n";

/// What a tenant and its first user are made of. Unknown fields are refused.
#[derive(Object)]
#[oai(rename_all = "camelCase", example)]
pub(crate) struct Registration {
    /// What the tenant is called.
    #[oai(validator(min_length = 1, max_length = 100))]
    pub tenant_name: String,
    /// The user's address; signs in with it.
    pub email: String,
    /// The password: at least 8 characters, and none that everybody tries first.
    #[oai(validator(min_length = 8, max_length = 128))]
    pub password: String,
}

/// What somebody signs in with. Unknown fields are refused.
#[derive(Object)]
#[oai(example)]
pub(crate) struct Credentials {
    /// The user's address.
    pub email: String,
    /// The password.
    #[oai(validator(max_length = 1024))]
    pub password: String,
}

/// A password and the one that takes its place. Unknown fields are refused.
#[derive(Object)]
#[oai(rename_all = "camelCase", example)]
pub(crate) struct PasswordChange {
    /// The password until now.
    #[oai(validator(max_length = 1024))]
    pub current_password: String,
    /// The password from now on: at least 8 characters, and none that everybody tries first.
    #[oai(validator(min_length = 8, max_length = 128))]
    pub new_password: String,
}

/// Who is signed in, and for whom.
#[derive(Object)]
#[oai(example)]
pub(crate) struct Account {
    /// The user.
    pub user: UserWire,
    /// The tenant that the user belongs to.
    pub tenant: TenantWire,
}

/// A user of the portal.
#[derive(Object)]
#[oai(rename = "User", example)]
pub(crate) struct UserWire {
    /// Which user.
    pub id: String,
    /// The user's address.
    pub email: String,
}

/// A customer of this server: owns apps and domains.
#[derive(Object)]
#[oai(rename = "Tenant", example)]
pub(crate) struct TenantWire {
    /// Which tenant.
    pub id: String,
    /// What it is called.
    pub name: String,
}

/// The session is over.
#[derive(Object)]
#[oai(example)]
pub(crate) struct SignedOut {
    /// Always `signed_out`.
    pub status: String,
}

/// The answer to a registration.
#[derive(ApiResponse)]
pub(crate) enum RegisterAnswer {
    /// The tenant and its first user exist, and the user is signed in.
    #[oai(status = 201)]
    Registered(Json<Account>, #[oai(header = "set-cookie")] String),
}

/// The answer to a login.
#[derive(ApiResponse)]
pub(crate) enum LoginAnswer {
    /// Signed in. The session that the browser had before is over.
    #[oai(status = 200)]
    SignedIn(Json<Account>, #[oai(header = "set-cookie")] String),
}

/// The answer to a logout.
#[derive(ApiResponse)]
pub(crate) enum LogoutAnswer {
    /// The session is over on the server, and the browser forgets its cookie.
    #[oai(status = 200)]
    SignedOut(Json<SignedOut>, #[oai(header = "set-cookie")] String),
}

/// The answer to a change of the password.
#[derive(ApiResponse)]
pub(crate) enum PasswordAnswer {
    /// The password is another one, and every other session of the user is over.
    #[oai(status = 204)]
    Changed,
}

impl Example for Registration {
    fn example() -> Self {
        Self {
            tenant_name: "Acme".into(),
            email: "ada@acme.com".into(),
            password: "paper-otter-violin-42".into(),
        }
    }
}

impl Example for Credentials {
    fn example() -> Self {
        let Registration { email, password, .. } = Registration::example();
        Self { email, password }
    }
}

impl Example for PasswordChange {
    fn example() -> Self {
        Self {
            current_password: Registration::example().password,
            new_password: "seven-lamps-under-ice".into(),
        }
    }
}

impl Example for Account {
    fn example() -> Self {
        Self { user: UserWire::example(), tenant: TenantWire::example() }
    }
}

impl Example for UserWire {
    fn example() -> Self {
        Self { id: EXAMPLE_USER.into(), email: "ada@acme.com".into() }
    }
}

impl Example for TenantWire {
    fn example() -> Self {
        Self { id: EXAMPLE_TENANT.into(), name: "Acme".into() }
    }
}

impl Example for SignedOut {
    fn example() -> Self {
        Self { status: "signed_out".into() }
    }
}
