//! The DNS record of the key that signs for the server's own domain.

use mail::records::check_key;
use model::domain::RecordStatus;

use super::{
    Setup,
    finding::{Finding, State},
};
use crate::own_key::{self, OwnRecord};

/// Whether the record is published and fits the key; nothing where no domain is set.
pub(super) async fn record(setup: &Setup<'_>) -> Option<Finding> {
    let check = "own signature";
    let OwnRecord { name, value } = match own_key::record(setup.config) {
        Ok(record) => record?,
        Err(error) => {
            let advice = "put the file back from a copy, or away: the next start makes a new key";
            return Some(Finding::not_well(check, State::Failed, error.to_string(), advice));
        }
    };
    let Some(value) = value else {
        let advice = "start the server once, and publish the record that this shows then";
        let found = format!("there is no key {name} yet");
        return Some(Finding::not_well(check, State::Doubtful, found, advice));
    };
    let seen = check_key(&setup.resolver, &name, &value).await;
    let state = match seen.status {
        RecordStatus::Verified => {
            return Some(Finding::well(check, format!("{name} publishes the key")));
        }
        RecordStatus::TemporaryFailure => State::Unknown,
        _ => State::Failed,
    };
    let problem = seen.problem.unwrap_or_default();
    let found = format!("{problem} It should be: {name} TXT {value}");
    let advice = "publish that record, or take delivery.signing_domain out of the settings";
    Some(Finding::not_well(check, state, found, advice))
}
