//! The log: the one place where what happened is written down.
//!
//! Events go to streams ([`model::StreamId`]), in one total order, and stay. Behind the
//! [`EventLog`] trait stand [`Log`], on disk, and [`MemoryLog`], with faults on demand; one suite
//! checks both. Content (what must be forgotten some day) lies beside the events that name it,
//! sealed by the [`Vault`]. The [`Store`] is what read models get of sled.
//!
//! # Contract
//! - An append is answered once it is durable; nothing is read or announced before.
//! - Positions, and the versions of each stream, have no gaps. Times never go backwards.
//! - [`AppendError::Conflict`] and [`AppendError::NotWritten`]: nothing was written.
//!   [`AppendError::Unknown`]: read again and compare event ids.
//! - Content is durable before the event that names it.
//! - Damage is named with its position, by [`Log::open`], by a read or by [`verify`]. What is read
//!   without an error is what was written.
//! - Everything waits in bounded queues: appends by number and bytes, unsealed events likewise.
//!
//! # On disk
//! | path | what |
//! |---|---|
//! | `journal/<first position>.journal` | segments of frames; the truth |
//! | `sled/` | sealed blocks, the stream index and the tree; can be made anew from the journal |
//! | `checkpoint` | up to where `sled/` is known to be durable, and the chain's hash there |
//! | `checkpoints` | what was signed of the log, only ever added to |
//! | `keyring` | the keys that content is sealed with, sealed under the master key |
//! | `sled.<n>/`, `generation` | sled's files after the log was pruned for the nth time, and which are in use |
//! | `content/<hour>.content` | sealed records |
//! | `content/lasting.content` | sealed records that no retention drops: of suppression lists and erasures |
//! | `content/dropped-before` | the hour before which content was dropped |
//! | `ballast`, `lock` | space to give up on a full disk; held while the log is in use |
//! | `restoring` | while a backup is put back here: nobody opens the log meanwhile |
//! | `checkpoints.before` | what another key signed before a backup was put back without it |
//! | `sled.aside` | sled's files from before, while they are made anew |
//!
//! # The walk of an append
//! `Log::append` checks bounds and waits for its place; the committer (one thread) takes what
//! waits, checks expected versions, writes and syncs content, writes and syncs one journal frame,
//! shows the events to readers in the tail, answers. The sealer (one thread) copies the tail into
//! sled within 250 ms, syncs sled within a second, writes the checkpoint file, and lets go of
//! journal segments that are no longer wanted.
//!
//! # Pruning
//! [`Log::prune`] takes whole messages out of the log, from a point in time on that is chosen by the
//! caller, and leaves gaps: of each the chain's hash behind it, and the nodes of the tree over it.
//! What was pruned is signed by the instance's key, so that a log from which somebody took events
//! is told from one that was pruned. Everything else stays where it was: positions, hashes, the
//! root of the tree, proofs.
//!
//! # Why
//! - **Pruned by copying what stays.** Deleting values from sled gave no disk back (10 KB values,
//!   measured); of a log of 80 000 events, nine tenths of them pruned, 67 MB became 5 in new files.
//!   New files beside the old ones, and one small file that says which are in use, are also what a
//!   crash cannot leave half done.
//! - **A journal in front of sled 0.34.** sled's `flush` does not wait for the disk: 27 of 32
//!   simulated power cuts lost acknowledged events or the whole store, and it does not report
//!   damage but forgets or panics. So sled is never the only one to know what was acknowledged a
//!   moment ago, is flushed *and* synced before the checkpoint file says so, is opened where a
//!   panic is caught, and is measured against that file. 1.0-alpha lost whole stores under
//!   SIGKILL. redb or fjall could stand in its place.
//! - **One tree.** Blocks, stream index and checkpoint go in one batch of at most 512 entries
//!   (sled's best is 64 to 512; it stalls at 65 000), so no crash leaves one without the others.
//! - **Values at most 64 KiB, `segment_size` 16 MiB.** Values above a quarter of the segment size
//!   land in files that no sync covers.
//! - **The last block is filled up**, not begun anew at each round of the sealer: a quiet log
//!   would else keep one event a block and compress nothing.
//! - **Hashes are not stored in blocks** but made again when one is read: 0.7 µs an event, a third
//!   of the space, and every read proves its block.
//! - **Zeros ahead in the journal.** A sync into zeros already on the disk has no new length to
//!   record: 1.3 to 1.9 times as many syncs a second.
//!   Content segments likewise.
//! - **Torn or damaged?** One frame is written at a time, into zeros. A last frame with a sector
//!   still missing was torn by a crash and never acknowledged: cut off. One that is all there and
//!   wrong, or has good frames behind it, was good once: an error.
//! - **A failed sync ends writing.** The kernel may mark what it could not write as clean, so a
//!   second sync proves nothing. Opening writes the last frame once more before it builds on it.
//! - **A full disk ends nothing.** What was partly written is undone and the append refused. Below
//!   the low-water mark content is refused first, so that what is under way can still be
//!   recorded; with less than two of sled's segments free, sealing waits, for after ENOSPC sled
//!   refuses everything until it is opened anew, and needs room for that: the ballast.
//! - **Content outside sled.** 10 KB values deleted from sled gave no disk back. An erased record
//!   loses its first byte first: half erased counts as forgotten, and can be erased again.
//! - **A tree beside the chain.** The chain proves an event only to who reads all of them; a path in
//!   the tree proves it with some twenty hashes. SHA-256 and not BLAKE3, although that is faster:
//!   it is what RFC 6962 and the tools for such logs use, and every language's standard library
//!   has it, so anyone can check a proof without a dependency. It is made by the sealer, off the
//!   way of an append.
//! - **Signed outside of the log's threads** by the [`Notary`], which only reads: that signing
//!   fails stops nothing.
//! - **AES-256-GCM-SIV** for sealing: should a random nonce ever repeat, only equal texts show.

