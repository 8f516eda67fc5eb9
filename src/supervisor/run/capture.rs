//! A capture: the client of the control socket that asked for one is handed to the engine, and to each later one.
//!
//! The supervisor reads nothing of what is captured.

use std::{
    io::{ErrorKind, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
};

use nix::sys::socket::{setsockopt, sockopt};

use super::Supervisor;
use crate::supervisor::ipc::messages::Response;

/// Whether an engine that is connected may still receive a descriptor: not with pledge(2)'s "stdio".
const REACHES_RUNNING: bool = !cfg!(target_os = "openbsd");

/// Size of the socket's buffer in bytes.
const BUFFER: usize = 1024 * 1024;

/// The client of a capture.
pub(super) struct CaptureSink {
    stream: UnixStream,
    /// Whether IP packets of the tunnel are captured, too.
    pub inner: bool,
}

impl CaptureSink {
    /// Returns whether the client is there: it sends nothing, so that there is something to read only at its end.
    fn is_connected(&self) -> bool {
        matches!((&self.stream).read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    /// Sends an answer; returns whether it was sent.
    fn answer(&self, answer: &Response) -> bool {
        serde_json::to_string(answer)
            .is_ok_and(|line| (&self.stream).write_all(format!("{line}\n").as_bytes()).is_ok())
    }
}

impl AsFd for CaptureSink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Supervisor {
    /// Begins the captures that clients have asked for: at most one.
    pub(super) fn serve_captures(&mut self) {
        for (stream, inner) in self.control.take_captures() {
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            // Without it the kernel's default remains, and fewer packets wait for the client.
            let _smaller = setsockopt(&stream, sockopt::SndBuf, &BUFFER);
            let sink = CaptureSink { stream, inner };
            if self.children.capture.as_ref().is_some_and(CaptureSink::is_connected) {
                sink.answer(&Response::Refused("another capture of this tunnel is on".to_owned()));
                continue;
            }
            let from_next_dial = self.children.engine_pid().is_some() && !REACHES_RUNNING;
            if sink.answer(&Response::Capture { from_next_dial }) {
                let inner = if inner { ", with the packets in the tunnel" } else { "" };
                tracing::info!("a capture begins{inner}");
                self.children.begin_capture(sink, REACHES_RUNNING);
            }
        }
    }
}
