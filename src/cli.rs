//! The command line.

mod backup;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use model::{
    ApiKeyId, AppId, DomainId, ErasureId, LetterId, MessageId, StreamId, TenantId, Timestamp,
    address::DomainName, tls_report::Day,
};

pub(crate) use self::backup::{BackupArguments, RestoreArguments};

/// Transactional email: one binary that takes a message by REST and delivers it to the receiver's
/// mail server.
#[derive(Debug, Parser)]
#[command(name = "lumora", version, about, max_term_width = 100)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where a command finds its configuration.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConfigArguments {
    /// Configuration file (TOML). Every key can also be set in the environment: `http.listen` is
    /// `LUMORA_HTTP__LISTEN`.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The directory that holds everything; overrides `data_dir`.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Try it: a server with a demo tenant, a verified domain, an API key and a mail server that
    /// really receives. Nothing leaves this machine.
    Dev(DevArguments),
    /// Run the server.
    Serve {
        #[command(flatten)]
        config: ConfigArguments,
    },
    /// Print the OpenAPI document.
    Openapi {
        /// As YAML instead of JSON.
        #[arg(long)]
        yaml: bool,
    },
    /// Make tenants, on a stopped server's data directory.
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// Make apps, on a stopped server's data directory.
    #[command(subcommand)]
    App(AppCommand),
    /// Make and revoke API keys, and replace the master key, on a stopped server's data directory.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Add and verify sending domains, on a stopped server's data directory.
    #[command(subcommand)]
    Domain(DomainCommand),
    /// Read the event log, on a stopped server's data directory.
    #[command(subcommand)]
    Log(LogCommand),
    /// List what of this server, or of its tenants' domains, receivers find wrong, on a stopped
    /// server's data directory.
    Alerts {
        #[command(flatten)]
        output: OutputArguments,
    },
    /// Read what people wrote to the offices of this server, such as `postmaster@`, on a stopped
    /// server's data directory.
    #[command(subcommand)]
    Letters(LettersCommand),
    /// Look at the queue of a running server and say why mail waits; try again now; pause and
    /// resume delivery.
    #[command(subcommand)]
    Queue(QueueCommand),
    /// Forget a person in all that a tenant has: content is overwritten, what is to be delivered to
    /// them is canceled, and a signed certificate remains. Asks the server that runs on the data
    /// directory; where none does, it works itself.
    Erase(EraseArguments),
    /// Print what happened to a message, with the proofs that it was recorded so; or check that.
    Evidence(EvidenceArguments),
    /// Print the reports of TLS sessions of one day (RFC 8460), one line of JSON for each
    /// receiver's domain; on a stopped server's data directory.
    TlsReport(TlsReportArguments),
    /// Look after the read models.
    #[command(subcommand)]
    Read(ReadCommand),
    /// Rebuild the read models from the log, or print what they were at a point in the past.
    Replay(ReplayArguments),
    /// Copy all that cannot be made anew into a directory; a second time only what is new. Asks the
    /// server that runs on the data directory; where none does, it works itself.
    Backup(BackupArguments),
    /// Check a backup, and make a data directory of it.
    Restore(RestoreArguments),
    /// Check that this machine can send mail that others take, and say what to mend. Changes
    /// nothing and sends nothing.
    Doctor(DoctorArguments),
}

