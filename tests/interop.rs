//! A real Postfix takes our mail into a Maildir, and dkimpy, which shares no line of code with us,
//! verifies each signature on the bytes as they were received.
#![allow(
    clippy::needless_raw_string_hashes,
    clippy::match_wild_err_arm,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    dead_code,
    missing_docs,
    reason = "tests fail loudly"
)]

#[path = "platform"]
mod platform {
    pub(crate) mod support;
}

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use model::address::DomainName;
use platform::support::{
    app::{SENDING_DOMAIN, TestApp},
    eventually,
    world::{OWN_HOST, World},
};
use serde_json::{Value, json};

const RECEIVING_DOMAIN: &str = "postfix.test";
const BOXES: usize = 24;

/// Runs what needs the rights of root: Postfix changes to its own user.
fn as_root(program: &str, arguments: &[&str]) -> Output {
    let root = rustix::process::geteuid().is_root();
    let mut command = if root { Command::new(program) } else { Command::new("sudo") };
    if !root {
        command.args(["-n", program]);
    }
    command.args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"))
}

fn must(program: &str, arguments: &[&str]) {
    let output = as_root(program, arguments);
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
}

/// A Postfix of our own: its configuration, queue and mailboxes lie in one directory.
struct Postfix {
    directory: tempfile::TempDir,
    port: u16,
}

impl Postfix {
    fn start() -> Self {
        // Below /tmp, for the postfix user must be able to come here.
        let directory =
            tempfile::Builder::new().prefix("lumora-postfix").tempdir_in("/tmp").unwrap();
        let port = {
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            free.local_addr().unwrap().port()
        };
        let postfix = Self { directory, port };
        for name in ["etc", "queue", "data", "mail"] {
            fs::create_dir(postfix.path(name)).unwrap();
        }
        let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755));
        open(postfix.directory.path()).unwrap();
        must("chown", &["postfix:postfix", &postfix.text("data"), &postfix.text("mail")]);
        fs::write(postfix.path("etc/main.cf"), postfix.main_cf()).unwrap();
        fs::write(postfix.path("etc/master.cf"), postfix.master_cf()).unwrap();
        fs::write(postfix.path("etc/mailboxes"), format!("@{RECEIVING_DOMAIN} all/\n")).unwrap();
        must("postfix", &["-c", &postfix.text("etc"), "start"]);
        postfix
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn main_cf(&self) -> String {
        let id = |flag: &str| {
            let output = Command::new("id").args([flag, "postfix"]).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        format!(
            "compatibility_level = 3.6\n\
             queue_directory = {queue}\n\
             data_directory = {data}\n\
             myhostname = mx.{RECEIVING_DOMAIN}\n\
             mydestination =\n\
             mynetworks = 127.0.0.0/8\n\
             inet_interfaces = 127.0.0.1\n\
             inet_protocols = ipv4\n\
             alias_maps =\n\
             alias_database =\n\
             local_recipient_maps =\n\
             virtual_mailbox_domains = {RECEIVING_DOMAIN}\n\
             virtual_mailbox_base = {mail}\n\
             virtual_mailbox_maps = texthash:{etc}/mailboxes\n\
             virtual_uid_maps = static:{uid}\n\
             virtual_gid_maps = static:{gid}\n\
             virtual_minimum_uid = 1\n\
             message_size_limit = 52428800\n\
             virtual_mailbox_limit = 0\n\
             smtpd_peername_lookup = no\n\
             smtpd_recipient_restrictions = reject_unauth_destination\n\
             maillog_file = {data}/maillog\n\
             maillog_file_prefixes = {data}\n",
            queue = self.text("queue"),
            data = self.text("data"),
            mail = self.text("mail"),
            etc = self.text("etc"),
            uid = id("-u"),
            gid = id("-g"),
        )
    }

    fn master_cf(&self) -> String {
        format!(
            "127.0.0.1:{port} inet n - n - - smtpd\n\
             postlog unix-dgram n - n - 1 postlogd\n\
             pickup unix n - n 60 1 pickup\n\
             cleanup unix n - n - 0 cleanup\n\
             qmgr unix n - n 300 1 qmgr\n\
             rewrite unix - - n - - trivial-rewrite\n\
             bounce unix - - n - 0 bounce\n\
             defer unix - - n - 0 bounce\n\
             trace unix - - n - 0 bounce\n\
             verify unix - - n - 1 verify\n\
             flush unix n - n 1000? 0 flush\n\
             proxymap unix - - n - - proxymap\n\
             smtp unix - - n - - smtp\n\
             relay unix - - n - - smtp\n\
             showq unix n - n - - showq\n\
             error unix - - n - - error\n\
             retry unix - - n - - error\n\
             discard unix - - n - - discard\n\
             local unix - n n - - local\n\
             virtual unix - n n - - virtual\n\
             lmtp unix - - n - - lmtp\n\
             anvil unix - - n - 1 anvil\n\
             scache unix - - n - 1 scache\n",
            port = self.port,
        )
    }

    /// The files that were delivered.
    fn delivered(&self) -> Vec<PathBuf> {
        let listed = as_root("find", &[&self.text("mail"), "-path", "*/new/*", "-type", "f"]);
        let text = String::from_utf8(listed.stdout).unwrap();
        text.lines().map(PathBuf::from).collect()
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&as_root("cat", &[&self.text("data/maillog")]).stdout).into_owned()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        let output = as_root("postfix", &["-c", &self.text("etc"), "stop"]);
        if !output.status.success() {
            println!("postfix stop: {output:?}");
        }
        if !rustix::process::geteuid().is_root() {
            // What Postfix made is not ours to remove.
            drop(as_root(
                "rm",
                &["-rf", &self.text("queue"), &self.text("data"), &self.text("mail")],
            ));
        }
    }
}

