//! The key with which this server signs for a domain of its own, beside the sender's.
//!
//! It lies in `<data_dir>/dkim`, named like its DNS record: the record to publish, and the private
//! key, sealed with the master key as those of tenants' domains are.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use eventlog::{Purpose, Sealed, Vault};
use mail::dkim::{self, DkimAlgorithm, Signer};
use model::{address::DomainName, domain::Selector};
use serde::{Deserialize, Serialize};

use crate::{Failure, config::Config};

/// The name of the key where the configuration gives none.
const SELECTOR: &str = "lumora";
/// Receivers' feedback loops ask for RSA.
const ALGORITHM: DkimAlgorithm = DkimAlgorithm::Rsa2048;
/// Longest file that is read, in octets.
const MAX_OCTETS: u64 = 16 * 1_024;

/// What lies in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    /// The TXT record.
    record: String,
    /// The private key in PKCS#8 DER.
    private_key: Sealed,
}

/// Where the configuration wants the key, in the DNS and on the disk.
struct Place {
    domain: DomainName,
    selector: Selector,
    record: String,
    file: PathBuf,
}

impl Place {
    fn of(config: &Config) -> Result<Option<Self>, Failure> {
        let Some(domain) = config.delivery.signing_domain.clone() else { return Ok(None) };
        let set = config.delivery.signing_selector.clone();
        let selector = set.or_else(|| Selector::parse(SELECTOR));
        let selector = selector.ok_or_else(|| Failure::failed("no selector"))?;
        let record = format!("{}._domainkey.{domain}", selector.as_str());
        let file = config.own_keys_dir().join(&record);
        Ok(Some(Self { domain, selector, record, file }))
    }

    /// For whom the key is sealed.
    fn owner(&self) -> Vec<u8> {
        format!("own:{}", self.record).into_bytes()
    }

    fn read(&self) -> Result<Option<Stored>, Failure> {
        let unreadable = |problem: &dyn std::fmt::Display| {
            Failure::failed(format!("{}: {problem}", self.file.display()))
        };
        let file = match File::open(&self.file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|error| unreadable(&error))?,
        };
        let mut text = Vec::new();
        file.take(MAX_OCTETS).read_to_end(&mut text).map_err(|error| unreadable(&error))?;
        serde_json::from_slice(&text).map(Some).map_err(|error| unreadable(&error))
    }

    /// Makes a key. It is on the disk when this returns.
    fn make(&self, vault: &Vault) -> Result<Stored, Failure> {
        let made = dkim::generate(ALGORITHM).map_err(Failure::failed)?;
        let sealed = vault.seal(Purpose::DkimPrivateKey, &self.owner(), &made.private_pkcs8);
        let stored =
            Stored { record: made.public_record, private_key: sealed.map_err(Failure::failed)? };
        let text = serde_json::to_vec_pretty(&stored).map_err(Failure::failed)?;
        write_new(&self.file, &text)
            .map_err(|error| Failure::failed(format!("{}: {error}", self.file.display())))?;
        tracing::info!(name = self.record, "made a key: publish its record (`lumora doctor`)");
        Ok(stored)
    }
}

/// Under its own name only once it is whole, and never in place of another.
fn write_new(path: &Path, text: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    // Of mode 0600, as all that this makes.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(text)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)?;
    File::open(directory)?.sync_all()
}

/// Signs for the server's own domain, if it has one; the key is made when there is none yet.
/// Blocks, for as long as that takes.
pub(crate) fn signer(config: &Config, vault: &Vault) -> Result<Option<Signer>, Failure> {
    let Some(place) = Place::of(config)? else { return Ok(None) };
    let stored = match place.read()? {
        Some(stored) => stored,
        None => place.make(vault)?,
    };
    let unusable = |error: &dyn std::fmt::Display| {
        Failure::failed(format!("{}: {error}", place.file.display()))
    };
    let private = vault.open(Purpose::DkimPrivateKey, &place.owner(), &stored.private_key);
    let private = zeroize::Zeroizing::new(private.map_err(|error| unusable(&error))?);
    Signer::new(&place.domain, &place.selector, ALGORITHM, &private)
        .map(Some)
        .map_err(|error| unusable(&error))
}

/// The record that is to be published.
pub(crate) struct OwnRecord {
    /// Its name.
    pub(crate) name: String,
    /// Its value, once there is a key.
    pub(crate) value: Option<String>,
}

/// The record of the server's own domain, if it has one. Makes nothing.
pub(crate) fn record(config: &Config) -> Result<Option<OwnRecord>, Failure> {
    let Some(place) = Place::of(config)? else { return Ok(None) };
    let value = place.read()?.map(|stored| stored.record);
    Ok(Some(OwnRecord { name: place.record, value }))
}
