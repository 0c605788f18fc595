//! Haraka, from npm, with its own DKIM plugin.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::{
    Peer,
    client::Session,
    postfix::{free_port, run},
    processes::cpu_of_family_s,
};
use crate::{Outcome, receiver::Receiver};

const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/haraka");
const START_TRIES: u32 = 300;

/// Running; killed when dropped.
pub(crate) struct Haraka {
    port: u16,
    child: Child,
    _directory: tempfile::TempDir,
}

impl Haraka {
    /// Starts it; everything goes to `receiver`.
    pub(crate) async fn start(receiver: &Receiver) -> Outcome<Self> {
        let directory = tempfile::Builder::new().prefix("bench-haraka").tempdir()?;
        let port = free_port()?;
        copy(Path::new(CONFIG), directory.path(), &|text| {
            text.replace("@PORT@", &port.to_string())
                .replace("@RECEIVER@", &receiver.address().port().to_string())
        })?;
        let home = home()?;
        let shipped = home.join("Haraka/config/connection.ini");
        fs::copy(shipped, directory.path().join("config/connection.ini"))?;
        fs::create_dir(directory.path().join("queue"))?;
        let keys = directory.path().join("config/dkim/sender.test");
        fs::create_dir_all(&keys)?;
        fs::write(keys.join("selector"), "bench\n")?;
        let key = keys.join("private").display().to_string();
        run("openssl", &["genrsa", "-traditional", "-out", &key, "2048"])?;
        let child = Command::new(home.join(".bin/haraka"))
            .arg("-c")
            .arg(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let haraka = Self { port, child, _directory: directory };
        for _ in 0..START_TRIES {
            if Session::open(haraka.address()).await.is_ok() {
                return Ok(haraka);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err("Haraka did not start".into())
    }
}

impl Peer for Haraka {
    fn name(&self) -> &'static str {
        "Haraka"
    }

    fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    fn cpu_s(&self) -> Outcome<f64> {
        cpu_of_family_s(i32::try_from(self.child.id())?)
    }
}

impl Drop for Haraka {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            crate::figures::print_line(&format!("Haraka was not stopped: {error}"));
        }
    }
}

/// Where `bench/peers/install` puts it.
fn home() -> Outcome<PathBuf> {
    let own = std::env::current_exe()?;
    let target = own.parent().and_then(Path::parent).ok_or("this program lies nowhere")?;
    let home = target.join("bench-peers/node_modules");
    if home.join(".bin/haraka").exists() {
        return Ok(home);
    }
    Err("Haraka is not there: run bench/peers/install".into())
}

fn copy(from: &Path, to: &Path, filled: &dyn Fn(&str) -> String) -> Outcome<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target, filled)?;
        } else {
            fs::write(target, filled(&fs::read_to_string(entry.path())?))?;
        }
    }
    Ok(())
}
