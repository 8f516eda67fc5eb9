//! Generates the load for an engine and measures it.

use std::{
    fmt,
    os::fd::{AsFd, OwnedFd},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::{read, write},
};
use pptpctl::testing::{
    net::transport::strip_ip_header,
    os::batch::Batch,
    ppp::hdlc::{Accm, Decoder, encode},
    pptp::gre::{self, Header, MAX_HEADER},
};
use socket2::{SockFilter, SockRef};

use crate::{
    DURATION, WARM_UP,
    engine::{Engine, Program},
    world::World,
};

/// Packets that the source keeps in transit.
const MAX_IN_TRANSIT: u64 = 64;
/// Packets sent at a time.
const STEP: u64 = 16;
/// A packet that takes longer than this is lost: 64 packets take a small fraction of it.
const LOSS_TIMEOUT: Duration = Duration::from_millis(500);
/// After this long without input nothing is in transit, whatever the counters indicate.
const IDLE_LIMIT: Duration = Duration::from_secs(2);
/// Bytes that a pty holds for its reader.
const PTY_CAPACITY: usize = 4095;
/// Frames compared with what was sent, before each measurement.
const COMPARED: usize = 20;
/// Limit for operations that normally take microseconds.
const LIMIT: Duration = Duration::from_secs(10);

/// One combination of the parameters.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    pub sync: bool,
    pub length: usize,
    /// From the pty to the network, or the other way.
    pub out: bool,
}

impl Cell {
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for sync in [false, true] {
            for length in [1400, 100] {
                all.extend([true, false].map(|out| Self { sync, length, out }));
            }
        }
        all
    }

    /// Returns a PPP frame that looks like an IPv4 packet with random content.
    pub fn frame(&self) -> Vec<u8> {
        let length = u16::try_from(self.length - 4).unwrap().to_be_bytes();
        let mut frame = vec![0xff, 0x03, 0x00, 0x21, 0x45, 0, length[0], length[1]];
        let mut seed = 1_u32;
        while frame.len() < self.length {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            frame.push(seed.to_be_bytes()[0]);
        }
        frame
    }

    /// Returns the frame as a PPP daemon writes it.
    fn encoded(&self) -> Vec<u8> {
        let frame = self.frame();
        if self.sync {
            return frame;
        }
        let mut encoded = Vec::new();
        encode(&frame, Accm::ALL, &mut encoded);
        encoded
    }

    pub fn on_the_pty(&self) -> usize {
        self.encoded().len()
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let framing = if self.sync { "sync" } else { "async" };
        write!(f, "{framing:5} {:4} {}", self.length, if self.out { "out" } else { "in" })
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// Packets per second.
    pub rate: f64,
    /// Nanoseconds of user CPU per packet.
    pub user: f64,
    /// All CPU time likewise.
    pub cpu: f64,
    /// Packets that did not arrive.
    pub lost: u64,
}

/// Measures one program once.
pub fn run(engine: &mut Engine, cell: &Cell, frame: &[u8]) -> Sample {
    filter(&engine.gre, true);
    compare(engine, cell, frame);
    filter(&engine.gre, false);
    if cell.out { measure_out(engine, cell) } else { measure_in(engine, cell, frame) }
}

/// Checks that frames arrive as they were sent.
fn compare(engine: &mut Engine, cell: &Cell, frame: &[u8]) {
    let floor = engine.program == Program::Floor;
    let encoded = cell.encoded();
    let expected = if floor { &encoded } else { frame };
    let mut source = Source::new(cell, engine, frame);
    for number in 0..COMPARED {
        let mut bytes = vec![0; 1 << 16];
        if cell.out {
            let mut rest = &encoded[..];
            while !rest.is_empty() {
                rest = &rest[write_pty(engine, rest)..];
            }
            loop {
                wait(&engine.gre, "a packet");
                let size = read(&engine.gre, &mut bytes).unwrap();
                let packet = strip_ip_header(&mut bytes[..size]).unwrap();
                let payload = if floor { &*packet } else { &packet[gre::parse(packet).unwrap().1] };
                // Skip acknowledgements of the preceding measurement.
                if !payload.is_empty() {
                    assert!(payload == expected, "{:?} {cell}: frame {number} differs", engine.program);
                    break;
                }
            }
            continue;
        }
        source.send(engine, 1);
        let (mut got, mut decoder, mut filled) = (Vec::new(), Decoder::new(9000), 0);
        while got.is_empty() {
            wait(&engine.ppp, "a frame");
            let size = read(&engine.ppp, &mut bytes[filled..]).unwrap();
            let new = &bytes[filled..filled + size];
            filled += size;
            if floor || cell.sync {
                got.extend((filled >= expected.len()).then(|| bytes[..filled].to_vec()));
            } else {
                decoder.feed(new, |frame| got.push(frame.to_vec()));
            }
        }
        assert!(got == [expected], "{:?} {cell}: frame {number} differs", engine.program);
    }
}

