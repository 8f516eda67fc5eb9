//! A scripted server: a listener and a raw GRE socket at an address of the loopback device; and helpers that
//! run the same test against `pptp` and the classic program.

use std::{
    io::Write,
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::Signal,
};
use pptpctl::testing::{
    ppp::hdlc::{Accm, Decoder, encode},
    pptp::gre,
};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::world::*;

/// Result of a test body: `Err` describes the wrong behaviour.
pub type Verdict = Result<(), String>;

/// Runs a test body against our program, which must pass, and against the classic one where it is installed,
/// which must fail with exactly this fault: that shows that the body detects it.
pub fn against_the_classic(test: &str, fault: &str, body: fn(&str, &mut Syslog) -> Verdict) {
    in_world(test, || {
        let mut log = Syslog::start();
        assert_eq!(body(OURS, &mut log), Ok(()), "our program");
        no_manager();
        if is_classic_installed() {
            let found = body(CLASSIC, &mut log)
                .expect_err("the classic program passes, so the test does not detect the defect");
            println!("the classic program: {found}");
            assert!(found.contains(fault), "the classic program fails in another way: {found}");
        }
    });
}

/// How long to wait for something that only a program with the defect does. The classic program must do it,
/// however busy the machine is; for ours a short wait suffices, as nothing should happen.
pub fn defect_timeout(program: &str) -> Duration {
    if program == CLASSIC { LIMIT } else { Duration::from_secs(2) }
}

/// How long to wait for something that only a program without the defect does: the reverse.
pub fn correct_timeout(program: &str) -> Duration {
    if program == CLASSIC { Duration::from_secs(3) } else { LIMIT }
}

/// Waits until no call manager is left.
pub fn no_manager() {
    eventually("exit of the manager", || processes("pptpcm").is_empty() && sockets().is_empty());
}

pub struct Peer {
    pub address: Ipv4Addr,
    /// Call id that it assigns.
    pub call_id: u16,
    listener: TcpListener,
    gre: Socket,
}

impl Peer {
    /// Listens at 192.0.2.`last`.
    pub fn at(last: u8) -> Self {
        let address = Ipv4Addr::new(192, 0, 2, last);
        output("ip", &["addr", "replace", &format!("{address}/32"), "dev", "lo"]);
        let listener = TcpListener::bind((address, 1723)).unwrap();
        let gre = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(47))).unwrap();
        gre.bind(&SockAddr::from(std::net::SocketAddrV4::new(address, 0))).unwrap();
        gre.set_recv_buffer_size(4 << 20).unwrap();
        Self { address, call_id: 0x1200 | u16::from(last), listener, gre }
    }

    pub fn line(&self, more: &str) -> String {
        format!(
            "{} --nolaunchpppd --nohostroute{}{more}",
            self.address,
            if more.is_empty() { "" } else { " " }
        )
    }

    /// Accepts the next control connection, if one comes within `limit`.
    pub fn accept_within(&self, limit: Duration) -> Option<TcpStream> {
        wait_readable(&self.listener, Instant::now() + limit).then(|| {
            let (tcp, _) = self.listener.accept().unwrap();
            tcp.set_read_timeout(Some(LIMIT)).unwrap();
            tcp
        })
    }

    #[track_caller]
    pub fn accept(&self) -> TcpStream {
        self.accept_within(LIMIT).expect("no control connection")
    }

    /// Starts a program and answers it until its call is up.
    #[track_caller]
    pub fn call(self, program: &str, more: &str, pipe: Pipe) -> Call {
        let pptp = Pptp::start(program, &self.line(more), pipe);
        let mut tcp = self.accept();
        let sccrq = message(&mut tcp).unwrap();
        tcp.write_all(&start_reply(&sccrq)).unwrap();
        let ocrq = message(&mut tcp).unwrap();
        tcp.write_all(&call_reply(&ocrq, self.call_id)).unwrap();
        let id = u16::from_be_bytes([ocrq[12], ocrq[13]]);
        let call = Call { pptp, tcp, id, peer: self, decoder: Decoder::new(9000) };
        let pid = call.pptp.child.id();
        // Both programs redirect standard error to /dev/null when the tunnel runs.
        eventually("start of the tunnel", || {
            std::fs::read_link(format!("/proc/{pid}/fd/2")).is_ok_and(|to| to.ends_with("null"))
        });
        call
    }
}