mod backup;
mod block;
mod checkpoint;
mod checkpoint_file;
mod compression;
mod content;
mod contract;
mod engine;
mod error;
mod event;
mod export;
mod files;
#[doc(hidden)]
pub mod fuzzing;
mod gap;
mod index;
mod journal;
mod layout;
mod log;
mod memory;
mod merkle;
mod notary;
mod note;
mod position;
mod pruned;
mod signed_checkpoint;
mod store;
mod tail;
mod vault;
mod verify;

pub use backup::{
    BackedUp, BackupError, BackupInfo, BackupPlan, RestoreError, Restoring, back_up, backup_piece,
    check_backup,
};
pub use checkpoint_file::{Checkpoints, CheckpointsError};
pub use content::{ContentHash, ContentLocation, Hour, MAX_SEALED_BYTES, NotSealed, Sealed};
pub use contract::{CarriedRows, EventLog, Health, MAX_READ_BYTES, MAX_READ_EVENTS};
pub use error::{AppendError, Bound, Cause, CloseError, ContentError, OpenError, ReadError};
pub use event::{
    Append, Appended, BoxFuture, ChainHash, MAX_APPEND_BYTES, MAX_APPEND_CONTENT,
    MAX_APPEND_EVENTS, MAX_APPENDS, MAX_EVENT_BYTES, NewEvent, Recorded,
};
pub use export::export;
pub use log::{
    CarriedRow, KeepJournal, Log, LogOptions, LogStats, Prunable, PruneError, Pruning, Rebuilt,
    Recovery, rebuild,
};
pub use memory::{Fault, MemoryLog};
pub use merkle::{TreeHash, verify_consistency, verify_inclusion};
pub use notary::{Notary, NotaryError};
pub use note::{sign_note, verify_note};
pub use position::{Position, Version};
pub use pruned::Pruned;
pub use signed_checkpoint::{InvalidCheckpoint, SignedCheckpoint, TreeHead};
pub use store::{
    Batch, MAX_BATCH_WRITES, MAX_KEY_BYTES, MAX_VALUE_BYTES, Row, Rows, Scan, Store, StoreError,
    Table,
};
pub use vault::{
    HashPurpose, InstanceKey, InvalidVerifierKey, KeyFileError, KeyRingError, MAX_PLAIN_BYTES,
    MasterKey, Purpose, ReplyKey, Rotated, Vault, VaultError, VerifierKey, open_with,
    rotate_master_key, seal_with,
};
pub use verify::{Signed, VerifyError, VerifyReport, verify, verify_signed};
