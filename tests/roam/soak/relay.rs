//! A relay between the laptop's uplinks and the server: it loses, duplicates, reorders, delays, corrupts and withholds
//! packets of every protocol, as its weather says.
//!
//! The core of the network routes what comes from the routers into one tun device and what comes from the server into
//! another. The relay reads from one and writes to the other, and the kernel routes on.

use std::{
    fs::File,
    os::fd::AsFd,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use pptpctl::testing::{
    demo::impairment::{ImpairedPath, ImpairmentConfig},
    net::{
        packets::PacketIo,
        tun::{self, Tun},
    },
    os::wait::{Interest, until},
};

use crate::world::{World, thread_in};

/// How long the relay waits without packets before it reads its weather again.
const PATIENCE: Duration = Duration::from_millis(20);

/// Devices in the core: towards the server, and towards the laptop.
const ROUTES: &str = "set -e
    for file in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $file; done
    for device in tun0 tun1; do ip link set $device up; done
    ip route add default dev tun0 table 10; ip route add default dev tun1 table 11
    ip rule add iif c1 lookup 10; ip rule add iif c2 lookup 10; ip rule add iif c3 lookup 11";

/// What happens to packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// Loss, duplicates, order and delay, in both directions.
    pub path: ImpairmentConfig,
    /// Packets of which one bit is inverted, per 1000.
    pub corrupt: u16,
    /// Drop all packets to the server.
    pub no_way_out: bool,
    /// Drop all packets to the laptop.
    pub no_way_in: bool,
}

#[derive(Default)]
struct Shared {
    weather: Mutex<Weather>,
    stop: AtomicBool,
}

/// A running relay.
pub struct Relay {
    shared: Arc<Shared>,
    thread: mpsc::Receiver<Counters>,
}

/// Packets, by what happened to them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    pub passed: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub reordered: u64,
    pub corrupted: u64,
    pub withheld: u64,
}

impl Counters {
    fn add(&mut self, path: &ImpairedPath<Vec<u8>>) {
        let counted = path.counters();
        self.lost += counted.lost + counted.overflowed;
        self.duplicated += counted.duplicated;
        self.reordered += counted.held;
    }
}

impl Relay {
    /// Starts a relay with clear weather in the core of this world.
    pub fn start(world: &World, seed: u64) -> Self {
        // The thread of the test has no entry in the world's /proc.
        world.shell("ip netns attach core $$");
        let core = File::open("/run/netns/core").unwrap();
        let shared = Arc::new(Shared::default());
        let (for_thread, (ready, opened)) = (shared.clone(), mpsc::channel());
        let thread = thread_in(core, move || run(&for_thread, seed, &ready));
        opened.recv().expect("the relay has no tun devices");
        world.shell(ROUTES);
        Self { shared, thread }
    }

    pub fn set(&self, weather: Weather) {
        *self.shared.weather.lock().unwrap() = weather;
    }

    pub fn stop(&self) -> Counters {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.recv().unwrap()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

/// One direction.
struct Direction {
    from: Tun,
    packets: PacketIo,
    /// The last has the current weather; older ones still have packets in transit.
    paths: Vec<ImpairedPath<Vec<u8>>>,
    random: u64,
}

impl Direction {
    fn new(unit: u32, seed: u64) -> Self {
        let from = tun::open(Some(unit)).unwrap();
        let packets = PacketIo::new(&from.fd);
        Self { from, packets, paths: vec![ImpairedPath::new(ImpairmentConfig::default())], random: seed }
    }

    /// Sends later packets through a path with this weather; those in transit arrive as they would have.
    fn change(&mut self, weather: &Weather) {
        let seed = self.draw();
        self.paths.push(ImpairedPath::new(ImpairmentConfig { seed, ..weather.path }));
    }

    /// Forgets older paths that are empty.
    fn retire(&mut self, counters: &mut Counters) {
        let (older, mut place) = (self.paths.len() - 1, 0);
        self.paths.retain(|path| {
            place += 1;
            let kept = place > older || path.next_timeout().is_some();
            if !kept {
                counters.add(path);
            }
            kept
        });
    }

    /// Reads what the kernel has routed here.
    fn receive(&mut self, now: Instant, weather: &Weather, closed: bool, counters: &mut Counters) {
        let mut read = Vec::new();
        while let Ok(Some(mut packets)) = self.packets.receive(&self.from.fd) {
            while let Some(packet) = packets.next_packet() {
                read.push(packet.to_vec());
            }
        }
        for mut packet in read {
            if closed {
                counters.withheld += 1;
                continue;
            }
            if self.draw() % 1000 < u64::from(weather.corrupt) && !is_chap(&packet) {
                let bit = usize::try_from(self.draw()).unwrap() % (packet.len() * 8);
                packet[bit / 8] ^= 1 << (bit % 8);
                counters.corrupted += 1;
            }
            self.paths.last_mut().unwrap().send(now, packet);
        }
    }

    /// Sends what has arrived by the other direction's device.
    fn deliver(&mut self, now: Instant, to: &mut Self, counters: &mut Counters) {
        for path in &mut self.paths {
            while let Some(packet) = path.arrive(now) {
                to.packets.send(&to.from.fd, &packet);
                counters.passed += 1;
            }
        }
        to.packets.flush(&to.from.fd);
        self.retire(counters);
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.paths.iter().filter_map(|path| path.next_timeout()).map(|(at, _)| at).min()
    }

    /// SplitMix64.
    fn draw(&mut self) -> u64 {
        super::split_mix(&mut self.random)
    }
}

/// Returns whether this is CHAP in GRE. To a server a spoilt response is a wrong password, and its refusal ends the
/// tunnel (SECURITY.md, Accounts).
fn is_chap(packet: &[u8]) -> bool {
    let start = packet.get(20..48).unwrap_or_default();
    packet[9] == 47 && start.windows(4).any(|header| header == [0xff, 0x03, 0xc2, 0x23])
}

fn run(shared: &Shared, seed: u64, ready: &mpsc::Sender<()>) -> Counters {
    let (mut out, mut back) = (Direction::new(0, seed), Direction::new(1, !seed));
    ready.send(()).unwrap();
    let (mut weather, mut counters) = (Weather::default(), Counters::default());
    while !shared.stop.load(Ordering::Relaxed) {
        let wanted = *shared.weather.lock().unwrap();
        if wanted != weather {
            weather = wanted;
            out.change(&weather);
            back.change(&weather);
        }
        let timeouts = [out.next_timeout(), back.next_timeout()].into_iter().flatten();
        let wake = timeouts.fold(Instant::now() + PATIENCE, Instant::min);
        let interests = [&out, &back].map(|one| Some((one.from.fd.as_fd(), Interest::Readable)));
        let _ready = until(interests, Some(wake)).unwrap();
        let now = Instant::now();
        out.receive(now, &weather, weather.no_way_out, &mut counters);
        back.receive(now, &weather, weather.no_way_in, &mut counters);
        out.deliver(now, &mut back, &mut counters);
        back.deliver(now, &mut out, &mut counters);
    }
    out.paths.iter().chain(&back.paths).for_each(|path| counters.add(path));
    counters
}
