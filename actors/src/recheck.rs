//! The re-check: looks again at domains' records, when it is time to.
//!
//! # Why
//! - It goes through all domains each minute: they are in memory, and a thousand are a matter of
//!   microseconds. A timer for each would have to be set anew at every start.
//! - When a domain was last looked at is kept in memory, since a look that finds nothing new is
//!   recorded once a day only. A start looks again at what the record does not know of: that is a
//!   query, not an event.
//! - A few at once, and each minute a bounded number: nobody's name servers are stormed when many
//!   tenants share them.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use model::{
    By, Timestamp,
    domain::{self, Domain, next_check_at},
};
use projections::DomainView;
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::{
    accounts::look,
    governed::{Undone, carry_out},
    node::Node,
};

/// Between two passes.
const BETWEEN_PASSES: Duration = Duration::from_mins(1);
/// Domains looked at in one pass; the others have waited the longest at the next.
const MOST_IN_A_PASS: usize = 500;
/// Domains looked at at once.
const AT_ONCE: usize = 8;

/// Look who is due.
pub(crate) struct Round;

/// The actor.
pub(crate) struct RecheckActor;

impl Actor for RecheckActor {
    type Msg = Round;
    type State = Arc<Node>;
    type Arguments = Arc<Node>;

    async fn pre_start(
        &self,
        myself: ActorRef<Round>,
        node: Arc<Node>,
    ) -> Result<Arc<Node>, ActorProcessingErr> {
        myself.send_message(Round)?;
        Ok(node)
    }

    async fn handle(
        &self,
        myself: ActorRef<Round>,
        Round: Round,
        node: &mut Arc<Node>,
    ) -> Result<(), ActorProcessingErr> {
        pass(node).await;
        let wait = u64::try_from(BETWEEN_PASSES.as_millis()).unwrap_or(u64::MAX);
        if node.pause_ms(node.lots.spread_ms(wait)).await {
            // Refused once it drains.
            myself.send_message(Round).ok();
        } else {
            myself.drain().ok();
        }
        Ok(())
    }
}

async fn pass(node: &Arc<Node>) {
    let now = node.now();
    let domains = node.read.policies().domains();
    let mut due: Vec<(Timestamp, Arc<DomainView>)> = domains
        .into_iter()
        .map(|view| (due_at(&view), view))
        .filter(|(at, _)| *at <= now)
        .collect();
    due.sort_unstable_by_key(|(at, view)| (*at, view.id));
    due.truncate(MOST_IN_A_PASS);
    let looks = due.into_iter().map(|(_, view)| check(node, view));
    let all = stream::iter(looks).buffer_unordered(AT_ONCE).for_each(|()| async {});
    tokio::select! {
        biased;
        () = node.stopped() => {}
        () = all => {}
    }
}

fn due_at(view: &DomainView) -> Timestamp {
    next_check_at(view.status, view.failing_since, view.created_at, view.last_asked_at())
}

async fn check(node: &Arc<Node>, view: Arc<DomainView>) {
    let records = look(node, &view).await;
    let command = domain::Command::RecordCheck(records);
    match carry_out::<Domain>(node, view.id, vec![command], By::Dns.into()).await {
        // Removed in the meantime: then there is nothing to record.
        Ok(()) | Err(Undone::Refused(_)) => {}
        Err(Undone::Unavailable | Undone::Internal) => {
            tracing::warn!(domain = %view.id, "a check of a domain was not recorded");
        }
    }
}
