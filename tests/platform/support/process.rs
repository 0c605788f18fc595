//! The real binary, as commands and as servers.

use std::{
    io::{BufRead as _, BufReader, Read},
    path::Path,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::Arc,
    thread::JoinHandle,
    time::Instant,
};

use parking_lot::{Condvar, Mutex};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{DEADLINE, eventually, world::World};

fn lumora() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lumora"));
    // Colours would stand between the words that are looked for.
    command.env("NO_COLOR", "1").env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn run(arguments: &[&str], config: &Path) -> Output {
    lumora().args(arguments).arg("--config").arg(config).output().unwrap()
}

/// Runs a command that needs no configuration to its end.
pub(crate) fn run_bare(arguments: &[&str]) -> Output {
    lumora().args(arguments).output().unwrap()
}

/// Runs a command that must end well and print JSON.
pub(crate) fn run_json(arguments: &[&str], config: &Path) -> Value {
    let output = run(&[arguments, &["--json"]].concat(), config);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The exit status, standard output and standard error of a command.
pub(crate) fn ended(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// What a process wrote so far.
#[derive(Clone, Default)]
pub(crate) struct Written(Arc<(Mutex<(String, bool)>, Condvar)>);

impl Written {
    fn follow(&self, stream: impl Read + Send + 'static) -> JoinHandle<()> {
        let written = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines() {
                let Ok(line) = line else { break };
                let (text, changed) = &*written.0;
                let mut text = text.lock();
                text.0.push_str(&line);
                text.0.push('\n');
                changed.notify_all();
            }
            let (text, changed) = &*written.0;
            text.lock().1 = true;
            changed.notify_all();
        })
    }

    pub(crate) fn text(&self) -> String {
        self.0.0.lock().0.clone()
    }

    /// Waits until `find` finds something in it.
    pub(crate) fn wait_for<T>(&self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        let (text, changed) = &*self.0;
        let mut text = text.lock();
        loop {
            if let Some(found) = find(&text.0) {
                return found;
            }
            assert!(!text.1, "it ended without {what}:\n{}", text.0);
            let timed_out = changed.wait_until(&mut text, deadline).timed_out();
            assert!(!timed_out, "no {what} in time:\n{}", text.0);
        }
    }
}

/// A running process; killed when dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) output: Written,
    pub(crate) errors: Written,
    following: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts the binary.
    pub(crate) fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut child = lumora()
            .args(arguments)
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (output, errors) = (Written::default(), Written::default());
        let following = vec![
            output.follow(child.stdout.take().unwrap()),
            errors.follow(child.stderr.take().unwrap()),
        ];
        Self { child, output, errors, following }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Ends it in the middle of whatever it does, as a crash would (SIGKILL).
    pub(crate) fn crash(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for it to end by itself.
    pub(crate) async fn wait(mut self) -> ExitStatus {
        let child = &mut self.child;
        let ended = eventually("the process ends", async || child.try_wait().unwrap()).await;
        for following in self.following.drain(..) {
            following.join().unwrap();
        }
        ended
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already, most of the time.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// `lumora serve` on the configuration file, and the address it listens on.
pub(crate) fn serve(config: &Path, variables: &[(&str, &str)]) -> (Process, String) {
    let process = Process::start(&["serve", "--config", config.to_str().unwrap()], variables);
    let address = process.errors.wait_for("address", |text| {
        let (_, after) = text.lines().find_map(|line| {
            line.contains("listening").then(|| line.split_once("address=")).flatten()
        })?;
        after.split_ascii_whitespace().next().map(str::to_owned)
    });
    (process, format!("http://{address}"))
}

/// A tenant that can send, made by commands on the stopped directory, as an operator does; the
/// secret of its key.
pub(crate) fn sign_up(world: &World, config: &Path) -> String {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let tenant =
        run_json(&["tenant", "create", "--name", "Acme", "--email", "o@acme.test"], config);
    let tenant = text(&tenant["id"]);
    let sender = super::app::SENDER;
    let of_tenant = ["--tenant", &tenant];
    let app = ["app", "create", "--name", "Shop", "--default-sender", sender];
    let app = text(&run_json(&[&app[..], &of_tenant].concat(), config)["id"]);
    let added = ["domain", "add", super::app::SENDING_DOMAIN];
    let added = run_json(&[&added[..], &of_tenant].concat(), config);
    assert_eq!(added["status"], "pending", "{added}");
    let records = added["records"].as_array().unwrap().iter();
    let field = |record: &'_ Value, name: &str| text(&record[name]);
    let records: Vec<[String; 3]> =
        records.map(|r| [field(r, "type"), field(r, "name"), field(r, "value")]).collect();
    world.publish(records.iter().map(|[kind, name, value]| (&**kind, &**name, &**value)));
    let domain = text(&added["id"]);
    let verify = run_json(&[&["domain", "verify", &domain][..], &of_tenant].concat(), config);
    assert_eq!(verify["status"], "verified", "{verify}");
    let key = ["key", "create", "--name", "first", "--app", &app];
    let rate = ["--rate-limit-per-minute", "1000000"];
    let key = run_json(&[&key[..], &of_tenant, &rate].concat(), config);
    text(&key["secret"])
}
