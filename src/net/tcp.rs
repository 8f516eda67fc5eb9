//! The TCP connection of a state machine that does no I/O.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    os::fd::{AsFd, BorrowedFd},
    time::Instant,
};

use crate::deadline::Deadline;
use crate::os::wait::Interest;

/// A non-blocking TCP socket. Its owner polls it for [`interest`](Self::interest), calls
/// [`ready`](Self::ready) when it is ready, and [`write`](Self::write) when there is output.
#[derive(Debug)]
pub struct TcpPump {
    stream: TcpStream,
    state: State,
    buffer: [u8; 4096],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    ConnectingUntil(Instant),
    Open,
    /// Closed by either side, or never open.
    Closed,
}

/// What a socket was ready for.
#[derive(Debug)]
pub enum TcpEvent<'a> {
    /// The outcome of the connect.
    Connected(io::Result<()>),
    /// Bytes from the peer.
    Input(&'a [u8]),
    /// The peer has closed the connection, or it has failed.
    Closed(Option<io::Error>),
}

impl TcpPump {
    /// Takes a non-blocking socket: open, or one that the owner connects, with a time limit.
    #[must_use]
    pub fn new(stream: TcpStream, connecting_until: Option<Instant>) -> Self {
        let state = connecting_until.map_or(State::Open, State::ConnectingUntil);
        Self { stream, state, buffer: [0; 4096] }
    }

    /// Returns whether the connection is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Returns what to poll the socket for while `output` waits; `None` once the connection is closed.
    #[must_use]
    pub fn interest(&self, output: &[u8]) -> Option<(BorrowedFd<'_>, Interest)> {
        let interest = match self.state {
            State::ConnectingUntil(_) => Interest::Writable,
            State::Open if output.is_empty() => Interest::Readable,
            State::Open => Interest::Both,
            State::Closed => return None,
        };
        Some((self.as_fd(), interest))
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub const fn next_timeout(&self) -> Option<Deadline> {
        if let State::ConnectingUntil(until) = self.state { Some((until, "connect")) } else { None }
    }

    /// Closes a connection that has not opened in time; returns whether it did.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        let late = self.next_timeout().is_some_and(|(until, _)| until <= now);
        if late {
            self.state = State::Closed;
        }
        late
    }

    /// Finishes the connect, or reads once.
    pub fn ready(&mut self) -> Option<TcpEvent<'_>> {
        if let State::ConnectingUntil(_) = self.state {
            let outcome = self.stream.take_error().and_then(|error| error.map_or(Ok(()), Err));
            self.state = if outcome.is_ok() { State::Open } else { State::Closed };
            return Some(TcpEvent::Connected(outcome));
        }
        match self.stream.read(&mut self.buffer) {
            Ok(size) if size > 0 => self.buffer.get(..size).map(TcpEvent::Input),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => None,
            end => {
                self.state = State::Closed;
                Some(TcpEvent::Closed(end.err()))
            }
        }
    }

    /// Writes to an open connection until the socket is full; returns the number of bytes written.
    ///
    /// # Errors
    /// Returns why the connection has failed, which closes it.
    pub fn write(&mut self, output: &[u8]) -> io::Result<usize> {
        let mut sent = 0;
        while let Some(rest) = output.get(sent..).filter(|rest| self.is_open() && !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(size) => sent += size,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => {
                    self.state = State::Closed;
                    return Err(error);
                }
            }
        }
        Ok(sent)
    }
}

