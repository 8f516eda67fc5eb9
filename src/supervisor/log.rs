//! Log of one profile: a file with one predecessor, together about twice [`LARGEST`] at most, or standard
//! error in the foreground.
//!
//! The supervisor is the only writer; it receives the engine's log lines through a pipe.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock},
    time::Instant,
};

use tracing::{Event, Span, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Registry,
    fmt::{
        FmtContext, FormatEvent, FormatFields, FormattedFields, MakeWriter,
        format::{DefaultFields, Writer},
        time::{FormatTime, SystemTime},
        writer::Tee,
    },
    layer::SubscriberExt,
    reload,
};

use crate::{
    os::{
        launch::files::{self, Opening},
        syslog::{Severity, Syslog},
    },
    profile::LogLevel,
    supervisor::log_tail,
};

/// Size in bytes above which the file is renamed to `NAME.log.1` and a new one begun.
pub const LARGEST: u64 = 2 * 1024 * 1024;

/// The module of the supervisor's loop, whose messages are about its tunnel. Other modules either name it
/// themselves or write about something else.
const LOOP: &str = "pptpctl::supervisor::run";

/// Opens the log and writes the trace events of this process to it.
///
/// # Errors
/// Returns an error if the directory or the file cannot be created, or is a symbolic link.
pub fn to_file(path: &Path, level: LogLevel) -> io::Result<()> {
    let file = Mutex::new(RotatingFile::open(path)?);
    tracing::subscriber::set_global_default(subscriber(level, file)).map_err(io::Error::other)
}

/// Writes the trace events of this process to syslog(3), or to the journal, which receives that.
pub fn to_syslog(level: LogLevel) {
    let syslog = Mutex::new(SyslogLines(Syslog::open("pptpctl")));
    if tracing::subscriber::set_global_default(subscriber(level, syslog)).is_err() {
        tracing::debug!("a subscriber is set already");
    }
}

/// Writes the trace events of this process to standard error.
pub fn to_stderr(level: LogLevel) {
    if tracing::subscriber::set_global_default(subscriber(level, io::stderr)).is_err() {
        tracing::debug!("a subscriber is set already");
    }
}

fn subscriber(
    level: LogLevel,
    writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static,
) -> impl Subscriber + Send + Sync {
    let (level, handle) = reload::Layer::new(filter(level));
    let change = move |from: LogLevel, to: LogLevel| {
        if handle.clone_current() == Some(filter(from)) && handle.reload(filter(to)).is_err() {
            tracing::debug!("the log level stays");
        }
    };
    if CHANGE_LEVEL.set(Box::new(change)).is_err() {
        tracing::debug!("a subscriber is set already");
    }
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        // Events that cannot be written are lost. Reporting that on standard error panics if it is a closed
        // pipe or a full disk, and a supervisor that panics there does not undo its steps.
        .log_internal_errors(false)
        .event_format(Lines)
        .with_writer(Tee::new(writer, log_tail::Keeper));
    Registry::default().with(lines).with(level)
}

/// Changes the level of this process's log.
static CHANGE_LEVEL: OnceLock<Box<dyn Fn(LogLevel, LogLevel) + Send + Sync>> = OnceLock::new();

/// Changes the level of this process's log, unless it has another than that of the profile, as at a terminal.
pub fn change_level(from: LogLevel, to: LogLevel) {
    if let Some(change) = CHANGE_LEVEL.get() {
        change(from, to);
    }
}

/// Returns the span of one tunnel. Messages of the supervisor's loop in it begin with `name`.
#[must_use]
pub fn tunnel(name: &str) -> Span {
    // Enabled by every filter.
    tracing::error_span!("tunnel", message = name)
}

/// Formats a line: time, level, the tunnel in messages of the supervisor's loop, message.
struct Lines;

impl FormatEvent<Registry, DefaultFields> for Lines {
    fn format_event(
        &self,
        context: &FmtContext<'_, Registry, DefaultFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        SystemTime.format_time(&mut writer)?;
        write!(writer, " {:>5} ", event.metadata().level())?;
        let scope = context.event_scope().filter(|_| event.metadata().target().starts_with(LOOP));
        for span in scope.into_iter().flatten() {
            if let Some(name) = span.extensions().get::<FormattedFields<DefaultFields>>() {
                write!(writer, "{name}: ")?;
            }
        }
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// Returns the filter for `loglevel`.
#[must_use]
pub fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Quiet => LevelFilter::WARN,
        LogLevel::Normal => LevelFilter::INFO,
        LogLevel::Verbose => LevelFilter::DEBUG,
    }
}

