//! The server's side of one control connection: the protocol state machine and its TCP stream.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpStream},
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use crate::{
    demo::config::{Fault, ServerConfig},
    net::wait::Interest,
    pptp::{
        control::{self, Control},
        wire::Message,
    },
};

/// Longer than any client waits for a call.
const NEVER: Duration = Duration::from_secs(3600);

pub(super) struct Connection {
    stream: TcpStream,
    /// Address of the client.
    pub peer: Ipv4Addr,
    /// Protocol state.
    pub control: Control,
    trouble: Option<Fault>,
    /// The TCP connection has ended or failed.
    closed: bool,
}

impl Connection {
    /// Sets up a connection that has just been accepted.
    ///
    /// # Errors
    /// Returns the kernel's error.
    pub fn new(stream: TcpStream, peer: Ipv4Addr, orders: &ServerConfig, now: Instant) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let mut config = control::ControlConfig::server(orders.host_name.clone());
        if orders.trouble == Some(Fault::SilentCall) {
            config.call_timeout = NEVER;
        }
        let mut control = Control::new(config, now);
        control.connected(now);
        Ok(Self { stream, peer, control, trouble: orders.trouble, closed: false })
    }

    pub fn interest(&self) -> (BorrowedFd<'_>, Interest) {
        let waiting = !self.control.poll_output().is_empty();
        (self.stream.as_fd(), if waiting { Interest::Both } else { Interest::Readable })
    }

    /// Reads from the socket once.
    pub fn read(&mut self, now: Instant) {
        let mut bytes = [0; 4096];
        match self.stream.read(&mut bytes) {
            Ok(0) => self.lost(now),
            Ok(size) => self.control.handle_input(now, bytes.get(..size).unwrap_or_default()),
            Err(error) if is_passing(&error) => {}
            Err(_) => self.lost(now),
        }
    }

    /// Writes until the socket blocks.
    pub fn write(&mut self, now: Instant) {
        while !self.closed && !self.control.poll_output().is_empty() {
            let output = self.control.poll_output();
            let ready = output.len();
            let (bytes, taken) = match self.refusal(output) {
                Some(refusal) => (self.stream.write(&refusal), Some(ready)),
                None => (self.stream.write(output), None),
            };
            match bytes {
                Ok(sent) => self.control.consume_output(taken.unwrap_or(sent)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_passing(&error) => break,
                Err(_) => self.lost(now),
            }
        }
    }

    /// Returns whether the connection can be removed.
    pub fn is_over(&self) -> bool {
        self.closed || (self.control.is_ended() && self.control.poll_output().is_empty())
    }

    fn lost(&mut self, now: Instant) {
        self.closed = true;
        self.control.handle_closed(now);
    }

    /// Returns the configured rejection that replaces the reply in `output`.
    fn refusal(&self, output: &[u8]) -> Option<Vec<u8>> {
        let Some(Fault::RefuseControl { result, error }) = self.trouble else { return None };
        let Some(Message::StartControlConnectionReply(mut reply)) = Message::decode(output) else {
            return None;
        };
        reply.result = result;
        reply.error = error;
        let mut bytes = Vec::new();
        Message::from(reply).encode(&mut bytes);
        Some(bytes)
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
