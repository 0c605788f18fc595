//! What goes over the wire, as types: they are the schemas of the document.

pub(crate) mod account;
pub(crate) mod alerts;
pub(crate) mod apps;
pub(crate) mod audit;
pub(crate) mod compliance;
pub(crate) mod domains;
pub(crate) mod erasures;
pub(crate) mod evidence;
pub(crate) mod feed;
pub(crate) mod keys;
pub(crate) mod letters;
pub(crate) mod logs;
pub(crate) mod message;
pub(crate) mod pauses;
pub(crate) mod send;
pub(crate) mod stats;
pub(crate) mod suppressions;
pub(crate) mod system;
pub(crate) mod templates;
pub(crate) mod time;

pub(crate) use time::Time;
