//! The picture of one tunnel: phases, facts, graphs, history. No I/O.

use std::collections::VecDeque;

use super::{
    facts::{facts, remark},
    history::{changes, history, log},
    state::Tunnel,
    text::{Canvas, Line, Tone, graph},
};
use crate::{
    cli::{
        output::duration,
        status_table::{self, Rates},
        wrap::broken,
    },
    supervisor::Status,
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

/// From this size on the log is beside the facts, and the graphs have the whole width.
const LARGE: (usize, usize) = (120, 36);

/// Between two columns.
const GAP: usize = 3;

/// The most routes that are listed, on a large screen and on another.
const MOST_ROUTES: (usize, usize) = (24, 6);

/// Returns the picture; `now` is in seconds since 1970.
pub(super) fn single(tunnel: &Tunnel, now: u64, canvas: Canvas) -> Vec<Line> {
    let Canvas { width, height, .. } = canvas;
    let mut lines: Vec<Line> =
        broken(&remark(tunnel), width, "").into_iter().map(|text| Line::new(Tone::Bold, text)).collect();
    match &tunnel.answer {
        Ok(status) => {
            lines.extend(ladder(status, width));
            lines.push(Line::default());
            let rest = Canvas { height: height.saturating_sub(lines.len()), ..canvas };
            lines.extend(if width >= LARGE.0 && height >= LARGE.1 {
                large(tunnel, status, now, rest)
            } else {
                small(tunnel, status, now, rest)
            });
        }
        Err(_) => {
            lines.push(Line::default());
            lines.extend(history(tunnel, now, width, height.saturating_sub(lines.len())));
        }
    }
    lines.truncate(height);
    lines
}

/// One below the other: facts, graphs side by side, changes and log.
fn small(tunnel: &Tunnel, status: &Status, now: u64, canvas: Canvas) -> Vec<Line> {
    let mut lines = facts(status, canvas.width, MOST_ROUTES.1);
    // Changes and log have at least seven lines, then as much as the graphs.
    let left = canvas.height.saturating_sub(lines.len());
    let rows = left.saturating_sub(8).min(left / 3).min(10);
    if rows > 0 {
        lines.extend(graphs(&tunnel.rates, rows, canvas));
    }
    let left = canvas.height.saturating_sub(lines.len());
    lines.extend(history(tunnel, now, canvas.width, left));
    lines
}

/// Facts and changes beside the log, above a graph for each direction.
fn large(tunnel: &Tunnel, status: &Status, now: u64, canvas: Canvas) -> Vec<Line> {
    let Canvas { width, height, unicode } = canvas;
    let rows = (height / 7).min(10);
    let [received, sent] = both(&tunnel.rates, width, rows, unicode);
    let upper = height.saturating_sub(received.len() + sent.len() + 1);
    let column = width.saturating_sub(GAP) / 2;
    let mut left = facts(status, column, MOST_ROUTES.0);
    left.push(Line::default());
    let room = upper.saturating_sub(left.len());
    left.extend(changes(tunnel, now, column, room));
    left.resize(upper, Line::default());
    let mut right = log(tunnel, now, width.saturating_sub(GAP + column), upper);
    right.resize(upper, Line::default());
    let between = if unicode { " │ " } else { " | " };
    let beside = left.into_iter().zip(right).map(|(left, right)| {
        let left = left.cut(column);
        let gap = " ".repeat(column.saturating_sub(left.width()));
        let mut line = left.with(Tone::Plain, gap).with(Tone::Dim, between);
        line.0.extend(right.0);
        line
    });
    beside.chain([Line::default()]).chain(received).chain(sent).collect()
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

/// Returns the graphs of both directions, side by side, with `rows` lines each and a line of words.
fn graphs(rates: &VecDeque<Rates>, rows: usize, canvas: Canvas) -> Vec<Line> {
    let width = canvas.width.saturating_sub(GAP) / 2;
    let [received, sent] = both(rates, width, rows, canvas.unicode);
    let beside = received.into_iter().zip(sent).map(|(one, other)| {
        let gap = " ".repeat((width + GAP).saturating_sub(one.width()));
        let mut line = one.with(Tone::Plain, gap);
        line.0.extend(other.0);
        line
    });
    beside.collect()
}

/// Returns a graph of each direction, the received bytes first, below a line of words.
fn both(rates: &VecDeque<Rates>, width: usize, rows: usize, unicode: bool) -> [Vec<Line>; 2] {
    let way = |name: &str, tone: Tone, rate: fn(&Rates) -> u64| {
        let values: Vec<u64> = rates.iter().map(rate).collect();
        let skipped = values.len().saturating_sub(width);
        let shown = values.get(skipped..).unwrap_or_default();
        let highest = shown.iter().copied().max().unwrap_or(0);
        let now = status_table::short(values.last().copied().unwrap_or(0));
        let highest_word = status_table::short(highest);
        let time = duration(u64::try_from(shown.len()).unwrap_or(0));
        let words = format!("{name} {now}/s, at most {highest_word}/s in {time}");
        let mut lines = vec![Line::new(Tone::Bold, words.chars().take(width).collect::<String>())];
        let drawn = graph(shown, highest, width, rows, unicode).into_iter();
        lines.extend(drawn.map(|row| Line::new(tone, row)));
        lines
    };
    [way("in", Tone::Good, |rates| rates.received), way("out", Tone::Second, |rates| rates.sent)]
}

#[cfg(test)]
mod tests {
    use super::*;

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
