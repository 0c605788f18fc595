//! The feed of an app: every event with its number.

use std::time::Duration;

use futures_util::{StreamExt as _, stream::BoxStream};
use poem::web::{Data, sse};
use poem_openapi::{
    OpenApi,
    payload::{EventStream, Json},
    types::ToJSON as _,
};
use tokio::time::Instant;

use super::{SharedData, Topic};
use crate::{
    caller::{Allowed, Reading},
    following::{self, Follower, Following, Page, Woken},
    params::{EpochName, LastEventId, PageSize, Query, Seq, WaitSeconds},
    problem::{Code, Findings, Problem},
    wire::feed::{FeedAnswer, FeedEventWire},
};

/// What is said of an epoch that is over.
const EARLIER: &str = "is from before the server was put back to a backup: read /v1/events with it, \
                       and go on with the lastSeq and the epoch of that answer";

/// To follow what happens.
pub(crate) struct FeedOperations;

#[OpenApi]
impl FeedOperations {
    /// Read events by number
    ///
    /// Every event of your app, the oldest first, numbered 1, 2, 3 and so on without gaps. Remember
    /// the `lastSeq` of an answer and give it as `after` the next time: you miss nothing and get
    /// nothing twice. With `waitSeconds` an answer without events waits until there is one. Give the
    /// `epoch` of that answer, too: should the server have been put back to a backup since, you go on
    /// from the last event that stayed what it was.
    #[oai(path = "/v1/events", method = "get", operation_id = "listEvents", tag = "Topic::Insight")]
    async fn events(
        &self,
        allowed: Allowed<Reading>,
        /// The number of the last event that you know; 0 if absent, which is before the first.
        after: Query<Seq>,
        /// The `epoch` of the answer in which you got that number; the present one if absent.
        epoch: Query<EpochName>,
        /// Most events wanted.
        limit: Query<PageSize>,
        /// How long to wait for an event when there is none; 0 if absent.
        #[oai(name = "waitSeconds")]
        wait_seconds: Query<WaitSeconds>,
        Data(shared): SharedData<'_>,
    ) -> Result<Json<FeedAnswer>, Problem> {
        let mut findings = Findings::default();
        let after = after.take(&mut findings).unwrap_or_default().0;
        let epoch = epoch.take(&mut findings);
        let limit = limit.take(&mut findings).unwrap_or(PageSize::DEFAULT).0;
        let wait = wait_seconds.take(&mut findings).unwrap_or_default().0;
        if !findings.is_empty() {
            return Err(findings.into_problem());
        }
        let caller = allowed.caller;
        let until = Instant::now() + Duration::from_secs(wait);
        shared.settled().await;
        let after = match epoch {
            Some(EpochName(epoch)) => {
                following::taken_back(shared, caller.app, after, epoch).await?
            }
            None => after,
        };
        let mut page = following::page(shared, caller.app, after, limit).await?;
        if page.events.is_empty() && wait > 0 {
            let mut follower = Follower::begin(shared, caller)?;
            loop {
                // Once more: something may have come before it listened.
                page = follower.page(after, limit).await?;
                if !page.events.is_empty() {
                    break;
                }
                match follower.wait(until).await {
                    Woken::News => {}
                    Woken::Over => break,
                    Woken::KeyGone => return Err(Problem::new(Code::Unauthorized)),
                }
            }
        }
        Ok(Json(answer(page, after)))
    }

    /// Follow events as they come
    ///
    /// The same events as server-sent events: `id` is the number, `data` the event. Give the number
    /// of the last event that you know as `after`, or as `Last-Event-ID`, which browsers do by
    /// themselves and which counts before `after`. Lines with a colon alone show that the
    /// connection lives. The server ends a stream from time to time, and when the key is taken
    /// back: connect again and go on. A stream does not go on from an earlier `epoch`.
    #[oai(
        path = "/v1/events/stream",
        method = "get",
        operation_id = "streamEvents",
        tag = "Topic::Insight"
    )]
    async fn stream(
        &self,
        allowed: Allowed<Reading>,
        /// The number of the last event that you know; 0 if absent, which is before the first.
        after: Query<Seq>,
        /// The `epoch` in which you got that number. One from before the server was put back to a
        /// backup is refused: read a page with it, and go on from there.
        epoch: Query<EpochName>,
        /// The same as `after`; counts before it.
        #[oai(name = "Last-Event-ID")]
        last_event_id: LastEventId,
        Data(shared): SharedData<'_>,
    ) -> Result<EventStream<BoxStream<'static, FeedEventWire>>, Problem> {
        let mut findings = Findings::default();
        let after = after.take(&mut findings).unwrap_or_default();
        let after = last_event_id.take(&mut findings).unwrap_or(after).0;
        let epoch = epoch.take(&mut findings);
        if !findings.is_empty() {
            return Err(findings.into_problem());
        }
        shared.settled().await;
        if let Some(EpochName(epoch)) = epoch {
            let of_now = shared.reading(move |shared| Ok(shared.epochs()?.current() == epoch));
            if !of_now.await? {
                return Err(Problem::field("epoch", EARLIER));
            }
        }
        let following = Following::begin(shared, allowed.caller, after).await?;
        let stream = EventStream::new(following.into_stream().boxed());
        let stream = stream.to_event(|event| {
            let id = event.seq.to_string();
            sse::Event::message(event.to_json_string()).id(id)
        });
        Ok(stream.keep_alive(shared.options.heartbeat))
    }
}

fn answer(page: Page, after: u64) -> FeedAnswer {
    let last_seq = page.events.last().map_or(after, |event| event.seq);
    FeedAnswer {
        data: page.events,
        last_seq,
        head_seq: page.head,
        has_more: last_seq < page.head,
        epoch: page.epoch.to_string(),
    }
}
