//! syslog(3)'s datagrams without its global state: one connected socket that survives a change of root directory.
//!
//! A log that is not there, or full, is no error: the tunnel matters more.

use std::{io, os::unix::net::UnixDatagram};

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

/// The log, as far as it is there.
#[derive(Debug)]
pub struct Syslog {
    socket: Option<UnixDatagram>,
    ident: String,
}

impl Syslog {
    /// Opens it under this name and the present process id.
    #[must_use]
    pub fn open(program: &str) -> Self {
        Self { socket: connect().ok(), ident: format!("{program}[{}]", std::process::id()) }
    }

    /// Writes one line. Opens the log anew if it was restarted and is still within reach.
    pub fn write(&mut self, severity: Severity, text: &str) {
        let line = format!("<{}>{}: {text}", FACILITY | severity as u8, self.ident);
        let sent = self.socket.as_ref().map(|socket| socket.send(line.as_bytes()));
        match sent {
            Some(Ok(_)) => {}
            // The log is behind: what it cannot take is lost, as with any log under load.
            Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
            Some(Err(_)) | None => {
                if let Ok(socket) = connect() {
                    let _lost = socket.send(line.as_bytes());
                    self.socket = Some(socket);
                }
            }
        }
    }
}

fn connect() -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for place in PLACES {
        match socket.connect(place) {
            Ok(()) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}
