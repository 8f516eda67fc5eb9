//! The facts of one tunnel, as lines with labels. No I/O.

use super::{
    state::Tunnel,
    text::{Canvas, Line, Tone, shortened},
};
use crate::{
    cli::{
        counted, in_force,
        output::duration,
        status::{headline, recent_failure},
        status_table,
        wrap::broken,
    },
    supervisor::Status,
};

/// The most routes that are listed.
const MOST_ROUTES: usize = 24;

/// Columns in front of a value.
const LABEL: usize = 13;

/// Returns what is to be said of a tunnel in one sentence.
pub(super) fn remark(tunnel: &Tunnel) -> String {
    match &tunnel.answer {
        Ok(status) => headline(status),
        Err(("down", words)) => format!("{words}; `pptpctl up {}` brings it up", tunnel.name),
        Err((_, words)) => words.clone(),
    }
}

/// How much room facts have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// A line for each; warnings and what is wrong have more. The rest is in `status`.
    Line,
    /// As many lines as they need.
    Lines,
}

/// Returns what is known of a tunnel, one fact below the other.
pub(super) fn facts(status: &Status, canvas: Canvas, room: Room) -> Vec<Line> {
    let columns = canvas.width.saturating_sub(LABEL);
    let mut all: Vec<(&str, Tone, String)> = Vec::new();
    // The line above names it while the tunnel is up.
    if let Some(server) = status.server.as_ref().filter(|_| status.state != "up") {
        all.push(("server", Tone::Plain, server.clone()));
    }
    if let (Some(local), Some(peer), Some(mtu)) = (status.local, status.peer, status.mtu) {
        all.push(("addresses", Tone::Plain, format!("{local} to {peer}, MTU {mtu}")));
    }
    if let (Some(auth), Some(mppe)) = (&status.auth, &status.mppe) {
        all.push(("security", Tone::Plain, format!("{auth}, encryption {mppe}")));
    }
    if let Some(path) = &status.data_path {
        let path = match room {
            Room::Lines => path,
            // Without the reason.
            Room::Line => path.split(' ').next().unwrap_or_default(),
        };
        all.push(("data path", Tone::Plain, path.to_owned()));
    }
    if let Some(resolvers) = in_force::resolvers(status) {
        all.push(("DNS", Tone::Plain, resolvers));
    }
    if let Some(routes) = routes(status, columns, room) {
        all.push(("routes", Tone::Plain, routes));
    }
    if status.state == "up" && !status.counters.is_empty() {
        if let Some([received, sent]) = counted::traffic(status) {
            all.push(("traffic", Tone::Plain, format!("received {received}; sent {sent}")));
        }
        let echo = status.round_trip_micros.map_or_else(
            || "not measured yet".to_owned(),
            |micros| format!("round trip {}", status_table::milliseconds(micros)),
        );
        let share = counted::loss(status).map_or_else(String::new, |share| format!(" ({share})"));
        let order = counted::order(status, &share)
            .unwrap_or_else(|| "losses are not counted by the kernel".to_owned());
        all.push(("path", Tone::Plain, format!("{echo}; {order}")));
    }
    let drops: Vec<_> = counted::drops(status)
        .map(|(reason, count)| format!("{} {count}", reason.replace('_', " ")))
        .collect();
    if !drops.is_empty() {
        all.push(("dropped", Tone::Warning, drops.join(", ")));
    }
    if let Some(left) = status.pause_left {
        let left = duration(left);
        all.push((
            "paused",
            Tone::Warning,
            format!("names and web pages pass outside the tunnel for {left}"),
        ));
    }
    match (recent_failure(status), status.reconnects) {
        (Some(failure), _) if status.state != "up" => {
            all.push(("last failure", Tone::Bad, failure.to_string()));
        }
        (Some(failure), 0) => all.push(("last failure", Tone::Dim, failure.to_string())),
        (Some(failure), count) => {
            all.push(("reconnects", Tone::Plain, format!("{count}; last failure: {failure}")));
        }
        (None, 0) => {}
        (None, count) => all.push(("reconnects", Tone::Plain, count.to_string())),
    }
    for warning in &status.warnings {
        all.push(("warning", Tone::Warning, warning.clone()));
    }
    let mut lines = Vec::new();
    for (label, tone, words) in all {
        let texts = match (room, tone) {
            (Room::Line, Tone::Plain | Tone::Dim) => vec![shortened(words, columns, canvas.unicode)],
            _ => broken(&words, columns, ""),
        };
        for (number, text) in texts.into_iter().enumerate() {
            let label = if number == 0 { label } else { "" };
            lines.push(Line::new(Tone::Dim, format!("{label:<LABEL$}")).with(tone, text));
        }
    }
    lines
}

/// Returns the routes in force, in one line as many as it holds.
fn routes(status: &Status, columns: usize, room: Room) -> Option<String> {
    let list = |most| in_force::routes(status, most);
    match room {
        Room::Lines => list(MOST_ROUTES),
        Room::Line => {
            let mut shorter = (2..=MOST_ROUTES.min(status.routes.len())).rev().filter_map(list);
            shorter.find(|list| list.chars().count() <= columns).or_else(|| list(1))
        }
    }
}
