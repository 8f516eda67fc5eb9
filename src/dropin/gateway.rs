//! The process of one tunnel, `pptpgw` in ps(1), between standard input and GRE.
//!
//! As root it opens the GRE socket and obtains a call from the call manager; then it drops privileges and
//! keeps standard input, these two sockets and signals. It exits with status 0 when the PPP daemon or the
//! manager closes its end, or on SIGTERM or SIGINT.

use std::{
    io::{self, Read, Write},
    net::Ipv4Addr,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

use super::{
    log::Log,
    manager::{ManagerSocket, Spec, monitor},
    options::Options,
    reorder_test::ReorderTest,
    statistics,
    stream::MAX_FRAME,
    tunnel::Tunnel,
};
use crate::{
    deadline::log_due,
    net::transport,
    os::{
        batch::Batch,
        channel::Channel,
        jail,
        privileges::{self, Files},
        signals::{Request, Signals},
        stdio,
        wait::{self, Interest},
    },
};

/// Packets per direction and loop iteration.
const BATCH: usize = 64;
/// Largest datagram: a frame, GRE and IP headers with options.
const DATAGRAM: usize = MAX_FRAME + 16 + 60;
/// How long the manager may take: the sum of its own limits for TCP, SCCRP and OCRP, and a margin.
const CALL_LIMIT: Duration = Duration::from_secs(65);
/// Attempts to obtain a call, if managers exit without an answer.
const ATTEMPTS: u32 = 3;
/// Send buffer of the GRE socket in bytes: many times a batch.
const SEND_BUFFER: usize = 1024 * 1024;
/// Most bytes that one read of a pty normally returns on Linux.
const PTY_READ: usize = 4095;
/// Linux passes written data to the pty's reader asynchronously. A frame of this length or more is passed on
/// alone; a shorter one may be merged with data that is still pending.
const MERGE_LIMIT: usize = 256;

/// Obtains a call from the first server that grants one, and runs the tunnel until it ends. `daemon` is the
/// PPP daemon's process id if this program started it.
///
/// # Errors
/// Returns, as a sentence, why the tunnel did not come up with the last server.
pub fn run(
    options: &Options,
    servers: &[Ipv4Addr],
    log: &mut Log,
    daemon: Option<i32>,
) -> Result<(), String> {
    let mut refused = "no server".to_owned();
    for (tried, server) in servers.iter().enumerate() {
        match dial(options, *server, log, daemon) {
            Ok((manager, gre, ids)) => {
                let gateway = Gateway::prepare(options, manager, gre, ids, daemon.is_some())
                    .map_err(|error| error.to_string())?;
                return gateway.run(log).map_err(|error| error.to_string());
            }
            Err(why) => {
                if tried + 1 < servers.len() {
                    log.warn("main", format!("{server}: {why}; trying the next address"));
                }
                refused = why;
            }
        }
    }
    Err(refused)
}

/// Does what needs root: the manager's socket, the GRE socket, the two call ids.
fn dial(
    options: &Options,
    server: Ipv4Addr,
    log: &mut Log,
    daemon: Option<i32>,
) -> Result<(UnixStream, OwnedFd, (u16, u16)), String> {
    let sockets = transport::Options { local: options.local_bind, mark: options.mark };
    let gre = transport::gre_socket(server, &sockets)
        .map_err(|error| format!("Cannot bind GRE socket: {error}"))?;
    if let Err(error) = socket2::SockRef::from(&gre).set_send_buffer_size(SEND_BUFFER) {
        log.log("main", format!("send buffer of the GRE socket: {error}"));
    }
    let spec = Spec::new(options, server);
    let (manager, call_id, peer_call_id) = request_call(&spec, daemon.unwrap_or(0))?;
    transport::filter_call_id(&gre, call_id);
    Ok((manager, gre, (call_id, peer_call_id)))
}

/// Obtains a call from the server's manager, starting one if there is none.
fn request_call(spec: &Spec, daemon: i32) -> Result<(UnixStream, u16, u16), String> {
    let place = ManagerSocket::new(spec.local, *spec.server.ip());
    let deadline = Instant::now() + CALL_LIMIT;
    let mut own = i32::try_from(std::process::id()).unwrap_or_default();
    own = own.max(0);
    for _ in 0..ATTEMPTS {
        let (mut stream, manager) =
            connect_or_start_manager(&place, spec).map_err(|error| format!("call manager: {error}"))?;
        let hello = [daemon.to_ne_bytes(), own.to_ne_bytes()].concat();
        // A manager that is exiting accepts no more data; try again then.
        if stream.write_all(&hello).is_ok()
            && let Some([a, b, c, d]) =
                read_call_ids(&mut stream, deadline).map_err(|error| error.to_string())?
        {
            return Ok((stream, u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d])));
        }
        if let Some(manager) = manager
            && let Ok(Some(why)) = manager.receive(false)
        {
            return Err(format!("Call manager: {}", String::from_utf8_lossy(&why.bytes)));
        }
    }
    Err(format!("Could not get a call after {ATTEMPTS} tries"))
}

