//! Postfix with `OpenDKIM` as its milter, both from Debian, with what they do by default.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::{Peer, client::Session, processes::cpu_of_family_s};
use crate::{Outcome, receiver::Receiver};

const MAIN_CF: &str = include_str!("../../peers/postfix/main.cf");
const MASTER_CF: &str = include_str!("../../peers/postfix/master.cf");
const OPENDKIM_CONF: &str = include_str!("../../peers/postfix/opendkim.conf");
const START_TRIES: u32 = 100;

/// Both, running; stopped when dropped.
pub(crate) struct Postfix {
    directory: tempfile::TempDir,
    port: u16,
    master: i32,
    opendkim: Child,
}

impl Postfix {
    /// Starts both; everything goes to `receiver`. Needs root: Postfix changes to its own users.
    pub(crate) async fn start(receiver: &Receiver) -> Outcome<Self> {
        // Below /tmp, for the postfix user must be able to come here.
        let directory = tempfile::Builder::new().prefix("bench-postfix").tempdir_in("/tmp")?;
        let path = |name: &str| directory.path().join(name);
        for name in ["etc", "queue", "data"] {
            fs::create_dir(path(name))?;
        }
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        run("chown", &["postfix", &text(&path("data"))])?;
        run(
            "opendkim-genkey",
            &["-b", "2048", "-d", "sender.test", "-s", "bench", "-D", &text(directory.path())],
        )?;
        let (port, milter) = (free_port()?, free_port()?);
        let filled = |template: &str| {
            template
                .replace("@DIRECTORY@", &text(directory.path()))
                .replace("@PORT@", &port.to_string())
                .replace("@MILTER@", &milter.to_string())
                .replace("@RECEIVER@", &receiver.address().port().to_string())
        };
        fs::write(path("etc/main.cf"), filled(MAIN_CF))?;
        fs::write(path("etc/master.cf"), filled(MASTER_CF))?;
        fs::write(path("opendkim.conf"), filled(OPENDKIM_CONF))?;
        let opendkim = Command::new("opendkim")
            .args(["-f", "-x", &text(&path("opendkim.conf"))])
            .stdin(Stdio::null())
            .spawn()?;
        run("postfix", &["-c", &text(&path("etc")), "start"])?;
        let pid = fs::read_to_string(path("queue/pid/master.pid"))?;
        let postfix = Self { port, master: pid.trim().parse()?, opendkim, directory };
        for _ in 0..START_TRIES {
            if Session::open(postfix.address()).await.is_ok() {
                return Ok(postfix);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err("Postfix did not start".into())
    }

    fn etc(&self) -> PathBuf {
        self.directory.path().join("etc")
    }
}

impl Peer for Postfix {
    fn name(&self) -> &'static str {
        "Postfix + OpenDKIM"
    }

    fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    fn cpu_s(&self) -> Outcome<f64> {
        let opendkim = i32::try_from(self.opendkim.id())?;
        Ok(cpu_of_family_s(self.master)? + cpu_of_family_s(opendkim)?)
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        let stopped = run("postfix", &["-c", &text(&self.etc()), "stop"]);
        let ended = self.opendkim.kill().and_then(|()| self.opendkim.wait());
        if let (Err(error), _) | (_, Err(error)) =
            (stopped, ended.map_err(Into::<Box<dyn std::error::Error + Send + Sync>>::into))
        {
            crate::figures::print_line(&format!("Postfix was not stopped: {error}"));
        }
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A port that nobody listens on.
pub(super) fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Runs a program to its end, which must be a good one.
pub(super) fn run(program: &str, arguments: &[&str]) -> Outcome<()> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| format!("{program}: {error}; see bench/peers/install"))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program}: {}", words.trim()).into())
}