fn measure_out(engine: &Engine, cell: &Cell) -> Sample {
    if cell.sync { measure_frames(engine, cell) } else { measure_stream(engine, cell) }
}

/// Writes to the pty and returns how many bytes it accepted.
fn write_pty(engine: &Engine, bytes: &[u8]) -> usize {
    write(&engine.ppp, bytes).unwrap_or_else(|error| panic!("{:?} has exited: {error}", engine.program))
}

/// Writes to the pty as fast as possible; the veth counts packets.
fn measure_stream(engine: &Engine, cell: &Cell) -> Sample {
    let encoded = cell.encoded();
    // A daemon that does its own HDLC framing writes larger blocks.
    let block = encoded.repeat((4096 / encoded.len()).max(1));
    let end = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            // Write whole frames only: the next measurement must begin with one.
            while !end.load(Ordering::Relaxed) {
                let mut rest = &block[..];
                while !rest.is_empty() {
                    rest = &rest[write_pty(engine, rest)..];
                }
            }
        });
        let _end = StopOnDrop(&end);
        measure(engine, World::sent)
    })
}

/// Writes each frame separately, with as many in transit as the pty holds uncut; the server counts.
fn measure_frames(engine: &Engine, cell: &Cell) -> Sample {
    let frame = cell.encoded();
    let max = (PTY_CAPACITY / frame.len()) as u64;
    filter(&engine.gre, true);
    let pace = Pace::default();
    let sample = thread::scope(|scope| {
        scope.spawn(|| {
            let mut batch = Batch::new(64, 9000);
            pace.take_all(&engine.gre, || {
                batch.receive(&engine.gre).unwrap();
                // Acknowledgements are shorter than any frame.
                let frames = batch.datagrams().filter(|packet| packet.len() >= frame.len()).count();
                pace.arrived.fetch_add(frames as u64, Ordering::Relaxed);
            });
        });
        scope.spawn(|| {
            pace.keep(max, 1, || {
                let size = write_pty(engine, &frame);
                assert_eq!(size, frame.len(), "the pty did not accept the whole frame");
            });
        });
        pace.measure(engine)
    });
    Sample { lost: pace.lost.into_inner(), ..sample }
}

/// Keeps packets in transit to the engine; the reader of the pty counts.
fn measure_in(engine: &mut Engine, cell: &Cell, frame: &[u8]) -> Sample {
    let length = cell.on_the_pty() as u64;
    let flags = engine.program != Program::Floor && !cell.sync;
    let mut source = Source::new(cell, engine, frame);
    let (gre, ppp) = (&engine.gre, &engine.ppp);
    let pace = Pace::default();
    let sample = thread::scope(|scope| {
        scope.spawn(|| {
            let (mut bytes, mut all, mut before) = (vec![0; 1 << 16], 0, 0x7e);
            pace.take_all(ppp, || {
                let size = read(ppp, &mut bytes).unwrap();
                if flags {
                    // A flag that follows anything but a flag ends a frame.
                    let ends =
                        bytes[..size].windows(2).filter(|pair| pair[1] == 0x7e && pair[0] != 0x7e).count();
                    let first = u64::from(bytes[0] == 0x7e && before != 0x7e);
                    before = bytes[size - 1];
                    pace.arrived.fetch_add(ends as u64 + first, Ordering::Relaxed);
                } else {
                    all += size as u64;
                    pace.arrived.store(all / length, Ordering::Relaxed);
                }
            });
        });
        scope.spawn(|| pace.keep(MAX_IN_TRANSIT, STEP, || source.send_on(gre, STEP)));
        pace.measure(engine)
    });
    engine.seq = source.seq;
    drain(&engine.ppp);
    Sample { lost: pace.lost.into_inner(), ..sample }
}

/// Counts the packets in transit.
#[derive(Default)]
struct Pace {
    end: AtomicBool,
    sent: AtomicU64,
    arrived: AtomicU64,
    lost: AtomicU64,
}

impl Pace {
    fn is_running(&self) -> bool {
        !self.end.load(Ordering::Relaxed)
    }

    fn in_transit(&self) -> u64 {
        let gone = self.arrived.load(Ordering::Relaxed) + self.lost.load(Ordering::Relaxed);
        self.sent.load(Ordering::Relaxed).saturating_sub(gone)
    }