/// `lumora erase`
#[derive(Debug, Args)]
pub(crate) struct EraseArguments {
    /// In whose data.
    #[arg(long, value_name = "TENANT_ID")]
    pub(crate) tenant: Option<TenantId>,
    /// Who is forgotten.
    #[arg(value_name = "EMAIL")]
    pub(crate) email: Option<String>,
    /// Print how an erasure stands, with its certificate once it is done.
    #[arg(long, value_name = "ERASURE_ID")]
    pub(crate) show: Option<ErasureId>,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

/// `lumora tls-report`
#[derive(Debug, Args)]
pub(crate) struct TlsReportArguments {
    /// The day, in UTC.
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub(crate) date: Day,
    /// Only the report to this domain.
    #[arg(long)]
    pub(crate) domain: Option<DomainName>,
    #[command(flatten)]
    pub(crate) config: ConfigArguments,
}

/// `lumora dev`
#[derive(Debug, Args)]
pub(crate) struct DevArguments {
    /// Keep the data here; without it everything is gone at the end.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The address of the API.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub(crate) listen: std::net::SocketAddr,
}

/// `lumora tenant …`
#[derive(Debug, Subcommand)]
pub(crate) enum TenantCommand {
    /// Make a tenant and its first portal user.
    Create {
        /// The tenant's name.
        #[arg(long)]
        name: String,
        /// The user's address.
        #[arg(long)]
        email: String,
        /// Read the user's password from standard input (one line).
        #[arg(long)]
        password_stdin: bool,
        #[command(flatten)]
        output: OutputArguments,
    },
    /// List the tenants.
    List {
        #[command(flatten)]
        output: OutputArguments,
    },
}

/// `lumora app …`
#[derive(Debug, Subcommand)]
pub(crate) enum AppCommand {
    /// Make an app.
    Create {
        /// Whose it is.
        #[arg(long)]
        tenant: TenantId,
        /// Its name.
        #[arg(long)]
        name: String,
        /// The author of messages that name none: `user@host` or `Name <user@host>`.
        #[arg(long, value_name = "MAILBOX")]
        default_sender: Option<String>,
        #[command(flatten)]
        output: OutputArguments,
    },
}

/// `lumora key …`
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Replace the master key by a new one. What was sealed opens with the new key alone from then
    /// on; keep a copy of it, and destroy those of the old one.
    Rotate {
        #[command(flatten)]
        output: OutputArguments,
    },
    /// Make an API key. The secret is shown this once.
    Create {
        /// Whose it is.
        #[arg(long)]
        tenant: TenantId,
        /// The app that it opens.
        #[arg(long)]
        app: AppId,
        /// Its name.
        #[arg(long)]
        name: String,
        /// What it may do; all when none is named.
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<String>,
        /// Requests per minute.
        #[arg(long, default_value_t = 600)]
        rate_limit_per_minute: u32,
        #[command(flatten)]
        output: OutputArguments,
    },
    /// Revoke an API key.
    Revoke {
        /// Whose it is.
        #[arg(long)]
        tenant: TenantId,
        /// The app that it opens.
        #[arg(long)]
        app: AppId,
        /// The key.
        key: ApiKeyId,
        #[command(flatten)]
        config: ConfigArguments,
    },
}

/// `lumora domain …`
#[derive(Debug, Subcommand)]
pub(crate) enum DomainCommand {
    /// Add a sending domain and show the records to publish.
    Add {
        /// Whose it is.
        #[arg(long)]
        tenant: TenantId,
        /// Its name.
        name: DomainName,
        #[command(flatten)]
        output: OutputArguments,
    },
    /// Look the domain's records up in the DNS.
    Verify {
        /// Whose it is.
        #[arg(long)]
        tenant: TenantId,
        /// The domain.
        domain: DomainId,
        #[command(flatten)]
        output: OutputArguments,
    },
    /// List a tenant's domains.
    List {
        /// Whose they are.
        #[arg(long)]
        tenant: TenantId,
        #[command(flatten)]
        output: OutputArguments,
    },
}

/// `lumora read …`
#[derive(Debug, Subcommand)]
pub(crate) enum ReadCommand {
    /// Make all read models anew from the log: by the server that runs on the data directory, beside
    /// those that serve, which they replace when they are done; or, where none runs, in their place.
    Rebuild {
        #[command(flatten)]
        output: OutputArguments,
    },
}

/// `lumora letters …`
#[derive(Debug, Subcommand)]
pub(crate) enum LettersCommand {
    /// List letters, the newest first.
    List {
        /// Those to the offices of this sending domain; without it, to the operator.
        #[arg(long)]
        domain: Option<DomainId>,
        /// How many.
        #[arg(short = 'n', long, default_value_t = 20)]
        lines: usize,
        #[command(flatten)]
        output: OutputArguments,
    },
    /// Print a letter as it came.
    Show {
        /// Which.
        letter: LetterId,
        #[command(flatten)]
        config: ConfigArguments,
    },
}

