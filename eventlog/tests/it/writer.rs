//! The process that is killed: this test binary, run again. It writes as fast as it can and prints
//! what was acknowledged.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use eventlog::{EventLog, Log, Position, Recorded};

use crate::support::{append, event, open, runtime, sealed, stream};

const DIR: &str = "LUMORA_TEST_WRITER_DIR";
const ROUND: &str = "LUMORA_TEST_WRITER_ROUND";
const WRITERS: u64 = 12;

/// One acknowledged append: its stream, the number of its last event, its last position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    pub(crate) stream: u64,
    pub(crate) number: u64,
    pub(crate) position: u64,
}

/// Not a test: does nothing unless it is run as the process to kill.
#[test]
fn child_writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let round: u64 = std::env::var(ROUND).unwrap().parse().unwrap();
    let log = Arc::new(open(Path::new(&dir)));
    let runtime = runtime();
    for writer in 0..WRITERS {
        let log: Arc<Log> = Arc::clone(&log);
        runtime.spawn(async move {
            let to = round * 1000 + writer;
            let mut version = 0;
            loop {
                let count = 1 + (version + writer) % 3;
                let first = to * 100_000 + version;
                let mut append = append(to, version, first..first + count);
                if writer % 4 == 0 {
                    append.content = vec![sealed(&format!("content of {first}"))];
                }
                let appended = log.append(append).await.unwrap();
                version += count;
                let (last, position) = (first + count - 1, appended.last_position);
                let line = format!("\nack {to} {last} {position}\n");
                std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
            }
        });
    }
    // Whoever started it kills it; should that fail, it does not stay for ever.
    std::thread::sleep(Duration::from_mins(1));
}

/// Not a test: says whether another process can open the log.
#[test]
fn child_opens() {
    let Some(dir) = std::env::var_os("LUMORA_TEST_OPENER_DIR") else { return };
    match Log::open(Path::new(&dir), crate::support::options()) {
        Ok(_) => println!("\nopened"),
        Err(error) => println!("\nrefused: {error}"),
    }
}

/// Runs [`child_opens`] on a directory and gives what it printed.
pub(crate) fn open_in_another_process(dir: &Path) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writer::child_opens", "--nocapture", "--test-threads=1"])
        .env("LUMORA_TEST_OPENER_DIR", dir)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Starts the process that writes to `dir`.
pub(crate) fn start(dir: &Path, round: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writer::child_writes_until_it_is_killed"])
        .args(["--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Reads what the process acknowledges until `enough` says so; then `kill`s it and reads the rest.
pub(crate) fn acknowledged(
    child: &mut Child,
    mut enough: impl FnMut(usize) -> bool,
    kill: impl FnOnce(&mut Child),
) -> Vec<Acknowledged> {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).split(b'\n');
    let mut acknowledged = Vec::new();
    while !enough(acknowledged.len()) {
        let Some(line) = lines.next() else { break };
        acknowledged.extend(parse(&line.unwrap()));
    }
    kill(child);
    for line in lines {
        acknowledged.extend(parse(&line.unwrap()));
    }
    child.wait().unwrap();
    acknowledged
}

fn parse(line: &[u8]) -> Option<Acknowledged> {
    let text = std::str::from_utf8(line).ok()?;
    let mut numbers = text.strip_prefix("ack ")?.split(' ').map(|number| number.parse().ok());
    let (stream, number, position) = (numbers.next()??, numbers.next()??, numbers.next()??);
    Some(Acknowledged { stream, number, position })
}

/// Every acknowledged event is where it was said to be, and all content can be read.
pub(crate) fn assert_all_there(
    log: &dyn EventLog,
    events: &[Recorded],
    acknowledged: &[Acknowledged],
) {
    crate::support::assert_in_order(events);
    for ack in acknowledged {
        let at = usize::try_from(ack.position).unwrap();
        let found = events.get(at - 1).unwrap_or_else(|| panic!("lost: {ack:?}"));
        assert_eq!(found.position, Position::new(ack.position));
        assert_eq!(found.stream, stream(ack.stream), "{ack:?}");
        assert_eq!(*found.data, *event(ack.number).data, "{ack:?}");
    }
    for location in events.iter().flat_map(|event| event.content.iter()) {
        log.read_content(location).unwrap();
    }
}
