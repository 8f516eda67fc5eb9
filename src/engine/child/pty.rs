//! Non-blocking I/O on the pty of a PPP daemon, which replaces the tun device.

use std::time::Instant;

use nix::errno::Errno;

use super::{BATCH, Engine, outgoing::Outgoing};

/// Bytes per read.
const READ: usize = 16 * 1024;

impl Engine {
    /// Reads the daemon's output and sends its frames.
    pub(super) fn receive_pty(&mut self, now: Instant) {
        let mut bytes = [0; READ];
        for _ in 0..BATCH {
            match nix::unistd::read(&self.tun, &mut bytes) {
                Ok(0) => self.pty_gone = true,
                Ok(size) => {
                    self.frames_from_pty(now, bytes.get(..size).unwrap_or_default());
                    // The buffer was full; the rest waits for the next iteration of the loop.
                    if size == READ {
                        break;
                    }
                    continue;
                }
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => {}
                // EIO: the other end is closed; the supervisor reports why the daemon ended.
                Err(_) => self.pty_gone = true,
            }
            break;
        }
        self.send_gre();
    }

    fn frames_from_pty(&mut self, now: Instant, bytes: &[u8]) {
        let Self { session, outgoing, gre, .. } = self;
        session.pty_input(now, bytes, |header, frame| {
            if outgoing.batch.is_full() {
                outgoing.capture_batch();
                let Outgoing { batch, errors, .. } = &mut *outgoing;
                if batch.send(&*gre).is_err() {
                    *errors += 1;
                }
            }
            outgoing.batch.push_parts(header, frame);
        });
    }

    /// Writes the bytes that wait for the daemon until the pty is full.
    pub(super) fn write_pty(&mut self) {
        while !self.pty_gone && !self.session.pty_output().is_empty() {
            match nix::unistd::write(&self.tun, self.session.pty_output()) {
                Ok(size) => self.session.pty_sent(size),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(_) => self.pty_gone = true,
            }
        }
    }
}
