//! Where an event stands: in the whole log and in its stream.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! count {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
        )]
        #[serde(transparent)]
        pub struct $name(u64);

        impl $name {
            /// From the number.
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            /// The number; 0 is before the first.
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The one after this.
            #[must_use]
            pub const fn next(self) -> Self {
                self.plus(1)
            }

            /// The one that stands `count` later.
            #[must_use]
            pub const fn plus(self, count: u64) -> Self {
                Self(self.0.saturating_add(count))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

count!(
    /// An event's place in the whole log: 1, 2, 3 … without gaps.
    Position
);
count!(
    /// An event's place in its stream: 1, 2, 3 … without gaps.
    Version
);

impl Position {
    /// Before the first event: reading after it reads everything.
    pub const START: Self = Self(0);
}

impl Version {
    /// No event yet: the version of a stream that does not exist.
    pub const NONE: Self = Self(0);
}
