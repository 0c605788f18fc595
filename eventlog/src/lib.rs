//! The log: the one place where what happened is written down.

mod block;
mod checkpoint;
mod content;
mod contract;
mod engine;
mod error;
mod event;
mod export;
mod files;
mod index;
mod journal;
mod layout;
mod log;
mod memory;
mod position;
mod store;
mod tail;
mod vault;
mod verify;

pub use content::{ContentHash, ContentLocation, Hour, MAX_SEALED_BYTES, NotSealed, Sealed};
pub use contract::{EventLog, Health, MAX_READ_BYTES, MAX_READ_EVENTS};
pub use error::{AppendError, Bound, Cause, CloseError, ContentError, OpenError, ReadError};
pub use event::{
    Append, Appended, BoxFuture, ChainHash, MAX_APPEND_BYTES, MAX_APPEND_CONTENT,
    MAX_APPEND_EVENTS, MAX_EVENT_BYTES, NewEvent, Recorded,
};
pub use export::export;
pub use log::{KeepJournal, Log, LogOptions, LogStats, Rebuilt, Recovery, rebuild};
pub use memory::{Fault, MemoryLog};
pub use position::{Position, Version};
pub use store::{
    Batch, MAX_BATCH_WRITES, MAX_KEY_BYTES, MAX_VALUE_BYTES, Row, Rows, Scan, Store, StoreError,
    Table,
};
pub use vault::{
    HashPurpose, MAX_PLAIN_BYTES, MasterKey, MasterKeyError, Purpose, ReplyKey, Vault, VaultError,
    open_with, seal_with,
};
pub use verify::{VerifyError, VerifyReport, verify};
