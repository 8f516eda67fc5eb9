//! Logging in the classic program's format, which existing scripts search for: `pptp[pid]: NAME
//! log[function:file:line]: message`, and the same with `warn` and `fatal`.

use std::{
    io::{self, Write},
    panic::Location,
};

use crate::os::syslog::{Severity, Syslog};

/// Writes to syslog and standard error.
#[derive(Debug)]
pub struct Log {
    syslog: Syslog,
    name: String,
}

impl Log {
    /// Opens the log; `name` is the argument of `--logstring`.
    #[must_use]
    pub fn open(name: &str) -> Self {
        Self { syslog: Syslog::open("pptp"), name: name.to_owned() }
    }

    /// Logs an ordinary message.
    #[track_caller]
    pub fn log(&mut self, function: &str, text: impl AsRef<str>) {
        let line = line(&self.name, "log", function, Location::caller(), text.as_ref());
        self.syslog.write(Severity::Notice, &line);
    }

    /// Logs a warning, also to standard error.
    #[track_caller]
    pub fn warn(&mut self, function: &str, text: impl AsRef<str>) {
        let line = line(&self.name, "warn", function, Location::caller(), text.as_ref());
        self.syslog.write(Severity::Warning, &line);
        complain(&line);
    }

    /// Logs an error that ends the program, also to standard error.
    #[track_caller]
    pub fn fatal(&mut self, function: &str, text: impl AsRef<str>) {
        let line = line(&self.name, "fatal", function, Location::caller(), text.as_ref());
        self.syslog.write(Severity::Critical, &line);
        complain(&line);
    }
}

/// Writes a line to standard error; ignores errors, as the descriptor may be closed.
pub fn complain(text: &str) {
    let _closed = io::stderr().lock().write_all(format!("{text}\n").as_bytes());
}

fn line(name: &str, kind: &str, function: &str, at: &Location<'_>, text: &str) -> String {
    let file = at.file().rsplit('/').next().unwrap_or_default();
    // One line is one datagram. The peer's control characters must not reach a terminal.
    let text: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    format!("{name} {kind}[{function}:{file}:{}]: {text}", at.line())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_has_classic_format() {
        let line = line("anon", "log", "main", Location::caller(), "Client connection\nestablished.");
        assert!(line.starts_with("anon log[main:log.rs:"), "{line}");
        assert!(line.ends_with("]: Client connection?established."), "{line}");
    }
}
