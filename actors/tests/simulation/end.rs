//! How a life ends.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::FutureExt;
use tokio::sync::Notify;

use crate::dice::Roll;

/// What ends a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Everything stops where it stands after this time.
    CrashAfter(Duration),
    /// The same as soon as so many appends are durable, before they are answered.
    CrashAtAppend(u64),
    /// The same as soon as receivers have so many messages, before they say so.
    CrashAtDot(u64),
    /// A stop in order after this time, which is given so long.
    StopAfter(Duration, Duration),
    /// A stop in order after the first time, and a crash in the midst of it.
    CrashInStop(Duration, Duration),
    /// When everything has ended.
    AllDone,
}

impl End {
    pub fn throw(roll: &mut Roll) -> Self {
        let after = Duration::from_millis(roll.within(1_000, 600_000));
        match roll.below(10) {
            0..3 => Self::CrashAfter(after),
            3..5 => Self::CrashAtAppend(roll.within(1, 60)),
            5..7 => Self::CrashAtDot(roll.within(1, 20)),
            7..9 => Self::StopAfter(after, Duration::from_millis(roll.within(1_000, 60_000))),
            _ => Self::CrashInStop(after, Duration::from_millis(roll.below(3_000))),
        }
    }

    /// Longest time that such a life takes.
    pub const fn longest(self) -> Duration {
        match self {
            Self::CrashAfter(after) | Self::StopAfter(after, _) | Self::CrashInStop(after, _) => {
                after
            }
            Self::CrashAtAppend(_) | Self::CrashAtDot(_) => Duration::from_mins(20),
            Self::AllDone => Duration::from_hours(6),
        }
    }
}

/// Told by the log and by receivers what may end the life.
#[derive(Clone, Default)]
pub struct EndOfLife {
    end: Arc<Mutex<Option<End>>>,
    dots: Arc<Mutex<u64>>,
    crash: Arc<Notify>,
    log_failed: Arc<Notify>,
}

impl EndOfLife {
    pub fn plan(&self, end: End) {
        *self.end.lock().unwrap() = Some(end);
        *self.dots.lock().unwrap() = 0;
        // What came after the end of the life before is not of this one.
        self.crash.notified().now_or_never();
        self.log_failed.notified().now_or_never();
    }

    pub fn appended(&self, durable: u64) {
        if *self.end.lock().unwrap() == Some(End::CrashAtAppend(durable)) {
            self.crash.notify_one();
        }
    }

    pub fn received(&self) {
        let mut dots = self.dots.lock().unwrap();
        *dots += 1;
        if *self.end.lock().unwrap() == Some(End::CrashAtDot(*dots)) {
            self.crash.notify_one();
        }
    }

    pub fn log_failed(&self) {
        self.log_failed.notify_one();
    }

    /// Ends when a crash is due by an append or a dot.
    pub async fn crashed(&self) {
        self.crash.notified().await;
    }

    /// Ends when the log has stopped writing.
    pub async fn log_has_failed(&self) {
        self.log_failed.notified().await;
    }
}
