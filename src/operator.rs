//! How the commands that look after a running server reach it: by a file in the data directory with
//! the server's address and a token, made at each start and readable by its owner alone.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use actors::Secret;
use api::OperatorToken;
use serde::{Deserialize, Serialize};

use crate::Failure;

/// Longest file that is read, in octets.
const MAX_OCTETS: u64 = 4_096;

/// What the file says.
#[derive(Serialize, Deserialize)]
struct Written {
    address: SocketAddr,
    token: String,
}

/// The file of a server that runs; taken away with it.
#[derive(Debug)]
pub(crate) struct Access(PathBuf);

impl Access {
    /// Makes a token and tells it by the file at `path`.
    pub(crate) fn grant(
        path: &Path,
        address: SocketAddr,
    ) -> Result<(Self, OperatorToken), Failure> {
        let token = Secret::for_operator().map_err(Failure::failed)?.reveal().to_owned();
        let written = Written { address: reachable(address), token: token.clone() };
        let text = serde_json::to_string(&written).map_err(Failure::failed)?;
        write(path, &text)
            .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
        Ok((Self(path.to_owned()), OperatorToken::new(token)))
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        // One that is left behind names a server that does not answer.
        drop(fs::remove_file(&self.0));
    }
}

/// Whole or not at all, and never readable by others in between.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let fresh = path.with_extension("new");
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(text.as_bytes())?;
    fs::rename(&fresh, path)
}

/// An address that stands for all is reached at loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Where the running server is, and the token that opens it.
pub(crate) fn find(path: &Path) -> Result<(SocketAddr, String), Failure> {
    let mut text = String::new();
    let read =
        fs::File::open(path).and_then(|file| file.take(MAX_OCTETS).read_to_string(&mut text));
    match read {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(nobody(path)),
        Err(error) => return Err(Failure::failed(format!("{}: {error}", path.display()))),
    }
    let Written { address, token } = serde_json::from_str(&text)
        .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
    Ok((address, token))
}

/// No server runs here.
pub(crate) fn nobody(path: &Path) -> Failure {
    let dir = path.parent().unwrap_or(path).display();
    Failure::failed(format!(
        "no server runs on the data directory {dir}: start it with `lumora serve`"
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_file_is_its_owners_alone_and_goes_with_the_server() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("operator.json");
        assert!(find(&path).unwrap_err().to_string().starts_with("no server runs"));
        // What a crash left behind is written over.
        fs::write(path.with_extension("new"), "half").unwrap();
        fs::write(&path, "old").unwrap();
        let (access, _) = Access::grant(&path, "0.0.0.0:8080".parse().unwrap()).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let (address, token) = find(&path).unwrap();
        assert_eq!(address, "127.0.0.1:8080".parse().unwrap());
        assert!(token.starts_with("lum_op_") && token.len() > 40);
        assert!(!format!("{access:?}").contains(&token));
        drop(access);
        assert!(!path.exists());
    }
}