/// Reads each file as it lies there and tells, for its Message-ID, whether the signature holds and
/// what a reader sees.
const VERIFY: &str = r"
import base64, email, email.policy, hashlib, json, sys
import dkim
records = json.loads(sys.argv[1])
def answer(name, timeout=5):
    return records.get(name.decode().rstrip('.').lower(), '').encode() or None
told = {}
for path in sys.stdin.read().split():
    raw = open(path, 'rb').read()
    message = email.message_from_bytes(raw, policy=email.policy.default)
    verifier = dkim.DKIM(raw)
    try:
        valid, why = verifier.verify(dnsfunc=answer), ''
    except Exception as error:
        valid, why = False, repr(error)
    damaged = raw.replace(b'Subject: ', b'Subject: x', 1)
    body = lambda kind: (part := message.get_body((kind,))) and part.get_content()
    parts = [part for part in message.walk() if part.get_filename()]
    files = {part.get_filename(): base64.b64encode(part.get_payload(decode=True)).decode() for part in parts}
    told.setdefault(message['Message-ID'].strip('<>').split('@')[0], []).append({
        'valid': valid, 'why': why,
        'damaged': dkim.verify(damaged, dnsfunc=answer),
        'signed': [name.decode().lower() for name in verifier.include_headers or []],
        'subject': message['Subject'], 'from': str(message['From']), 'to': str(message['To']),
        'text': body('plain'), 'html': body('html'), 'files': files,
        'header': message['X-Note'], 'deliveredTo': message['Delivered-To'],
        'longest': max(len(line) for line in raw.splitlines()),
    })
print(json.dumps(told))
";

