//! The environment of one `pptp` test: new network, mount and pid namespaces, a log, a server, and a
//! substitute for a PPP daemon built from [`Link`].

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{fs::FileTypeExt, net::UnixDatagram},
    },
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{Signal, kill},
        socket::{AddressFamily, SockFlag, SockType, socketpair},
    },
    unistd::Pid,
};
use pptpctl::testing::{
    dropin::stream::Stream,
    ppp::{
        auth::Credentials,
        hdlc::{Accm, encode},
        link::{self, Link, Received},
    },
    secret::Secret,
};

use crate::isolated::isolated_command;

pub const SERVER: &str = "192.0.2.1";
pub const LIMIT: Duration = Duration::from_secs(20);
/// How long an answer may be missing until it counts as lost, where any may be.
const LATE: Duration = Duration::from_secs(4);

/// Runs `inside` as the first process of new namespaces, which end with it.
pub fn in_world(test: &str, inside: impl FnOnce()) {
    if std::env::var_os("PPTP_WORLD").is_some() {
        return inside();
    }
    let status = isolated_command("PPTP_WORLD", "null zero full random urandom tty net/tun")
        .args(["--exact", test, "--nocapture", "--test-threads", "1"])
        .status()
        .unwrap();
    assert!(status.success(), "{test} failed in its namespaces (root is needed)");
}

/// Receives log messages as they are written.
pub struct Syslog(mpsc::Receiver<String>, Vec<String>);

impl Syslog {
    pub fn start() -> Self {
        let socket = UnixDatagram::bind("/dev/log").unwrap();
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(size) = socket.recv(&mut bytes) {
                let line = String::from_utf8_lossy(&bytes[..size]).into_owned();
                println!("log: {line}");
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self(receiver, Vec::new())
    }

    /// Waits for a line that contains `words`.
    #[track_caller]
    pub fn wait_for(&mut self, words: &str) -> String {
        self.wait_where(words, |line| line.contains(words))
    }

    /// Waits for a line for which `holds` returns true.
    #[track_caller]
    pub fn wait_where(&mut self, what: &str, holds: impl Fn(&str) -> bool) -> String {
        if let Some(line) = self.1.iter().find(|line| holds(line)) {
            return line.clone();
        }
        let end = Instant::now() + LIMIT;
        while let Ok(line) = self.0.recv_timeout(end.saturating_duration_since(Instant::now())) {
            self.1.push(line.clone());
            if holds(&line) {
                return line;
            }
        }
        panic!("no line with {what:?} in {:#?}", self.1);
    }
}

/// Our own server, in another network namespace. Dropping it ends it.
pub struct Server(Child);

impl Server {
    pub fn start(more: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_pptpctl"))
            .arg("__serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let config = format!("{{\"users\":[[\"user\",\"secret\"]],\"talk\":true{more}}}\n");
        child.stdin.as_mut().unwrap().write_all(config.as_bytes()).unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut ready).unwrap();
        assert_eq!(ready, "ready\n");
        Self(child)
    }

    /// Runs a program in the server's network namespace.
    #[track_caller]
    pub fn run(&self, program: &str, args: &[&str]) {
        let mut command = self.enter(program);
        assert!(command.args(args).stdin(Stdio::null()).status().unwrap().success(), "{program} {args:?}");
    }

    /// Returns a command to run in the server's network namespace.
    pub fn enter(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.namespace())).arg(program);
        command
    }

    /// Its network namespace.
    pub fn namespace(&self) -> String {
        format!("/proc/{}/ns/net", self.0.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _status = self.0.wait();
    }
}

/// A running `pptp`, and the other end of its standard input.
pub struct Pptp {
    pub child: Child,
    pub ppp: OwnedFd,
    gone: bool,
    classic: bool,
}

pub const OURS: &str = env!("CARGO_BIN_EXE_pptp");
pub const CLASSIC: &str = "/usr/sbin/pptp";

impl Pptp {
    pub fn start(program: &str, line: &str, pipe: Pipe) -> Self {
        let (own_end, child_end) = pipe.open();
        let child = Command::new(program)
            .args(line.split(' '))
            .stdin(Stdio::from(child_end))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, ppp: own_end, gone: false, classic: program == CLASSIC }
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        self.gone = true;
        self.wait_for(LIMIT).expect("pptp does not exit")
    }

    /// Ends the program in a test that is not about its termination. The classic one can deadlock when
    /// signals coincide, because its handlers call syslog(3); it is killed then.
    #[track_caller]
    pub fn end(&mut self) {
        self.signal(Signal::SIGTERM);
        if self.classic && self.wait_for(Duration::from_secs(5)).is_none() {
            println!("the classic program hangs on SIGTERM");
            self.signal(Signal::SIGKILL);
        }
        self.wait();
    }

