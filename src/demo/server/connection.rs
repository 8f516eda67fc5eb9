//! One control connection on the server's side: the machine and its TCP stream.

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

/// Long enough for every client to lose patience first.
const NEVER: Duration = Duration::from_secs(3600);

/// One control connection.
pub(super) struct Connection {
    stream: TcpStream,
    /// The other end.
    pub peer: Ipv4Addr,
    /// The machine.
    pub control: Control,
    trouble: Option<Fault>,
    /// TCP is over, or about to be.
    closed: bool,
}

impl Connection {
    /// A connection that has just been accepted.
    ///
    /// # Errors
    /// The kernel's.
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

    /// What to wait for.
    pub fn interest(&self) -> (BorrowedFd<'_>, Interest) {
        let waiting = !self.control.poll_output().is_empty();
        (self.stream.as_fd(), if waiting { Interest::Both } else { Interest::Readable })
    }

    /// Reads what is there.
    pub fn read(&mut self, now: Instant) {
        let mut bytes = [0; 4096];
        match self.stream.read(&mut bytes) {
            Ok(0) => self.lost(now),
            Ok(size) => self.control.handle_input(now, bytes.get(..size).unwrap_or_default()),
            Err(error) if is_passing(&error) => {}
            Err(_) => self.lost(now),
        }
    }

    /// Writes what is ready.
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

    /// Whether nothing more comes of it.
    pub fn is_over(&self) -> bool {
        self.closed || (self.control.is_ended() && self.control.poll_output().is_empty())
    }

    fn lost(&mut self, now: Instant) {
        self.closed = true;
        self.control.handle_closed(now);
    }

    /// What is said instead of a friendly Start-Control-Connection-Reply.
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
