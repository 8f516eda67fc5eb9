//! Goodput and delay on a path with losses and reordering.

use std::{
    fmt, fs,
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use pptpctl::testing::demo::impairment::ImpairmentConfig;
use socket2::{Domain, Socket, Type};

use crate::{
    far_end::at_far_end,
    lab::{INNER, LIMIT, Lab, PATH_DEVICE, PATH_FAR},
    picture::{Bar, Spread, svg},
    relay::micros,
};

/// Delay of the path in each direction, in milliseconds.
const DELAY: u32 = 10;
/// Time that a held-up packet takes longer, in milliseconds.
const HELD: u32 = 3;
/// Warm-up of a stream before it is measured, and the time of the measurement.
const WARM_UP: Duration = Duration::from_secs(1);
const DURATION: Duration = Duration::from_secs(5);
/// Datagrams of a measurement of delay, the time between two, and their payload in bytes.
const DATAGRAMS: u32 = 3000;
const INTERVAL: Duration = Duration::from_millis(1);
const PAYLOAD: usize = 200;

/// Congestion control of the streams: one that takes losses for congestion, as most hosts do.
const CONGESTION: &[u8] = b"cubic";

/// Packets per 1000 that the path loses, and that it holds up.
#[derive(Clone, Copy)]
struct Condition {
    loss: u16,
    reorder: u16,
}

const CONDITIONS: [Condition; 6] = [
    Condition { loss: 0, reorder: 0 },
    Condition { loss: 1, reorder: 0 },
    Condition { loss: 10, reorder: 0 },
    Condition { loss: 50, reorder: 0 },
    Condition { loss: 0, reorder: 50 },
    Condition { loss: 10, reorder: 50 },
];

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} % lost", f64::from(self.loss) / 10.0)?;
        if self.reorder > 0 {
            write!(f, ", {} % held up for {HELD} ms", f64::from(self.reorder) / 10.0)?;
        }
        Ok(())
    }
}

/// A way to the far end: its name, its device, and the far end's address.
const WAYS: [(&str, &str, Ipv4Addr); 3] =
    [("path", PATH_DEVICE, PATH_FAR), ("clear", "tun10", INNER), ("mppe", "tun11", INNER)];

/// One measurement.
struct Sample {
    /// Mbit/s.
    goodput: f64,
    /// Delays of datagrams beyond that of the path, in ms, sorted.
    delays: Vec<f64>,
    lost: usize,
}

pub fn run(program: &Path, rounds: usize, only: &str, picture: Option<&str>) {
    let lab = Lab::new(program, program);
    lab.profiles(&[("clear".to_owned(), 10, "off", false), ("mppe".to_owned(), 11, "require-128", false)]);
    let mut groups = Vec::new();
    for (number, condition) in CONDITIONS.into_iter().enumerate() {
        let Condition { loss, reorder } = condition;
        if !only.is_empty() && condition.to_string() != only {
            continue;
        }
        let seed = 1000 * number as u64 + 7;
        let (delay, hold) = (DELAY * 1000, HELD * 1000);
        let relay = lab.relay(ImpairmentConfig { loss, reorder, delay, hold, seed, duplicate: 0 });
        lab.run(&["up", "clear"]);
        lab.run(&["up", "mppe"]);
        let mut samples: Vec<Vec<Sample>> = Vec::new();
        for round in 0..rounds {
            let mut sample: Vec<Option<Sample>> = WAYS.iter().map(|_| None).collect();
            for turn in 0..WAYS.len() {
                let which = (round + turn) % WAYS.len();
                sample[which] = Some(measure(WAYS[which].1, WAYS[which].2));
            }
            samples.push(sample.into_iter().flatten().collect());
        }
        println!("{condition}");
        groups.push((condition.to_string(), rows(&samples)));
        lab.run(&["down", "clear"]);
        lab.run(&["down", "mppe"]);
        drop(relay);
    }
    if let Some(file) = picture {
        let title =
            "Goodput of one TCP stream through the tunnel, of that of the path alone (20 ms round trip)";
        fs::write(file, svg(title, &groups)).unwrap();
    }
}