    fn wait_for(&mut self, limit: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + limit;
        loop {
            let status = self.child.try_wait().unwrap();
            if status.is_some() || Instant::now() > end {
                return status;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Pptp {
    fn drop(&mut self) {
        if !self.gone {
            let _gone = self.child.kill();
            let _gone = self.child.wait();
        }
    }
}

/// Type of the PPP stream's descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pipe {
    /// A socket, as with ppp(8).
    Socket,
    /// A socket whose reads return what was written with one write.
    Packets,
    /// A pty, as with pppd(8): the program has the master.
    Pty,
}

impl Pipe {
    fn open(self) -> (OwnedFd, OwnedFd) {
        match self {
            Self::Socket => {
                let (own_end, child_end) = std::os::unix::net::UnixStream::pair().unwrap();
                (own_end.into(), child_end.into())
            }
            Self::Packets => {
                let (kind, flags) = (SockType::SeqPacket, SockFlag::SOCK_CLOEXEC);
                socketpair(AddressFamily::Unix, kind, None, flags).unwrap()
            }
            Self::Pty => {
                let pty = pptpctl::testing::os::pty::Pty::open().unwrap();
                (pty.slave, pty.master)
            }
        }
    }
}

/// A substitute for a PPP daemon.
pub struct Daemon {
    pub link: Link,
    sync: bool,
    stream: Stream,
    waiting: Vec<Vec<u8>>,
    pub up: Option<link::LinkUp>,
    pub packets: Vec<Vec<u8>>,
    /// How many answers may still be lost: where frames have no boundaries, a busy machine joins and splits them.
    pub may_lose: usize,
}

impl Daemon {
    pub fn new(sync: bool, require_mppe: bool) -> Self {
        let random = Box::new(|bytes: &mut [u8]| getrandom::fill(bytes).unwrap());
        let credentials =
            Credentials { user: "user".into(), domain: None, password: Secret::new(b"secret".to_vec()) };
        let mut config = link::LinkConfig::client(credentials, random);
        if require_mppe {
            config.mppe.demand = pptpctl::testing::ppp::mppe::Demand::Require;
        }
        let mut link = Link::new(config, Instant::now());
        link.open(Instant::now());
        Self {
            link,
            sync,
            stream: Stream::new(sync),
            waiting: Vec::new(),
            up: None,
            packets: Vec::new(),
            may_lose: 0,
        }
    }

    pub fn send(&mut self, ip: &[u8]) {
        let mut frame = vec![0; ip.len() + 64];
        let length = self.link.encapsulate(ip, &mut frame).unwrap();
        frame.truncate(length);
        self.waiting.push(frame);
    }

    /// Runs the link until `done`, for at most [`LIMIT`].
    #[track_caller]
    pub fn run(&mut self, ppp: &OwnedFd, mut done: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + LIMIT;
        loop {
            while let Some(event) = self.link.poll_event() {
                match event {
                    link::LinkEvent::Up(up) => self.up = Some(up),
                    link::LinkEvent::Down(reason) => panic!("link down: {reason}"),
                    _ => {}
                }
            }
            if done(self) {
                return;
            }
            self.write(ppp);
            let now = Instant::now();
            if now >= end {
                for pid in processes("pptpgw") {
                    kill(Pid::from_raw(pid), Signal::SIGUSR1).unwrap();
                }
                std::thread::sleep(Duration::from_millis(300));
                panic!("not done in {LIMIT:?}: {} packets, {:?}", self.packets.len(), self.stream);
            }
            let mut wake = self.link.next_timeout().map_or(end, |(at, _)| at.min(end));
            if let Some((at, _)) = self.stream.next_timeout(now) {
                wake = wake.min(at);
            }
            if self.may_lose > 0 {
                wake = wake.min(now + LATE);
            }
            let micros = wake.saturating_duration_since(now).as_micros();
            let millis = micros.div_ceil(1000);
            let mut fds = [PollFd::new(ppp.as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::try_from(i32::try_from(millis).unwrap()).unwrap()).unwrap();
            if fds[0].any() == Some(true) {
                let mut bytes = [0; 65536];
                let size = nix::unistd::read(ppp, &mut bytes).unwrap_or(0);
                assert!(size > 0, "the PPP stream has ended");
                self.read(&bytes[..size]);
            } else {
                self.read(&[]);
            }
            self.link.handle_timeout(Instant::now());
        }
    }

    pub fn write(&mut self, ppp: &OwnedFd) {
        while let Some(frame) = self.link.poll_output() {
            self.waiting.push(frame);
        }
        for frame in std::mem::take(&mut self.waiting) {
            let mut bytes = frame;
            if !self.sync {
                let frame = std::mem::take(&mut bytes);
                encode(&frame, Accm::ALL, &mut bytes);
            }
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let sent = nix::unistd::write(ppp, rest).unwrap();
                rest = &rest[sent..];
            }
        }
    }

    /// Reads frames with the program's own stream code; empty `bytes` mean that there is nothing to read.
    fn read(&mut self, bytes: &[u8]) {
        let Self { link, stream, packets, .. } = self;
        let mut take = |frame: &[u8]| {
            if let Received::Ip(ip) = link.handle_input(Instant::now(), &mut frame.to_vec()) {
                packets.push(ip.to_vec());
            }
        };
        match bytes {
            [] => stream.input_idle(Instant::now(), take),
            _ => stream.read(bytes, &mut take),
        }
    }

    /// Brings the link up and sends `count` pings with `data` bytes each to the server's end; all must be
    /// answered, but for [`Daemon::may_lose`].
    #[track_caller]
    pub fn ping(&mut self, ppp: &OwnedFd, count: u16, data: usize) {
        self.run(ppp, |daemon| daemon.up.is_some());
        let local = self.up.as_ref().unwrap().local;
        // Late answers of an earlier round are distinguished by size.
        let answered =
            move |daemon: &mut Self| daemon.packets.iter().filter(|ip| ip.len() == 28 + data).count();
        self.packets.clear();
        let (mut lost, mut before, mut progress) = (0, 0, Instant::now());
        let mut has = move |daemon: &mut Self, wanted: usize| {
            let count = answered(daemon);
            if count > before || count + lost >= wanted {
                (before, progress) = (count, Instant::now());
            } else if daemon.may_lose > 0 && progress.elapsed() >= LATE {
                daemon.may_lose -= 1;
                lost += 1;
                progress = Instant::now();
                println!("an answer of {data} bytes is lost");
            }
            count + lost >= wanted
        };
        for number in 0..count {
            self.send(&echo_request(local.octets(), [10, 77, 0, 1], number, data));
            // A window of eight: a pty's buffer is small, and speed does not matter here.
            let wanted = usize::from(number).saturating_sub(8);
            self.run(ppp, |daemon| has(daemon, wanted));
        }
        self.run(ppp, |daemon| has(daemon, usize::from(count)));
        for packet in self.packets.iter().filter(|ip| ip.len() == 28 + data) {
            assert_eq!((packet[9], packet[20]), (1, 0), "not an echo reply");
        }
    }
}

fn echo_request(from: [u8; 4], to: [u8; 4], number: u16, data: usize) -> Vec<u8> {
    let mut icmp = vec![8, 0, 0, 0, 0, 7];
    icmp.extend(number.to_be_bytes());
    icmp.extend((0..data).map(|n| u8::try_from((n * 31 + usize::from(number)) % 256).unwrap()));
    let sum = checksum(&icmp);
    icmp[2..4].copy_from_slice(&sum);
    let length = u16::try_from(20 + icmp.len()).unwrap().to_be_bytes();
    let mut ip = vec![0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, 1, 0, 0];
    ip.extend(from);
    ip.extend(to);
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum);
    [ip, icmp].concat()
}

pub fn checksum(bytes: &[u8]) -> [u8; 2] {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).unwrap()).to_be_bytes()
}

