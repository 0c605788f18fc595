//! What a check found.

use serde::Serialize;

/// How it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// As it should be.
    Well,
    /// It works, and receivers or operators will mind.
    Doubtful,
    /// Mail will not be taken, or the server will not run.
    Failed,
    /// It could not be found out.
    Unknown,
}

/// One thing that was checked.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    /// What was checked.
    pub(super) check: &'static str,
    /// How it stands.
    pub(super) state: State,
    /// What was found.
    pub(super) found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) advice: Option<&'static str>,
}

impl Finding {
    pub(super) fn well(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, state: State::Well, found: found.into(), advice: None }
    }

    pub(super) fn not_well(
        check: &'static str,
        state: State,
        found: impl Into<String>,
        advice: &'static str,
    ) -> Self {
        Self { check, state, found: found.into(), advice: Some(advice) }
    }

    /// The same for people. Words of others are shown without their control characters.
    pub(super) fn lines(&self) -> Vec<String> {
        let word = match self.state {
            State::Well => "well",
            State::Doubtful => "doubtful",
            State::Failed => "FAILED",
            State::Unknown => "unknown",
        };
        let found: String = self.found.chars().filter(|c| !c.is_control()).collect();
        let mut lines = vec![format!("{word:<9} {:<16} {found}", self.check)];
        lines.extend(self.advice.map(|advice| format!("{:<26} {advice}", "")));
        lines
    }
}
