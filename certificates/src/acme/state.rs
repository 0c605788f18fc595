use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use instant_acme::AccountCredentials;
use serde::{Deserialize, Serialize};

use super::AcmeError;

/// Largest file that is read, in octets.
const MAX_OCTETS: u64 = 64 * 1024;

/// The account with an authority.
#[derive(Serialize, Deserialize)]
struct Stored {
    /// Whose it is: another directory knows nothing of it.
    directory: String,
    credentials: AccountCredentials,
}

/// What outlives a restart: the account, and what was issued. Both hold a private key.
pub(super) struct State(PathBuf);

impl State {
    pub(super) fn open(directory: &Path) -> Result<Self, AcmeError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|error| failed(directory, &error))?;
        Ok(Self(directory.to_owned()))
    }

    /// Chain and key, in PEM.
    pub(super) fn certificate_file(&self) -> PathBuf {
        self.0.join("certificate.pem")
    }

    fn account_file(&self) -> PathBuf {
        self.0.join("account.json")
    }

    /// What opens the account with the authority of this directory, if there is one.
    pub(super) fn credentials(
        &self,
        directory: &str,
    ) -> Result<Option<AccountCredentials>, AcmeError> {
        let path = self.account_file();
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|error| failed(&path, &error))?,
        };
        let mode = file.metadata().map_err(|error| failed(&path, &error))?.mode() & 0o777;
        if mode & 0o077 != 0 {
            let problem = format!("has mode {mode:o}: others can read it; set it to 0600");
            return Err(AcmeError::State { path, problem });
        }
        let mut text = Vec::new();
        file.take(MAX_OCTETS).read_to_end(&mut text).map_err(|error| failed(&path, &error))?;
        // What is wrong with it says nothing of what is in it.
        let stored: Stored = serde_json::from_slice(&text)
            .map_err(|_| AcmeError::State { path, problem: "is no account".to_owned() })?;
        Ok((stored.directory == directory).then_some(stored.credentials))
    }

    pub(super) fn keep_credentials(
        &self,
        directory: &str,
        credentials: AccountCredentials,
    ) -> Result<(), AcmeError> {
        let path = self.account_file();
        let stored = Stored { directory: directory.to_owned(), credentials };
        let text = serde_json::to_vec(&stored);
        let text = text.map_err(|error| failed(&path, &io::Error::other(error)))?;
        self.write(&path, &text)
    }

    pub(super) fn keep_certificate(&self, chain: &str, key: &str) -> Result<(), AcmeError> {
        self.write(&self.certificate_file(), format!("{key}{chain}").as_bytes())
    }

    /// Whole or not at all, on the disk when this returns, and never readable by others in between.
    fn write(&self, path: &Path, octets: &[u8]) -> Result<(), AcmeError> {
        let fresh = path.with_extension("new");
        let written = || {
            match fs::remove_file(&fresh) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
            file.write_all(octets)?;
            file.sync_all()?;
            fs::rename(&fresh, path)?;
            File::open(&self.0)?.sync_all()
        };
        written().map_err(|error| failed(path, &error))
    }
}

fn failed(path: &Path, error: &io::Error) -> AcmeError {
    AcmeError::State { path: path.to_owned(), problem: error.to_string() }
}