impl AsFd for TcpPump {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{Ipv4Addr, SocketAddr, TcpListener},
        time::Duration,
    };

    use super::*;
    use crate::{net::transport, os::wait};

    fn listener() -> (TcpListener, std::net::SocketAddrV4) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let Ok(SocketAddr::V4(address)) = listener.local_addr() else { panic!("not IPv4") };
        (listener, address)
    }

    fn connect(to: std::net::SocketAddrV4) -> TcpPump {
        let socket = transport::tcp_socket(&transport::Options::default()).unwrap();
        let pump = TcpPump::new(socket.into(), Some(Instant::now() + Duration::from_secs(10)));
        transport::start_connect(&pump, to).unwrap();
        pump
    }

    fn poll<'a>(pump: &'a mut TcpPump, output: &[u8]) -> Option<TcpEvent<'a>> {
        wait::until([pump.interest(output)], Some(Instant::now() + Duration::from_secs(10))).unwrap();
        pump.ready()
    }

    fn pair() -> (TcpPump, TcpPump) {
        let (listener, address) = listener();
        let mut client = connect(address);
        assert_eq!(client.write(b"early").unwrap(), 0, "not open yet");
        assert!(matches!(poll(&mut client, b""), Some(TcpEvent::Connected(Ok(())))));
        let server = listener.accept().unwrap().0;
        server.set_nonblocking(true).unwrap();
        (client, TcpPump::new(server, None))
    }

    #[test]
    fn connects_passes_bytes_and_reports_end() {
        let (mut client, mut server) = pair();
        assert!(client.is_open() && client.next_timeout().is_none());
        assert!(server.ready().is_none(), "would block");
        assert_eq!(client.write(b"request").unwrap(), 7);
        assert!(matches!(poll(&mut server, b""), Some(TcpEvent::Input(b"request"))));
        drop(client);
        assert!(matches!(poll(&mut server, b""), Some(TcpEvent::Closed(None))));
        assert!(!server.is_open() && server.interest(b"x").is_none());
        assert_eq!(server.write(b"x").unwrap(), 0);
    }

    #[test]
    fn full_socket_takes_part_and_polls_for_space() {
        let (mut client, mut server) = pair();
        let output = vec![7; 64 * 1024 * 1024];
        let sent = client.write(&output).unwrap();
        assert!(sent > 0 && sent < output.len());
        assert_eq!(client.interest(&output[sent..]).unwrap().1, Interest::Both);
        assert_eq!(client.interest(b"").unwrap().1, Interest::Readable);
        let mut received = 0;
        while received < sent {
            let Some(TcpEvent::Input(bytes)) = poll(&mut server, b"") else { panic!("no input") };
            assert!(bytes.len() <= 4096 && bytes.iter().all(|byte| *byte == 7));
            received += bytes.len();
        }
        assert_eq!(received, sent);
    }

    #[test]
    fn reset_ends_reading_and_writing() {
        for writes in [false, true] {
            let (mut client, server) = pair();
            client.write(b"unread").unwrap();
            // Closing with unread input resets the connection.
            drop(server);
            wait::until([client.interest(b"")], Some(Instant::now() + Duration::from_secs(10))).unwrap();
            if writes {
                assert!(client.write(b"x").is_err());
            } else {
                assert!(matches!(client.ready(), Some(TcpEvent::Closed(Some(_)))));
            }
            assert!(!client.is_open());
        }
    }

    #[test]
    fn failed_and_late_connects_close() {
        let socket = || transport::tcp_socket(&transport::Options::default()).unwrap().into();
        let now = Instant::now();
        let mut late = TcpPump::new(socket(), Some(now + Duration::from_secs(1)));
        assert!(!late.handle_timeout(now));
        assert_eq!(late.interest(b"").unwrap().1, Interest::Writable);
        assert!(late.handle_timeout(now + Duration::from_secs(1)) && late.interest(b"").is_none());
        assert!(!late.handle_timeout(now + Duration::from_secs(2)), "reported once");
        // Bound but not listening, so that no other process can listen on the port.
        let taken = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        taken.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        let mut refused = TcpPump::new(socket(), Some(now + Duration::from_secs(10)));
        if transport::start_connect(&refused, taken.local_addr().unwrap().as_socket_ipv4().unwrap()).is_ok() {
            let Some(TcpEvent::Connected(Err(error))) = poll(&mut refused, b"") else { panic!("connected") };
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
            assert!(refused.interest(b"").is_none() && refused.next_timeout().is_none());
        }
    }
}
