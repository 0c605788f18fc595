use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _},
    sign::CertifiedKey,
};

/// Largest file that is read, in octets: a chain has a few thousand.
const MAX_OCTETS: u64 = 1024 * 1024;

/// Files in PEM: a chain, the server's own certificate first, and its key. They may be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The chain.
    pub certificate: PathBuf,
    /// The key; for its owner alone to read.
    pub key: PathBuf,
}

/// Why files cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Others than its owner can read or change the key.
    #[error("{} has mode {mode:o}: others can read it; set it to 0600", path.display())]
    Exposed {
        /// The key's file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The path is a directory, a device or the like, or is larger than any chain.
    #[error("{} is not a PEM file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// What is in it is no PEM, or not the one that is wanted. Nothing of it is repeated.
    #[error("{}: {problem}", path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
    /// The key cannot be used, or is not that of the certificate.
    #[error("{}: {source}", path.display())]
    NotAPair {
        /// The key's file.
        path: PathBuf,
        /// What rustls says.
        source: rustls::Error,
    },
}

impl Unusable {
    /// Whether a file is simply not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// By what a file is known to be another than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    written_at: Option<SystemTime>,
    octets: u64,
    device: u64,
    inode: u64,
    mode: u32,
}

/// Both files' versions; `None` for one that is not there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Versions([Option<Version>; 2]);

impl Files {
    pub(crate) fn versions(&self) -> Versions {
        let version = |path: &Path| {
            let metadata = fs::metadata(path).ok()?;
            Some(Version {
                written_at: metadata.modified().ok(),
                octets: metadata.len(),
                device: metadata.dev(),
                inode: metadata.ino(),
                mode: metadata.mode(),
            })
        };
        Versions([version(&self.certificate), version(&self.key)])
    }

    pub(crate) fn read(&self) -> Result<CertifiedKey, Unusable> {
        let not_pem = |path: &Path, problem| Unusable::NotPem { path: path.to_owned(), problem };
        let chain = contents(&self.certificate, false)?;
        let chain = CertificateDer::pem_slice_iter(&chain)
            .collect::<Result<Vec<_>, pem::Error>>()
            .map_err(|_| not_pem(&self.certificate, "it is no PEM"))?;
        if chain.is_empty() {
            return Err(not_pem(&self.certificate, "there is no certificate in it"));
        }
        let key = contents(&self.key, true)?;
        let key = PrivateKeyDer::from_pem_slice(&key)
            .map_err(|_| not_pem(&self.key, "there is no private key in it"))?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        CertifiedKey::from_der(chain, key, &provider)
            .map_err(|source| Unusable::NotAPair { path: self.key.clone(), source })
    }
}

/// What is in a file; of a secret one only if nobody else can read it.
fn contents(path: &Path, secret: bool) -> Result<Vec<u8>, Unusable> {
    let failed = |source| Unusable::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    // Of the file that was opened, not of whatever the path leads to by now.
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.mode() & 0o777;
    if !metadata.is_file() || metadata.len() > MAX_OCTETS {
        return Err(Unusable::NotAFile { path: path.to_owned() });
    }
    if secret && mode & 0o077 != 0 {
        return Err(Unusable::Exposed { path: path.to_owned(), mode });
    }
    let mut octets = Vec::new();
    file.take(MAX_OCTETS).read_to_end(&mut octets).map_err(failed)?;
    Ok(octets)
}
