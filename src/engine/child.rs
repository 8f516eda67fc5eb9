//! The engine process: one loop around one [`Session`], without privileges.
//!
//! It gets its descriptors from the supervisor, drops all other privileges before it reads a byte from the
//! wire, and exits with the supervisor. Each iteration moves at most `BATCH` packets in each direction, so
//! that neither direction nor the control connection waits for long. With an external PPP a pty (`pty`)
//! replaces the tun device.

mod kernel;
mod outgoing;
mod pty;
mod tap;

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::Instant,
};

use self::{kernel::KernelPath, outgoing::Outgoing};
use super::{
    capture::{Capture, record::Kind},
    message::{FromEngine, Statistics, ToEngine, plain},
    session::{Session, SessionEvent},
    spec::Spec,
    verdict,
};
use crate::{
    deadline::{earliest, log_due},
    failure::{Failure, FailureKind, Phase},
    net::{
        packets::PacketIo,
        tcp::{TcpEvent, TcpPump},
        transport,
    },
    os::{
        batch::Batch,
        channel::Channel,
        jail, path_mtu, ppp,
        privileges::{self, Files, Use},
        usage,
        wait::{self, Interest},
    },
    platform,
    secret::Secret,
};

/// Packets per direction and loop iteration, and per system call on the GRE socket.
const BATCH: usize = 64;

/// Size of the receive buffers in bytes, more than an Ethernet frame. A larger datagram is truncated, and the
/// flow then drops it because of its length.
const DATAGRAM: usize = 2048;

/// Runs the engine process, whose standard input is its channel.
///
/// # Errors
/// Returns an error if the process cannot drop root privileges, or its parent violates the protocol.
pub fn main(loglevel: u8) -> io::Result<()> {
    start_log(loglevel);
    let channel = Channel::to_parent()?;
    let jail = jail::path(&platform::control_dir(), "engine");
    privileges::drop_all(Files::Nothing(&jail))?;
    privileges::kill_on_parent_exit();
    let Some((spec, descriptors, capture)) = receive_start(&channel)? else { return Ok(()) };
    let Some(password) = receive_password(&channel)? else { return Ok(()) };
    let mut engine = Engine::new(spec, password, channel, descriptors)?;
    engine.outgoing.capture = capture;
    engine.run()
}

struct Engine {
    session: Session,
    channel: Channel,
    tcp: TcpPump,
    gre: OwnedFd,
    /// The tun device, the daemon's pty, or the kernel's PPP unit.
    tun: OwnedFd,
    /// The rest of the path of a call whose packets the kernel moves.
    kernel: Option<KernelPath>,
    /// The other end of the pty is closed.
    pty_gone: bool,
    server: std::net::SocketAddrV4,
    incoming: Batch,
    outgoing: Outgoing,
    /// The packets of the tun device.
    packets: PacketIo,
    io: IoCounters,
    confined: bool,
    /// The engine may run without its filter if the kernel refuses it.
    best_effort: bool,
    ended: bool,
}

/// The descriptors of the start message.
struct Descriptors {
    tcp: OwnedFd,
    gre: OwnedFd,
    tun: OwnedFd,
    /// The channel of a call whose packets the kernel moves.
    kernel: Option<OwnedFd>,
}

#[derive(Default)]
struct IoCounters {
    gre_receive_errors: u64,
    not_ipv4: u64,
}

impl Engine {
    fn new(spec: Spec, password: Secret, channel: Channel, descriptors: Descriptors) -> io::Result<Self> {
        let Descriptors { tcp, gre, tun, kernel } = descriptors;
        let now = Instant::now();
        // Fails here, if ever, and not in the session.
        getrandom::fill(&mut [0; 2]).map_err(io::Error::other)?;
        let (server, call_id, best_effort) = (spec.server, spec.call_id, spec.best_effort);
        let tcp = TcpPump::new(tcp.into(), Some(now + spec.limits.connect));
        // The same call succeeded above; should it fail later, an abort is better than zeros.
        let random = Box::new(|bytes: &mut [u8]| {
            if getrandom::fill(bytes).is_err() {
                std::process::abort();
            }
        });
        let mut session = Session::new(spec, password, call_id, random, now);
        transport::filter_call_id(&gre, session.call_id());
        if let Ok(bytes) = socket2::SockRef::from(&gre).recv_buffer_size() {
            session.set_receive_buffer(bytes);
        }
        if session.follows_path() {
            path_mtu::refuse_long_packets(&gre);
        }
        let packets = PacketIo::new(&tun);
        Ok(Self {
            session,
            channel,
            tcp,
            gre,
            tun,
            kernel: kernel.map(KernelPath::new),
            pty_gone: false,
            server,
            incoming: Batch::new(BATCH, DATAGRAM),
            outgoing: Outgoing::new(),
            packets,
            io: IoCounters::default(),
            confined: false,
            best_effort,
            ended: false,
        })
    }

