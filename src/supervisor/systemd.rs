//! Readiness for systemd: one datagram to `$NOTIFY_SOCKET` (sd_notify(3)), when there is one.

use std::{env, ffi::OsStr, io, os::unix::ffi::OsStrExt, os::unix::net::UnixDatagram, time::Duration};

/// A service manager that takes nothing for so long is not told.
const PATIENCE: Duration = Duration::from_secs(1);

/// The tunnel carries packets.
pub fn ready(status: &str) {
    tell(&format!("READY=1\nSTATUS={status}"));
}

/// A line for `systemctl status`.
pub fn status(status: &str) {
    tell(&format!("STATUS={status}"));
}

/// On the way down.
pub fn stopping() {
    tell("STOPPING=1");
}

fn tell(message: &str) {
    let Some(socket) = env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&socket, message.as_bytes()) {
        tracing::debug!(%error, "systemd was not told");
    }
}

fn send(socket: &OsStr, message: &[u8]) -> io::Result<()> {
    let from = UnixDatagram::unbound()?;
    from.set_write_timeout(Some(PATIENCE))?;
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
    fn the_datagram_arrives() {
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
