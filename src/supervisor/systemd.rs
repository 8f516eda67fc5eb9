//! Readiness, status and watchdog messages to systemd: one datagram each to `$NOTIFY_SOCKET` (sd_notify(3)), if it is
//! set.

use std::{
    env,
    ffi::OsStr,
    io,
    os::unix::{ffi::OsStrExt, net::UnixDatagram},
    time::{Duration, Instant},
};

/// Send timeout. A service manager that does not read within it does not get the message.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// Reports that the tunnel carries packets.
pub fn ready(status: &str) {
    send_or_log(&format!("READY=1\nSTATUS={status}"));
}

/// Sets the line that `systemctl status` shows.
pub fn status(status: &str) {
    send_or_log(&format!("STATUS={status}"));
}

/// Reports that the tunnel is going down.
pub fn stopping() {
    send_or_log("STOPPING=1");
}

/// How much longer than a hook the steps may take during which the supervisor sends nothing.
const MARGIN: Duration = Duration::from_secs(60);

/// The messages that show systemd's watchdog (`WatchdogSec=`) that the supervisor's loop runs.
#[derive(Debug)]
pub struct Watchdog {
    /// Half of systemd's limit; `None` if systemd does not watch this process.
    interval: Option<Duration>,
    next: Instant,
}

impl Watchdog {
    /// Reads the limit from the environment. If a step that takes `longest` would exceed it, systemd is asked for a
    /// longer one.
    #[must_use]
    pub fn of_environment(longest: Duration) -> Self {
        let variable = |name| env::var(name).ok();
        let limit = limit(variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"), std::process::id());
        let needed = if longest.is_zero() { Duration::ZERO } else { longest + MARGIN };
        let limit = limit.map(|limit| {
            if limit < needed {
                send_or_log(&format!("WATCHDOG_USEC={}", needed.as_micros()));
            }
            limit.max(needed)
        });
        Self { interval: limit.map(|limit| limit / 2), next: Instant::now() }
    }

    /// Returns when [`Watchdog::beat`] is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<(Instant, &'static str)> {
        self.interval.map(|_| (self.next, "systemd's watchdog"))
    }

    /// Tells systemd that the loop runs: when that is due, or `before_steps` that may take long.
    pub fn beat(&mut self, now: Instant, before_steps: bool) {
        if let Some(interval) = self.interval
            && (self.next <= now || before_steps)
        {
            send_or_log("WATCHDOG=1");
            self.next = now + interval;
        }
    }
}

/// Returns the limit of systemd's watchdog for the process `own`, from `$WATCHDOG_USEC` and `$WATCHDOG_PID`.
fn limit(usec: Option<String>, pid: Option<String>, own: u32) -> Option<Duration> {
    let micros: u64 = usec?.parse().ok()?;
    let is_own = pid.is_none_or(|pid| pid.parse() == Ok(own));
    (is_own && micros > 0).then(|| Duration::from_micros(micros))
}

/// Returns whether systemd is reached by an abstract socket, as in some containers.
#[cfg(target_os = "linux")]
#[must_use]
pub fn is_abstract() -> bool {
    env::var_os("NOTIFY_SOCKET").is_some_and(|socket| socket.as_bytes().starts_with(b"@"))
}

fn send_or_log(message: &str) {
    let Some(socket) = env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&socket, message.as_bytes()) {
        tracing::debug!(%error, "systemd was not told");
    }
}

fn send(socket: &OsStr, message: &[u8]) -> io::Result<()> {
    let from = UnixDatagram::unbound()?;
    from.set_write_timeout(Some(SEND_TIMEOUT))?;
    #[cfg(target_os = "linux")]
    if let Some(name) = socket.as_bytes().strip_prefix(b"@") {
        use std::os::linux::net::SocketAddrExt;
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
        from.send_to_addr(message, &address)?;
        return Ok(());
    }
    if !socket.as_bytes().starts_with(b"/") {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    from.send_to(message, socket)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sends_a_datagram_to_the_notify_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), b"READY=1").unwrap();
        let mut buffer = [0; 16];
        let size = systemd.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..size], b"READY=1");
        assert!(send(OsStr::new("relative"), b"x").is_err());
    }

    #[test]
    fn watchdog_is_for_this_process_only() {
        let text = |value: &str| Some(value.to_owned());
        assert_eq!(limit(text("3000000"), text("7"), 7), Some(Duration::from_secs(3)));
        assert_eq!(limit(text("3000000"), None, 7), Some(Duration::from_secs(3)));
        for (usec, pid) in [(None, text("7")), (text("0"), None), (text("x"), None), (text("3"), text("8"))] {
            assert_eq!(limit(usec.clone(), pid.clone(), 7), None, "{usec:?} {pid:?}");
        }
    }
}
