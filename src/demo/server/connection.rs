//! The server's side of one control connection: the protocol state machine and its TCP stream.

use std::{
    io,
    net::{Ipv4Addr, TcpStream},
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use crate::{
    deadline::Deadline,
    demo::config::{Fault, ServerConfig},
    net::tcp::{TcpEvent, TcpPump},
    os::wait::Interest,
    pptp::{
        control::{self, Control},
        wire::Message,
    },
};

/// For how long [`Fault::GreBeforeReply`] holds the call reply back.
const REPLY_DELAY: Duration = Duration::from_millis(300);

/// Longer than any client waits for a call.
const NEVER: Duration = Duration::from_secs(3600);

pub(super) struct Connection {
    tcp: TcpPump,
    /// Address of the client.
    pub peer: Ipv4Addr,
    /// Protocol state.
    pub control: Control,
    trouble: Option<Fault>,
    /// When the call reply may leave.
    reply_due: Option<Instant>,
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
        Ok(Self { tcp: TcpPump::new(stream, None), peer, control, trouble: orders.trouble, reply_due: None })
    }

    pub fn interest(&self) -> Option<(BorrowedFd<'_>, Interest)> {
        self.tcp.interest(if self.reply_due.is_some() { &[] } else { self.control.poll_output() })
    }

    /// Returns when [`Control::handle_timeout`] or [`Connection::write`] is due.
    pub fn next_timeouts(&self) -> [Option<Deadline>; 2] {
        [self.control.next_timeout(), self.reply_due.map(|due| (due, "call reply"))]
    }

    /// Reads from the socket once.
    pub fn read(&mut self, now: Instant) {
        match self.tcp.ready() {
            Some(TcpEvent::Input(bytes)) => self.control.handle_input(now, bytes),
            Some(TcpEvent::Closed(_)) => self.control.handle_closed(now),
            Some(TcpEvent::Connected(_)) | None => {}
        }
    }

    /// Writes until the socket blocks.
    pub fn write(&mut self, now: Instant) {
        let output = self.control.poll_output();
        if self.trouble == Some(Fault::GreBeforeReply)
            && let Some(Message::OutgoingCallReply(_)) = Message::decode(output)
        {
            if *self.reply_due.get_or_insert(now + REPLY_DELAY) > now {
                return;
            }
            self.reply_due = None;
        }
        let refusal = self.refusal(output);
        match self.tcp.write(refusal.as_deref().unwrap_or(output)) {
            // The refusal replaces all of the output.
            Ok(sent) if sent > 0 && refusal.is_some() => self.control.consume_output(output.len()),
            Ok(sent) => self.control.consume_output(sent),
            Err(_) => self.control.handle_closed(now),
        }
    }

    /// Returns whether the connection can be removed.
    pub fn is_over(&self) -> bool {
        !self.tcp.is_open() || (self.control.is_ended() && self.control.poll_output().is_empty())
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
