//! What is measured: a file for each.

pub(crate) mod accept;
pub(crate) mod backlog;
pub(crate) mod deliver;
pub(crate) mod guard;
pub(crate) mod latency;
pub(crate) mod mixed;
pub(crate) mod query;
pub(crate) mod replay;
pub(crate) mod retention;
pub(crate) mod size;
pub(crate) mod tenants;
