//! A PPTP server built on the protocol modules in their server role: one process, one thread, bounded
//! resources.
//!
//! It has many control connections on TCP 1723, one raw GRE socket for all calls, and one tun device per
//! call. It serves the demo and tests only: it forwards nothing, keeps no accounts, and exits at the end of
//! its standard input.

mod call;
mod connection;
mod gre_socket;
mod http;
mod setup;
#[cfg(target_os = "linux")]
mod wire;
#[cfg(target_os = "freebsd")]
#[path = "wire_freebsd.rs"]
mod wire;

use std::{
    collections::BTreeMap,
    io::{self, Write},
    net::{TcpListener, TcpStream},
    os::fd::{AsFd, OwnedFd},
    os::unix::net::UnixStream,
    time::Instant,
};

use call::Call;
use connection::Connection;
use gre_socket::GreSocket;
use http::HttpServer;
pub use setup::{ROLE, main};

use super::{
    call_table::{CallTable, Key, NoCall},
    config::{Fault, ServerConfig},
    pool::Pool,
};
use crate::{
    deadline::{Deadline, earliest, log_due},
    net::{kernel::Kernel, transport},
    os::wait::{self, Interest},
    ppp::link,
    pptp::control::{self, CallAccept},
};

/// Most control connections at a time.
const MOST_CONNECTIONS: usize = 1024;

struct Server {
    config: ServerConfig,
    listener: TcpListener,
    gre_socket: GreSocket,
    page: HttpServer,
    kernel: Kernel,
    /// Standard input, closed when the starting process exits.
    master: OwnedFd,
    /// Readable when a child has exited, if this is the first process of a pid namespace.
    orphans: Option<UnixStream>,
    connections: BTreeMap<u64, Connection>,
    last_connection: u64,
    /// Connections that [`Fault::SilentControl`] ignores.
    ignored: Vec<TcpStream>,
    calls: CallTable<Call>,
    pool: Pool,
    /// GRE packets that belong to no call.
    no_call: u64,
}

/// What became ready.
struct Ready {
    master: bool,
    orphans: bool,
    listener: bool,
    gre: bool,
    page: bool,
    connections: Vec<u64>,
    tuns: Vec<u16>,
}

