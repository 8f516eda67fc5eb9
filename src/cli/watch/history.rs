//! What has happened to a tunnel: changes that were seen, and the end of its log, the last line at the bottom. No I/O.

use super::{
    state::{Log, Tunnel},
    text::{Line, Tone},
};
use crate::{
    cli::wrap::broken,
    supervisor::{ipc::messages::LogLine, local_time},
};

/// So many lines are not few.
const FEW: usize = 12;

/// Age in seconds from which a time has its date.
const A_DAY: u64 = 86_400;

/// Returns changes above the log, together at most so many lines.
pub(super) fn history(tunnel: &Tunnel, now: u64, width: usize, height: usize) -> Vec<Line> {
    // Few lines are best used for the log.
    let most = match height {
        0..6 => 0,
        6..FEW if tunnel.changes.is_empty() => 0,
        _ => (height / 3).max(3),
    };
    let mut lines = changes(tunnel, now, width, most);
    lines.extend(log(tunnel, now, width, height.saturating_sub(lines.len())));
    lines
}

/// Returns the last changes below their title.
pub(super) fn changes(tunnel: &Tunnel, now: u64, width: usize, height: usize) -> Vec<Line> {
    let title = Line::new(Tone::Bold, "changes");
    if tunnel.changes.is_empty() {
        let none = title.with(Tone::Dim, ": none since this command began");
        return [none].into_iter().take(height).collect();
    }
    let entries = tunnel.changes.iter().map(|change| {
        let tone = if change.is_failure { Tone::Bad } else { Tone::Plain };
        entry(change.clock, now, tone, &change.words, width)
    });
    below(title, entries, height)
}

/// Returns the end of the log below its title.
pub(super) fn log(tunnel: &Tunnel, now: u64, width: usize, height: usize) -> Vec<Line> {
    let title = Line::new(Tone::Bold, "log");
    let lines = match &tunnel.log {
        Log::Lines(lines) if !lines.is_empty() => lines,
        other => {
            let why = match other {
                Log::Unread if tunnel.answer.is_ok() => "is being read".to_owned(),
                Log::Refused(why) => why.clone(),
                Log::Unread if matches!(tunnel.answer, Err(("running", _))) => {
                    "only root can read it".to_owned()
                }
                Log::Unread => {
                    format!("no supervisor to ask; `pptpctl logs {}` prints what there is", tunnel.name)
                }
                Log::Lines(_) => "nothing to show".to_owned(),
            };
            let text = title.with(Tone::Dim, format!(": {why}"));
            return [text].into_iter().take(height).collect();
        }
    };
    below(title, lines.iter().map(|line| logged(line, &tunnel.name, now, width)), height)
}

fn logged(line: &LogLine, name: &str, now: u64, width: usize) -> Vec<Line> {
    let tone = match line.level.as_str() {
        "ERROR" => Tone::Bad,
        "WARN" => Tone::Warning,
        "DEBUG" => Tone::Dim,
        _ => Tone::Plain,
    };
    let text = line.text.strip_prefix(name).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(&line.text);
    entry(line.time_ms / 1000, now, tone, text, width)
}

/// Returns a title and the last of these entries, each of some lines, that fit.
fn below<I>(title: Line, entries: I, height: usize) -> Vec<Line>
where
    I: DoubleEndedIterator<Item = Vec<Line>>,
{
    let room = height.saturating_sub(1);
    let mut lines: Vec<Line> = Vec::new();
    for entry in entries.rev() {
        if lines.len() + entry.len() > room {
            // The beginning of the last one is better than nothing.
            if lines.is_empty() {
                lines.extend(entry.into_iter().take(room).rev());
            }
            break;
        }
        lines.extend(entry.into_iter().rev());
    }
    lines.push(title);
    lines.reverse();
    lines.truncate(height);
    lines
}

/// Returns a text behind its time, broken at words.
fn entry(at: u64, now: u64, tone: Tone, text: &str, width: usize) -> Vec<Line> {
    let local = local_time::format(at).unwrap_or_default();
    let time = if now.saturating_sub(at) < A_DAY { local.get(11..) } else { local.get(5..) };
    let before = format!("  {}  ", time.unwrap_or_default());
    let indent = " ".repeat(before.len());
    let lines = broken(text, width.saturating_sub(before.len()).max(1), "");
    let pieces = lines.into_iter().enumerate().map(|(number, text)| {
        let before = if number == 0 { &before } else { &indent };
        Line::new(Tone::Dim, before.as_str()).with(tone, text)
    });
    pieces.collect()
}

#[cfg(test)]
mod tests {
    use super::{super::state::tests::example, *};

    fn shown(tunnel: &Tunnel, width: usize, height: usize) -> Vec<String> {
        history(tunnel, 1_764_000_060, width, height).iter().map(|line| line.plain()).collect()
    }

    #[test]
    fn last_lines_of_the_log_are_at_the_bottom_and_whole() {
        let state = example();
        let tunnel = state.tunnels.last().unwrap();
        let lines = shown(tunnel, 60, 13);
        assert_eq!((lines.len(), lines[0].as_str(), lines[4].as_str()), (13, "changes", "log"), "{lines:#?}");
        assert!(lines[3].ends_with("  up again, reconnect 1"), "{lines:#?}");
        assert!(lines[6].ends_with("  line 97"), "{lines:#?}");
        assert!(lines[7].contains("  up: the server does not answer"), "without the name: {lines:#?}");
        assert!(lines[8].starts_with("            "), "{lines:#?}");
        assert!(lines[12].ends_with("  line 99"), "{lines:#?}");
        // An entry that would be torn is left out.
        let few = ["changes", &lines[3], "log", &lines[12]].map(str::to_owned);
        assert_eq!(shown(tunnel, 60, 7), few);
        // Where there is little room, the log alone.
        assert_eq!(shown(tunnel, 60, 2), ["log".to_owned(), lines[12].clone()]);
        assert_eq!(shown(tunnel, 60, 0), [""; 0]);
    }

    #[test]
    fn reason_is_shown_where_there_is_no_log() {
        let mut state = example();
        let tunnel = state.tunnels.last_mut().unwrap();
        for (log, expected) in [
            (Log::Unread, "log: is being read"),
            (Log::Lines(Vec::new()), "log: nothing to show"),
            (Log::Refused("only root can read it".into()), "log: only root can read it"),
        ] {
            tunnel.log = log;
            assert_eq!(shown(tunnel, 60, 9).last().map(String::as_str), Some(expected));
        }
        tunnel.changes.clear();
        assert_eq!(shown(tunnel, 60, FEW)[0], "changes: none since this command began");
        assert_eq!(shown(tunnel, 60, 9), ["log: only root can read it"]);
    }
}
