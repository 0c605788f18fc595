//! Programs that judge received messages, each with libraries of its own.

use std::{
    io::Write as _,
    net::SocketAddr,
    path::Path,
    process::{Command, Output, Stdio},
};

use model::address::DomainName;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    platform::support::{
        app::{SENDING_DOMAIN, TestApp},
        world::OWN_HOST,
    },
    servers::{as_root, home},
    stage::own_record,
};

/// Where the platform's mail comes from.
const OWN_ADDRESS: &str = "127.0.0.1";

/// Copies of received messages that anybody may read, in the order of the originals.
pub(crate) struct Copies {
    _directory: TempDir,
    paths: Vec<String>,
}

impl Copies {
    pub(crate) fn of(files: &[String]) -> Self {
        let directory = TempDir::new().unwrap();
        let write = |(number, file): (usize, &String)| {
            let path = directory.path().join(format!("{number}.eml"));
            // Read as root: the mailboxes are the servers'.
            std::fs::write(&path, as_root("cat", &[file]).stdout).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let paths = files.iter().enumerate().map(write).collect();
        Self { _directory: directory, paths }
    }
}

fn run(command: &mut Command, input: &str) -> Output {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    output
}

/// A line of JSON for each copy.
fn lines(output: &Output, copies: &Copies) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), copies.paths.len());
    lines
}

fn own_file(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(name)
}

/// What dkimpy, authheaders and Python's parser say of each copy.
pub(crate) fn read(dns: SocketAddr, copies: &Copies) -> Vec<Value> {
    let mut python = Command::new(home().join("venv/bin/python"));
    python.arg(own_file("read.py")).args([dns.to_string().as_str(), OWN_ADDRESS, OWN_HOST]);
    lines(&run(&mut python, &copies.paths.join("\n")), copies)
}

/// What mailauth says of each copy.
pub(crate) fn mailauth(dns: SocketAddr, copies: &Copies) -> Vec<Value> {
    let mut node = Command::new("node");
    node.arg(own_file("mailauth.cjs")).arg(home());
    node.args([dns.to_string().as_str(), OWN_ADDRESS, OWN_HOST]);
    lines(&run(&mut node, &copies.paths.join("\n")), copies)
}

/// The results that OpenDKIM, verifying, would write into each copy.
pub(crate) fn opendkim(app: &TestApp, copies: &Copies) -> Vec<String> {
    let directory = TempDir::new().unwrap();
    let records = directory.path().join("records");
    std::fs::write(&records, dkim_records(app)).unwrap();
    let configuration = directory.path().join("opendkim.conf");
    let text = format!(
        "Mode v\nTestDNSData {}\nAlwaysAddARHeader yes\nAuthservID reader.test\nSyslog no\n\
         Background no\n",
        records.display()
    );
    std::fs::write(&configuration, text).unwrap();
    let mut opendkim = Command::new("opendkim");
    opendkim.arg("-x").arg(&configuration).args(["-vvv", "-t", &copies.paths.join(",")]);
    let output = run(&mut opendkim, "");
    let text = String::from_utf8(output.stdout).unwrap();
    let results: Vec<String> = text.split("### INSHEADER").skip(1).map(ToOwned::to_owned).collect();
    assert_eq!(results.len(), copies.paths.len(), "{text}");
    results
}

/// All keys as lines of name and record, which is how OpenDKIM's tests read them.
fn dkim_records(app: &TestApp) -> String {
    let core = app.node().core();
    let name = DomainName::parse(SENDING_DOMAIN).unwrap();
    let view = core.read.policies().sender(app.tenant, &name).unwrap();
    let records = core.platform.expected_records(&view).into_iter();
    let keys = records.filter(|record| record.name.contains("._domainkey."));
    let keys = keys.map(|key| (key.name, key.value)).chain([own_record(app)]);
    let lines: String = keys.map(|(name, value)| format!("{name} {value}\n")).collect();
    lines
}

/// The points that SpamAssassin gives with its local rules, and the rules that hit.
pub(crate) fn spamassassin(copies: &Copies) -> Vec<(f64, String)> {
    let judge = |path: &String| {
        let directory = TempDir::new().unwrap();
        let mut command = Command::new("spamassassin");
        command
            .args(["--local", "--test-mode", "--prefspath"])
            .arg(directory.path().join("preferences"))
            // Nobody gets the point that a path through trusted hosts alone takes off.
            .args(["--cf", "score ALL_TRUSTED 0", "--cf", "report_safe 0", "--cf", "use_bayes 0"])
            .args(["--cf", "add_header all Points _SCORE_ _TESTSSCORES(,)_"])
            .env("HOME", directory.path());
        let output = run(&mut command, &std::fs::read_to_string(path).unwrap());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let found = text.split("X-Spam-Points: ").nth(1).unwrap_or_else(|| panic!("{text}"));
        // The header is folded where it is long.
        let mut lines = found.lines();
        let first = lines.next().unwrap().to_owned();
        let folded = lines.take_while(|line| line.starts_with([' ', '\t']));
        let found = folded.fold(first, |whole, line| whole + line.trim());
        let (points, rules) = found.split_once(' ').unwrap();
        (points.parse().unwrap(), rules.to_owned())
    };
    copies.paths.iter().map(judge).collect()
}
