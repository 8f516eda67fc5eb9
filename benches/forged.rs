//! Measures what a forged MPPE packet costs, beside a good one: `cargo bench --bench forged`.
//!
//! A host that sends packets in the server's name chooses their counts, and each count ahead of the expected one means
//! key changes. The forged packets are in the order of GRE, and good ones come between them, so that the link is not
//! given up. Printed are the time of one packet, and the share of a processor that 180 and 711 of them in a second take.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a failed measurement ends the program")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use pptpctl::testing::ppp::mppe::{End, Keys, NtHash, Opener, Sealer, Strength};

const ROUNDS: u16 = 2000;

/// Returns how far the count of a forged packet is ahead, by its number.
type Ahead = fn(u16) -> u16;

fn main() {
    // `cargo test --benches` runs this program too, but a measurement is no test.
    if !std::env::args().any(|word| word == "--bench") {
        return println!("a measurement: cargo bench --bench forged");
    }
    println!("{:34} {:>9} {:>9} {:>9}", "", "a packet", "180/s", "711/s");
    row("good, 1400 bytes", good());
    let counts: [(&str, Ahead); 5] = [
        ("forged, the first, 3500 ahead", |_| 3500),
        ("forged, 3500 ahead", |_| 3500),
        ("forged, descending", |n| 3500 - n % 3200),
        ("forged, scattered", |n| 300 + n.wrapping_mul(1777) % 3200),
        ("forged, 5000 in a second", |n| 300 + n.wrapping_mul(1777) % 3200),
    ];
    for (at, (name, ahead)) in counts.into_iter().enumerate() {
        let apart = if at == 4 { Duration::from_micros(200) } else { Duration::from_millis(5) };
        row(name, forged(if at == 0 { 1 } else { ROUNDS }, apart, ahead));
    }
}

fn row(name: &str, each: Duration) {
    let share = |rate: f64| format!("{:.2} %", each.as_secs_f64() * rate * 100.0);
    println!("{name:34} {:>6.1} µs {:>9} {:>9}", each.as_secs_f64() * 1e6, share(180.0), share(711.0));
}

fn ends() -> (Sealer, Opener) {
    let hash = NtHash::of(b"password");
    let keys = |end| Keys::from_ms_chap_v2(end, &hash, &[3; 24]);
    let sealer = Sealer::new(&keys(End::Server), Strength::Bits128, false).unwrap();
    (sealer, Opener::new(&keys(End::Client), Strength::Bits128, false).unwrap())
}

/// Returns an IPv4 packet.
fn packet() -> Vec<u8> {
    let mut packet = vec![0; 1400];
    packet.splice(..4, [0x45, 0, 5, 0x78]);
    packet
}

fn seal(sealer: &mut Sealer, packet: &[u8]) -> Vec<u8> {
    let mut sealed = vec![0; packet.len() + 4];
    sealer.seal_parts(0x21, packet, &mut sealed).unwrap();
    sealed
}

fn good() -> Duration {
    let ((mut sealer, mut opener), packet) = (ends(), packet());
    let mut spent = Duration::ZERO;
    for _ in 0..ROUNDS {
        let mut sealed = seal(&mut sealer, &packet);
        let began = Instant::now();
        black_box(opener.open(&mut sealed).unwrap());
        spent += began.elapsed();
    }
    spent / u32::from(ROUNDS)
}

/// Returns the mean time of `rounds` forged packets that arrive `apart` from each other.
fn forged(rounds: u16, apart: Duration, ahead: Ahead) -> Duration {
    let ((mut sealer, mut opener), packet) = (ends(), packet());
    let (mut now, mut spent) = (Instant::now(), Duration::ZERO);
    for round in 0..rounds {
        for _ in 0..2 {
            opener.open(&mut seal(&mut sealer, &packet)).unwrap();
        }
        now += apart;
        opener.set_time(now);
        let count = (2 * (round + 1) + ahead(round)) & 0x0fff;
        let mut junk = [&(0x9000 | count).to_be_bytes()[..], &[0x5a; 1398]].concat();
        let began = Instant::now();
        let _dropped = black_box(opener.open(&mut junk));
        spent += began.elapsed();
    }
    spent / u32::from(rounds)
}
