//! The phase of `up` that runs, at a terminal: one line with its time and limit, which is written again and again and
//! replaced by the result.

use std::time::Duration;

use crate::{profile::Timeouts, supervisor::Phase};

/// How often the line is written.
pub const TICK: Duration = Duration::from_millis(200);

/// A phase is not shown before it has run for so long: most take less.
const QUICK: Duration = Duration::from_millis(300);

/// Returns the limit of a phase, if it has one of its own.
pub const fn limit(phase: Phase, timeouts: &Timeouts) -> Option<Duration> {
    match phase {
        Phase::Resolve => Some(timeouts.resolve),
        Phase::Connect => Some(timeouts.connect),
        Phase::Control => Some(timeouts.control),
        Phase::Call => Some(timeouts.call),
        Phase::Lcp => Some(timeouts.lcp),
        Phase::Authentication => Some(timeouts.auth),
        Phase::Encryption | Phase::Addresses => Some(timeouts.network),
        Phase::Routes | Phase::Up => None,
    }
}

/// Returns the words on a phase that has run for some time, not longer than `width`; `None` if they are not shown yet.
pub fn running(phase: Phase, elapsed: Duration, limit: Option<Duration>, width: usize) -> Option<String> {
    if elapsed < QUICK {
        return None;
    }
    let limit = limit.map_or_else(String::new, |limit| format!(", at most {} s", seconds(limit)));
    let words = format!("  {:<15} {} s{limit} ...", phase.word(), elapsed.as_secs());
    // A line that fills the last column would wrap on some terminals.
    Some(words.chars().take(width.saturating_sub(1)).collect())
}

/// Returns a limit in seconds, whole unless it is not.
pub fn seconds(limit: Duration) -> String {
    match limit.subsec_millis() {
        0 => limit.as_secs().to_string(),
        millis => format!("{}.{}", limit.as_secs(), millis / 100),
    }
}

/// Marks and colours of the lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Whether lines have a mark at all.
    pub marks: bool,
    /// Whether the marks are in colour.
    pub colour: bool,
    /// Whether the terminal shows more than ASCII.
    pub unicode: bool,
}

impl Style {
    /// Returns the style of a terminal with these variables of the environment: TERM, NO_COLOR, and the locale, which is
    /// the first of LC_ALL, LC_CTYPE and LANG that is not empty.
    pub fn of(term: Option<&str>, no_color: Option<&str>, locale: Option<&str>) -> Self {
        let marks = term.is_some_and(|term| !term.is_empty() && term != "dumb");
        let locale = locale.unwrap_or_default().to_lowercase();
        Self {
            marks,
            colour: marks && no_color.is_none_or(str::is_empty),
            unicode: locale.contains("utf-8") || locale.contains("utf8"),
        }
    }

    /// Returns the two columns in front of a result.
    pub fn good(self) -> String {
        self.mark("✓", "+", "32")
    }

    /// Returns the two columns in front of a failure.
    pub fn bad(self) -> String {
        self.mark("✗", "!", "31")
    }

    fn mark(self, unicode: &str, ascii: &str, colour: &str) -> String {
        if !self.marks {
            return "  ".to_owned();
        }
        let mark = if self.unicode { unicode } else { ascii };
        if self.colour { format!("\x1b[{colour}m{mark}\x1b[0m ") } else { format!("{mark} ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_phase_has_time_and_limit() {
        let (second, limit) = (Duration::from_secs(1), Some(Duration::from_millis(2500)));
        assert_eq!(running(Phase::Lcp, QUICK / 2, limit, 80), None);
        let shown = |limit, width| running(Phase::Lcp, 3 * second, limit, width).unwrap();
        assert_eq!(shown(limit, 80), "  lcp             3 s, at most 2.5 s ...");
        assert_eq!(shown(None, 80), "  lcp             3 s ...");
        for width in 0..60 {
            assert!(shown(limit, width).chars().count() <= width.saturating_sub(1), "{width}");
        }
    }

    #[test]
    fn style_follows_the_environment() {
        let utf8 = Some("de_DE.UTF-8");
        assert_eq!(Style::of(Some("xterm"), None, utf8).good(), "\x1b[32m✓\x1b[0m ");
        assert_eq!(Style::of(Some("xterm"), Some(""), utf8).bad(), "\x1b[31m✗\x1b[0m ", "an empty NO_COLOR");
        assert_eq!(Style::of(Some("xterm"), Some("1"), utf8).good(), "✓ ");
        assert_eq!(Style::of(Some("xterm"), Some("1"), Some("C")).bad(), "! ");
        for plain in [Some("dumb"), Some(""), None] {
            assert_eq!(Style::of(plain, None, utf8).good(), "  ");
        }
        assert_eq!(Style::default().bad(), "  ");
    }
}