fn verify(python: &str, files: &[PathBuf], records: &Value) -> Value {
    // Read as root: the mailboxes are Postfix's.
    let names: Vec<&str> = files.iter().map(|path| path.to_str().unwrap()).collect();
    let list = tempfile::NamedTempFile::new().unwrap();
    fs::write(list.path(), names.join("\n")).unwrap();
    let script = tempfile::NamedTempFile::new().unwrap();
    fs::write(script.path(), VERIFY).unwrap();
    let line = format!("'{python}' {} \"$1\" < {}", script.path().display(), list.path().display());
    let output = as_root("sh", &["-c", &line, "sh", &records.to_string()]);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Messages of every shape, with what a reader must see of them.
fn shapes() -> Vec<(&'static str, Value)> {
    let bytes: Vec<u8> = (0..=255).cycle().take(10_000).collect();
    let file = STANDARD.encode(&bytes);
    let to = |name: &str| json!([format!("{name}@{RECEIVING_DOMAIN}")]);
    let many: Vec<String> = (0..BOXES).map(|n| format!("box{n}@{RECEIVING_DOMAIN}")).collect();
    vec![
        (
            "plain",
            json!({ "to": to("plain"), "subject": "Plain", "text": "Hello\nFrom me\n.\n..\n" }),
        ),
        (
            "html, text, a file and an inline image",
            json!({
                "to": to("rich"), "subject": "Everything", "text": "Hej\n",
                "html": "<p>Hej <img src=\"cid:logo\"></p>\n",
                "attachments": [
                    { "filename": "räkning 1.bin", "content": file, "contentType": "application/octet-stream" },
                    { "filename": "logo.png", "content": file, "contentType": "image/png", "contentId": "logo" },
                ],
            }),
        ),
        (
            "international subject and names",
            json!({
                "from": { "email": "news@sender.test", "name": "Ärztehaus „Mitte“" },
                "to": [format!("Łukasz Żółć <intl@{RECEIVING_DOMAIN}>")],
                "subject": "Grüße – 你好 👋 und ein Betreff, der so lang ist, dass er gefaltet werden muss",
                "text": "Καλημέρα κόσμε\n", "headers": { "X-Note": "höst" },
            }),
        ),
        (
            "long lines",
            json!({
                "to": to("long"), "subject": "Long",
                "text": format!("{}\n{}\n", "word ".repeat(900), "x".repeat(5_000)),
                "html": format!("<p>{}</p>", "y".repeat(3_000)),
            }),
        ),
        (
            "ends in blank lines",
            json!({ "to": to("blank"), "subject": "Blank", "text": "Hello  \n\n \n\t\n\n\n" }),
        ),
        ("no newline at the end", json!({ "to": to("bare"), "subject": "Bare", "text": "Hello" })),
        (
            "spaces in the subject",
            json!({ "to": to("spaces"), "subject": "a  b   c", "text": "t" }),
        ),
        ("many recipients", json!({ "to": many, "subject": "Many", "text": "To all of you.\n" })),
    ]
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Postfix and dkimpy: .ci/interop"]
async fn postfix_takes_it_and_dkimpy_verifies_it_as_received() {
    let python = std::env::var("INTEROP_PYTHON").expect("INTEROP_PYTHON: a python with dkimpy");
    let postfix = Postfix::start();
    let world = World::new().await;
    let host = format!("mx.{RECEIVING_DOMAIN}");
    world.dns.add_address(&host, Ipv4Addr::LOCALHOST.into()).unwrap();
    world.dns.add_mx(RECEIVING_DOMAIN, 10, &host).unwrap();
    let app = TestApp::start_in(world, |config| {
        config.delivery.smtp_port = postfix.port;
        config.delivery.helo_name = Some(OWN_HOST.parse().unwrap());
    })
    .await;
    let records = dkim_records(&app);

    let mut sent = Vec::new();
    for (shape, email) in shapes() {
        let id = app.api.accepted(&email).await;
        sent.push((shape, email, id));
    }
    let mut copies = 0;
    for (shape, email, id) in &sent {
        let read = app.api.ended(id).await;
        assert_eq!(read["message"]["status"], "delivered", "{shape}: {read}\n{}", postfix.log());
        let response = &read["recipients"][0]["lastResponse"]["message"];
        assert!(response.as_str().unwrap().contains("queued as"), "{response}");
        copies += email["to"].as_array().unwrap().len();
    }
    let files = eventually("all lie in the Maildir", async || {
        let files = postfix.delivered();
        (files.len() >= copies).then_some(files)
    })
    .await;
    assert_eq!(files.len(), copies);

    let told = verify(&python, &files, &records);
    for (shape, email, id) in &sent {
        let copies = told[id].as_array().unwrap_or_else(|| panic!("{shape}: not there: {told}"));
        assert_eq!(copies.len(), email["to"].as_array().unwrap().len(), "{shape}");
        for copy in copies {
            assert_copy(shape, email, copy);
        }
        println!("{shape}: {} received, signature holds", copies.len());
    }
}

fn dkim_records(app: &TestApp) -> Value {
    let core = app.node().core();
    let name = DomainName::parse(SENDING_DOMAIN).unwrap();
    let view = core.read.policies().sender(app.tenant, &name).unwrap();
    let records = core.platform.expected_records(&view).into_iter();
    let keys = records.filter(|record| record.name.contains("._domainkey."));
    let keys: serde_json::Map<String, Value> =
        keys.map(|record| (record.name.to_lowercase(), json!(record.value))).collect();
    assert!(!keys.is_empty());
    Value::Object(keys)
}

/// That a received copy is valid, and is what was sent.
fn assert_copy(shape: &str, email: &Value, copy: &Value) {
    assert_eq!(copy["valid"], true, "{shape}: {copy}");
    assert_eq!(copy["damaged"], false, "{shape}: the verifier takes everything");
    let signed = copy["signed"].as_array().unwrap();
    let twice = signed.iter().filter(|name| *name == "from").count();
    assert_eq!(twice, 2, "{shape}: From is signed once more than it stands: {signed:?}");
    assert_eq!(copy["subject"], email["subject"], "{shape}");
    assert!(copy["longest"].as_u64().unwrap() <= 998, "{shape}: {copy}");
    let same = |got: &Value, sent: &Value, name: &str| {
        let (got, sent) = (got.as_str(), sent.as_str());
        let trimmed = |text: &str| text.replace("\r\n", "\n").trim_end_matches('\n').to_owned();
        assert_eq!(got.map(trimmed), sent.map(trimmed), "{shape}: {name}");
    };
    same(&copy["text"], &email["text"], "text");
    same(&copy["html"], &email["html"], "html");
    for file in email["attachments"].as_array().into_iter().flatten() {
        let name = file["filename"].as_str().unwrap();
        assert_eq!(copy["files"][name], file["content"], "{shape}: {name}");
    }
    if let Some(note) = email["headers"].get("X-Note") {
        assert_eq!(&copy["header"], note, "{shape}");
    }
    if let Some(name) = email["from"]["name"].as_str() {
        assert!(copy["from"].as_str().unwrap().contains(name), "{shape}: {}", copy["from"]);
        assert!(copy["to"].as_str().unwrap().contains("Łukasz Żółć"), "{shape}: {}", copy["to"]);
    }
}