/// `lumora log …`
#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Print the last events.
    Tail {
        /// How many.
        #[arg(short = 'n', long, default_value_t = 20)]
        lines: usize,
        #[command(flatten)]
        output: OutputArguments,
    },
    /// Print every event as JSON Lines.
    Export {
        /// Only events after this position.
        #[arg(long, default_value_t = 0)]
        after: u64,
        /// Only events of this tenant, domain or message.
        #[arg(long)]
        stream: Option<StreamId>,
        #[command(flatten)]
        config: ConfigArguments,
    },
    /// Check every checksum, the hash chain and all that was signed of it; exit 1 naming the first
    /// position that does not hold.
    Verify {
        /// Trust the newest checkpoint of this file, kept elsewhere, and read only what came after.
        #[arg(long, value_name = "FILE")]
        from_checkpoint: Option<PathBuf>,
        /// The key that signed, as `lumora log key` prints it; this instance's own if not given.
        #[arg(long, value_name = "KEY")]
        key: Option<eventlog::VerifierKey>,
        #[command(flatten)]
        output: OutputArguments,
    },
    /// Print the public key that checks what this instance signs. Works beside a running server.
    Key {
        #[command(flatten)]
        output: OutputArguments,
    },
    /// Print the newest signed checkpoint. Works beside a running server.
    Checkpoint {
        #[command(flatten)]
        config: ConfigArguments,
    },
    /// Print the proof, as JSON, that the log as it was at one position goes on to another.
    Consistency {
        /// The earlier position, which is the size in an earlier checkpoint.
        #[arg(long)]
        from: u64,
        /// The later position.
        #[arg(long)]
        to: u64,
        #[command(flatten)]
        config: ConfigArguments,
    },
    /// Take messages out of the log that ended before a time and whose content is forgotten, and leave
    /// a signed stub; on a stopped server's data directory.
    Prune {
        /// What was recorded before, such as 2026-01-01T00:00:00Z.
        #[arg(long, value_name = "TIME")]
        before: Timestamp,
        #[command(flatten)]
        output: OutputArguments,
    },
    /// Make sled's files anew from the journal.
    Rebuild {
        #[command(flatten)]
        config: ConfigArguments,
    },
    /// Say why an event happened: what led to it, what led to that, back to who began it. Works
    /// beside a running server.
    Why {
        /// Its id, or its position.
        #[arg(value_name = "EVENT_ID|POSITION")]
        event: evidence::Named,
        #[command(flatten)]
        output: OutputArguments,
    },
    /// Counts, sizes and positions.
    Stats {
        /// Count what became of every recipient anew from the log alone, hold statistics and alarms
        /// against it, and exit 1 naming tenant and day where they differ.
        #[arg(long)]
        check: bool,
        #[command(flatten)]
        output: OutputArguments,
    },
    /// Print the rules by which bounces get their class, as JSON: a file to change and to try with
    /// `reclassify --rules`.
    Rules,
    /// Classify the recorded refusals anew and print what would differ. Changes nothing.
    Reclassify(ReclassifyArguments),
}

