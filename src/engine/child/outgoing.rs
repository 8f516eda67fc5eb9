//! GRE packets on their way to the socket, and what the socket reports.

use std::{io, os::fd::OwnedFd, time::Instant};

use super::{BATCH, DATAGRAM};
use crate::{
    engine::{
        capture::{Capture, record::Kind},
        session::Session,
    },
    os::{batch::Batch, path_mtu},
};

/// Packets that wait for the next [`Outgoing::send`].
pub(super) struct Outgoing {
    pub batch: Batch,
    /// Batches that the kernel has not accepted whole.
    pub errors: u64,
    /// Last error of the GRE socket; explains why no packet arrives.
    pub last_error: Option<String>,
    /// The capture that is on.
    pub capture: Option<Capture>,
}

impl Outgoing {
    pub fn new() -> Self {
        Self { batch: Batch::new(BATCH, DATAGRAM), errors: 0, last_error: None, capture: None }
    }

    /// Sends the packets that wait.
    pub fn send(&mut self, gre: &OwnedFd, session: &mut Session) {
        if self.batch.filled() == 0 {
            return;
        }
        self.capture_batch();
        let Err(error) = self.batch.send(gre) else { return session.gre_sent() };
        if let Some(capture) = &mut self.capture {
            capture.note(format_args!("not all packets before were sent: {error}"));
        }
        self.errors += 1;
        session.gre_refused(Instant::now(), &error);
        follow_path(&error, gre, session);
        // A full send queue is ordinary congestion.
        if !matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::EAGAIN)) {
            self.note(&error);
        }
    }

    /// Captures the packets that wait.
    pub fn capture_batch(&mut self) {
        if let Some(capture) = &mut self.capture {
            for packet in self.batch.datagrams() {
                capture.add(Kind::GreOut, packet);
            }
        }
    }

    /// Logs an error of the socket, unless it is the last one again.
    pub fn note(&mut self, error: &io::Error) {
        let text = error.to_string();
        if self.last_error.as_ref() != Some(&text) {
            tracing::info!("GRE socket: {text}");
            self.last_error = Some(text);
        }
    }
}

/// Passes on the path's MTU if this error of the GRE socket means that it has become smaller.
pub(super) fn follow_path(error: &io::Error, gre: &OwnedFd, session: &mut Session) {
    if error.raw_os_error() == Some(libc::EMSGSIZE)
        && let Some(path_mtu) = path_mtu::known(gre)
    {
        session.path_reported(Instant::now(), path_mtu);
    }
}
