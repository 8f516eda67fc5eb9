//! The picture of `watch`: state in, lines out. No I/O.

use std::collections::VecDeque;

use super::{
    state::{Change, Notice, State, Tunnel},
    text::{Line, Tone, graph},
};
use crate::{
    cli::{
        output::bytes,
        status::{headline, recent_failure},
        status_table::{self, Rates, Row},
        wrap::broken,
    },
    supervisor::{Status, local_time},
};

/// The phases in order, as the status names them.
const PHASES: [&str; 10] = [
    "resolve",
    "connect",
    "control",
    "call",
    "lcp",
    "authentication",
    "encryption",
    "addresses",
    "routes",
    "up",
];

/// Columns in front of a value.
const LABEL: usize = 13;

/// Size and abilities of the terminal.
#[derive(Clone, Copy, Debug)]
pub struct Canvas {
    pub width: usize,
    pub height: usize,
    /// Whether it shows more than ASCII.
    pub unicode: bool,
}

/// Returns exactly `height` lines of at most `width` columns.
pub fn render(state: &State, canvas: Canvas) -> Vec<Line> {
    let Canvas { width, height, .. } = canvas;
    let room = height.saturating_sub(2);
    let mut body = match state.current() {
        Some(tunnel) if state.is_single => single(tunnel, Canvas { height: room, ..canvas }),
        Some(_) => table(state, Canvas { height: room, ..canvas }),
        None => vec![Line::new(Tone::Plain, "no profiles, no tunnels")],
    };
    body.resize(room, Line::default());
    let all = std::iter::once(title(state, width)).chain(body).chain([foot(state)]);
    all.take(height).map(|line| line.cut(width)).collect()
}

fn title(state: &State, width: usize) -> Line {
    let left = " pptpctl watch";
    let right = local_time::format(state.clock).unwrap_or_default() + " ";
    let between = width.saturating_sub(left.len() + right.len());
    Line::new(Tone::Chosen, format!("{left}{}{right}", " ".repeat(between)))
}

fn foot(state: &State) -> Line {
    match &state.notice {
        Notice::Asks(name) => {
            Line::new(Tone::Warning, format!(" take {name} down? y: yes, any other key: no"))
        }
        Notice::Says(words) => Line::new(Tone::Bold, format!(" {words}")),
        Notice::None if state.is_single => Line::new(Tone::Dim, " d: down   Esc: all tunnels   q: quit"),
        Notice::None => Line::new(Tone::Dim, " Up, Down: choose   Enter: details   d: down   q: quit"),
    }
}

/// Returns the table of all tunnels, the chosen one marked, and below it what is to be said of that one.
fn table(state: &State, canvas: Canvas) -> Vec<Line> {
    let rows: Vec<Row> = state
        .tunnels
        .iter()
        .map(|tunnel| match &tunnel.answer {
            Ok(status) => Row::of(status, tunnel.rates.back().copied(), state.clock),
            Err((word, _)) => Row::without_status(&tunnel.name, word),
        })
        .collect();
    let mut text = status_table::render(&rows, Some(canvas.width)).into_iter();
    let mut lines = vec![Line::new(Tone::Bold, text.next().unwrap_or_default())];
    // Title and remark leave so many rows.
    let room = canvas.height.saturating_sub(4).max(1);
    let first = (state.chosen + 1).saturating_sub(room);
    let tunnels = state.tunnels.iter().enumerate().zip(text).skip(first).take(room);
    for ((number, tunnel), text) in tunnels {
        let tone = match &tunnel.answer {
            _ if number == state.chosen => Tone::Chosen,
            Ok(status) if status.state == "up" && status.warnings.is_empty() => Tone::Good,
            Ok(_) => Tone::Warning,
            Err(("down", _)) => Tone::Dim,
            Err(_) => Tone::Bad,
        };
        lines.push(Line::new(tone, format!("{text:<width$}", width = canvas.width)));
    }
    lines.push(Line::default());
    if let Some(tunnel) = state.current() {
        let width = canvas.width;
        lines.extend(broken(&remark(tunnel), width, "").into_iter().map(|text| Line::new(Tone::Plain, text)));
        lines.extend(tunnel.changes.iter().rev().map(|change| changed(change, state.clock)));
    }
    lines.truncate(canvas.height);
    lines
}

/// Returns what is to be said of a tunnel in one sentence.
fn remark(tunnel: &Tunnel) -> String {
    match &tunnel.answer {
        Ok(status) => headline(status),
        Err((_, words)) => words.clone(),
    }
}

