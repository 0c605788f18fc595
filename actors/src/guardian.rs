//! The guardian: keeps the long-lived actors alive.
//!
//! Message and site actors are not linked to it: a link makes a spawn two to four times slower, and
//! what a crash of theirs costs is restored by the log and the alarm.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use crate::{alarm::AlarmActor, node::Node};

/// Wait before an actor that failed is started again.
const RESTART_MS: u64 = 1_000;

/// Start the alarm.
pub(crate) struct StartAlarm;

/// The actor.
pub(crate) struct Guardian;

impl Actor for Guardian {
    type Msg = StartAlarm;
    type State = Arc<Node>;
    type Arguments = Arc<Node>;

    async fn pre_start(
        &self,
        myself: ActorRef<StartAlarm>,
        node: Arc<Node>,
    ) -> Result<Arc<Node>, ActorProcessingErr> {
        myself.send_message(StartAlarm)?;
        Ok(node)
    }

    async fn handle(
        &self,
        myself: ActorRef<StartAlarm>,
        StartAlarm: StartAlarm,
        node: &mut Arc<Node>,
    ) -> Result<(), ActorProcessingErr> {
        let alarm = AlarmActor::spawn_linked(None, AlarmActor, Arc::clone(node), myself.get_cell());
        if let Err(error) = alarm.await {
            tracing::error!(%error, "the alarm did not start");
            if node.pause_ms(RESTART_MS).await {
                myself.send_message(StartAlarm)?;
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<StartAlarm>,
        event: SupervisionEvent,
        node: &mut Arc<Node>,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(..) => node.crashed("alarm"),
            SupervisionEvent::ActorTerminated(..) => {}
            _ => return Ok(()),
        }
        if node.pause_ms(RESTART_MS).await {
            myself.send_message(StartAlarm)?;
        } else {
            myself.drain()?;
        }
        Ok(())
    }
}