/// `lumora log reclassify`
#[derive(Debug, Args)]
pub(crate) struct ReclassifyArguments {
    /// The rules, as JSON or YAML in the form that `lumora log rules` prints; those of this program
    /// if not given.
    #[arg(long, value_name = "FILE")]
    pub(crate) rules: Option<PathBuf>,
    /// Only what was recorded at or after this time (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<Timestamp>,
    /// Only what was recorded before this time.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<Timestamp>,
    /// Only this tenant's messages.
    #[arg(long)]
    pub(crate) tenant: Option<TenantId>,
    /// Configuration and form of the output.
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

/// `lumora queue …`
#[derive(Debug, Subcommand)]
pub(crate) enum QueueCommand {
    /// List what is paused and the messages that wait, the first to be due first.
    List {
        #[command(flatten)]
        filter: FilterArguments,
        /// Most messages to list, up to 1000.
        #[arg(short = 'n', long, default_value_t = 50)]
        limit: usize,
        #[command(flatten)]
        output: OutputArguments,
    },
    /// List the receivers that most mail waits for, with what each said last.
    Sites {
        /// Most receivers to list, up to 1000.
        #[arg(short = 'n', long, default_value_t = 20)]
        limit: usize,
        #[command(flatten)]
        output: OutputArguments,
    },
    /// Say of each recipient of a message why it waits.
    Why {
        /// The message.
        #[arg(value_name = "MSG_ID")]
        message: MessageId,
        #[command(flatten)]
        output: OutputArguments,
    },
    /// Have those tried again now that wait for another attempt, at the pace that receivers bear.
    Retry {
        /// These messages.
        #[arg(value_name = "MSG_ID", conflicts_with_all = ["tenant", "domain", "site"])]
        messages: Vec<MessageId>,
        #[command(flatten)]
        filter: FilterArguments,
        #[command(flatten)]
        output: OutputArguments,
    },
    /// Deliver nothing of a tenant, a sending domain or to a receiver, until it is resumed. Mail is
    /// accepted and waits; what expires meanwhile fails.
    Pause {
        #[command(flatten)]
        target: TargetArguments,
        /// Why, in one line of at most 200 characters. Tenants see it when it is they, or a domain
        /// of theirs, that is paused.
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        output: OutputArguments,
    },
    /// Deliver again.
    Resume {
        #[command(flatten)]
        target: TargetArguments,
        #[command(flatten)]
        output: OutputArguments,
    },
}

/// Which of those who wait.
#[derive(Debug, Clone, Args)]
pub(crate) struct FilterArguments {
    /// What this tenant sends.
    #[arg(long, value_name = "TEN_ID")]
    pub(crate) tenant: Option<TenantId>,
    /// What this domain sends.
    #[arg(long, value_name = "DOM_ID")]
    pub(crate) domain: Option<DomainId>,
    /// What goes to this receiver: a recipients' domain, or a mail host.
    #[arg(long, value_name = "NAME")]
    pub(crate) site: Option<DomainName>,
}

/// What is paused or resumed: one thing.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct TargetArguments {
    /// All that this tenant sends.
    #[arg(long, value_name = "TEN_ID")]
    pub(crate) tenant: Option<TenantId>,
    /// What this domain sends.
    #[arg(long, value_name = "DOM_ID")]
    pub(crate) domain: Option<DomainId>,
    /// What goes to this receiver: a recipients' domain, or a mail host.
    #[arg(long, value_name = "NAME")]
    pub(crate) site: Option<DomainName>,
}

/// `lumora evidence`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct EvidenceArguments {
    /// To check instead.
    #[command(subcommand)]
    pub(crate) command: Option<EvidenceCommand>,
    /// The message, on a stopped server's data directory.
    #[arg(value_name = "MSG_ID", required = true)]
    pub(crate) message: Option<MessageId>,
    /// Where the configuration is.
    #[command(flatten)]
    pub(crate) config: ConfigArguments,
}

/// `lumora evidence verify`
#[derive(Debug, Subcommand)]
pub(crate) enum EvidenceCommand {
    /// Check a bundle, with nothing but the public key of the instance that made it.
    Verify {
        /// The bundle.
        file: PathBuf,
        /// The public key, as `lumora log key` prints it.
        #[arg(long)]
        key: eventlog::VerifierKey,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// `lumora replay`
#[derive(Debug, Args)]
pub(crate) struct ReplayArguments {
    /// Only this read model.
    #[arg(long, value_name = "NAME")]
    pub(crate) projection: Option<String>,
    /// Print the state as it was at this log position or time (RFC 3339), and change nothing.
    #[arg(long, value_name = "POSITION|TIME")]
    pub(crate) until: Option<Until>,
    /// Configuration and form of the output.
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

/// `lumora doctor`
#[derive(Debug, Args)]
pub(crate) struct DoctorArguments {
    /// A domain that receives mail: its mail hosts are looked up and greeted.
    #[arg(long, value_name = "DOMAIN", default_value = "gmail.com")]
    pub(crate) probe: DomainName,
    /// Ask this blocklist about the source addresses, such as zen.spamhaus.org; may be repeated.
    #[arg(long = "blocklist", value_name = "ZONE")]
    pub(crate) blocklists: Vec<DomainName>,
    /// The time server to compare the clock with: a name, or an address with port.
    #[arg(long, value_name = "SERVER", default_value = "pool.ntp.org")]
    pub(crate) time_server: String,
    /// Configuration and form of the output.
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

/// A point in the past.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Until {
    /// A position of the log.
    Position(u64),
    /// A time.
    Time(Timestamp),
}

impl std::str::FromStr for Until {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(position) = text.parse() {
            return Ok(Self::Position(position));
        }
        text.parse().map(Self::Time).map_err(|_| "expected a position or an RFC 3339 time")
    }
}

/// Configuration, and the form of what is printed.
#[derive(Debug, Clone, Args)]
pub(crate) struct OutputArguments {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Where the configuration is.
    #[command(flatten)]
    pub(crate) config: ConfigArguments,
}
