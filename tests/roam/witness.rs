//! Observers: a sender of pings into the tunnel that records when they are answered, and a capture on the
//! uplinks of everything that leaves the laptop.

use std::{
    collections::BTreeMap,
    io::Read,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::AsRawFd,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket,
    sockopt::ReceiveTimeout,
};
use nix::sys::time::TimeVal;
use socket2::{Domain, Protocol, Socket, Type};

use crate::world::{LIMIT, OFFICE, SERVER, thread_on_laptop};

/// Interval between pings.
const PING_INTERVAL: Duration = Duration::from_millis(5);

#[derive(Default)]
struct Journal {
    sent: BTreeMap<u16, Instant>,
    /// When the ping was sent, and when its answer arrived.
    answered: Vec<(Instant, Instant)>,
}

/// Continuous pings from the laptop to the office.
pub struct Pings {
    journal: Arc<Mutex<Journal>>,
    stop: Arc<AtomicBool>,
    thread: mpsc::Receiver<()>,
}

impl Pings {
    pub fn start() -> Self {
        let (journal, stop) = (Arc::new(Mutex::new(Journal::default())), Arc::new(AtomicBool::new(false)));
        let (shared, stopped) = (journal.clone(), stop.clone());
        let thread = thread_on_laptop(move || ping(&shared, &stopped));
        Self { journal, stop, thread }
    }

    /// Returns the time from `since` to the first answer to a ping that was sent after it.
    #[track_caller]
    pub fn time_to_answer(&self, since: Instant, log: impl Fn() -> String) -> Duration {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(took) = self.answer_after(since) {
                return took;
            }
            assert!(Instant::now() < deadline, "no ping is answered through the tunnel\n{}", log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns the time from `since` to the first answer to a ping that was sent after it, if one has come.
    pub fn answer_after(&self, since: Instant) -> Option<Duration> {
        let journal = self.journal.lock().unwrap();
        let first = journal.answered.iter().find(|(sent, _)| *sent >= since);
        first.map(|(_, answered)| *answered - since)
    }

    /// Forgets the answers so far.
    pub fn forget(&self) {
        self.journal.lock().unwrap().answered.clear();
    }

    /// Returns the longest time without an answer after `since`.
    pub fn longest_gap(&self, since: Instant) -> Duration {
        let journal = self.journal.lock().unwrap();
        let answers = journal.answered.iter().map(|(_, answered)| *answered).filter(|at| *at > since);
        let mut last = since;
        let gaps = answers.map(|at| at - std::mem::replace(&mut last, at));
        gaps.max().unwrap_or(Duration::MAX)
    }
}

impl Drop for Pings {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _panicked = self.thread.recv();
    }
}

fn ping(journal: &Mutex<Journal>, stop: &AtomicBool) {
    let mut socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).unwrap();
    socket.set_read_timeout(Some(PING_INTERVAL)).unwrap();
    let to = SocketAddrV4::new(Ipv4Addr::from(OFFICE), 0).into();
    let (mut number, mut due) = (0_u16, Instant::now());
    let mut bytes = [0; 256];
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        if now >= due {
            due = now + PING_INTERVAL;
            number = number.wrapping_add(1);
            let [high, low] = number.to_be_bytes();
            let mut request = [8, 0, 0, 0, 0x70, 0x70, high, low];
            let sum = request.chunks(2).map(|two| u32::from(two[0]) << 8 | u32::from(two[1])).sum::<u32>();
            let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
            request[2..4].copy_from_slice(&sum.to_be_bytes());
            // Fails if there is no route at all.
            if socket.send_to(&request, &to).is_ok() {
                journal.lock().unwrap().sent.insert(number, now);
            }
        }
        if let Ok(size) = socket.read(&mut bytes)
            && let Some([0, 0, _, _, 0x70, 0x70, high, low]) = bytes[..size].get(20..28)
        {
            let mut journal = journal.lock().unwrap();
            if let Some(sent) = journal.sent.remove(&u16::from_be_bytes([*high, *low])) {
                journal.answered.push((sent, Instant::now()));
            }
        }
    }
}

/// A capture of everything that passes the two uplinks.
pub struct UplinkCapture {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: mpsc::Receiver<()>,
}

#[derive(Default)]
struct Seen {
    tunnel: BTreeMap<String, usize>,
    others: BTreeMap<String, usize>,
}

impl UplinkCapture {
    pub fn open() -> Self {
        let (seen, stop) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
        let (shared, stopped) = (seen.clone(), stop.clone());
        let (ready, open) = mpsc::channel();
        let thread = thread_on_laptop(move || watch(&shared, &stopped, &ready));
        open.recv().unwrap();
        Self { seen, stop, thread }
    }

    /// Checks that only the tunnel's own packets left the laptop, and some of them by each of these uplinks.
    #[track_caller]
    pub fn assert_only_tunnel_packets(mut self, uplinks: &[&str]) {
        self.close();
        let seen = self.seen.lock().unwrap();
        assert!(seen.others.is_empty(), "packets left in clear: {:#?}", seen.others);
        for uplink in uplinks {
            assert!(
                seen.tunnel.contains_key(*uplink),
                "no packet of the tunnel on {uplink}: {:?}",
                seen.tunnel
            );
        }
    }

