//! The facts of one tunnel, as lines with labels. No I/O.

use super::{
    state::Tunnel,
    text::{Line, Tone},
};
use crate::{
    cli::{
        in_force,
        output::{bytes, duration, many},
        status::{headline, recent_failure},
        status_table,
        wrap::broken,
    },
    supervisor::Status,
};

/// Columns in front of a value.
const LABEL: usize = 13;

/// Returns what is to be said of a tunnel in one sentence.
pub(super) fn remark(tunnel: &Tunnel) -> String {
    match &tunnel.answer {
        Ok(status) => headline(status),
        Err((_, words)) => words.clone(),
    }
}

/// Returns what is known of a tunnel, one fact a line; `most_routes` bounds the list of routes.
pub(super) fn facts(status: &Status, width: usize, most_routes: usize) -> Vec<Line> {
    let mut all: Vec<(&str, Tone, String)> = Vec::new();
    if let (Some(local), Some(peer), Some(mtu)) = (status.local, status.peer, status.mtu) {
        all.push(("addresses", Tone::Plain, format!("{local} to {peer}, MTU {mtu}")));
    }
    if let (Some(auth), Some(mppe)) = (&status.auth, &status.mppe) {
        all.push(("security", Tone::Plain, format!("{auth}, encryption {mppe}")));
    }
    if let Some(path) = &status.data_path {
        all.push(("data path", Tone::Plain, path.clone()));
    }
    if let Some(resolvers) = in_force::resolvers(status) {
        all.push(("DNS", Tone::Plain, resolvers));
    }
    if let Some(routes) = in_force::routes(status, most_routes) {
        all.push(("routes", Tone::Plain, routes));
    }
    let count = |name: &str| status.counters.get(name).copied().unwrap_or(0);
    if status.state == "up" && !status.counters.is_empty() {
        let way = |packets, octets| format!("{}, {}", many(count(packets), "packet"), bytes(count(octets)));
        if status_table::counts_traffic(status) {
            let received = way("ppp.received_packets", "ppp.received_bytes");
            let sent = way("ppp.sent_packets", "ppp.sent_bytes");
            all.push(("traffic", Tone::Plain, format!("received {received}; sent {sent}")));
        }
        let echo = status.round_trip_micros.map_or_else(
            || "not measured yet".to_owned(),
            |micros| format!("round trip {}", status_table::milliseconds(micros)),
        );
        let (lost, late) = (count("gre.rx_lost"), count("gre.rx_repaired"));
        let twice = count("gre.rx_duplicate");
        let share = status_table::loss(status).map_or_else(String::new, |share| format!(" ({share})"));
        let order = match status_table::counts_losses(status) {
            true => format!("{lost} lost{share}, {late} reordered, {twice} duplicate"),
            false => "losses are not counted by the kernel".to_owned(),
        };
        all.push(("path", Tone::Plain, format!("{echo}; {order}")));
    }
    let drops: Vec<_> = status
        .counters
        .iter()
        .filter_map(|(name, count)| Some((name.strip_prefix("drop.")?, count)))
        .filter(|(_, count)| **count > 0)
        .map(|(reason, count)| format!("{} {count}", reason.replace('_', " ")))
        .collect();
    if !drops.is_empty() {
        all.push(("dropped", Tone::Warning, drops.join(", ")));
    }
    if status.reconnects > 0 {
        all.push(("reconnects", Tone::Plain, status.reconnects.to_string()));
    }
    if let Some(left) = status.pause_left {
        let left = duration(left);
        all.push((
            "paused",
            Tone::Warning,
            format!("names and web pages pass outside the tunnel for {left}"),
        ));
    }
    if let Some(failure) = recent_failure(status) {
        let tone = if status.state == "up" { Tone::Dim } else { Tone::Bad };
        all.push(("last failure", tone, failure.to_string()));
    }
    for warning in &status.warnings {
        all.push(("warning", Tone::Warning, warning.clone()));
    }
    let mut lines = Vec::new();
    for (label, tone, words) in all {
        for (number, text) in broken(&words, width.saturating_sub(LABEL), "").into_iter().enumerate() {
            let label = if number == 0 { label } else { "" };
            lines.push(Line::new(Tone::Dim, format!("{label:<LABEL$}")).with(tone, text));
        }
    }
    lines
}