fn single(tunnel: &Tunnel, canvas: Canvas) -> Vec<Line> {
    let width = canvas.width;
    let mut lines: Vec<Line> =
        broken(&remark(tunnel), width, "").into_iter().map(|text| Line::new(Tone::Bold, text)).collect();
    if let Ok(status) = &tunnel.answer {
        lines.extend(ladder(status, width));
        lines.push(Line::default());
        lines.extend(facts(status, width));
        // Beside the words of both parts stay some changes.
        let left = canvas.height.saturating_sub(lines.len());
        let rows = left.saturating_sub(5).min(10);
        if rows > 0 {
            lines.extend(graphs(&tunnel.rates, rows, canvas));
        }
    }
    lines.push(Line::new(Tone::Bold, "changes, the last first"));
    let clock = tunnel.changes.back().map_or(0, |change| change.clock);
    if tunnel.changes.is_empty() {
        lines.push(Line::new(Tone::Dim, "  none since this command began"));
    }
    lines.extend(tunnel.changes.iter().rev().map(|change| changed(change, clock)));
    lines.truncate(canvas.height);
    lines
}

/// Returns the phases: those that are over, the one that runs, those to come.
fn ladder(status: &Status, width: usize) -> Vec<Line> {
    let now = PHASES.iter().position(|phase| *phase == status.phase);
    // While it waits, no phase runs.
    let runs = matches!(status.state.as_str(), "resolving" | "connecting" | "configuring" | "up");
    let mut lines = vec![Line::default()];
    for (at, phase) in PHASES.iter().enumerate() {
        let tone = match now.filter(|_| runs) {
            Some(now) if at < now || *phase == "up" && at == now => Tone::Good,
            Some(now) if at == now => Tone::Chosen,
            _ => Tone::Dim,
        };
        if lines.last().is_some_and(|line| line.width() > 0 && line.width() + phase.len() + 1 > width) {
            lines.push(Line::default());
        }
        if let Some(line) = lines.last_mut() {
            let gap = if line.width() == 0 { "" } else { " " };
            line.0.push((Tone::Plain, gap.to_owned()));
            line.0.push((tone, (*phase).to_owned()));
        }
    }
    lines
}

