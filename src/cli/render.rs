//! Output while a tunnel comes up: one line for each finished phase, with its result and duration; a failure
//! with its phase, its cause and what to check.

use std::{
    io::{self, IsTerminal},
    os::fd::AsFd,
    time::{Duration, Instant},
};

use super::{
    args::Progress as Options,
    events,
    exit::Code,
    live::{self, Style},
    output::{complain, duration, line, text},
    terminal,
};
use crate::{
    profile::Timeouts,
    supervisor::{self, Failure, Phase, Progress, ipc::events::Event},
};

/// Renderer for the progress of one tunnel.
#[derive(Debug)]
pub struct Screen {
    name: String,
    options: Options,
    style: Style,
    timeouts: Timeouts,
    /// Whether the line of the running phase is there, if it is shown at all.
    live: Option<bool>,
    phase: Option<(Phase, u64, Instant)>,
    /// The failure that was shown last.
    shown: Option<Failure>,
    /// Whether the tunnel has been up.
    was_up: bool,
}

impl Screen {
    /// Returns a renderer for the profile of that name, which writes lines only, unless standard output is a terminal.
    #[must_use]
    pub fn new(name: &str, options: Options, timeouts: &Timeouts) -> Self {
        let is_lines = options.json || options.quiet || !io::stdout().is_terminal();
        let style = if is_lines { Style::default() } else { terminal::style() };
        let timeouts = timeouts.clone();
        let live = style.marks.then_some(false);
        Self {
            name: name.to_owned(),
            options,
            style,
            timeouts,
            live,
            phase: None,
            shown: None,
            was_up: false,
        }
    }

    /// Returns how often [`Screen::tick`] is due, if at all.
    #[must_use]
    pub fn interval(&self) -> Option<Duration> {
        self.live.map(|_| live::TICK)
    }

    /// Shows how long the phase has been running.
    pub fn tick(&mut self) {
        let (Some((phase, _, began)), Some(is_there)) = (self.phase, &mut self.live) else { return };
        let limit = live::limit(phase, &self.timeouts);
        let width = terminal::columns(io::stdout().as_fd());
        if let Some(words) = live::running(phase, began.elapsed(), limit, width) {
            text(format_args!("\r{words}\x1b[K"));
            *is_there = true;
        }
    }

    /// Removes the line of the running phase.
    fn erase(&mut self) {
        if let Some(is_there) = &mut self.live
            && std::mem::take(is_there)
        {
            text("\r\x1b[K");
        }
    }

    /// Renders one report.
    pub fn show(&mut self, progress: &Progress) {
        self.erase();
        if self.options.json {
            Event::of(progress).into_iter().for_each(|event| events::print(&self.name, event));
            return;
        }
        let is_quiet = self.options.quiet;
        match progress {
            Progress::Phase { phase, detail, at_ms } => {
                self.close(detail, *at_ms);
                self.phase = Some((*phase, *at_ms, Instant::now()));
                if self.options.verbose {
                    let limit = live::limit(*phase, &self.timeouts);
                    let limit = limit.map(|limit| format!(", at most {} s", live::seconds(limit)));
                    line(format_args!("  {:<15} begins{}", phase.word(), limit.unwrap_or_default()));
                }
            }
            Progress::Note(_) if is_quiet => {}
            Progress::Note(note) => line(format_args!("  {:<15} {note}", "note")),
            Progress::Attempt(failure) => {
                self.failed();
                complain(format_args!("  {failure}; another attempt follows"));
            }
            Progress::Trying { failure, wait_ms } => {
                self.failed();
                self.trying(failure.as_ref(), *wait_ms);
            }
            Progress::Ready { carrier, at_ms } => {
                let tun = &carrier.tun;
                (self.was_up, self.shown) = (true, None);
                self.close(&format!("done on {tun}"), *at_ms);
                if !is_quiet {
                    line(format_args!("{}: up on {tun} after {} s", self.name, seconds(*at_ms)));
                }
            }
            Progress::Failed { failure, problems } => {
                self.failed();
                explain(&self.name, failure, problems);
            }
        }
    }

    fn trying(&mut self, failure: Option<&Failure>, wait_ms: Option<u64>) {
        let name = &self.name;
        if let Some(failure) = failure.filter(|failure| self.shown.as_ref() != Some(*failure)) {
            let state = if self.was_up { "lost" } else { "not up yet" };
            complain(format_args!("{name}: {state}: {failure}"));
            for hint in &failure.hints {
                complain(format_args!("  - {hint}"));
            }
            self.shown = Some(failure.clone());
        }
        let next = wait_ms.map_or_else(
            || "no network, waiting for one".to_owned(),
            |wait| format!("next attempt in {}", duration(wait.div_ceil(1000))),
        );
        if !self.options.quiet {
            line(format_args!("{name}: trying, {next}"));
        }
    }

    /// Says that the supervisor goes on without this command.
    pub fn left_alone(&mut self) {
        self.erase();
        if self.options.quiet || self.options.json {
            return;
        }
        let name = &self.name;
        let during =
            self.phase.map_or_else(String::new, |(phase, ..)| format!("not up yet, phase {phase}; "));
        line(format_args!(
            "{name}: {during}the supervisor keeps trying (retry.from-start); `pptpctl status {name}` shows how far it is, \
             `pptpctl down {name}` ends it"
        ));
    }

    fn close(&mut self, detail: &str, at_ms: u64) {
        if let Some((phase, since, _)) = self.phase.take()
            && !self.options.quiet
        {
            let took = at_ms.saturating_sub(since);
            line(format_args!("{}{:<15} {detail} ({took} ms)", self.style.good(), phase.word()));
        }
    }

    /// Ends the phase that has failed; the failure follows.
    fn failed(&mut self) {
        if let Some((phase, _, began)) = self.phase.take()
            && self.style.marks
        {
            let took = began.elapsed().as_millis();
            line(format_args!("{}{:<15} failed ({took} ms)", self.style.bad(), phase.word()));
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
