//! The picture of one tunnel: phases, facts, graphs, history. No I/O.

use std::collections::VecDeque;

use super::{
    facts::{Room, facts, remark},
    history::{changes, history, log},
    state::Tunnel,
    text::{Canvas, Line, Tone, graph, grounded},
};
use crate::{
    cli::{
        counted,
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

/// Returns the picture; `now` is in seconds since 1970.
pub(super) fn single(tunnel: &Tunnel, now: u64, canvas: Canvas) -> Vec<Line> {
    let Canvas { width, height, .. } = canvas;
    let mut lines: Vec<Line> =
        broken(&remark(tunnel), width, "").into_iter().map(|text| Line::new(Tone::Bold, text)).collect();
    match &tunnel.answer {
        Ok(status) => {
            lines.extend(ladder(status, width));
            let is_large = width >= LARGE.0 && height >= LARGE.1;
            if is_large {
                lines.push(Line::default());
            }
            let rest = Canvas { height: height.saturating_sub(lines.len()), ..canvas };
            lines.extend(match is_large {
                true => large(tunnel, status, now, rest),
                false => small(tunnel, status, now, rest),
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
    let mut lines = facts(status, canvas, Room::Line);
    // Changes and log have at least five lines, then as much as the graphs.
    let left = canvas.height.saturating_sub(lines.len());
    let rows = left.saturating_sub(6).min(left / 3).min(10);
    if rows > 0 && has_traffic(tunnel, canvas.width) {
        lines.extend(graphs(&tunnel.rates, rows, canvas));
    }
    let left = canvas.height.saturating_sub(lines.len());
    lines.extend(history(tunnel, now, canvas.width, left));
    lines
}

/// Facts and changes beside the log, above a graph for each direction.
fn large(tunnel: &Tunnel, status: &Status, now: u64, canvas: Canvas) -> Vec<Line> {
    let Canvas { width, height, unicode } = canvas;
    let rows = (height / 6).min(12);
    let [received, sent] = match has_traffic(tunnel, width) {
        true => both(&tunnel.rates, width, rows, unicode),
        false => [Vec::new(), Vec::new()],
    };
    let upper = height.saturating_sub(received.len() + sent.len() + 1);
    let column = width.saturating_sub(GAP) / 2;
    let mut left = facts(status, Canvas { width: column, ..canvas }, Room::Lines);
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
    // While it waits, no phase runs; the one that failed is marked.
    let runs = matches!(status.state.as_str(), "resolving" | "connecting" | "configuring" | "up");
    let failed = status.last_failure.as_ref().filter(|_| !runs).map(|failure| failure.phase.word());
    let mut lines = vec![Line::default()];
    for (at, phase) in PHASES.iter().enumerate() {
        let tone = match now.filter(|_| runs) {
            Some(now) if at < now || *phase == "up" && at == now => Tone::Good,
            Some(now) if at == now => Tone::Chosen,
            _ if failed == Some(*phase) => Tone::Bad,
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

/// Returns whether graphs of that width would show something, or soon will.
fn has_traffic(tunnel: &Tunnel, width: usize) -> bool {
    let is_up =
        tunnel.answer.as_ref().is_ok_and(|status| status.state == "up" && counted::has_traffic(status));
    is_up || tunnel.rates.iter().rev().take(width).any(|rates| rates.received > 0 || rates.sent > 0)
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
        let drawn = graph(shown, highest, width, rows, unicode).into_iter().enumerate();
        lines.extend(drawn.map(|(row, text)| match row + 1 == rows {
            true => grounded(&text, tone, unicode),
            false => Line::new(tone, text),
        }));
        lines
    };
    [way("in", Tone::Good, |rates| rates.received), way("out", Tone::Second, |rates| rates.sent)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::{Failure, FailureKind, Phase};

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
        let failure = Failure::new(Phase::Lcp, FailureKind::PeerLost, "");
        let waiting = Status { last_failure: Some(failure), ..status("waiting", "connect") };
        assert_eq!(["connect", "lcp"].map(|phase| tone(&waiting, phase)), [Tone::Dim, Tone::Bad]);
        let again = Status { state: "connecting".into(), ..waiting };
        assert_eq!(["connect", "lcp"].map(|phase| tone(&again, phase)), [Tone::Chosen, Tone::Dim]);
    }
}