fn facts(status: &Status, width: usize) -> Vec<Line> {
    let mut all: Vec<(&str, Tone, String)> = Vec::new();
    if let (Some(local), Some(peer), Some(mtu)) = (status.local, status.peer, status.mtu) {
        all.push(("addresses", Tone::Plain, format!("{local} to {peer}, MTU {mtu}")));
    }
    if let (Some(auth), Some(mppe)) = (&status.auth, &status.mppe) {
        all.push(("security", Tone::Plain, format!("{auth}, encryption {mppe}")));
    }
    if !status.dns.is_empty() {
        let servers: Vec<_> = status.dns.iter().map(ToString::to_string).collect();
        all.push(("peer's DNS", Tone::Plain, servers.join(" ")));
    }
    let count = |name: &str| status.counters.get(name).copied().unwrap_or(0);
    if status.state == "up" && !status.counters.is_empty() {
        let way = |packets, octets| format!("{} packets, {}", count(packets), bytes(count(octets)));
        let received = way("ppp.received_packets", "ppp.received_bytes");
        let sent = way("ppp.sent_packets", "ppp.sent_bytes");
        all.push(("received", Tone::Plain, received));
        all.push(("sent", Tone::Plain, sent));
        let echo = status.round_trip_micros.map_or_else(
            || "not measured yet".to_owned(),
            |micros| format!("round trip {}", status_table::milliseconds(micros)),
        );
        let (lost, late) = (count("gre.rx_lost"), count("gre.rx_repaired"));
        let twice = count("gre.rx_duplicate");
        let share =
            status_table::loss(&status.counters).map_or_else(String::new, |share| format!(" ({share})"));
        let path = format!("{echo}; {lost} lost{share}, {late} reordered, {twice} duplicate");
        all.push(("path", Tone::Plain, path));
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

/// Returns the graphs of both directions, side by side, with `rows` lines each and a line of words.
fn graphs(rates: &VecDeque<Rates>, rows: usize, canvas: Canvas) -> Vec<Line> {
    let gap = 2;
    let width = canvas.width.saturating_sub(gap) / 2;
    let way = |name: &str, rate: fn(&Rates) -> u64| {
        let values: Vec<u64> = rates.iter().map(rate).collect();
        let skipped = values.len().saturating_sub(width);
        let shown = values.get(skipped..).unwrap_or_default();
        let highest = shown.iter().copied().max().unwrap_or(0);
        let now = status_table::short(values.last().copied().unwrap_or(0));
        let words = format!("{name} {now}/s, at most {}/s", status_table::short(highest));
        let words: String = words.chars().take(width).collect();
        let drawn = graph(shown, highest, width, rows, canvas.unicode);
        (format!("{words:<width$}"), drawn)
    };
    let (in_words, in_graph) = way("in", |rates| rates.received);
    let (out_words, out_graph) = way("out", |rates| rates.sent);
    let between = " ".repeat(gap);
    let mut lines = vec![Line::new(Tone::Bold, format!("{in_words}{between}{out_words}"))];
    lines.extend(
        in_graph
            .into_iter()
            .zip(out_graph)
            .map(|(one, other)| Line::new(Tone::Good, one).with(Tone::Plain, between.clone() + &other)),
    );
    lines
}

fn changed(change: &Change, now: u64) -> Line {
    let local = local_time::format(change.clock).unwrap_or_default();
    let time = if now.saturating_sub(change.clock) < 86_400 { local.get(11..) } else { local.get(5..) };
    let tone = if change.is_failure { Tone::Bad } else { Tone::Plain };
    Line::new(Tone::Dim, format!("  {}  ", time.unwrap_or_default())).with(tone, change.words.clone())
}

#[cfg(test)]
mod tests {
    use super::{
        super::state::tests::{down, example},
        *,
    };

    fn text(state: &State, width: usize, height: usize) -> String {
        let lines = render(state, Canvas { width, height, unicode: true });
        lines.iter().map(|line| line.plain().trim_end().to_owned() + "\n").collect()
    }

    fn single() -> State {
        State { chosen: 2, is_single: true, ..example() }
    }

    #[test]
    fn table_shows_all_tunnels_and_the_changes_of_the_chosen_one() {
        let state = State { chosen: 2, ..example() };
        for (width, height) in [(80, 24), (200, 50)] {
            let shown = text(&state, width, height);
            println!("{shown}");
            for part in [
                "NAME    STATE    DEV   ADDRESS",
                "\nhome    waiting",
                "\nlab     down",
                "\noffice  up       tun0  10.77.0.100  10.77.0.1",
                "571K    57K  1.2%  35 ms\n",
                "\noffice: up on tun0 for 1 h 2 min, server 198.51.100.5:1723\n",
                "  up again, reconnect 1\n",
                " d: down   q: quit",
            ] {
                assert!(shown.contains(part), "{part:?} is missing in\n{shown}");
            }
        }
    }

    #[test]
    fn single_tunnel_has_phases_facts_graphs_and_changes() {
        for (width, height) in [(80, 24), (200, 50)] {
            let shown = text(&single(), width, height);
            println!("{shown}");
            for part in [
                "\nresolve connect control call lcp authentication encryption addresses routes up\n",
                "\naddresses    10.77.0.100 to 10.77.0.1, MTU 1396\n",
                "\nsecurity     MS-CHAPv2, encryption MPPE 128-bit stateless\n",
                "\npath         round trip 35 ms; 12 lost (1.2%), 7 reordered, 1 duplicate\n",
                "\ndropped      loop 2\n",
                "no answer to 4 LCP echoes",
                "\nin 571K/s, at most 571K/s",
                "out 57K/s, at most 57K/s\n",
                "█",
                "\nchanges, the last first\n",
                "  up again, reconnect 1\n",
                " d: down   Esc: all tunnels   q: quit\n",
            ] {
                assert!(shown.contains(part), "{part:?} is missing at {width} × {height} in\n{shown}");
            }
        }
    }

    #[test]
    fn every_size_is_filled_exactly() {
        let mut many = example();
        many.chosen = 1;
        let mut asks = single();
        asks.notice = Notice::Asks("office".into());
        for state in [State::default(), example(), single(), many, asks] {
            for (width, height) in
                (1..=90).flat_map(|width| [1, 2, 3, 5, 10, 24].map(|height| (width, height)))
            {
                for unicode in [true, false] {
                    let lines = render(&state, Canvas { width, height, unicode });
                    assert_eq!(lines.len(), height, "{width} × {height}");
                    assert!(lines.iter().all(|line| line.width() <= width), "{width} × {height}: {lines:#?}");
                    let ascii = lines.iter().all(|line| line.plain().is_ascii());
                    assert!(unicode || ascii, "{lines:#?}");
                }
            }
        }
    }

    #[test]
    fn chosen_tunnel_stays_in_sight() {
        let mut state = State::default();
        let answers = (0..60).map(|number| down(&format!("n{number:02}"))).collect();
        state.read(super::super::state::Reading { at: std::time::Instant::now(), clock: 1, answers });
        for chosen in [0, 17, 18, 40, 59] {
            state.chosen = chosen;
            let shown = text(&state, 80, 24);
            assert!(shown.contains(&format!("\nn{chosen:02}   down ")), "{shown}");
        }
    }

    #[test]
    fn phases_before_the_current_one_are_over() {
        let status = |state: &str, phase: &str| Status {
            state: state.into(),
            phase: phase.into(),
            ..Status::default()
        };
        let tones = |status: &Status| {
            let lines = ladder(status, 80);
            lines
                .iter()
                .flat_map(|line| line.0.clone())
                .filter(|(_, text)| text.len() > 1)
                .collect::<Vec<_>>()
        };
        let tone = |status: &Status, phase: &str| {
            tones(status).into_iter().find(|(_, text)| text == phase).map(|(tone, _)| tone).unwrap()
        };
        let dialing = status("connecting", "lcp");
        let found = ["call", "lcp", "authentication"].map(|phase| tone(&dialing, phase));
        assert_eq!(found, [Tone::Good, Tone::Chosen, Tone::Dim]);
        assert_eq!(tone(&status("up", "up"), "up"), Tone::Good);
        assert_eq!(tone(&status("waiting", "lcp"), "call"), Tone::Dim);
        assert!(ladder(&dialing, 30).len() > 2, "it breaks at words");
    }
}
