//! syslog(3)'s datagrams without its global state: one connected socket that survives a change of root directory.
//!
//! A log that is not there, or full, is no error: the tunnel matters more.

use std::{io, os::unix::net::UnixDatagram, time::Duration};

/// Where the log listens.
#[cfg(target_os = "linux")]
const PLACES: &[&str] = &["/dev/log"];
#[cfg(not(target_os = "linux"))]
const PLACES: &[&str] = &["/var/run/log", "/var/run/logpriv", "/dev/log"];

/// LOG_DAEMON, shifted as it is sent.
const FACILITY: u8 = 3 << 3;

/// How grave (RFC 5424 §6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// LOG_CRIT.
    Critical = 2,
    /// LOG_WARNING.
    Warning = 4,
    /// LOG_NOTICE.
    Notice = 5,
}

/// How long one line may wait for a log that is behind. Its queue is short, ten lines on Linux.
const PATIENCE: Duration = Duration::from_millis(50);

/// The log, as far as it is there.
#[derive(Debug)]
pub struct Syslog {
    socket: Option<UnixDatagram>,
    ident: String,
    /// The last line waited in vain: until one is taken at once, none waits.
    stuck: bool,
}

impl Syslog {
    /// Opens it under this name and the present process id.
    #[must_use]
    pub fn open(program: &str) -> Self {
        let ident = format!("{program}[{}]", std::process::id());
        Self { socket: connect().ok(), ident, stuck: false }
    }

    /// Writes one line. Opens the log anew if it was restarted and is still within reach.
    pub fn write(&mut self, severity: Severity, text: &str) {
        let line = format!("<{}>{}: {text}", FACILITY | severity as u8, self.ident);
        let sent = self.socket.as_ref().map(|socket| socket.send(line.as_bytes()));
        match sent {
            Some(Ok(_)) => self.set_stuck(false),
            // What it cannot take is lost, as with any log under load: a tunnel does not wait for ever.
            Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => self.set_stuck(true),
            Some(Err(_)) | None => {
                if let Ok(socket) = connect() {
                    let _lost = socket.send(line.as_bytes());
                    self.socket = Some(socket);
                    self.stuck = false;
                }
            }
        }
    }

    fn set_stuck(&mut self, stuck: bool) {
        if self.stuck != stuck
            && let Some(socket) = &self.socket
            && socket.set_nonblocking(stuck).is_ok()
        {
            self.stuck = stuck;
        }
    }
}

fn connect() -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for place in PLACES {
        match socket.connect(place) {
            Ok(()) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}
