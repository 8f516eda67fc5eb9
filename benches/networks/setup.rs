//! The time until a tunnel is up, and its round trips.

use std::{
    fs,
    io::Read,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use pptpctl::testing::demo::impairment::ImpairmentConfig;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    lab::{INNER, LIMIT, Lab},
    picture::Spread,
    relay::{PACKETS, micros},
};

/// Delay of the path in each direction, in milliseconds.
const DELAYS: [u32; 3] = [0, 10, 50];
const UNIT: u32 = 10;

struct Sample {
    up: Duration,
    ping: Duration,
    round_trips: usize,
}

pub fn run(program: &Path, rounds: usize) {
    let lab = Lab::new(program, program);
    lab.profiles(&[("one".to_owned(), UNIT, "require-128", false)]);
    println!(
        "round-trip time | `up`, ms | to the first ping, ms | round trips in the capture | `up` less these, ms"
    );
    for delay in DELAYS {
        let relay = lab.relay(ImpairmentConfig { delay: delay * 1000, ..ImpairmentConfig::default() });
        let samples: Vec<Sample> = (0..rounds).map(|_| measure(&lab, delay)).collect();
        let round_trip = f64::from(2 * delay);
        let show = |value: &dyn Fn(&Sample) -> f64| Spread::of(samples.iter().map(value)).show(1);
        let millis = |time: Duration| time.as_secs_f64() * 1000.0;
        let trips = if delay == 0 {
            ("-".to_owned(), "-".to_owned())
        } else {
            (
                show(&|sample| sample.round_trips as f64),
                show(&|sample| millis(sample.up) - sample.round_trips as f64 * round_trip),
            )
        };
        println!(
            "{round_trip:3} ms | {} | {} | {} | {}",
            show(&|sample| millis(sample.up)),
            show(&|sample| millis(sample.ping)),
            trips.0,
            trips.1
        );
        drop(relay);
    }
}

fn measure(lab: &Lab, delay: u32) -> Sample {
    fs::write(PACKETS, "").unwrap();
    let begin = Instant::now();
    let up = lab.run(&["up", "one"]);
    let until = micros();
    ping();
    let ping = begin.elapsed();
    let round_trips = flights(&fs::read_to_string(PACKETS).unwrap(), until, i64::from(delay) * 2000);
    fs::remove_file(PACKETS).unwrap();
    lab.run(&["down", "one"]);
    // The server forgets the call.
    thread::sleep(Duration::from_millis(u64::from(delay) * 4 + 50));
    Sample { up, ping, round_trips }
}

/// Counts round trips: a packet of the client that is sent at least 0.8 round trips after the one that began the last of
/// them begins another. The last one has its answer before `until`.
fn flights(packets: &str, until: i64, round_trip: i64) -> usize {
    let (mut count, mut last) = (0, i64::MIN / 2);
    for line in packets.lines() {
        let mut words = line.split(' ');
        let at: i64 = words.next().unwrap().parse().unwrap();
        if words.next() == Some(">") && at - last >= round_trip * 4 / 5 && at + round_trip * 4 / 5 <= until {
            count += 1;
            last = at;
        }
    }
    count
}

/// Waits for the answer to a ping through the tunnel.
fn ping() {
    let mut socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).unwrap();
    socket.bind_device(Some(format!("tun{UNIT}").as_bytes())).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    // Echo Request with its checksum.
    let request = [8, 0, 0xf7, 0xff, 0, 0, 0, 0];
    let (end, mut answer) = (Instant::now() + LIMIT, [0; 256]);
    loop {
        socket.send_to(&request, &std::net::SocketAddrV4::new(INNER, 0).into()).unwrap();
        if socket.read(&mut answer).is_ok_and(|size| size >= 28 && answer[20] == 0) {
            return;
        }
        assert!(Instant::now() < end, "no answer to a ping through the tunnel");
    }
}