/// Connects to the manager. If it had to be started, also returns the channel for its failure.
fn connect_or_start_manager(place: &ManagerSocket, spec: &Spec) -> io::Result<(UnixStream, Option<Channel>)> {
    let held = place.lock()?;
    match place.connect() {
        Ok(stream) => return Ok((stream, None)),
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {}
        Err(error) => return Err(error),
    }
    let (listener, inode) = place.listen(&held)?;
    let manager = monitor::start(spec, &listener, inode)?;
    Ok((place.connect()?, Some(manager)))
}

/// Reads the two call ids; `None` if the manager exits first.
fn read_call_ids(stream: &mut UnixStream, deadline: Instant) -> io::Result<Option<[u8; 4]>> {
    let mut got = [0; 4];
    let mut filled = 0;
    while let Some(rest) = got.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        if !wait::readable(stream.as_fd(), deadline)? {
            return Err(io::Error::other("the call manager does not answer"));
        }
        match stream.read(rest) {
            Ok(0) => return Ok(None),
            Ok(size) => filled += size,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(got))
}

struct Gateway {
    tunnel: Tunnel,
    reorder_test: Option<ReorderTest>,
    ppp: stdio::Input,
    pty: bool,
    gre: OwnedFd,
    manager: UnixStream,
    signals: Signals,
    /// Readable while a signal or the manager's socket is; `None` without epoll(7).
    rare_events: Option<OwnedFd>,
    incoming: Batch,
    outgoing: Batch,
    buffer: Vec<u8>,
    io: statistics::Io,
    /// The GRE socket's send buffer is full.
    gre_full: bool,
    output_space: OutputSpace,
    mode_checked: bool,
}

/// Whether there is space for output to the PPP daemon, stored to avoid repeated poll(2) calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OutputSpace {
    /// There was space before the last write.
    Unknown,
    /// There is space.
    Some,
    /// There was none at the last check. Output is still pending, so the loop polls for space.
    None,
}

impl Gateway {
    /// Redirects output and drops privileges.
    fn prepare(
        options: &Options,
        manager: UnixStream,
        gre: OwnedFd,
        ids: (u16, u16),
        launched: bool,
    ) -> io::Result<Self> {
        let signals = Signals::listen_except_sighup()?;
        manager.set_nonblocking(true)?;
        if launched {
            io::stdout().lock().write_all(b"up\n")?;
            io::stdout().lock().flush()?;
            if !options.debug {
                let _leader_already = nix::unistd::setsid();
            }
        }
        stdio::redirect_output_to_null()?;
        let ppp = stdio::Input::take()?;
        let [end, statistics] = signals.fds();
        let seldom = wait::combine(&[end, statistics, manager.as_fd()])?;
        let jail = jail::path(ManagerSocket::directory(), "tunnel");
        privileges::drop_all(Files::Nothing(&jail))?;
        Ok(Self {
            tunnel: Tunnel::new(options, ids.0, ids.1, Instant::now()),
            reorder_test: ReorderTest::new(options.test_type, options.test_rate),
            pty: ppp.is_terminal(),
            ppp,
            gre,
            manager,
            signals,
            rare_events: seldom,
            incoming: Batch::new(BATCH, DATAGRAM),
            outgoing: Batch::new(BATCH, DATAGRAM),
            buffer: vec![0; 64 * 1024],
            io: statistics::Io::default(),
            gre_full: false,
            output_space: OutputSpace::Unknown,
            mode_checked: false,
        })
    }