    /// Returns the packets that left in clear since the last call.
    pub fn take_in_clear(&self) -> Vec<String> {
        let others = std::mem::take(&mut self.seen.lock().unwrap().others);
        others.into_iter().map(|(what, count)| format!("{what}: {count}")).collect()
    }

    /// Returns how many packets to the office left in clear.
    pub fn count_in_clear(mut self) -> usize {
        self.close();
        let to_office = format!("to {}", Ipv4Addr::from(OFFICE));
        let seen = self.seen.lock().unwrap();
        seen.others.iter().filter(|(what, _)| what.ends_with(&to_office)).map(|(_, count)| count).sum()
    }

    fn close(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _panicked = self.thread.recv();
    }
}

impl Drop for UplinkCapture {
    fn drop(&mut self) {
        self.close();
    }
}

fn watch(seen: &Mutex<Seen>, stop: &AtomicBool, ready: &mpsc::Sender<()>) {
    let names: BTreeMap<usize, &str> = ["up1", "up2"]
        .into_iter()
        .map(|name| (usize::try_from(nix::net::if_::if_nametoindex(name).unwrap()).unwrap(), name))
        .collect();
    let packet_socket =
        socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll).unwrap();
    setsockopt(&packet_socket, ReceiveTimeout, &TimeVal::new(0, 50_000)).unwrap();
    ready.send(()).unwrap();
    let mut frame = [0; 2048];
    let mut closing = false;
    loop {
        if !closing && stop.load(Ordering::Relaxed) {
            // Frames queued so far count, however late this thread runs; it then ends without waiting for
            // more.
            closing = true;
            fcntl(&packet_socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        }
        let (size, from) = match recvfrom::<LinkAddr>(packet_socket.as_raw_fd(), &mut frame) {
            Ok((size, Some(from))) => (size, from),
            Err(Errno::EAGAIN) if closing => return,
            _ => continue,
        };
        let Some(name) = names.get(&from.ifindex()) else { continue };
        let mut seen = seen.lock().unwrap();
        match classify(&frame[..size]) {
            PacketKind::Tunnel => *seen.tunnel.entry((*name).to_owned()).or_default() += 1,
            PacketKind::Housekeeping => {}
            PacketKind::Other(what) => *seen.others.entry(format!("{name}: {what}")).or_default() += 1,
        }
    }
}

#[derive(Debug, PartialEq)]
enum PacketKind {
    /// TCP port 1723 or GRE, to or from the server.
    Tunnel,
    /// ARP, neighbour discovery, and ICMP errors of routers.
    Housekeeping,
    Other(String),
}

fn classify(frame: &[u8]) -> PacketKind {
    let (kind, packet) = (u16::from_be_bytes([frame[12], frame[13]]), &frame[14..]);
    match kind {
        0x0806 => PacketKind::Housekeeping,
        // Next header: hop-by-hop options (multicast listeners) or ICMPv6.
        0x86dd if matches!(packet[6], 0 | 58) => PacketKind::Housekeeping,
        0x0800 => {
            let (protocol, from, to) = (packet[9], &packet[12..16], &packet[16..20]);
            let with_server = [from, to].iter().any(|end| **end == SERVER || **end == [198, 51, 100, 1]);
            let transport = &packet[usize::from(packet[0] & 15) * 4..];
            let ports = || [0, 2].map(|at| u16::from_be_bytes([transport[at], transport[at + 1]]));
            match protocol {
                47 if with_server => PacketKind::Tunnel,
                6 if with_server && ports().contains(&1723) => PacketKind::Tunnel,
                // Our own kernel's answer to packets that still arrive for an abandoned call.
                1 if with_server && transport[0] == 3 => PacketKind::Housekeeping,
                // A router's errors: unreachable, redirect, time exceeded.
                1 if to[0] == 10 && matches!(transport[0], 3 | 5 | 11) => PacketKind::Housekeeping,
                _ => PacketKind::Other(format!(
                    "protocol {protocol} from {} to {}",
                    Ipv4Addr::new(from[0], from[1], from[2], from[3]),
                    Ipv4Addr::new(to[0], to[1], to[2], to[3])
                )),
            }
        }
        other => PacketKind::Other(format!("ethertype {other:#06x}")),
    }
}

#[test]
fn classify_recognises_a_leak() {
    let ip = |protocol: u8, to: [u8; 4]| {
        let mut frame = vec![0; 14 + 20 + 20];
        frame[12] = 8;
        frame[14] = 0x45;
        frame[23] = protocol;
        frame[26..30].copy_from_slice(&[10, 1, 0, 10]);
        frame[30..34].copy_from_slice(&to);
        frame
    };
    assert_eq!(classify(&ip(47, SERVER)), PacketKind::Tunnel);
    assert!(matches!(classify(&ip(47, [192, 0, 2, 9])), PacketKind::Other(_)));
    assert!(matches!(classify(&ip(1, OFFICE)), PacketKind::Other(_)), "a ping in clear");
    assert!(matches!(classify(&ip(6, SERVER)), PacketKind::Other(_)), "another port");
    assert!(matches!(classify(&ip(1, SERVER)), PacketKind::Other(_)), "a ping of the server");
}
