//! What a backup of a running server cannot read from its files: the events, and a checkpoint that
//! says how far they go.
//!
//! # Why
//! - **Who asks writes the backup, not the server**: a request never tells the server where to write,
//!   and the backup belongs to whom it is for.

use std::{sync::Arc, time::Duration};

use eventlog::{Position, ReadError, backup_piece};
use poem::{Endpoint, Request, Response};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{from_operator, parameters, value};
use crate::{
    parts::Shared,
    problem::{Findings, Problem},
};

/// How long it is waited until all that was recorded can be signed: it takes a quarter of a second,
/// unless the disk is full.
const SEALED_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Signs what the log holds now, and tells it with the key that checks it. What was acknowledged
/// before is covered.
pub(super) async fn checkpoint(shared: &Arc<Shared>) -> Result<Value, Problem> {
    let head = *shared.log.head().borrow();
    let until = Instant::now() + SEALED_WITHIN;
    while shared.log.tree_size() < head && Instant::now() < until {
        sleep(LOOK_EVERY).await;
    }
    let answer = shared.reading(move |shared| {
        let signed = shared.notary.sign(shared.clock.now());
        let signed = signed.map_err(|error| Problem::internal("the log is not signed", &error))?;
        Ok(json!({
            "checkpoint": signed.map(|signed| signed.to_string()),
            "key": shared.notary.key().verifier().to_string(),
        }))
    });
    answer.await
}

/// Events in their stored bytes, `after` a position and up to `through`.
pub(super) struct Events;

impl Endpoint for Events {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let (request, _, shared) = from_operator(request).await?;
        let given = parameters(&request, &["after", "through"])?;
        let mut findings = Findings::default();
        let mut position = |name: &str| {
            let number = value(&given, name).and_then(|text| text.parse().ok());
            if number.is_none() {
                findings.add(name, "must be a position");
            }
            Position::new(number.unwrap_or_default())
        };
        let (after, through) = (position("after"), position("through"));
        if !findings.is_empty() {
            return Err(findings.into_problem().into());
        }
        let piece = shared.reading(move |shared| {
            backup_piece(shared.log.as_ref(), after, through).map_err(|error| match error {
                ReadError::Pruned { .. } => Problem::field("after", &error.to_string()),
                error => Problem::internal("events cannot be read", &error),
            })
        });
        let piece = piece.await?;
        Ok(Response::builder().content_type("application/octet-stream").body(piece))
    }
}
