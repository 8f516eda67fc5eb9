//! Readiness and status messages to systemd: one datagram each to `$NOTIFY_SOCKET` (sd_notify(3)), if it is
//! set.

use std::{env, ffi::OsStr, io, os::unix::ffi::OsStrExt, os::unix::net::UnixDatagram, time::Duration};

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
}