    fn run(mut self) -> io::Result<()> {
        if let Err(error) = transport::start_connect(&self.tcp, self.server) {
            self.session.fail(Instant::now(), verdict::of_connect(self.server, &error));
        }
        loop {
            self.flush(Instant::now());
            self.send_events()?;
            self.flush_capture();
            if self.ended {
                return Ok(());
            }
            let [channel, tcp, gre, tun, frames, _capture] = self.wait()?;
            let now = Instant::now();
            if channel && !self.handle_messages(now)? {
                // The supervisor is gone: the tunnel has no owner any more.
                return Ok(());
            }
            // GRE first: if the server ends the connection, its last packets have the reason, or the success.
            if gre {
                self.receive_gre(now);
            }
            if tcp {
                self.tcp_ready(now);
                self.confine()?;
            }
            if self.kernel.is_some() {
                if tun || frames {
                    self.receive_frames(now);
                }
            } else if tun && self.session.is_external() {
                self.receive_pty(now);
            } else if tun {
                self.receive_tun(now);
            }
            self.handle_timeouts(now);
        }
    }

    /// Waits until the channel, TCP, GRE or the tun device is ready, or a timeout is due.
    fn wait(&self) -> io::Result<[bool; 6]> {
        let deadline = earliest([self.tcp.next_timeout(), self.session.next_timeout()]);
        wait::until(
            [
                Some((self.channel.as_fd(), Interest::Readable)),
                self.tcp.interest(self.session.tcp_output()),
                (!self.session.awaits_kernel()).then(|| (self.gre.as_fd(), Interest::Readable)),
                self.tun_interest().map(|interest| (self.tun.as_fd(), interest)),
                self.kernel.as_ref().and_then(KernelPath::readable).map(|fd| (fd, Interest::Readable)),
                self.outgoing.capture.as_ref().and_then(Capture::pending).map(|fd| (fd, Interest::Writable)),
            ],
            deadline.map(|(at, _)| at),
        )
    }

    fn tun_interest(&self) -> Option<Interest> {
        if let Some(kernel) = &self.kernel {
            kernel.readable().map(|_| Interest::Readable)
        } else if !self.session.is_external() {
            (self.session.is_up() && self.session.may_send()).then_some(Interest::Readable)
        } else if self.pty_gone {
            None
        } else if self.session.pty_output().is_empty() {
            Some(Interest::Readable)
        } else {
            Some(Interest::Both)
        }
    }