/// A program whose call is up.
pub struct Call {
    pub pptp: Pptp,
    pub tcp: TcpStream,
    /// Call id that the program chose.
    pub id: u16,
    pub peer: Peer,
    decoder: Decoder,
}

/// A GRE packet from the program.
#[derive(Debug, PartialEq, Eq)]
pub struct Packet {
    pub source: Ipv4Addr,
    pub seq: Option<u32>,
    pub ack: Option<u32>,
    pub payload: Vec<u8>,
}

impl Call {
    pub fn packet(&self, seq: u32, ack: Option<u32>, payload: &[u8]) -> Vec<u8> {
        let mut header = [0; gre::MAX_HEADER];
        let length = u16::try_from(payload.len()).unwrap();
        let length = gre::emit(gre::Header { call_id: self.id, seq: Some(seq), ack }, length, &mut header);
        [&header[..length], payload].concat()
    }

    pub fn send_raw(&self, packet: &[u8]) {
        let to = SockAddr::from(std::net::SocketAddrV4::new(self.peer.address, 0));
        self.peer.gre.send_to(packet, &to).unwrap();
    }

    pub fn send(&self, seq: u32, payload: &[u8]) {
        self.send_raw(&self.packet(seq, None, payload));
    }

    /// Runs `action` while the program is stopped, so that the program sees everything at once.
    pub fn while_stopped(&self, action: impl FnOnce()) {
        self.pptp.signal(Signal::SIGSTOP);
        let status = format!("/proc/{}/status", self.pptp.child.id());
        eventually("stop of the program", || {
            std::fs::read_to_string(&status).unwrap().contains("\nState:\tT")
        });
        action();
        self.pptp.signal(Signal::SIGCONT);
    }

    /// Returns the program's next packet, if one comes within `limit`.
    pub fn receive(&self, limit: Duration) -> Option<Packet> {
        let end = Instant::now() + limit;
        while wait_readable(&self.peer.gre, end) {
            let mut bytes = vec![0; 65536];
            let (size, from) = nix::sys::socket::recvfrom::<nix::sys::socket::SockaddrIn>(
                std::os::fd::AsRawFd::as_raw_fd(&self.peer.gre),
                &mut bytes,
            )
            .unwrap();
            let packet = &bytes[20..size];
            // On the loopback device this socket also receives its own packets.
            let Ok((header, payload)) = gre::parse(packet) else { continue };
            if header.call_id == self.peer.call_id {
                return Some(Packet {
                    source: from.unwrap().ip(),
                    seq: header.seq,
                    ack: header.ack,
                    payload: packet[payload].to_vec(),
                });
            }
        }
        None
    }

    /// Reads asynchronous frames from the program until `done` or for `limit`.
    pub fn frames(&mut self, limit: Duration, done: impl Fn(&[Vec<u8>]) -> bool) -> Vec<Vec<u8>> {
        let end = Instant::now() + limit;
        let mut frames = Vec::new();
        while !done(&frames) && wait_readable(&self.pptp.ppp, end) {
            let mut bytes = [0; 65536];
            let size = nix::unistd::read(&self.pptp.ppp, &mut bytes).unwrap();
            assert!(size > 0, "the PPP stream has ended");
            self.decoder.feed(&bytes[..size], |frame| frames.push(frame.to_vec()));
        }
        frames
    }

    pub fn write_frame(&self, frame: &[u8]) {
        let mut bytes = Vec::new();
        encode(frame, Accm::ALL, &mut bytes);
        self.write(&bytes);
    }

