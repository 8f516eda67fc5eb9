//! Two network namespaces with a veth pair between them, separate mount and pid namespaces, and the server's
//! side of the control connection. All of it ends with the first process.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddrV4, TcpListener, TcpStream},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixDatagram,
    },
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use nix::sched::{CloneFlags, setns, unshare};
use pptpctl::testing::pptp::wire::{
    EchoReply, Message, OutgoingCallReply, StartControlConnectionReply, StreamDecoder, Text, VERSION,
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::isolated::isolated_command;

/// Address of the engines.
const NEAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);
const DEVICE: &str = "near";
/// Limit for a call to come up; the classic program sleeps for a second.
const LIMIT: Duration = Duration::from_secs(20);

/// The engines' (`near`) and the server's (`far`) namespace, and call ids.
pub struct World {
    near: File,
    far: File,
    calls: Arc<Mutex<HashMap<Ipv4Addr, u16>>>,
}

/// Runs `inside` in new namespaces, which end with it, or after `limit`.
pub fn inside(limit: Duration, inside: impl FnOnce(&World)) {
    if std::env::var_os("BENCH_WORLD").is_none() {
        return enter(limit);
    }
    // The log is not read, but its socket must exist.
    let log = UnixDatagram::bind("/dev/log").unwrap();
    thread::spawn(move || while log.recv(&mut [0; 4096]).is_ok() {});
    inside(&World::new());
}

fn enter(limit: Duration) {
    let mut world = isolated_command("BENCH_WORLD", "null zero full random urandom tty")
        .args(std::env::args().skip(1))
        .spawn()
        .unwrap();
    let end = Instant::now() + limit;
    let status = loop {
        if let Some(status) = world.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > end {
            // This kills all processes in its namespace.
            world.kill().unwrap();
        }
        thread::sleep(Duration::from_millis(50));
    };
    assert!(status.success(), "the measurement failed in its namespaces (root is needed): {status}");
}

impl World {
    fn new() -> Self {
        let own = || File::open("/proc/thread-self/ns/net").unwrap();
        let near = own();
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let far = own();
        let netns = format!("/proc/{}/fd/{}", std::process::id(), near.as_raw_fd());
        ip("link add far mtu 9000 type veth peer name near mtu 9000");
        ip(&format!("link set {DEVICE} netns {netns}"));
        ip("link set lo up");
        for host in 1..=9 {
            ip(&format!("addr add 192.0.2.{host}/24 dev far"));
        }
        ip("link set far up");
        let calls = Arc::default();
        serve(&calls);
        setns(&near, CloneFlags::CLONE_NEWNET).unwrap();
        ip("link set lo up");
        ip(&format!("addr add {NEAR}/24 dev {DEVICE}"));
        ip(&format!("link set {DEVICE} up"));
        Self { near, far, calls }
    }

    /// Opens a raw GRE socket of the server at `address`.
    pub fn gre(&self, address: Ipv4Addr) -> OwnedFd {
        setns(&self.far, CloneFlags::CLONE_NEWNET).unwrap();
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(47))).unwrap();
        socket.bind(&SocketAddrV4::new(address, 0).into()).unwrap();
        socket.connect(&SocketAddrV4::new(NEAR, 0).into()).unwrap();
        socket.set_send_buffer_size(4 << 20).unwrap();
        setns(&self.near, CloneFlags::CLONE_NEWNET).unwrap();
        socket.into()
    }

    /// Returns the call id of the engine that called the server at `address`.
    pub fn call(&self, address: Ipv4Addr) -> u16 {
        let end = Instant::now() + LIMIT;
        loop {
            if let Some(call) = self.calls.lock().unwrap().get(&address) {
                return *call;
            }
            assert!(Instant::now() < end, "no call to {address} within {LIMIT:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Counts packets that have left the engines' namespace.
    pub fn sent() -> u64 {
        let table = fs::read_to_string("/proc/thread-self/net/dev").unwrap();
        let line = table.lines().find_map(|line| line.trim().strip_prefix("near:")).unwrap();
        line.split_whitespace().nth(9).unwrap().parse().unwrap()
    }
}

fn ip(words: &str) {
    let status = Command::new("ip").args(words.split(' ')).stdin(Stdio::null()).status().unwrap();
    assert!(status.success(), "ip {words}: {status}");
}

fn serve(calls: &Arc<Mutex<HashMap<Ipv4Addr, u16>>>) {
    let listener = TcpListener::bind("0.0.0.0:1723").unwrap();
    let calls = Arc::clone(calls);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let calls = Arc::clone(&calls);
            thread::spawn(move || serve_connection(stream, &calls));
        }
    });
}

/// Serves one control connection until its end.
fn serve_connection(mut stream: TcpStream, calls: &Mutex<HashMap<Ipv4Addr, u16>>) {
    let IpAddr::V4(address) = stream.local_addr().unwrap().ip() else { return };
    let (mut decoder, mut bytes) = (StreamDecoder::default(), [0; 512]);
    while let Ok(size @ 1..) = stream.read(&mut bytes) {
        let mut input = &bytes[..size];
        while let Some(message) = decoder.next_message(&mut input) {
            let mut out = Vec::new();
            if let Some(reply) = reply(&message) {
                reply.encode(&mut out);
            }
            if stream.write_all(&out).is_err() {
                return;
            }
            if let Message::OutgoingCallRequest(request) = message {
                calls.lock().unwrap().insert(address, request.call_id);
            }
        }
    }
}

fn reply(message: &Message) -> Option<Message> {
    Some(match message {
        Message::StartControlConnectionRequest(_) => StartControlConnectionReply {
            version: VERSION,
            result: 1,
            error: 0,
            framing: 3,
            bearer: 3,
            max_channels: 1,
            firmware: 1,
            host_name: Text::new("bench"),
            vendor: Text::EMPTY,
        }
        .into(),
        Message::OutgoingCallRequest(request) => OutgoingCallReply {
            call_id: PEER_CALL,
            peer_call_id: request.call_id,
            result: 1,
            error: 0,
            cause: 0,
            connect_speed: 10_000_000,
            window: 64,
            delay: 0,
            channel: 0,
        }
        .into(),
        Message::EchoRequest(request) => {
            EchoReply { identifier: request.identifier, result: 1, error: 0 }.into()
        }
        _ => return None,
    })
}

/// Call id that the server assigns to every call.
pub const PEER_CALL: u16 = 4711;
