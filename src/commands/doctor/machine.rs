//! The directory, the key, the disk and the clock.

use std::{
    io::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::Duration,
};

use actors::Clock as _;
use tokio::{net::UdpSocket, time::timeout};

use super::{
    Setup,
    finding::{Finding, State},
};
use crate::{clock::SystemClock, config::Config};

/// Less free space than this, in MiB, ends soon in a log that cannot be written.
const LEAST_FREE_MIB: u64 = 256;
/// Less than this is worth a word.
const LITTLE_FREE_MIB: u64 = 2_048;
/// A clock that is wrong by more than this makes `Date` and signatures doubtful to receivers.
const DOUBTFUL_OFFSET_MS: u64 = 5_000;
/// By more than this, signatures lie in the future and sessions and schedules are wrong.
const WRONG_OFFSET_MS: u64 = 120_000;
/// The bits of a mode below this one are those of group and others.
const OWNERS_BITS_FROM: u32 = 6;
const PATIENCE: Duration = Duration::from_secs(5);
/// The port of NTP (RFC 5905).
const NTP_PORT: u16 = 123;
/// Seconds from 1900 to 1970.
const NTP_TO_UNIX_S: u64 = 2_208_988_800;

/// Data directory, free space and master key.
pub(super) fn storage(config: &Config) -> Vec<Finding> {
    let dir = &config.data_dir;
    if !dir.exists() {
        let found = format!("{} does not exist yet; the first start makes it", dir.display());
        return vec![Finding::well("data directory", found)];
    }
    let mut findings = vec![writable(dir), free_space(dir)];
    let key = config.master_key_file();
    if let Ok(metadata) = std::fs::metadata(&key) {
        let mode = metadata.permissions().mode() & 0o777;
        let found = format!("{} has mode {mode:04o}", key.display());
        findings.push(if mode.trailing_zeros() >= OWNERS_BITS_FROM {
            Finding::well("master key", found)
        } else {
            let advice = "others can read it: chmod 0600";
            Finding::not_well("master key", State::Failed, found, advice)
        });
    }
    findings
}

fn writable(dir: &Path) -> Finding {
    let check = "data directory";
    // Without a name: it is gone whatever happens.
    let written = tempfile::tempfile_in(dir).and_then(|mut file| {
        file.write_all(b"doctor")?;
        file.sync_all()
    });
    match written {
        Ok(()) => Finding::well(check, format!("{} can be written and synced", dir.display())),
        Err(error) => {
            let found = format!("{}: {error}", dir.display());
            let advice = "give it to the user that runs the server";
            Finding::not_well(check, State::Failed, found, advice)
        }
    }
}

fn free_space(dir: &Path) -> Finding {
    let check = "free space";
    let Ok(space) = rustix::fs::statvfs(dir) else {
        let advice = "look at the file system by hand";
        return Finding::not_well(check, State::Unknown, "the file system does not say", advice);
    };
    let free_mib = space.f_bavail.saturating_mul(space.f_frsize) / (1024 * 1024);
    let found = format!("{free_mib} MiB");
    let advice = "the log must be able to grow: make room, or shorten retention.content";
    match free_mib {
        0..LEAST_FREE_MIB => Finding::not_well(check, State::Failed, found, advice),
        LEAST_FREE_MIB..LITTLE_FREE_MIB => Finding::not_well(check, State::Doubtful, found, advice),
        _ => Finding::well(check, found),
    }
}

/// How far the clock is from a time server's, to half of the way there and back.
pub(super) async fn clock(setup: &Setup<'_>) -> Finding {
    let (check, server) = ("clock", &setup.arguments.time_server);
    let Some(offset_ms) = offset_ms(setup).await else {
        let found = format!("{server} did not answer");
        let advice = "name another with --time-server, or look at `timedatectl`";
        return Finding::not_well(check, State::Unknown, found, advice);
    };
    let found = format!("{offset_ms} ms from {server}");
    let advice = "let a time daemon keep the clock";
    if offset_ms <= DOUBTFUL_OFFSET_MS {
        return Finding::well(check, found);
    }
    let state = if offset_ms <= WRONG_OFFSET_MS { State::Doubtful } else { State::Failed };
    Finding::not_well(check, state, found, advice)
}

async fn offset_ms(setup: &Setup<'_>) -> Option<u64> {
    let server = &setup.arguments.time_server;
    let address = if let Ok(address) = server.parse::<SocketAddr>() {
        address
    } else {
        let found = setup.resolver.addresses(server).await.ok()?;
        SocketAddr::new(found.into_iter().next()?, NTP_PORT)
    };
    let here: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((here, 0)).await.ok()?;
    socket.connect(address).await.ok()?;
    let asked_at = SystemClock.now().as_millis();
    // Version 4, client; the rest may be zero (RFC 5905, section 7.3).
    let mut packet = [0_u8; 48];
    if let Some(first) = packet.first_mut() {
        *first = 0x23;
    }
    socket.send(&packet).await.ok()?;
    let length = timeout(PATIENCE, socket.recv(&mut packet)).await.ok()?.ok()?;
    let answered_at = SystemClock.now().as_millis();
    let middle = asked_at.midpoint(answered_at);
    (length == packet.len()).then(|| transmitted_ms(&packet))?.map(|at| at.abs_diff(middle))
}

/// The server's time in an answer, in Unix milliseconds; `None` when it says that it has none.
fn transmitted_ms(packet: &[u8; 48]) -> Option<u64> {
    let [.., s0, s1, s2, s3, f0, f1, f2, f3] = *packet;
    let seconds = u64::from(u32::from_be_bytes([s0, s1, s2, s3]));
    let fraction = u64::from(u32::from_be_bytes([f0, f1, f2, f3]));
    // Stratum 0 is a refusal ("kiss of death").
    if packet.get(1).is_none_or(|stratum| *stratum == 0) || seconds == 0 {
        return None;
    }
    // The count began anew in 2036; nobody's clock is before 1968.
    let era = if seconds < 1 << 31 { 1 << 32 } else { 0 };
    let unix_s = (era + seconds).checked_sub(NTP_TO_UNIX_S)?;
    Some(unix_s * 1_000 + ((fraction * 1_000) >> 32))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(stratum: u8, seconds: u32, fraction: u32) -> [u8; 48] {
        let mut packet = [0; 48];
        packet[1] = stratum;
        packet[40..44].copy_from_slice(&seconds.to_be_bytes());
        packet[44..].copy_from_slice(&fraction.to_be_bytes());
        packet
    }

    #[test]
    fn a_time_servers_answer_is_read_in_both_eras() {
        // 2026-01-01T00:00:00.5Z and 2040-01-01T00:00:00Z.
        assert_eq!(transmitted_ms(&answer(2, 3_976_214_400, 1 << 31)), Some(1_767_225_600_500));
        assert_eq!(transmitted_ms(&answer(2, 123_010_304, 0)), Some(2_208_988_800_000));
        assert_eq!(transmitted_ms(&answer(0, 3_976_214_400, 0)), None);
        assert_eq!(transmitted_ms(&answer(2, 0, 0)), None);
    }
}
