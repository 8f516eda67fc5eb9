//! Output while a tunnel comes up: one line for each finished phase, with its result and duration; a failure
//! with its phase, its cause and what to check.

use super::{
    exit::Code,
    output::{complain, duration, line},
};
use crate::supervisor::{self, Failure, Phase, Progress};

/// Renderer for the progress of one tunnel.
#[derive(Debug)]
pub struct Screen {
    name: String,
    phase: Option<(Phase, u64)>,
    /// The failure that was shown last.
    shown: Option<Failure>,
}

impl Screen {
    /// Returns a renderer for the profile of that name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), phase: None, shown: None }
    }

    /// Renders one report.
    pub fn show(&mut self, progress: &Progress) {
        match progress {
            Progress::Phase { phase, detail, at_ms } => {
                self.close(detail, *at_ms);
                self.phase = Some((*phase, *at_ms));
            }
            Progress::Note(note) => line(format_args!("  {:<15} {note}", "note")),
            Progress::Attempt(failure) => {
                self.phase = None;
                complain(format_args!("  {failure}; another attempt follows"));
            }
            Progress::Trying { failure, wait_ms } => {
                self.phase = None;
                self.trying(failure.as_ref(), *wait_ms);
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

    fn trying(&mut self, failure: Option<&Failure>, wait_ms: Option<u64>) {
        let name = &self.name;
        if let Some(failure) = failure.filter(|failure| self.shown.as_ref() != Some(*failure)) {
            complain(format_args!("{name}: not up yet: {failure}"));
            for hint in &failure.hints {
                complain(format_args!("  - {hint}"));
            }
            self.shown = Some(failure.clone());
        }
        let next = wait_ms.map_or_else(
            || "no network, waiting for one".to_owned(),
            |wait| format!("next attempt in {}", duration(wait.div_ceil(1000))),
        );
        line(format_args!("{name}: trying, {next}"));
    }

    /// Says that the supervisor goes on without this command.
    pub fn left_alone(&self) {
        let name = &self.name;
        let during = self.phase.map_or_else(String::new, |(phase, _)| format!("not up yet, phase {phase}; "));
        line(format_args!(
            "{name}: {during}the supervisor keeps trying (retry.from-start); `pptpctl status {name}` shows how far it is, \
             `pptpctl down {name}` ends it"
        ));
    }

    fn close(&mut self, detail: &str, at_ms: u64) {
        if let Some((phase, since)) = self.phase.take() {
            let took = at_ms.saturating_sub(since);
            line(format_args!("  {:<15} {detail} ({took} ms)", phase.word()));
        }
    }
}

/// Writes a failure with its hints.
pub fn explain(name: &str, failure: &Failure, problems: &[String]) {
    complain(format_args!("{name}: failed in phase {failure}"));
    for hint in &failure.hints {
        complain(format_args!("  - {hint}"));
    }
    if problems.is_empty() {
        complain(format_args!("  everything is as before; `pptpctl logs {name}` has the details"));
    }
    for problem in problems {
        complain(format_args!("  not undone: {problem}"));
    }
}

/// Writes a failure that precedes the first phase, with its hints, and returns its status. Nothing was logged.
pub fn refuse(name: &str, failure: &Failure) -> Code {
    let text = failure.to_string();
    let text = text.strip_prefix(&format!("{}: ", failure.phase)).unwrap_or(&text);
    complain(format_args!("{name}: {text}"));
    failure.hints.iter().for_each(|hint| complain(format_args!("  - {hint}")));
    complain("  nothing was changed");
    Code::of(failure)
}

/// Checks that /proc is mounted; reports it if not.
pub fn need_proc(name: &str) -> Result<(), Code> {
    supervisor::need_proc().map_err(|failure| refuse(name, &failure))
}

fn seconds(ms: u64) -> String {
    format!("{}.{:02}", ms / 1000, ms % 1000 / 10)
}