    pub fn write(&self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let size = nix::unistd::write(&self.pptp.ppp, bytes).unwrap();
            bytes = &bytes[size..];
        }
    }

    /// Reads one of the program's statistics.
    #[track_caller]
    pub fn statistic(&self, log: &mut Syslog, name: &str) -> i64 {
        let ident = format!("pptp[{}]", self.pptp.child.id());
        self.pptp.signal(Signal::SIGUSR1);
        let line = log.wait_where(name, |line| line.contains(&ident) && line.contains(name));
        // The classic program calls syslog(3) in its signal handler, and deadlocks if another signal arrives
        // meanwhile.
        log.wait_where("round trip", |line| line.contains(&ident) && line.contains("round trip"));
        let number = line.split(name).nth(1).unwrap().trim_start_matches([' ', '=']);
        number.split_whitespace().next().unwrap().parse().unwrap_or_else(|_| panic!("{line}"))
    }

    /// Ends the program and waits until it and its manager have exited.
    pub fn end(mut self) {
        self.pptp.end();
        drop(self.tcp);
        no_manager();
    }
}

/// Returns an IP frame that contains a number.
pub fn numbered(number: u32, length: usize) -> Vec<u8> {
    let mut frame = vec![0xff, 0x03, 0x00, 0x21];
    frame.extend(number.to_be_bytes());
    frame.resize(length.max(8), 0x5a);
    frame
}

pub fn number(frame: &[u8]) -> u32 {
    u32::from_be_bytes(frame[4..8].try_into().unwrap())
}

pub fn numbers(frames: &[Vec<u8>]) -> Vec<u32> {
    frames.iter().map(|frame| number(frame)).collect()
}

/// Reads the next control message; `None` at the end of the connection.
pub fn message(tcp: &mut TcpStream) -> Option<Vec<u8>> {
    let mut message = read_exactly(tcp, 2)?;
    let length = usize::from(u16::from_be_bytes([message[0], message[1]]));
    message.extend(read_exactly(tcp, length - 2)?);
    Some(message)
}

/// Returns the control message type (RFC 2637 §1.4).
pub fn kind(message: &[u8]) -> u16 {
    u16::from_be_bytes([message[8], message[9]])
}

/// Returns a Start-Control-Connection-Reply with result 1.
pub fn start_reply(request: &[u8]) -> Vec<u8> {
    let mut reply = request.to_vec();
    reply[9] = 2;
    reply[14] = 1;
    reply
}

/// Returns an Outgoing-Call-Reply with result 1.
pub fn call_reply(request: &[u8], call_id: u16) -> Vec<u8> {
    let [high, low] = call_id.to_be_bytes();
    let mut reply = vec![
        0,
        32,
        0,
        1,
        0x1a,
        0x2b,
        0x3c,
        0x4d,
        0,
        8,
        0,
        0,
        high,
        low,
        request[12],
        request[13],
        1,
        0,
        0,
        0,
    ];
    reply.extend([0, 1, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0]);
    reply
}

pub fn echo_request(identifier: u32) -> Vec<u8> {
    let mut request = vec![0, 16, 0, 1, 0x1a, 0x2b, 0x3c, 0x4d, 0, 5, 0, 0];
    request.extend(identifier.to_be_bytes());
    request
}

pub fn wait_readable(fd: &impl AsFd, end: Instant) -> bool {
    let millis = end.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000);
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::try_from(i32::try_from(millis).unwrap()).unwrap()).unwrap();
    fds[0].any() == Some(true)
}

/// Replaces a device with a FIFO that contains `bytes`, so that a test can check whether they are read.
pub fn pipe_at(path: &str, bytes: &[u8]) -> OwnedFd {
    use nix::{fcntl::OFlag, sys::stat::Mode};
    output("umount", &[path]);
    std::fs::remove_file(path).unwrap();
    nix::unistd::mkfifo(path, Mode::S_IRWXU).unwrap();
    let pipe = nix::fcntl::open(path, OFlag::O_RDWR | OFlag::O_NONBLOCK, Mode::empty()).unwrap();
    assert_eq!(nix::unistd::write(&pipe, bytes).unwrap(), bytes.len());
    pipe
}
