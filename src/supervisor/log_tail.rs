//! The last lines of this process's log in memory, for the control socket: they are there too when the log goes to syslog
//! or to a terminal, and no file has to be read. Their number and size are bounded.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use tracing_subscriber::fmt::MakeWriter;

use super::ipc::messages::LogLine;

/// Lines that are kept.
const MOST: usize = 200;

/// Lines of an answer, if the client names no number.
const USUAL: u32 = 50;

/// Bytes of a line's text; the rest is cut.
const LONGEST: usize = 1000;

/// Bytes of all lines of an answer, as JSON: it fits into the buffer of the client's socket.
const MOST_BYTES: usize = 32 * 1024;

/// The lines of this process.
static LINES: Mutex<Tail> = Mutex::new(Tail { lines: VecDeque::new() });

/// Returns the last lines, the oldest first.
pub(super) fn last(count: Option<u32>) -> Vec<LogLine> {
    let count = usize::try_from(count.unwrap_or(USUAL)).unwrap_or(MOST);
    LINES.lock().unwrap_or_else(PoisonError::into_inner).last(count)
}

/// Writes lines of the log, one at a time, to the memory of this process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keeper;

impl Write for Keeper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = line(SystemTime::now(), &String::from_utf8_lossy(bytes));
        LINES.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Keeper {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        *self
    }
}

#[derive(Debug, Default)]
struct Tail {
    lines: VecDeque<LogLine>,
}

impl Tail {
    fn push(&mut self, line: LogLine) {
        if self.lines.len() >= MOST {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    fn last(&self, count: usize) -> Vec<LogLine> {
        let mut left = MOST_BYTES;
        let mut taken: Vec<LogLine> = Vec::new();
        for line in self.lines.iter().rev().take(count) {
            let size = serde_json::to_string(line).map_or(0, |text| text.len() + 1);
            let Some(rest) = left.checked_sub(size) else { break };
            left = rest;
            taken.push(line.clone());
        }
        taken.reverse();
        taken
    }
}

/// Returns time, level and text of a line of the log, if it has them.
#[must_use]
pub fn parts(line: &str) -> Option<[&str; 3]> {
    let (time, rest) = line.split_once(' ')?;
    let (level, text) = rest.trim_start().split_once(' ')?;
    let is_level = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"].contains(&level);
    (is_level && time.ends_with('Z')).then_some([time, level, text])
}

/// Returns a line of the log that was just written.
fn line(now: SystemTime, written: &str) -> LogLine {
    let time_ms = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let [_, level, text] = parts(written).unwrap_or_default();
    let mut size = 0;
    let is_kept = |c: &char| {
        size += c.len_utf8();
        size <= LONGEST
    };
    let text = text.trim_end().chars().map(|c| if c.is_control() { ' ' } else { c }).take_while(is_kept);
    LogLine {
        time_ms: u64::try_from(time_ms).unwrap_or(u64::MAX),
        level: level.to_owned(),
        text: text.collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn written(text: &str) -> LogLine {
        let now = UNIX_EPOCH + Duration::from_millis(1_764_000_000_123);
        line(now, &format!("2025-11-24T16:00:00.123456Z {text}\n"))
    }

    #[test]
    fn line_of_the_log_is_taken_apart() {
        let shown = |line: LogLine| (line.time_ms, line.level, line.text);
        let expected = |level: &str, text: &str| (1_764_000_000_123, level.to_owned(), text.to_owned());
        assert_eq!(shown(written(" INFO vpn: up on tun0")), expected("INFO", "vpn: up on tun0"));
        assert_eq!(shown(written("ERROR poll error=bad")), expected("ERROR", "poll error=bad"));
        assert_eq!(shown(written(" WARN a\u{1b}[1m\nb")), expected("WARN", "a [1m b"));
        assert_eq!(line(UNIX_EPOCH, "").text, "");
    }

    #[test]
    fn last_lines_are_bounded_in_number_and_size() {
        let mut tail = Tail::default();
        for number in 0..3 * MOST {
            tail.push(written(&format!(" INFO line {number}")));
        }
        assert_eq!(tail.lines.len(), MOST);
        let texts: Vec<String> = tail.last(2).into_iter().map(|line| line.text).collect();
        assert_eq!(texts, [format!("line {}", 3 * MOST - 2), format!("line {}", 3 * MOST - 1)]);
        assert_eq!((tail.last(0).len(), tail.last(usize::MAX).len()), (0, MOST));
        // The longest in JSON: each quotation mark has a backslash.
        let long = written(&format!(" WARN {}", "\"".repeat(5 * LONGEST)));
        assert_eq!(long.text.len(), LONGEST);
        assert_eq!(written(&format!(" WARN {}", "ä".repeat(LONGEST))).text.len(), LONGEST);
        for _ in 0..MOST {
            tail.push(long.clone());
        }
        let answer = tail.last(usize::MAX);
        let size = serde_json::to_string(&answer).unwrap().len();
        assert!(size <= MOST_BYTES + 2 && size > MOST_BYTES - 2 * LONGEST - 100, "{size}");
    }
}