    /// Handles all waiting messages of the supervisor; returns `false` if it is gone.
    fn handle_messages(&mut self, now: Instant) -> io::Result<bool> {
        loop {
            match self.channel.receive(false) {
                Ok(Some(message)) => match serde_json::from_slice(&message.bytes)? {
                    ToEngine::Stop => {
                        let stopped = Failure::new(self.session.phase(), FailureKind::Interrupted, "");
                        self.session.fail(now, stopped);
                    }
                    ToEngine::Probe => self.session.probe(now),
                    ToEngine::Attached => self.attached(now),
                    ToEngine::Alive => self.say(&FromEngine::Alive)?,
                    ToEngine::Query => {
                        self.say(&FromEngine::Statistics(self.statistics()))?;
                        // For the next answer.
                        self.session.measure(now);
                    }
                    ToEngine::Capture { inner } => {
                        self.outgoing.capture = Some(capture(message.descriptors, inner)?);
                        self.capture_connection();
                    }
                    ToEngine::Start(_) => return Err(io::Error::other("started twice")),
                },
                Ok(None) => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }

    /// Restricts the process to its open descriptors once TCP is connected.
    fn confine(&mut self) -> io::Result<()> {
        if !self.confined && self.tcp.is_open() {
            let descriptors = [
                (self.channel.as_fd(), Use::Stream),
                (self.tcp.as_fd(), Use::Socket),
                (self.gre.as_fd(), Use::Socket),
                (self.tun.as_fd(), Use::Stream),
            ];
            let requests: &[u32] = if self.kernel.is_some() { &ppp::ENGINE_REQUESTS } else { &[] };
            let unfiltered = privileges::confine(&descriptors, requests);
            let unfiltered = match unfiltered {
                Err(error) if self.best_effort => Some(error.to_string()),
                unfiltered => unfiltered?,
            };
            if let Some(why) = unfiltered {
                self.say(&FromEngine::Unfiltered(plain(&why)))?;
            }
            self.confined = true;
        }
        Ok(())
    }

    fn tcp_ready(&mut self, now: Instant) {
        match self.tcp.ready() {
            None => {}
            Some(TcpEvent::Connected(Ok(()))) => {
                let from = transport::local_address(&self.tcp)
                    .map_or_else(String::new, |address| format!(" from {address}"));
                self.session.connected(now, format!("{}{from}", self.server));
                self.capture_connection();
            }
            Some(TcpEvent::Connected(Err(error))) => {
                self.session.fail(now, verdict::of_connect(self.server, &error));
            }
            Some(TcpEvent::Input(bytes)) => {
                if let Some(capture) = &mut self.outgoing.capture {
                    capture.add(Kind::ControlIn, bytes);
                }
                self.session.tcp_input(now, bytes);
            }
            Some(TcpEvent::Closed(error)) => {
                if let Some(error) = error {
                    tracing::info!("control connection: {error}");
                }
                self.session.tcp_closed(now);
            }
        }
    }

    fn receive_gre(&mut self, now: Instant) {
        if let Err(error) = self.incoming.receive(&self.gre) {
            self.io.gre_receive_errors += 1;
            self.outgoing.note(&error);
            outgoing::follow_path(&error, &self.gre, &mut self.session);
            return;
        }
        let Self { session, tun, incoming, packets, io, outgoing, .. } = self;
        session
            .expect_gre(incoming.datagrams().filter_map(transport::strip_ip_header).map(|packet| &*packet));
        for datagram in incoming.datagrams() {
            if let Some(capture) = &mut outgoing.capture {
                let is_ipv4 =
                    tap::receive(capture, session, now, datagram, &mut |ip| packets.send(&*tun, ip));
                io.not_ipv4 += u64::from(!is_ipv4);
                continue;
            }
            let Some(packet) = transport::strip_ip_header(datagram) else {
                io.not_ipv4 += 1;
                continue;
            };
            session.gre_input(now, packet, &mut |ip| packets.send(&*tun, ip));
        }
        packets.flush(&*tun);
        session.after(now);
    }

    fn receive_tun(&mut self, now: Instant) {
        let Self { session, tun, packets, outgoing, gre, .. } = self;
        let join = session.is_sealing_ahead();
        let received = packets.receive_runs(&*tun, BATCH, join, |run| {
            if join {
                session.expect_packets(run.lengths());
            }
            while let Some(ip) = run.next_packet() {
                if outgoing.batch.is_full() {
                    outgoing.send(gre, session);
                }
                match &mut outgoing.capture {
                    None => outgoing.batch.push(|out| session.tun_input(now, ip, out)),
                    Some(capture) => outgoing.batch.push(|out| tap::send(capture, session, now, ip, out)),
                };
            }
        });
        if let Err(error) = received {
            let words = format!("the tun device is gone: {error}");
            session.fail(now, Failure::new(session.phase(), FailureKind::LinkStep, plain(&words)));
        }
        self.send_gre();
    }

    fn handle_timeouts(&mut self, now: Instant) {
        if self.tcp.handle_timeout(now) {
            let waited = Failure::new(
                Phase::Connect,
                FailureKind::ConnectTimeout,
                format!("no answer from {}", self.server),
            );
            self.session.fail(now, waited);
        }
        if log_due(self.session.next_timeout(), now) {
            self.notice_data(now);
            let Self { session, tun, packets, outgoing, .. } = self;
            session.handle_timeout(now, &mut |ip| {
                if let Some(capture) = &mut outgoing.capture {
                    capture.add(Kind::InnerIn, ip);
                }
                packets.send(&*tun, ip);
            });
            packets.flush(&*tun);
        }
    }

    /// Sends everything that the state machines have ready.
    fn flush(&mut self, now: Instant) {
        loop {
            let Self { session, outgoing, .. } = self;
            while outgoing.batch.push(|out| session.gre_output(now, out)) {}
            if self.outgoing.batch.filled() == 0 {
                break;
            }
            self.send_gre();
        }
        self.session.after(now);
        self.send_frames(now);
        if self.session.is_external() {
            self.write_pty();
        }
        match self.tcp.write(self.session.tcp_output()) {
            Ok(size) => {
                if let Some(capture) = self.outgoing.capture.as_mut().filter(|_| size > 0) {
                    capture.add(Kind::ControlOut, self.session.tcp_output().get(..size).unwrap_or_default());
                }
                self.session.tcp_sent(size);
            }
            Err(_) => self.session.tcp_closed(now),
        }
    }

    fn send_gre(&mut self) {
        self.outgoing.send(&self.gre, &mut self.session);
    }

    /// Sends the session's events to the supervisor.
    fn send_events(&mut self) -> io::Result<()> {
        while let Some(event) = self.session.poll_event() {
            self.capture_event(&event);
            match event {
                SessionEvent::Phase(phase, detail) => self.say(&FromEngine::Phase { phase, detail })?,
                SessionEvent::Offers(offers) => self.say(&FromEngine::Offers(offers))?,
                SessionEvent::Attach(peer_call_id) => self.say(&FromEngine::Attach(peer_call_id))?,
                SessionEvent::Up(link) => self.say(&FromEngine::Up(link))?,
                SessionEvent::PathMtu(path) => self.say(&FromEngine::PathMtu(path))?,
                SessionEvent::PathSearched(end) => self.say(&FromEngine::PathSearched(end))?,
                SessionEvent::Down(mut failure) => {
                    self.flush(Instant::now());
                    if matches!(failure.kind, FailureKind::GreFiltered | FailureKind::PeerLost)
                        && !failure.detail.contains("refuses")
                        && let Some(error) = &self.outgoing.last_error
                    {
                        failure.detail =
                            plain(&format!("{}; the GRE socket reports: {error}", failure.detail));
                    }
                    tracing::debug!(counters = ?self.statistics().counters.iter().filter(|(_, n)| *n > 0).collect::<Vec<_>>());
                    self.say(&FromEngine::Down(failure))?;
                    self.ended = true;
                }
            }
        }
        Ok(())
    }

    fn say(&self, message: &FromEngine) -> io::Result<()> {
        self.channel.send(&serde_json::to_vec(message)?, &[])
    }

    fn statistics(&self) -> Statistics {
        let mut counters = self.session.counters();
        counters.extend([
            ("io.gre_receive_errors".to_owned(), self.io.gre_receive_errors),
            ("io.gre_send_errors".to_owned(), self.outgoing.errors),
            ("io.not_ipv4".to_owned(), self.io.not_ipv4),
            ("io.tun_refused".to_owned(), self.packets.refused()),
        ]);
        let micros = |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let (user, system) = usage::cpu_time();
        Statistics {
            counters,
            cpu_micros: (micros(user), micros(system)),
            sleeps: usage::voluntary_switches(),
            round_trip_micros: self.session.echo_round_trip().map(micros),
        }
    }
}

/// What an engine receives first: its parts, the descriptors, and a capture if one is on.
type Beginning = (Spec, Descriptors, Option<Capture>);

/// Receives the start, and the socket of a capture if one comes before it.
fn receive_start(channel: &Channel) -> io::Result<Option<Beginning>> {
    let Some(mut message) = channel.receive(true)? else { return Ok(None) };
    let mut first = serde_json::from_slice(&message.bytes)?;
    let mut captured = None;
    if let ToEngine::Capture { inner } = first {
        captured = Some(capture(message.descriptors, inner)?);
        let Some(next) = channel.receive(true)? else { return Ok(None) };
        first = serde_json::from_slice(&next.bytes)?;
        message = next;
    }
    let ToEngine::Start(spec) = first else {
        return Err(io::Error::other("the first message is not a start"));
    };
    let mut descriptors = message.descriptors;
    let kernel = if spec.kernel { descriptors.pop() } else { None };
    let [tcp, gre, tun] = <[OwnedFd; 3]>::try_from(descriptors)
        .map_err(|got| io::Error::other(format!("{} descriptors instead of 3", got.len())))?;
    Ok(Some((*spec, Descriptors { tcp, gre, tun, kernel }, captured)))
}

/// Begins a capture to the socket that came with the message.
fn capture(descriptors: Vec<OwnedFd>, inner: bool) -> io::Result<Capture> {
    let sink = descriptors.into_iter().next();
    sink.map(|sink| Capture::new(sink, inner)).ok_or_else(|| io::Error::other("a capture without a socket"))
}

fn receive_password(channel: &Channel) -> io::Result<Option<Secret>> {
    let Some(mut message) = channel.receive(true)? else { return Ok(None) };
    if message.bytes.first() != Some(&b'p') {
        return Err(io::Error::other("the second message is not a password"));
    }
    message.bytes.remove(0);
    Ok(Some(Secret::new(message.bytes)))
}

/// Logs to the pipe that the supervisor reads, one line per event: level, space, text.
fn start_log(loglevel: u8) {
    let level = match loglevel {
        0 => tracing::Level::WARN,
        1 => tracing::Level::INFO,
        _ => tracing::Level::DEBUG,
    };
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .without_time()
        .with_target(false)
        .with_ansi(false)
        .log_internal_errors(false)
        .with_writer(io::stderr)
        .finish();
    if tracing::subscriber::set_global_default(subscriber).is_err() {
        tracing::debug!("a subscriber is set already");
    }
}
