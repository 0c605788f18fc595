//! What receivers find wrong, as the running server knows.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{
    Setup,
    finding::{Finding, State},
};
use crate::{config::Config, operator::find, telemetry::OPEN_ALERTS};

const CHECK: &str = "alerts";
const PATIENCE: Duration = Duration::from_secs(5);
/// Largest answer that is read.
const MAX_METRICS_OCTETS: u64 = 4 * 1024 * 1024;

/// Asks the server's metrics: they tell nothing of whom.
pub(super) async fn alerts(setup: &Setup<'_>) -> Finding {
    let address = asked(setup.config);
    let Ok(Ok(metrics)) = timeout(PATIENCE, metrics(address)).await else {
        let found = format!("no server answers at {address}");
        let advice = "`lumora alerts` lists those that a stopped server has recorded";
        return Finding::not_well(CHECK, State::Unknown, found, advice);
    };
    let Some(open) = open_alerts(&metrics) else {
        let advice = "is http.listen the address of this server?";
        let found = format!("what answers at {address} tells of no alerts");
        return Finding::not_well(CHECK, State::Unknown, found, advice);
    };
    if open.is_empty() {
        return Finding::well(CHECK, "receivers find nothing of ours wrong");
    }
    let open: Vec<String> = open.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let advice = "GET /portal/alerts tells tenants theirs; `lumora alerts`, once stopped, all";
    Finding::not_well(CHECK, State::Doubtful, format!("open: {}", open.join(", ")), advice)
}

/// Where the server speaks without TLS: at what it listens, or where it tells its operators.
fn asked(config: &Config) -> SocketAddr {
    let own = config.http.tls.as_ref().and_then(|_| find(&config.operator_file()).ok());
    own.map_or_else(|| reachable(config.http.listen), |(address, _)| address)
}

/// A server that listens everywhere is asked on this machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

async fn metrics(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\nhost: localhost\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.take(MAX_METRICS_OCTETS).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The kinds of which some are open, with how many; `None` when the metric is not there.
fn open_alerts(metrics: &str) -> Option<Vec<(&str, u64)>> {
    let mut known = false;
    let mut open = Vec::new();
    for line in metrics.lines() {
        let Some(rest) = line.strip_prefix(OPEN_ALERTS) else { continue };
        let Some(rest) = rest.strip_prefix("{kind=\"") else { continue };
        let Some((kind, count)) = rest.split_once("\"} ") else { continue };
        known = true;
        let count = count.trim().parse::<u64>().unwrap_or_default();
        let named = kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if count > 0 && named {
            open.push((kind, count));
        }
    }
    known.then_some(open)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_alerts_are_read_from_the_metrics() {
        let metrics = "HTTP/1.0 200 OK\r\n\r\n# TYPE lumora_alerts_open gauge\n\
                       lumora_alerts_open{kind=\"tls\"} 0\nlumora_alerts_open{kind=\"other\"} 2\n\
                       lumora_alerts_open{kind=\"x y\"} 2\n";
        assert_eq!(open_alerts(metrics), Some(vec![("other", 2)]));
        assert_eq!(open_alerts("lumora_up 1\n"), None);
    }
}