impl Server {
    fn run(mut self) -> io::Result<()> {
        loop {
            self.process_events(Instant::now());
            let ready = self.wait()?;
            let now = Instant::now();
            if ready.master {
                return Ok(());
            }
            if ready.orphans {
                self.reap();
            }
            if ready.listener {
                self.accept(now);
            }
            for id in ready.connections {
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.read(now);
                }
            }
            self.receive_gre(now, ready.gre);
            self.receive_tuns(now, &ready.tuns);
            let page_due = self.page.next_timeout().is_some_and(|(due, _)| due <= now);
            if ready.page || page_due {
                self.page.serve(now);
            }
            self.expire(now);
        }
    }

    fn wait(&self) -> io::Result<Ready> {
        let mut interests = vec![
            (self.master.as_fd(), Interest::Readable),
            (self.listener.as_fd(), Interest::Readable),
            (self.gre_socket.fd(), Interest::Readable),
        ];
        let mut connections = Vec::new();
        for (id, connection) in &self.connections {
            if let Some(interest) = connection.interest() {
                connections.push(*id);
                interests.push(interest);
            }
        }
        let mut tuns = Vec::new();
        for (key, call) in self.calls.iter() {
            if let Some(tun) = call.tun() {
                tuns.push(key.call_id);
                interests.push((tun, Interest::Readable));
            }
        }
        if let Some(orphans) = &self.orphans {
            interests.push((orphans.as_fd(), Interest::Readable));
        }
        interests.extend(self.page.interests());
        let deadline = self.deadline();
        let mut ready = wait::any(&interests, deadline.map(|(at, _)| at))?.into_iter();
        log_due(deadline, Instant::now());
        let mut next = || ready.next().unwrap_or(false);
        let (master, listener, gre) = (next(), next(), next());
        connections.retain(|_| next());
        tuns.retain(|_| next());
        let orphans = self.orphans.is_some() && next();
        let page = ready.any(|ready| ready);
        Ok(Ready { master, orphans, listener, gre, page, connections, tuns })
    }

    fn deadline(&self) -> Option<Deadline> {
        let controls = self.connections.values().flat_map(Connection::next_timeouts);
        let calls = self.calls.iter().map(|(_, call)| call.next_timeout());
        earliest(controls.chain(calls).chain([self.gre_socket.next_timeout(), self.page.next_timeout()]))
    }

    fn expire(&mut self, now: Instant) {
        for connection in self.connections.values_mut() {
            connection.control.handle_timeout(now);
        }
        for (_, call) in self.calls.iter_mut() {
            call.handle_timeout(now);
        }
        self.gre_socket.depart(now);
        self.gre_socket.flush();
    }

    fn accept(&mut self, now: Instant) {
        while let Ok((stream, from)) = self.listener.accept() {
            let std::net::SocketAddr::V4(from) = from else { continue };
            if self.connections.len() + self.ignored.len() >= MOST_CONNECTIONS {
                continue;
            }
            if self.config.trouble == Some(Fault::SilentControl) {
                self.ignored.push(stream);
                continue;
            }
            if let Some(Fault::OtherService(service)) = self.config.trouble {
                if let Err(error) = (&stream).write_all(service.greeting()) {
                    tracing::warn!("{from}: {error}");
                }
                self.ignored.push(stream);
                continue;
            }
            self.last_connection += 1;
            match Connection::new(stream, *from.ip(), &self.config, now) {
                Ok(connection) => {
                    self.connections.insert(self.last_connection, connection);
                }
                Err(error) => tracing::warn!("{from}: {error}"),
            }
        }
    }

    /// Passes the GRE packets that have arrived to their calls; `ready`: there are some on the socket.
    fn receive_gre(&mut self, now: Instant, ready: bool) {
        let Self { gre_socket, calls, no_call, .. } = self;
        if ready {
            gre_socket.receive(now);
            // Most of them are of one call.
            let first = gre_socket.received().next().and_then(|(source, datagram)| {
                calls.of_packet(source, transport::strip_ip_header(datagram)?).ok()
            });
            if let Some(call) = first {
                let packets =
                    gre_socket.received().filter_map(|(_, datagram)| transport::strip_ip_header(datagram));
                call.expect(packets.map(|packet| &*packet));
            }
        }
        let mut deliver = |source: std::net::Ipv4Addr, datagram: &mut [u8]| {
            let found = match transport::strip_ip_header(datagram) {
                Some(packet) => calls.of_packet(source, packet).map(|call| call.receive(now, packet)),
                None => Err(NoCall::Short),
            };
            if let Err(reason) = found {
                *no_call += 1;
                tracing::debug!("{source}: a GRE packet of no call: {reason:?}");
            }
        };
        if ready {
            for (source, datagram) in gre_socket.received() {
                deliver(source, datagram);
            }
        }
        while let Some((source, mut packet)) = gre_socket.arrived(now) {
            deliver(source, &mut packet);
        }
        for (_, call) in calls.iter_mut() {
            call.flush_tun();
        }
    }

    fn receive_tuns(&mut self, now: Instant, ready: &[u16]) {
        let Self { calls, gre_socket, .. } = self;
        let mut lost = Vec::new();
        for (key, call) in calls.iter_mut().filter(|(key, _)| ready.contains(&key.call_id)) {
            if let Err(error) = call.receive_tun(now, gre_socket, key.peer) {
                tracing::warn!("call {}: its device is gone: {error}", key.call_id);
                lost.push(key);
            }
        }
        for key in lost {
            self.hang_up(now, key);
        }
    }

    /// Handles the events of connections and calls and sends their output, until there are no more events.
    fn process_events(&mut self, now: Instant) {
        loop {
            self.flush_calls(now);
            let mut busy = false;
            let ids: Vec<u64> = self.connections.keys().copied().collect();
            for id in ids {
                while let Some(event) =
                    self.connections.get_mut(&id).and_then(|connection| connection.control.poll_event())
                {
                    busy = true;
                    self.control_event(now, id, event);
                }
            }
            let keys: Vec<Key> = self.calls.iter().map(|(key, _)| key).collect();
            for key in keys {
                while let Some(event) = self.calls.get_mut(key.call_id).and_then(Call::poll_event) {
                    busy = true;
                    self.link_event(now, key, event);
                }
            }
            for connection in self.connections.values_mut() {
                connection.write(now);
            }
            if !busy {
                break;
            }
        }
        self.connections.retain(|_, connection| !connection.is_over());
    }

    fn flush_calls(&mut self, now: Instant) {
        for (key, call) in self.calls.iter_mut() {
            while self.gre_socket.send(now, key.peer, |out| call.output(now, out)) {}
        }
        self.gre_socket.flush();
    }

    fn control_event(&mut self, now: Instant, id: u64, event: control::ControlEvent) {
        match event {
            control::ControlEvent::Established { peer } => {
                tracing::info!("connection {id}: {} ({})", peer.vendor, peer.host_name);
            }
            control::ControlEvent::IncomingCall { peer_call_id, .. } => {
                self.incoming_call(now, id, peer_call_id)
            }
            control::ControlEvent::CallDown { call_id, reason } => {
                tracing::info!("call {call_id}: {reason}");
                self.end_call(now, call_id);
            }
            control::ControlEvent::Closed(end) => {
                tracing::info!("connection {id}: {end}");
                let lost: Vec<u16> = self
                    .calls
                    .iter()
                    .filter(|(_, call)| call.connection == id)
                    .map(|(key, _)| key.call_id)
                    .collect();
                for call_id in lost {
                    self.end_call(now, call_id);
                }
            }
            // Calls are inserted on acceptance; only clients receive CallRefused; SetLinkInfo is a framing
            // hint.
            control::ControlEvent::CallUp { .. }
            | control::ControlEvent::CallRefused { .. }
            | control::ControlEvent::SetLinkInfo { .. } => {}
        }
    }

    fn incoming_call(&mut self, now: Instant, id: u64, peer_call_id: u16) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        match self.config.trouble {
            Some(Fault::SilentCall) => return,
            Some(Fault::RefuseCall { result, error, cause }) => {
                log_refused(connection.control.refuse_call(now, peer_call_id, result, error, cause));
                return;
            }
            _ => {}
        }
        let place = self.calls.next_key(connection.peer).zip(self.pool.take());
        let Some((key, address)) = place else {
            // 4: no channel free (RFC 2637 §2.8).
            log_refused(connection.control.refuse_call(now, peer_call_id, 4, 0, 0));
            return;
        };
        let accept = CallAccept::new(key.call_id);
        match connection.control.accept_call(now, peer_call_id, accept) {
            Ok(()) if self.config.trouble == Some(Fault::EndsCallAtOnce) => {
                if let Err(error) = connection.control.close_call(now, key.call_id) {
                    tracing::warn!("connection {id}: {error}");
                }
                self.pool.give_back(address);
            }
            Ok(()) => {
                let ids = (key.call_id, peer_call_id);
                self.calls.insert(key, Call::new(&self.config, id, ids, accept.window, address, now));
            }
            Err(error) => {
                tracing::warn!("connection {id}: {error}");
                self.pool.give_back(address);
            }
        }
    }

    fn link_event(&mut self, now: Instant, key: Key, event: link::LinkEvent) {
        match event {
            link::LinkEvent::Up(up) => {
                tracing::info!("call {}: up: {up:?}", key.call_id);
                let Self { calls, kernel, .. } = self;
                let Some(call) = calls.get_mut(key.call_id) else { return };
                if let Err(error) = call.up(kernel, &up) {
                    tracing::error!("call {}: {error}", key.call_id);
                    self.hang_up(now, key);
                }
            }
            link::LinkEvent::Ipv6Up(ids) => {
                tracing::info!("call {}: {ids:?}", key.call_id);
                let Self { calls, kernel, .. } = self;
                let done = calls.get_mut(key.call_id).map_or(Ok(()), |call| call.ipv6_up(kernel, ids));
                if let Err(error) = done {
                    tracing::error!("call {}: {error}", key.call_id);
                }
            }
            link::LinkEvent::Down(reason) => {
                tracing::info!("call {}: {reason}", key.call_id);
                self.flush_calls(now);
                self.hang_up(now, key);
            }
            other => tracing::info!("call {}: {other:?}", key.call_id),
        }
    }

    fn hang_up(&mut self, now: Instant, key: Key) {
        let Some(call) = self.calls.get_mut(key.call_id) else { return };
        if let Some(connection) = self.connections.get_mut(&call.connection)
            && let Err(error) = connection.control.close_call(now, key.call_id)
        {
            tracing::debug!("call {}: {error}", key.call_id);
        }
    }

    fn end_call(&mut self, now: Instant, call_id: u16) {
        if let Some(mut call) = self.calls.remove(call_id) {
            call.lower_down(now);
            tracing::info!(
                "call {call_id}: counted {}, road {:?}",
                call.counted(),
                self.gre_socket.counters()
            );
            self.pool.give_back(call.address);
            // Closing a device deletes it, but for FreeBSD 14.0.
            if let Some((name, index)) = call.close_tun().filter(|_| cfg!(target_os = "freebsd"))
                && let Err(error) = self.kernel.delete_link(&name, index)
            {
                tracing::debug!("call {call_id}: {error}");
            }
        }
    }

    /// Reaps exited children: orphans become children of the namespace's first process.
    fn reap(&mut self) {
        use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
        if let Some(orphans) = &mut self.orphans {
            let mut bytes = [0; 64];
            while matches!(io::Read::read(orphans, &mut bytes), Ok(size) if size > 0) {}
        }
        while !matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive) | Err(_)) {}
    }
}

fn log_refused(refused: Result<(), control::CallError>) {
    if let Err(error) = refused {
        tracing::warn!("a call could not be refused: {error}");
    }
}