    /// Calls `take` while `fd` is readable, until the end and until nothing is in transit.
    fn take_all(&self, fd: &OwnedFd, mut take: impl FnMut()) {
        let mut silent = Duration::ZERO;
        while self.is_running() || (self.in_transit() > 0 && silent < IDLE_LIMIT) {
            if ready(fd, 50) {
                silent = Duration::ZERO;
                take();
            } else {
                silent += Duration::from_millis(50);
            }
        }
    }

    /// Sends `step` packets at a time, with at most `max` in transit.
    fn keep(&self, max: u64, step: u64, mut send: impl FnMut()) {
        let (mut before, mut since) = (0, Instant::now());
        while self.is_running() {
            let arrived = self.arrived.load(Ordering::Relaxed);
            let in_transit = self.in_transit();
            if arrived != before {
                (before, since) = (arrived, Instant::now());
            } else if in_transit > 0 && since.elapsed() > LOSS_TIMEOUT {
                self.lost.fetch_add(in_transit, Ordering::Relaxed);
                continue;
            }
            if in_transit + step > max {
                thread::yield_now();
                continue;
            }
            self.sent.fetch_add(step, Ordering::Relaxed);
            send();
        }
    }

    fn measure(&self, engine: &Engine) -> Sample {
        let _end = StopOnDrop(&self.end);
        measure(engine, || self.arrived.load(Ordering::Relaxed))
    }
}

/// Stops the threads when dropped, even when a measurement fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn measure(engine: &Engine, count: impl Fn() -> u64) -> Sample {
    thread::sleep(WARM_UP);
    let (begin, packets, cpu) = (Instant::now(), count(), engine.cpu());
    thread::sleep(DURATION);
    let (time, packets, after) = (begin.elapsed(), count() - packets, engine.cpu());
    assert!(packets > 0, "{:?}: no packet arrives", engine.program);
    let packets = packets as f64;
    let all = (after.0 - cpu.0) as f64 / packets;
    let (user, system) = ((after.1 - cpu.1) as f64, (after.2 - cpu.2) as f64);
    let user = all * user / (user + system).max(1.0);
    Sample { rate: packets / time.as_secs_f64(), user, cpu: all, lost: 0 }
}

/// Source of packets to an engine.
struct Source {
    batch: Batch,
    payload: Vec<u8>,
    call: Option<u16>,
    seq: u32,
}

impl Source {
    fn new(cell: &Cell, engine: &Engine, frame: &[u8]) -> Self {
        let floor = engine.program == Program::Floor;
        let payload = if floor { cell.encoded() } else { frame.to_vec() };
        let call = (!floor).then_some(engine.call);
        Self { batch: Batch::new(64, 9000), payload, call, seq: engine.seq }
    }

    fn send(&mut self, engine: &mut Engine, count: u64) {
        self.send_on(&engine.gre, count);
        engine.seq = self.seq;
    }

    fn send_on(&mut self, gre: &OwnedFd, count: u64) {
        for _ in 0..count {
            let Self { batch, payload, call, seq } = self;
            *seq = seq.wrapping_add(1);
            batch.push(|out| {
                let mut header = [0; MAX_HEADER];
                let length = call.map_or(0, |call_id| {
                    let fields = Header { call_id, seq: Some(*seq), ack: None };
                    gre::emit(fields, u16::try_from(payload.len()).unwrap(), &mut header)
                });
                out[..length].copy_from_slice(&header[..length]);
                out[length..length + payload.len()].copy_from_slice(payload);
                Some(0..length + payload.len())
            });
        }
        self.batch.send(gre).unwrap();
    }
}

/// Attaches a socket filter that accepts all packets if `open`, and none otherwise.
fn filter(gre: &OwnedFd, open: bool) {
    const RETURN: u16 = 0x06;
    let max = if open { u32::MAX } else { 0 };
    SockRef::from(gre).attach_filter(&[SockFilter::new(RETURN, 0, 0, max)]).unwrap();
}

fn ready(fd: &OwnedFd, millis: u16) -> bool {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::from(millis)).unwrap() > 0
}

fn wait(fd: &OwnedFd, what: &str) {
    let limit = u16::try_from(LIMIT.as_millis()).unwrap();
    assert!(ready(fd, limit), "{what} did not arrive within {LIMIT:?}");
}

/// Reads until there is no input for 100 ms.
fn drain(ppp: &OwnedFd) {
    let (mut bytes, end) = (vec![0; 1 << 16], Instant::now() + LIMIT);
    while ready(ppp, 100) {
        read(ppp, &mut bytes).unwrap();
        assert!(Instant::now() < end, "the engine does not stop sending");
    }
}
