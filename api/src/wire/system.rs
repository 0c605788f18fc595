//! Whether the server is up.

use poem_openapi::{Object, types::Example};

/// The server is alive.
#[derive(Object)]
#[oai(rename = "Health", example)]
pub(crate) struct HealthAnswer {
    /// Always `ok`.
    pub status: String,
}

/// The server takes and delivers mail.
#[derive(Object)]
#[oai(rename = "Readiness", example)]
pub(crate) struct ReadyAnswer {
    /// Always `ready`.
    pub status: String,
}

impl Example for HealthAnswer {
    fn example() -> Self {
        Self { status: "ok".into() }
    }
}

impl Example for ReadyAnswer {
    fn example() -> Self {
        Self { status: "ready".into() }
    }
}