/// Prints a line for each way, and returns the ratios of the goodput.
fn rows(samples: &[Vec<Sample>]) -> Vec<Bar> {
    let mut bars = Vec::new();
    for (at, (name, ..)) in WAYS.iter().enumerate() {
        let goodput = Spread::of(samples.iter().map(|round| round[at].goodput));
        let delay = |percent: usize| {
            Spread::of(samples.iter().map(|round| {
                let delays = &round[at].delays;
                let last = delays.len() - 1;
                delays[last * percent / 100]
            }))
        };
        let lost =
            Spread::of(samples.iter().map(|round| round[at].lost as f64 * 100.0 / f64::from(DATAGRAMS)));
        let ratio = Spread::of(samples.iter().map(|round| round[at].goodput / round[0].goodput));
        println!(
            "  {name:5} {} Mbit/s | {} of the path | delay beyond {DELAY} ms: median {}, 99 % {}, largest {} ms | lost {} %",
            goodput.show(1),
            ratio.show(2),
            delay(50).show(1),
            delay(99).show(1),
            delay(100).show(1),
            lost.show(1),
        );
        if at > 0 {
            bars.push(((*name).to_owned(), ratio));
        }
    }
    bars
}

fn measure(device: &str, far: Ipv4Addr) -> Sample {
    let goodput = stream(device, far);
    let (mut delays, lost) = datagrams(device, far);
    delays.sort_by(f64::total_cmp);
    Sample { goodput, delays, lost }
}

/// Measures one TCP stream to the far end.
fn stream(device: &str, far: Ipv4Addr) -> f64 {
    let listener = at_far_end(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
    let port = listener.local_addr().unwrap().port();
    let near = bound(device, Type::STREAM);
    near.set_tcp_congestion(CONGESTION).unwrap();
    near.connect_timeout(&SocketAddrV4::new(far, port).into(), LIMIT).unwrap();
    let (mut near, mut sink): (TcpStream, TcpStream) = (near.into(), listener.accept().unwrap().0);
    let bytes = AtomicU64::new(0);
    let (near_end, far_end) = (near.try_clone().unwrap(), sink.try_clone().unwrap());
    thread::scope(|scope| {
        scope.spawn(move || while near.write_all(&[0x5a; 1 << 16]).is_ok() {});
        scope.spawn(|| {
            let mut block = vec![0; 1 << 18];
            while let Ok(size @ 1..) = sink.read(&mut block) {
                bytes.fetch_add(size as u64, Ordering::Relaxed);
            }
        });
        thread::sleep(WARM_UP);
        let (begin, before) = (Instant::now(), bytes.load(Ordering::Relaxed));
        thread::sleep(DURATION);
        let bits = 8.0 * (bytes.load(Ordering::Relaxed) - before) as f64;
        let rate = bits / begin.elapsed().as_secs_f64() / 1e6;
        let _gone = (near_end.shutdown(Shutdown::Both), far_end.shutdown(Shutdown::Both));
        rate
    })
}

/// Measures the delay of datagrams to the far end, beyond that of the path, in ms; also returns how many were lost.
fn datagrams(device: &str, far: Ipv4Addr) -> (Vec<f64>, usize) {
    let sink = at_far_end(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
    sink.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let source: UdpSocket = bound(device, Type::DGRAM).into();
    source.connect((far, sink.local_addr().unwrap().port())).unwrap();
    let delays = thread::scope(|scope| {
        scope.spawn(|| {
            let begin = Instant::now();
            for number in 0..DATAGRAMS {
                thread::sleep((begin + INTERVAL * number).saturating_duration_since(Instant::now()));
                let mut payload = [0; PAYLOAD];
                payload[..8].copy_from_slice(&micros().to_be_bytes());
                let _congested = source.send(&payload);
            }
        });
        let (mut delays, mut bytes) = (Vec::new(), [0; PAYLOAD]);
        while delays.len() < DATAGRAMS as usize && sink.recv(&mut bytes).is_ok() {
            let sent = i64::from_be_bytes(*bytes.first_chunk().unwrap());
            delays.push((micros() - sent) as f64 / 1000.0 - f64::from(DELAY));
        }
        delays
    });
    assert!(!delays.is_empty(), "no datagram has arrived by {device}");
    let lost = DATAGRAMS as usize - delays.len();
    (delays, lost)
}

fn bound(device: &str, kind: Type) -> Socket {
    let socket = Socket::new(Domain::IPV4, kind, None).unwrap();
    socket.bind_device(Some(device.as_bytes())).unwrap();
    socket
}
