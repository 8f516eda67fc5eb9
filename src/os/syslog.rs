//! Sends syslog(3) datagrams without its global state: one connected socket that survives chroot(2).
//!
//! A missing or overloaded syslog daemon is not an error: the tunnel matters more.

use std::{io, os::unix::net::UnixDatagram, time::Duration};

/// Sockets of the syslog daemon, tried in this order.
#[cfg(target_os = "linux")]
const PLACES: &[&str] = &["/dev/log"];
#[cfg(not(target_os = "linux"))]
const PLACES: &[&str] = &["/var/run/log", "/var/run/logpriv", "/dev/log"];

/// LOG_DAEMON, shifted as in the datagram.
const FACILITY: u8 = 3 << 3;

/// Severity of a message (RFC 5424 §6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// LOG_CRIT.
    Critical = 2,
    /// LOG_WARNING.
    Warning = 4,
    /// LOG_NOTICE.
    Notice = 5,
}

/// Timeout for one line while the daemon's queue is full. The queue is short, ten lines on Linux.
const SEND_TIMEOUT: Duration = Duration::from_millis(50);

/// A connection to the syslog daemon.
#[derive(Debug)]
pub struct Syslog {
    socket: Option<UnixDatagram>,
    ident: String,
    /// The last line timed out: lines are sent without waiting until one is accepted.
    stuck: bool,
}

impl Syslog {
    /// Connects to the daemon; lines have this program name and the process id.
    #[must_use]
    pub fn open(program: &str) -> Self {
        let ident = format!("{program}[{}]", std::process::id());
        Self { socket: connect().ok(), ident, stuck: false }
    }

    /// Sends one line. Reconnects if the daemon was restarted and is still reachable.
    pub fn write(&mut self, severity: Severity, text: &str) {
        let line = format!("<{}>{}: {text}", FACILITY | severity as u8, self.ident);
        let sent = self.socket.as_ref().map(|socket| socket.send(line.as_bytes()));
        match sent {
            Some(Ok(_)) => self.set_stuck(false),
            // Drop the line: the tunnel must not wait for the daemon.
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
    socket.set_write_timeout(Some(SEND_TIMEOUT))?;
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for place in PLACES {
        match socket.connect(place) {
            Ok(()) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}
