//! Servers that others wrote, each in a directory of its own below /tmp and apart from the machine
//! (see `apart`): no port below 1024, nothing of it left when the test ends, however that ends.

pub(crate) mod dovecot;
pub(crate) mod exim;
pub(crate) mod opensmtpd;
pub(crate) mod pebble;
pub(crate) mod postfix;
pub(crate) mod postgrey;

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use crate::platform::support::DEADLINE;

/// What `.ci/interop` has prepared: `exim` and `opensmtpd` as unpacked, `venv`, `node_modules`.
pub(crate) fn home() -> PathBuf {
    let home = std::env::var("LUMORA_INTEROP").expect("LUMORA_INTEROP: see .ci/interop");
    PathBuf::from(home)
}

/// Whether a component could not be had. `.ci/interop` names those, and says why there.
pub(crate) fn without(component: &str) -> bool {
    let missing = std::env::var("LUMORA_INTEROP_WITHOUT").unwrap_or_default();
    let missing = missing.split_ascii_whitespace().any(|name| name == component);
    if missing {
        println!("skipped: {component} could not be had");
    }
    missing
}

fn root_command(program: &str) -> Command {
    if rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["-n", program]);
    command
}

/// Runs what needs the rights of root: mail servers change to their own users.
pub(crate) fn as_root(program: &str, arguments: &[&str]) -> Output {
    let output = root_command(program).args(arguments).output();
    output.unwrap_or_else(|error| panic!("{program}: {error}"))
}

fn must(program: &str, arguments: &[&str]) {
    let output = as_root(program, arguments);
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
}

/// The names of the extensions that a server offers to an EHLO (RFC 5321, section 4.1.1.1).
pub(crate) fn offered(address: SocketAddr) -> Vec<String> {
    let socket = TcpStream::connect(address).unwrap();
    let mut lines = BufReader::new(&socket).lines().map(Result::unwrap);
    // One after the other: Exim and OpenSMTPD turn away who does not wait.
    assert!(lines.next().unwrap().starts_with("220"));
    (&socket).write_all(b"EHLO client.test\r\n").unwrap();
    let mut words = Vec::new();
    for line in lines {
        words.extend(line[4..].split(' ').next().map(str::to_owned));
        if line.starts_with("250 ") {
            break;
        }
    }
    words
}

/// A port on 127.0.0.1 that is free now.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// A server's own directory, removed with all that the server made in it.
pub(crate) struct Place(PathBuf);

impl Place {
    pub(crate) fn new(name: &str) -> Self {
        // Below /tmp, for the server's user must be able to come here.
        let prefix = format!("lumora-{name}-");
        let made = tempfile::Builder::new().prefix(&prefix).tempdir_in("/tmp").unwrap().keep();
        fs::set_permissions(&made, fs::Permissions::from_mode(0o755)).unwrap();
        Self(made)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }

    /// A directory that belongs to `owner`, as `user:group`.
    pub(crate) fn directory(&self, name: &str, owner: &str) {
        fs::create_dir(self.0.join(name)).unwrap();
        must("chown", &[owner, &self.text(name)]);
    }

    /// A certificate that nobody vouches for, as most mail servers have: `cert.pem`, `key.pem`.
    pub(crate) fn certificate(&self, host: &str, owner: &str) {
        let made = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
        self.write("cert.pem", &made.cert.pem());
        self.write("key.pem", &made.signing_key.serialize_pem());
        fs::set_permissions(self.0.join("key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
        must("chown", &[owner, &self.text("key.pem")]);
    }

    /// What stands in a file that may belong to the server.
    pub(crate) fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&as_root("cat", &[&self.text(name)]).stdout).into_owned()
    }

    /// The messages that lie in Maildirs below a directory.
    pub(crate) fn delivered(&self, name: &str) -> Vec<String> {
        let listed = as_root("find", &[&self.text(name), "-path", "*/new/*", "-type", "f"]);
        String::from_utf8(listed.stdout).unwrap().lines().map(ToOwned::to_owned).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A server that was ended a moment ago may still write.
        for _ in 0..20 {
            if as_root("rm", &["-rf", &self.text("")]).status.success() && !self.0.exists() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        println!("{} is left over", self.0.display());
    }
}

/// A server that runs; all its processes end when it is dropped, or when the test dies.
pub(crate) struct Running(Child);

impl Running {
    /// Starts `command` apart from the machine; what it prints goes to `output` in its place.
    pub(crate) fn start(place: &Place, package: Option<&Path>, command: &[&str]) -> Self {
        let apart = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/apart");
        let output = File::create(place.text("output")).unwrap();
        let child = root_command("setpriv")
            .args(["--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private"])
            .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
            .arg(apart)
            .arg(place.text(""))
            .arg(package.unwrap_or(Path::new("-")))
            .args(command)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Waits until somebody listens at `address`, and greets if `greets`.
    pub(crate) fn listens(&mut self, address: SocketAddr, greets: bool, place: &Place) {
        let pause = Duration::from_millis(50);
        let tries = DEADLINE.as_millis() / pause.as_millis();
        for _ in 0..tries {
            if let Ok(socket) = TcpStream::connect(address) {
                socket.set_read_timeout(Some(DEADLINE)).unwrap();
                let mut line = String::new();
                if !greets || BufReader::new(socket).read_line(&mut line).is_ok_and(|n| n > 0) {
                    return;
                }
            }
            let ended = self.0.try_wait().unwrap();
            assert!(ended.is_none(), "ended: {ended:?}\n{}", place.read("output"));
            std::thread::sleep(pause);
        }
        panic!("nobody listens at {address}\n{}", place.read("output"));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The first process of the namespace ends with it, and all others with that one.
        drop(as_root("kill", &["-KILL", &self.0.id().to_string()]));
        drop(self.0.wait());
    }
}
