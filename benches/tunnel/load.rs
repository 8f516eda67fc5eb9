//! Generates the load for a tunnel and measures it.

use std::{
    fmt, fs,
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pptpctl::testing::os::batch::Batch;
use socket2::{Domain, Socket, Type};

use crate::{
    far_end::at_far_end,
    tunnels::{Tunnel, World},
};

/// Warm-up before a measurement, and its duration.
const WARM_UP: Duration = Duration::from_millis(400);
const DURATION: Duration = Duration::from_millis(1500);
/// Datagrams in transit, and sent at a time.
const MAX_IN_TRANSIT: u64 = 256;
const STEP: u64 = 32;
/// Datagrams that take longer than this are lost.
const LOSS_TIMEOUT: Duration = Duration::from_millis(200);

/// Bytes of the headers of IPv4 and UDP.
const HEADERS: usize = 28;

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub enum Cell {
    /// Numbers of streams up and down.
    Tcp(usize, usize),
    /// Bytes of payload, and whether it goes up.
    Udp(usize, bool),
}

impl Cell {
    pub fn all() -> Vec<Self> {
        let tcp = [(1, 0), (0, 1), (1, 1), (4, 0), (0, 4), (4, 4)].map(|(up, down)| Self::Tcp(up, down));
        let udp =
            [(1372, true), (1372, false), (36, true), (36, false)].map(|(size, up)| Self::Udp(size, up));
        tcp.into_iter().chain(udp).collect()
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Tcp(up, 0) => write!(f, "tcp up {up}"),
            Self::Tcp(0, down) => write!(f, "tcp down {down}"),
            Self::Tcp(up, down) => write!(f, "tcp both {up}+{down}"),
            Self::Udp(size, up) => write!(f, "udp {} {}", if up { "up" } else { "down" }, size + HEADERS),
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// Payload that arrived, in Mbit/s.
    pub rate: f64,
    /// CPU seconds of the tunnel's processes for each Gbit.
    pub cpu: f64,
}

/// Counts what has arrived, until the end.
#[derive(Default)]
struct Counters {
    end: AtomicBool,
    bytes: AtomicU64,
}

impl Counters {
    fn is_running(&self) -> bool {
        !self.end.load(Ordering::Relaxed)
    }
}

/// Measures one tunnel once.
pub fn measure(_world: &World, tunnel: &Tunnel, cell: Cell) -> Sample {
    match cell {
        Cell::Tcp(up, down) => tcp(tunnel, up, down),
        Cell::Udp(size, up) => udp(tunnel, size, up),
    }
}

fn tcp(tunnel: &Tunnel, up: usize, down: usize) -> Sample {
    let listener = at_far_end(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
    let port = listener.local_addr().unwrap().port();
    let pairs: Vec<(TcpStream, TcpStream)> = (0..up + down)
        .map(|_| {
            let near = bound(tunnel, Type::STREAM);
            near.connect(&SocketAddrV4::new(tunnel.far, port).into()).unwrap();
            (near.into(), listener.accept().unwrap().0)
        })
        .collect();
    let counters = Counters::default();
    thread::scope(|scope| {
        for (number, (near, far)) in pairs.iter().enumerate() {
            let (from, to) = if number < up { (near, far) } else { (far, near) };
            let counters = &counters;
            scope.spawn(move || {
                let (mut from, block) = (from, vec![0x5a; 1 << 17]);
                while from.write_all(&block).is_ok() {}
            });
            scope.spawn(move || {
                let (mut to, mut block) = (to, vec![0; 1 << 18]);
                while let Ok(size @ 1..) = to.read(&mut block) {
                    counters.bytes.fetch_add(size as u64, Ordering::Relaxed);
                }
            });
        }
        let sample = sample(tunnel, &counters);
        for (near, far) in &pairs {
            let _gone = (near.shutdown(Shutdown::Both), far.shutdown(Shutdown::Both));
        }
        sample
    })
}

fn udp(tunnel: &Tunnel, size: usize, up: bool) -> Sample {
    let far = at_far_end(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
    let near: UdpSocket = bound(tunnel, Type::DGRAM).into();
    near.connect((tunnel.far, far.local_addr().unwrap().port())).unwrap();
    far.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    near.send(b"hello").unwrap();
    let (_, from) = far.recv_from(&mut [0; 8]).unwrap();
    far.connect(from).unwrap();
    let (source, sink) = if up { (near, far) } else { (far, near) };
    let (counters, sent, arrived, lost) =
        (Counters::default(), AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut batch = Batch::new(64, 2048);
            while counters.is_running() {
                let mut fds = [PollFd::new(sink.as_fd(), PollFlags::POLLIN)];
                if poll(&mut fds, PollTimeout::from(50_u8)).unwrap() > 0 {
                    let count = batch.receive(&sink).unwrap() as u64;
                    arrived.fetch_add(count, Ordering::Relaxed);
                    counters.bytes.fetch_add(count * size as u64, Ordering::Relaxed);
                }
            }
        });
        scope.spawn(|| {
            let (mut batch, payload) = (Batch::new(64, 2048), vec![0x5a; size]);
            let (mut before, mut since) = (0, Instant::now());
            while counters.is_running() {
                let now = arrived.load(Ordering::Relaxed);
                let gone = now + lost.load(Ordering::Relaxed);
                let in_transit = sent.load(Ordering::Relaxed).saturating_sub(gone);
                if now != before {
                    (before, since) = (now, Instant::now());
                } else if in_transit > 0 && since.elapsed() > LOSS_TIMEOUT {
                    lost.fetch_add(in_transit, Ordering::Relaxed);
                    since = Instant::now();
                    continue;
                }
                if in_transit + STEP > MAX_IN_TRANSIT {
                    thread::yield_now();
                    continue;
                }
                for _ in 0..STEP {
                    batch.push_parts(&payload, &[]);
                }
                sent.fetch_add(batch.send(&source).unwrap_or(0) as u64, Ordering::Relaxed);
            }
        });
        sample(tunnel, &counters)
    })
}

/// Waits until the far end answers.
pub fn wait_until_reachable(tunnel: &Tunnel) {
    let listener = at_far_end(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
    let address = SocketAddrV4::new(tunnel.far, listener.local_addr().unwrap().port());
    let end = Instant::now() + Duration::from_secs(30);
    while let Err(error) =
        bound(tunnel, Type::STREAM).connect_timeout(&address.into(), Duration::from_secs(1))
    {
        assert!(Instant::now() < end, "{}: {error}", tunnel.name);
        thread::sleep(Duration::from_millis(50));
    }
}

fn bound(tunnel: &Tunnel, kind: Type) -> Socket {
    let socket = Socket::new(Domain::IPV4, kind, None).unwrap();
    socket.bind_device(Some(tunnel.device.as_bytes())).unwrap();
    socket
}

fn sample(tunnel: &Tunnel, counters: &Counters) -> Sample {
    thread::sleep(WARM_UP);
    let bytes = || counters.bytes.load(Ordering::Relaxed);
    let (begin, before, cpu) = (Instant::now(), bytes(), cpu(tunnel));
    thread::sleep(DURATION);
    let (time, bits, cpu) = (begin.elapsed(), 8.0 * (bytes() - before) as f64, self::cpu(tunnel) - cpu);
    counters.end.store(true, Ordering::Relaxed);
    Sample { rate: bits / time.as_secs_f64() / 1e6, cpu: cpu * 1e9 / bits.max(1.0) }
}

/// Returns the CPU time of a tunnel's processes, all threads, in seconds.
fn cpu(tunnel: &Tunnel) -> f64 {
    let mut nanos = 0_u64;
    for pid in &tunnel.processes {
        for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            nanos += text.split_whitespace().next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    nanos as f64 / 1e9
}
