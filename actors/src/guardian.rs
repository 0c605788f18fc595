//! The guardian: keeps the long-lived actors alive.
//!
//! Message and site actors are not linked to it: a link makes a spawn two to four times slower, and
//! what a crash of theirs costs is restored by the log and the alarm.

use std::sync::Arc;

use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};

use crate::{
    alarm::AlarmActor, erasing::EraserActor, node::Node, recheck::RecheckActor,
    tls_reports::ReportsActor,
};

/// Wait before an actor that failed is started again.
const RESTART_MS: u64 = 1_000;

/// The long-lived actors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ward {
    /// Wakes messages.
    Alarm,
    /// Looks again at domains.
    Recheck,
    /// Forgets people.
    Eraser,
    /// Tells receivers' domains of TLS.
    Reports,
}

/// Start this one.
pub(crate) struct Start(Ward);

/// The actor.
pub(crate) struct Guardian;

/// Who is under its care.
pub(crate) struct State {
    node: Arc<Node>,
    wards: Vec<(ActorId, Ward)>,
}

impl Actor for Guardian {
    type Msg = Start;
    type State = State;
    type Arguments = Arc<Node>;

    async fn pre_start(
        &self,
        myself: ActorRef<Start>,
        node: Arc<Node>,
    ) -> Result<State, ActorProcessingErr> {
        // Without a domain of its own a server has nobody in whose name it could report.
        let reports = node.options.own_signer.as_ref().map(|_| Ward::Reports);
        for ward in [Ward::Alarm, Ward::Recheck, Ward::Eraser].into_iter().chain(reports) {
            myself.send_message(Start(ward))?;
        }
        Ok(State { node, wards: Vec::new() })
    }

    async fn handle(
        &self,
        myself: ActorRef<Start>,
        Start(ward): Start,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (node, above) = (Arc::clone(&state.node), myself.get_cell());
        let started: Result<ActorCell, _> = match ward {
            Ward::Alarm => AlarmActor::spawn_linked(None, AlarmActor, node, above)
                .await
                .map(|(actor, _)| actor.get_cell()),
            Ward::Recheck => RecheckActor::spawn_linked(None, RecheckActor, node, above)
                .await
                .map(|(actor, _)| actor.get_cell()),
            Ward::Eraser => EraserActor::spawn_linked(None, EraserActor, node, above)
                .await
                .map(|(actor, _)| actor.get_cell()),
            Ward::Reports => ReportsActor::spawn_linked(None, ReportsActor, node, above)
                .await
                .map(|(actor, _)| actor.get_cell()),
        };
        match started {
            Ok(actor) => state.wards.push((actor.get_id(), ward)),
            Err(error) => {
                tracing::error!(?ward, %error, "an actor did not start");
                if state.node.pause_ms(RESTART_MS).await {
                    myself.send_message(Start(ward))?;
                }
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Start>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (id, failed) = match event {
            SupervisionEvent::ActorFailed(actor, _) => (actor.get_id(), true),
            SupervisionEvent::ActorTerminated(actor, ..) => (actor.get_id(), false),
            _ => return Ok(()),
        };
        let Some(place) = state.wards.iter().position(|(known, _)| *known == id) else {
            return Ok(());
        };
        let (_, ward) = state.wards.swap_remove(place);
        if failed {
            state.node.crashed("ward");
        }
        if state.node.pause_ms(RESTART_MS).await {
            myself.send_message(Start(ward))?;
        } else {
            myself.drain()?;
        }
        Ok(())
    }
}