    fn run(mut self, log: &mut Log) -> io::Result<()> {
        if let Some(why) = privileges::confine_drop_in()? {
            log.log("main", format!("no filter of system calls: {why}"));
        }
        loop {
            if !self.write_ppp(log) {
                break;
            }
            self.send();
            let ppp = match (self.gre_full, self.tunnel.stream().to_write().is_empty()) {
                (false, true) => Some(Interest::Readable),
                (false, false) => Some(Interest::Both),
                (true, true) => None,
                (true, false) => Some(Interest::Writable),
            };
            let gre = if self.gre_full { Interest::Both } else { Interest::Readable };
            let [end, statistics] = self.signals.fds();
            let apart = |fd| if self.rare_events.is_some() { None } else { Some((fd, Interest::Readable)) };
            let deadline = self.tunnel.next_timeout(Instant::now());
            let [seldom, end, statistics, manager, gre, ppp] = wait::until_readiness(
                [
                    self.rare_events.as_ref().map(|fd| (fd.as_fd(), Interest::Readable)),
                    apart(end),
                    apart(statistics),
                    apart(self.manager.as_fd()),
                    Some((self.gre.as_fd(), gre)),
                    ppp.map(|interest| (self.ppp.as_fd(), interest)),
                ],
                deadline.map(|(at, _)| at),
            )?;
            let now = Instant::now();
            log_due(deadline, now);
            if (seldom.to_read || end.to_read || statistics.to_read) && !self.signal(log) {
                break;
            }
            if (seldom.to_read || manager.to_read) && self.manager_is_gone() {
                log.log("main", "the call manager has ended the call");
                break;
            }
            if gre.to_write {
                self.gre_full = false;
            }
            if gre.to_read {
                self.receive_gre(now, log);
            }
            if ppp.to_write {
                self.output_space = OutputSpace::Some;
            }
            // While `gre_full`, the next write detects the daemon's exit.
            if ppp.to_read && !self.gre_full && !self.receive_ppp(now, log) {
                break;
            }
            if !ppp.to_read {
                self.take_ppp(now, 0);
            }
            self.expire(now);
        }
        if let Some(mut reorder_test) = self.reorder_test.take() {
            let Self { outgoing, .. } = &mut self;
            reorder_test.finish(|packet| {
                outgoing.push_parts(packet, &[]);
            });
            self.send();
        }
        Ok(())
    }

    /// Handles signals. Returns `false` if one requests the exit.
    fn signal(&mut self, log: &mut Log) -> bool {
        while let Some(request) = self.signals.take() {
            match request {
                Request::End => return false,
                Request::Statistics => {
                    let (flow, stream) = self.tunnel.counters();
                    for line in statistics::lines(flow, stream, &self.io) {
                        log.log("pptp_gre_stats", line);
                    }
                }
            }
        }
        true
    }

    /// Returns whether the manager has closed its socket.
    fn manager_is_gone(&mut self) -> bool {
        let mut bytes = [0; 16];
        match self.manager.read(&mut bytes) {
            Ok(0) => true,
            Ok(_) => false,
            Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
        }
    }

    fn receive_gre(&mut self, now: Instant, log: &mut Log) {
        let Self { tunnel, gre, incoming, io, .. } = self;
        if let Err(error) = incoming.receive(gre) {
            // On a connected socket this is an ICMP error, which may be transient.
            io.rx_errors += 1;
            if io.rx_errors == 1 {
                log.log("decaps_gre", format!("GRE socket: {error}"));
            }
            return;
        }
        for datagram in incoming.datagrams() {
            let Some(packet) = transport::strip_ip_header(datagram) else {
                io.rx_not_ipv4 += 1;
                continue;
            };
            tunnel.gre_input(now, packet, &mut |line| log.log("decaps_gre", line));
        }
    }

    /// Reads frames. Returns `false` when the PPP daemon has exited.
    fn receive_ppp(&mut self, now: Instant, log: &mut Log) -> bool {
        for _ in 0..BATCH {
            let size = match nix::unistd::read(&self.ppp, &mut self.buffer) {
                Ok(0) => return self.ppp_is_gone(log, "end of file"),
                Ok(size) => size,
                Err(nix::errno::Errno::EINTR) => continue,
                Err(nix::errno::Errno::EAGAIN) => {
                    self.take_ppp(now, 0);
                    return true;
                }
                Err(error) => return self.ppp_is_gone(log, error.desc()),
            };
            self.check_mode(size, log);
            self.take_ppp(now, size);
            // After a short read the pty is empty; reading until EAGAIN costs another system call.
            if size < PTY_READ || self.outgoing.is_full() || self.gre_full {
                break;
            }
        }
        true
    }

