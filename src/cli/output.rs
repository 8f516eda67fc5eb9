//! Output for the user. EPIPE is ignored (the reader has gone); any other write error makes the command fail.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
    os::fd::AsFd,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use super::{
    exit::{self, Code},
    terminal, wrap,
};
use crate::{
    platform::Platform,
    profile::{Locations, LookupError, Profile, Profiles, Style},
    supervisor::{ClientError, ipc::client},
};

/// A value has at least so many columns of its own.
const NARROW: usize = 20;

/// Whether requested output was lost.
static LOST: AtomicBool = AtomicBool::new(false);

/// Writes a line to standard output, broken at words if that is a terminal.
pub fn line(words: impl Display) {
    match terminal::known_columns(io::stdout().as_fd()) {
        Some(columns) => data(wrap::to_width(&words.to_string(), columns)),
        None => data(words),
    }
}

/// Writes a name and a value behind it, in the column that follows `column` ones of names. Lines of the value that a
/// terminal needs are below each other.
pub fn field(name: &str, column: usize, value: &str) {
    let before = column + 3;
    let columns = terminal::known_columns(io::stdout().as_fd());
    let room = columns.and_then(|columns| columns.checked_sub(before)).filter(|room| *room >= NARROW);
    let Some(room) = room else { return line(format_args!("  {name:<column$} {value}")) };
    for (number, text) in wrap::broken(value, room, "").into_iter().enumerate() {
        let name = if number == 0 { name } else { "" };
        data(format_args!("  {name:<column$} {text}"));
    }
}

/// Writes a line to standard output as it is: for programs, or to be copied.
pub fn data(words: impl Display) {
    text(format_args!("{words}\n"));
}

/// Writes to standard output, without adding a newline.
pub fn text(words: impl Display) {
    let mut out = io::stdout().lock();
    match write!(out, "{words}").and_then(|()| out.flush()) {
        Err(wrong) if wrong.kind() != io::ErrorKind::BrokenPipe && !LOST.swap(true, Ordering::Relaxed) => {
            error(format_args!("standard output: {wrong}"));
        }
        _ => {}
    }
}

/// Returns `code`, unless it is success and output was lost.
pub fn unless_lost(code: Code) -> Code {
    if code == exit::OK && LOST.load(Ordering::Relaxed) { exit::INTERNAL } else { code }
}

/// Writes a line to standard error, broken at words if that is a terminal.
pub fn complain(words: impl Display) {
    let mut err = io::stderr().lock();
    let _closed = match terminal::known_columns(err.as_fd()) {
        Some(columns) => writeln!(err, "{}", wrap::to_width(&words.to_string(), columns)),
        None => writeln!(err, "{words}"),
    };
}

/// Writes an error that refers to no line of a file.
pub fn error(text: impl Display) {
    complain(format_args!("pptpctl: {text}"));
}

/// Writes the next step for a supervisor that does not answer, if that is why.
pub fn next_if_stuck(name: &str, why: &ClientError) {
    if why.is_stuck() {
        complain(format_args!("  - {}", client::stuck(name, why).next));
    }
}

/// Returns the style of reports on standard error.
pub fn style() -> Style {
    if !io::stderr().is_terminal() {
        return Style::Plain;
    }
    let columns = terminal::known_columns(io::stderr().as_fd());
    Style::Terminal { is_colour: std::env::var_os("NO_COLOR").is_none(), columns }
}

/// Returns all profiles, or the exit status after the error has been shown.
pub fn profiles(config: Option<&Path>) -> Result<Profiles, Code> {
    profiles_for(config, Platform::host())
}

/// Does the same for another system.
pub fn profiles_for(config: Option<&Path>, platform: Platform) -> Result<Profiles, Code> {
    match Locations::find(config) {
        Ok(locations) => Ok(Profiles::load_for(&locations, platform)),
        Err(nowhere) => {
            error(nowhere);
            Err(exit::PROFILE)
        }
    }
}

/// Reports files that could not be read, which may hold more profiles than those shown.
pub fn unread(profiles: &Profiles) -> Result<(), Code> {
    let mut report = profiles.report().clone();
    report.warnings.clear();
    report.errors.retain(|error| error.profile.is_none());
    if report.is_empty() {
        return Ok(());
    }
    complain(report.render(style()));
    Err(exit::PROFILE)
}

/// Returns one profile, as this platform reads it, or the exit status after the error has been shown.
pub fn profile(config: Option<&Path>, name: &str, platform: Platform) -> Result<Profile, Code> {
    let profiles = profiles_for(config, platform)?;
    profiles.get(name).cloned().map_err(|wrong: LookupError| {
        complain(wrong.render(style()));
        exit::PROFILE
    })
}

/// Checks that the files have a profile of that name, valid or not; reports it if not.
pub fn is_known(config: Option<&Path>, name: &str) -> Result<(), Code> {
    match profiles(config)?.get(name) {
        Err(wrong @ LookupError::Unknown { .. }) => {
            complain(wrong.render(style()));
            Err(exit::PROFILE)
        }
        Ok(_) | Err(LookupError::Broken { .. }) => Ok(()),
    }
}

/// Why bringing a tunnel up needs root.
pub const FOR_A_TUNNEL: &str = "for routes, the tun device and raw sockets";
/// Why what a supervisor is asked to do needs root.
pub const FOR_ITS_SUPERVISOR: &str = "the supervisor of a tunnel obeys only root";

/// Checks that this process is root; reports it, and why that is needed, if not.
pub fn need_root(command: &str, why: &str) -> Result<(), Code> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    error(format_args!("{command} needs root ({why}): try sudo or doas"));
    Err(exit::NOT_ROOT)
}

/// Checks that root has all capabilities that a tunnel needs; reports those that are missing.
pub fn need_all_of_root(command: &str) -> Result<(), Code> {
    let lacking = crate::supervisor::missing_capabilities();
    if lacking.is_empty() {
        return Ok(());
    }
    error(format_args!(
        "{command} needs capabilities that root does not have here: {} (capabilities(7))\n  in a container, add them with --cap-add",
        lacking.join(", ")
    ));
    Err(exit::NOT_ROOT)
}

/// Formats seconds for the user.
pub fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// Formats a number of things for the user.
pub fn many<N: Display + From<u8> + PartialEq>(count: N, thing: &str) -> String {
    if count == N::from(1) { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

/// Formats a number of bytes for the user.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut left = count;
    let mut last = 0;
    for unit in UNITS {
        if left < 1024 {
            return if unit == "B" {
                format!("{left} B")
            } else {
                format!("{left}.{} {unit}", last * 10 / 1024)
            };
        }
        last = left % 1024;
        left /= 1024;
    }
    format!("{count} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_formatted_for_users() {
        assert_eq!(duration(59), "59 s");
        assert_eq!(duration(61), "1 min 1 s");
        assert_eq!(duration(7_320), "2 h 2 min");
        assert_eq!(duration(90_000), "1 d 1 h");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(5 * 1024 * 1024), "5.0 MiB");
    }
}
