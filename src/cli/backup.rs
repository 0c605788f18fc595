//! The command lines of backups.

use std::path::PathBuf;

use clap::Args;

use super::OutputArguments;

/// `lumora backup`
#[derive(Debug, Args)]
pub(crate) struct BackupArguments {
    /// The directory of the backup: one that is empty or not there, or a backup, which is brought up
    /// to date.
    #[arg(value_name = "DIR")]
    pub(crate) destination: PathBuf,
    /// Copy the master key and the instance key, too, and the configuration whatever it says. Whoever
    /// has this backup can then read everything in it, and sign.
    #[arg(long)]
    pub(crate) include_keys: bool,
    /// Compare all content, also that to which nothing seems to have happened since.
    #[arg(long)]
    pub(crate) compare_all: bool,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

/// `lumora restore`
#[derive(Debug, Args)]
pub(crate) struct RestoreArguments {
    /// The backup.
    #[arg(value_name = "BACKUP")]
    pub(crate) source: PathBuf,
    /// The data directory to make: empty, or not there.
    #[arg(value_name = "DATA_DIR", required_unless_present = "check")]
    pub(crate) target: Option<PathBuf>,
    /// Only check the backup; put nothing anywhere.
    #[arg(long, conflicts_with = "target")]
    pub(crate) check: bool,
    /// The key that signed, as `lumora log key` prints it, kept elsewhere; that in the backup if not
    /// given, which shows what broke by itself, but nothing against who can change the backup.
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<eventlog::VerifierKey>,
    /// The master key to put into the data directory; the backup's, if it has one.
    #[arg(long, value_name = "FILE")]
    pub(crate) master_key: Option<PathBuf>,
    /// The instance key to put into the data directory; the backup's, if it has one. Without it a
    /// new one is made, and signs from then on.
    #[arg(long, value_name = "FILE")]
    pub(crate) instance_key: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