    /// Sends the frames in the first `size` bytes of the buffer; 0 means end of input for now.
    fn take_ppp(&mut self, now: Instant, size: usize) {
        let Self { tunnel, reorder_test, gre, outgoing, buffer, io, gre_full, .. } = self;
        let mut queue = |header: &[u8], frame: &[u8]| {
            if outgoing.is_full() {
                *gre_full |= send(outgoing, gre, io);
            }
            outgoing.push_parts(header, frame);
        };
        let each = |header: &[u8], frame: &[u8]| match reorder_test {
            Some(reorder_test) => reorder_test.pass(&[header, frame].concat(), |packet| queue(packet, &[])),
            None => queue(header, frame),
        };
        match size {
            0 => tunnel.ppp_quiet(now, each),
            _ => tunnel.ppp_input(now, buffer.get(..size).unwrap_or_default(), each),
        }
    }

    fn ppp_is_gone(&mut self, log: &mut Log, why: &str) -> bool {
        log.log("decaps_hdlc", format!("short read (-1): {why}"));
        log.log("decaps_hdlc", "pppd may have shutdown, see pppd log");
        false
    }

    /// Warns if the PPP daemon's first bytes contradict `--sync`; nothing else reports that.
    fn check_mode(&mut self, size: usize, log: &mut Log) {
        if std::mem::replace(&mut self.mode_checked, true) {
            return;
        }
        let bytes = self.buffer.get(..size).unwrap_or_default();
        if self.tunnel.stream().is_synchronous() && bytes.starts_with(&[0x7e, 0xff, 0x7d, 0x23]) {
            log.warn("decaps_hdlc", "pptp --sync option is active, yet the ppp mode is asynchronous!");
        } else if !self.tunnel.stream().is_synchronous() && bytes.starts_with(&[0xff, 0x03]) {
            log.warn("decaps_hdlc", "The ppp mode is synchronous, yet no pptp --sync option is specified!");
        }
    }

    fn expire(&mut self, now: Instant) {
        self.tunnel.handle_timeout(now);
        let Self { tunnel, outgoing, .. } = self;
        outgoing.push(|out| tunnel.ack(now, out));
    }

    /// Writes to the PPP daemon until that blocks. Returns `false` when the daemon has exited.
    fn write_ppp(&mut self, log: &mut Log) -> bool {
        let stream = self.tunnel.stream();
        let one_by_one = self.pty && stream.is_synchronous();
        let mut joinable = false;
        while !stream.to_write().is_empty() && self.output_space != OutputSpace::None {
            if one_by_one {
                if joinable && stream.to_write().len() < MERGE_LIMIT {
                    std::thread::yield_now();
                }
                joinable = true;
                // If poll(2) reports space, it suffices for a whole frame; without that check a write could
                // be short.
                if self.output_space == OutputSpace::Unknown
                    && !wait::is_ready(self.ppp.as_fd(), Interest::Writable)
                {
                    self.output_space = OutputSpace::None;
                    break;
                }
            }
            match nix::unistd::write(&self.ppp, stream.to_write()) {
                Ok(size) => {
                    let full = size < stream.to_write().len() && !stream.is_synchronous();
                    stream.written(size);
                    self.output_space = if full { OutputSpace::None } else { OutputSpace::Unknown };
                }
                Err(nix::errno::Errno::EINTR) => {}
                Err(nix::errno::Errno::EAGAIN) => self.output_space = OutputSpace::None,
                Err(error) => return self.ppp_is_gone(log, error.desc()),
            }
        }
        true
    }

    fn send(&mut self) {
        self.gre_full |= send(&mut self.outgoing, &self.gre, &mut self.io);
    }
}

/// Sends the batch. Returns whether the socket's send buffer is full.
fn send(outgoing: &mut Batch, gre: &OwnedFd, io: &mut statistics::Io) -> bool {
    let count = outgoing.filled();
    if count == 0 {
        return false;
    }
    match outgoing.send(gre) {
        Ok(_) => false,
        Err(error) => {
            io.tx_failed += count as u64;
            error.kind() == io::ErrorKind::WouldBlock
        }
    }
}
