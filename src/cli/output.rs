//! Lines to the person. A pipe that is closed at the other end is no error: they have seen enough. A full disk is one.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use super::exit::{self, Code};
use crate::{
    plan::Platform,
    profile::{Locations, LookupError, Profile, Profiles, Style},
};

/// Something that was asked for did not get out.
static LOST: AtomicBool = AtomicBool::new(false);

/// One line to standard output.
pub fn line(text: impl Display) {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(wrong) if wrong.kind() != io::ErrorKind::BrokenPipe && !LOST.swap(true, Ordering::Relaxed) => {
            error(format_args!("standard output: {wrong}"));
        }
        _ => {}
    }
}

/// This exit status, unless it would say that all went well although output was lost.
pub fn unless_lost(code: Code) -> Code {
    if code == exit::OK && LOST.load(Ordering::Relaxed) { exit::INTERNAL } else { code }
}

/// One line to standard error.
pub fn complain(text: impl Display) {
    let _closed = writeln!(io::stderr().lock(), "{text}");
}

/// An error without a place in a file.
pub fn error(text: impl Display) {
    complain(format_args!("pptpctl: {text}"));
}

/// How reports to standard error are drawn.
pub fn style() -> Style {
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    if colour { Style::Colour } else { Style::Plain }
}

/// All profiles, or the exit status after the reason has been shown.
pub fn profiles(config: Option<&Path>) -> Result<Profiles, Code> {
    profiles_for(config, std::env::consts::OS)
}

fn profiles_for(config: Option<&Path>, os: &'static str) -> Result<Profiles, Code> {
    match Locations::find(config) {
        Ok(locations) => Ok(Profiles::load_for(&locations, os)),
        Err(nowhere) => {
            error(nowhere);
            Err(exit::PROFILE)
        }
    }
}

/// Says which files could not be read, and so may hold more profiles than those that are shown.
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

/// One profile as this platform sees it, or the exit status after the reason has been shown.
pub fn profile(config: Option<&Path>, name: &str, platform: Platform) -> Result<Profile, Code> {
    let profiles = profiles_for(config, platform.name())?;
    profiles.get(name).cloned().map_err(|wrong: LookupError| {
        complain(wrong.render(style()));
        exit::PROFILE
    })
}

/// Whether the files have a profile of that name, valid or not; if not, says so.
pub fn is_known(config: Option<&Path>, name: &str) -> Result<(), Code> {
    match profiles(config)?.get(name) {
        Err(wrong @ LookupError::Unknown { .. }) => {
            complain(wrong.render(style()));
            Err(exit::PROFILE)
        }
        Ok(_) | Err(LookupError::Broken { .. }) => Ok(()),
    }
}

/// Whether this process is root; if not, says so.
pub fn need_root(command: &str) -> Result<(), Code> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    error(format_args!(
        "{command} needs root (routes, the tun device and raw sockets are root's): try sudo or doas"
    ));
    Err(exit::NOT_ROOT)
}

/// Whether root is as mighty here as a tunnel needs; if not, says what is missing.
pub fn need_all_of_root(command: &str) -> Result<(), Code> {
    let lacking = crate::supervisor::lacking();
    if lacking.is_empty() {
        return Ok(());
    }
    error(format_args!(
        "{command} needs more than root has here: {} (capabilities(7))\n  in a container, start it with them: --cap-add",
        lacking.join(", ")
    ));
    Err(exit::NOT_ROOT)
}

/// Seconds as a person says them.
pub fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// Bytes as a person says them.
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
    fn figures_read_well() {
        assert_eq!(duration(59), "59 s");
        assert_eq!(duration(61), "1 min 1 s");
        assert_eq!(duration(7_320), "2 h 2 min");
        assert_eq!(duration(90_000), "1 d 1 h");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(5 * 1024 * 1024), "5.0 MiB");
    }
}