/// Pids of running processes with this name.
pub fn processes(name: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        if status.starts_with(&format!("Name:\t{name}\n")) && !status.contains("State:\tZ") {
            found.push(pid);
        }
    }
    found
}

/// Polls until the condition holds, for events without a notification.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < end, "{what}: not within {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Counts established connections to port 1723.
pub fn connections() -> usize {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    table
        .lines()
        .filter(|line| {
            line.split_whitespace().nth(2).is_some_and(|to| to.ends_with(":06BB"))
                && line.split_whitespace().nth(3) == Some("01")
        })
        .count()
}

/// Names of the managers' sockets.
pub fn sockets() -> Vec<String> {
    let entries = fs::read_dir("/var/run/pptp").into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_socket()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// Returns whether the classic program is installed; fails in CI if it is not.
pub fn is_classic_installed() -> bool {
    let is_installed = Path::new(CLASSIC).exists();
    assert!(is_installed || std::env::var_os("CI").is_none(), "{CLASSIC} is missing (Debian: pptp-linux)");
    if !is_installed {
        println!("skipped: no {CLASSIC} (Debian: pptp-linux)");
    }
    is_installed
}

/// Reads `count` bytes; `None` at the end.
pub fn read_exactly(from: &mut impl Read, count: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; count];
    from.read_exact(&mut bytes).ok().map(|()| bytes)
}
