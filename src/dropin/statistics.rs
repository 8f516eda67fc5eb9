//! The statistics that SIGUSR1 writes to the log: the classic program's fifteen, then the PPP stream's.

use crate::pptp::flow;

use super::stream;

/// Counters kept by the I/O loop.
#[derive(Clone, Copy, Debug, Default)]
pub struct Io {
    /// Errors that the GRE socket reported on receipt.
    pub rx_errors: u64,
    /// Datagrams without an IPv4 header.
    pub rx_not_ipv4: u64,
    /// Packets in batches that could not be sent completely.
    pub tx_failed: u64,
}

/// Returns the lines to log.
#[must_use]
pub fn lines(flow: &flow::FlowCounters, stream: &stream::StreamCounters, io: &Io) -> Vec<String> {
    let classic = [
        ("rx accepted ", flow.rx_accepted),
        ("rx lost     ", flow.rx_lost),
        ("rx under win", flow.rx_under_window + flow.rx_duplicate),
        ("rx over  win", flow.rx_over_window),
        ("rx buffered ", flow.rx_buffered),
        ("rx OS errors", io.rx_errors),
        ("rx truncated", flow.rx_truncated),
        ("rx invalid  ", flow.rx_invalid() + io.rx_not_ipv4),
        ("rx acks     ", flow.rx_acks),
        ("tx sent     ", flow.tx_sent),
        ("tx failed   ", io.tx_failed),
        // A datagram is sent completely or not at all.
        ("tx short    ", 0),
        ("tx acks     ", flow.tx_acks),
        ("tx oversize ", flow.tx_oversize),
        (
            "round trip  ",
            flow.round_trip.map_or(0, |time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
        ),
    ];
    let mut lines = vec!["GRE statistics:".to_owned()];
    lines.extend(classic.map(|(name, count)| {
        let unit = if name.starts_with("round") { " usecs" } else { "" };
        format!("{name} = {count}{unit}")
    }));
    lines.extend(
        stream
            .named()
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| format!("{name} = {count}")),
    );
    lines
}