/// Each write is one line.
struct SyslogLines(Syslog);

impl Write for SyslogLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(Severity::Notice, String::from_utf8_lossy(bytes).trim_end());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct RotatingFile {
    path: PathBuf,
    file: File,
    size: u64,
}

/// Checks that no other user can put files into the log's directory, or take the log away from it.
///
/// # Errors
/// Returns the problem, with its remedy.
fn check_directory(dir: &Path) -> io::Result<()> {
    let found = fs::metadata(dir)?;
    let (mode, owner) = (found.mode() & 0o7777, found.uid());
    let shown = dir.display();
    if owner != 0 && owner != nix::unistd::geteuid().as_raw() {
        return Err(io::Error::other(format!("{shown} belongs to user {owner}: chown root {shown}")));
    }
    if mode & 0o022 != 0 {
        let words = format!("{shown} can be written by others (mode {mode:04o}): chmod 700 {shown}");
        return Err(io::Error::other(words));
    }
    Ok(())
}

impl RotatingFile {
    fn open(path: &Path) -> io::Result<Self> {
        if let Some(dir) = path.parent() {
            match fs::DirBuilder::new().mode(0o700).create(dir) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => check_directory(dir)?,
            }
        }
        let file = files::open(path, Opening::Append)?;
        let size = file.metadata()?.size();
        Ok(Self { path: path.to_owned(), file, size })
    }

    fn rotate(&mut self) -> io::Result<()> {
        let mut old = self.path.clone().into_os_string();
        old.push(".1");
        files::rename(&self.path, Path::new(&old))?;
        *self = Self::open(&self.path.clone())?;
        Ok(())
    }
}

impl Write for RotatingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.size > LARGEST {
            // If the log cannot be rotated, write to it anyway and try again later.
            self.size = 0;
            let _stays = self.rotate();
        }
        let written = self.file.write(bytes)?;
        self.size += u64::try_from(written).unwrap_or(0);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Bytes of an engine's lines that may come at once.
const BURST: u64 = 512 * 1024;

/// Bytes of them per second in the long run: a flood takes an hour to push all earlier lines out of the log and its
/// predecessor.
const RATE: u64 = 1024;

/// Limits the lines of an engine, so that one that was captured does not rotate the log away. No I/O.
#[derive(Debug)]
struct Budget {
    left: u64,
    since: Instant,
    /// Lines that were left out.
    lost: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: BURST, since: Instant::now(), lost: 0 }
    }
}

impl Budget {
    /// Returns whether a line of this length may be logged; with the number of lines that were left out before it.
    fn admit(&mut self, now: Instant, length: usize) -> Option<u64> {
        let seconds = now.saturating_duration_since(self.since).as_secs();
        if seconds > 0 {
            self.left = self.left.saturating_add(seconds.saturating_mul(RATE)).min(BURST);
            self.since = now;
        }
        // The prefix with time and level counts, too.
        let length = u64::try_from(length).unwrap_or(u64::MAX).saturating_add(64);
        // Lines come back in portions, so that the note about those left out is rare.
        let needed = if self.lost == 0 { length } else { length.saturating_add(BURST / 64) };
        if self.left < needed {
            self.lost += 1;
            return None;
        }
        self.left -= length;
        Some(std::mem::take(&mut self.lost))
    }
}

/// Writes lines from the engine to the log, sanitised: they must not control the terminal of a user who reads
/// it. A flood of them is cut.
#[derive(Debug, Default)]
pub struct EngineLog {
    rest: Vec<u8>,
    budget: Budget,
    /// The last error message.
    error: Option<String>,
}

impl EngineLog {
    /// Takes bytes read from the engine's standard error and logs the complete lines.
    pub fn take(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            self.error = self.log_line(&line).or(self.error.take());
        }
        // A line without an end is an accident or an attack; it is bounded in either case.
        if self.rest.len() > 4096 {
            let line = std::mem::take(&mut self.rest);
            self.log_line(&line);
        }
    }

    /// Logs a line if the budget admits it; returns the text of an error.
    fn log_line(&mut self, line: &[u8]) -> Option<String> {
        match self.budget.admit(Instant::now(), line.len()) {
            Some(0) => {}
            Some(lost) => tracing::warn!("engine: {lost} lines are left out: it wrote too many"),
            None => return None,
        }
        log_line(line)
    }

    /// Returns the last error message since the previous call.
    pub fn take_error(&mut self) -> Option<String> {
        self.error.take()
    }
}

