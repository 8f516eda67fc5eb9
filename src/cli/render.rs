//! How a tunnel that comes up looks: one line for each phase that is done, with what came of it and how long
//! it took; a failure with its phase, its cause and what to check.

use super::output::{complain, line};
use crate::supervisor::{Failure, Phase, Progress};

/// Draws the progress of one tunnel.
#[derive(Debug)]
pub struct Screen {
    name: String,
    phase: Option<(Phase, u64)>,
}

impl Screen {
    /// For the profile of that name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), phase: None }
    }

    /// Draws one piece of news.
    pub fn show(&mut self, progress: &Progress) {
        match progress {
            Progress::Phase { phase, detail, at_ms } => {
                self.close(detail, *at_ms);
                self.phase = Some((*phase, *at_ms));
            }
            Progress::Note(note) => line(format_args!("  {:<15} {note}", "note")),
            Progress::Attempt(failure) => {
                self.phase = None;
                complain(format_args!("  {failure}; trying on"));
            }
            Progress::Ready { tun, at_ms } => {
                self.close(&format!("done on {tun}"), *at_ms);
                line(format_args!("{}: up on {tun} after {} s", self.name, seconds(*at_ms)));
            }
            Progress::Failed { failure, problems } => {
                self.phase = None;
                explain(&self.name, failure, problems);
            }
        }
    }

    fn close(&mut self, detail: &str, at_ms: u64) {
        if let Some((phase, since)) = self.phase.take() {
            let took = at_ms.saturating_sub(since);
            line(format_args!("  {:<15} {detail} ({took} ms)", phase.word()));
        }
    }
}

/// A failure, for a person.
pub fn explain(name: &str, failure: &Failure, problems: &[String]) {
    complain(format_args!("{name}: failed in phase {failure}"));
    for hint in &failure.hints {
        complain(format_args!("  - {hint}"));
    }
    if problems.is_empty() {
        complain(format_args!("  everything is as before; `pptpctl logs {name}` has the details"));
    }
    for problem in problems {
        complain(format_args!("  not put back: {problem}"));
    }
}

fn seconds(ms: u64) -> String {
    format!("{}.{:02}", ms / 1000, ms % 1000 / 10)
}