/// Logs a line with its level; returns the text of an error.
fn log_line(line: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(line);
    let text = text.trim();
    let (level, rest) = text.split_once(' ').unwrap_or(("", text));
    let rest = crate::engine::message::plain(rest.trim());
    match level {
        "ERROR" => {
            tracing::error!("engine: {rest}");
            return Some(rest);
        }
        "WARN" => tracing::warn!("engine: {rest}"),
        "INFO" => tracing::info!("engine: {rest}"),
        "DEBUG" => tracing::debug!("engine: {rest}"),
        "" if rest.is_empty() => {}
        _ => tracing::warn!("engine: {}", crate::engine::message::plain(text)),
    }
    None
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;

    #[test]
    fn last_error_of_the_engine_is_kept() {
        let mut log = EngineLog::default();
        log.take(b" INFO starts\nERROR no such ");
        assert_eq!(log.take_error(), None);
        log.take(b"directory\n WARN ends\n");
        assert_eq!(log.take_error().as_deref(), Some("no such directory"));
        assert_eq!(log.take_error(), None);
    }

    #[test]
    fn flood_of_an_engine_needs_an_hour_to_rotate_the_log_twice() {
        let start = Instant::now();
        let mut budget = Budget { since: start, ..Budget::default() };
        let (mut written, mut notes) = (0, 0);
        for second in 0..3600 {
            for _ in 0..1000 {
                if let Some(lost) = budget.admit(start + std::time::Duration::from_secs(second), 200) {
                    written += 264;
                    notes += u64::from(lost > 0);
                }
            }
        }
        assert!(written < 2 * LARGEST + BURST, "{written}");
        assert!(written > BURST + 3000 * RATE, "{written}: too few");
        assert!(notes < 600, "{notes}");
        // An engine that writes little loses nothing.
        let mut budget = Budget { since: start, ..Budget::default() };
        let quiet = (0..10_000).map(|second| start + std::time::Duration::from_secs(second));
        assert!(quiet.into_iter().all(|now| budget.admit(now, 900) == Some(0)));
    }

    #[test]
    fn log_size_is_bounded_with_one_predecessor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub").join("vpn.log");
        let mut log = RotatingFile::open(&path).unwrap();
        let line = [b'x'; 1024];
        for _ in 0..(LARGEST / 1024 * 3) {
            log.write_all(&line).unwrap();
        }
        let sizes: u64 =
            fs::read_dir(path.parent().unwrap()).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
        assert!(sizes <= 2 * LARGEST + 4096, "{sizes}");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 2);
    }

    #[test]
    fn messages_of_the_loop_begin_with_the_tunnel() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let written = |level, log: &dyn Fn()| {
            file.as_file().set_len(0).unwrap();
            let writer = Mutex::new(OpenOptions::new().append(true).open(file.path()).unwrap());
            tracing::subscriber::with_default(subscriber(level, writer), log);
            let text = fs::read_to_string(file.path()).unwrap();
            text.lines().map(|line| line.split_once("Z ").unwrap().1.to_owned()).collect::<Vec<_>>()
        };
        let log = || {
            tracing::warn!(target: LOOP, "outside");
            let _tunnel = tunnel("office").entered();
            tracing::warn!(target: "pptpctl::supervisor::run::dial", "no {}", "route");
            tracing::info!(target: LOOP, "up on tun0");
            tracing::error!(target: LOOP, parent: None, error = %"bad", "poll");
            tracing::warn!(target: "pptpctl::apply", error = %"full", "ledger");
            tracing::debug!(target: LOOP, "hidden");
        };
        let lines = [" WARN outside", " WARN office: no route", " INFO office: up on tun0"];
        let others = ["ERROR poll error=bad", " WARN ledger error=full"];
        assert_eq!(written(LogLevel::Normal, &log), [&lines[..], &others[..]].concat());
        assert_eq!(written(LogLevel::Quiet, &log), [&lines[..2], &others[..]].concat());
    }

    #[test]
    fn open_refuses_a_directory_that_others_can_write() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vpn.log");
        for (mode, is_good) in [(0o777, false), (0o1777, false), (0o770, false), (0o755, true), (0o700, true)]
        {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
            let opened = RotatingFile::open(&path).map(drop);
            assert_eq!(opened.is_ok(), is_good, "{mode:o}: {opened:?}");
        }
    }

    #[test]
    fn open_refuses_a_symbolic_link() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vpn.log");
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &path).unwrap();
        assert!(RotatingFile::open(&path).is_err());
    }
}
