//! Measures the codecs of the data path for each packet: MPPE, HDLC, the GRE flow.
//!
//! ```text
//! cargo bench --bench codecs                  fifteen rounds, half a minute
//! cargo bench --bench codecs -- --rounds 31   more of them
//! cargo bench --bench codecs -- --only seal   rows with this word in their name
//! ```
//!
//! Printed are the processor's time for one packet, the median over the rounds and behind it the smallest and the
//! largest; the ratio to the row with which it is compared, the median of those of each round; and its instructions,
//! counted by callgrind, if valgrind is in PATH. Callgrind hides the SHA instructions: its counts for MPPE have as many
//! for each key as the first row.
//!
//! `alone` is packet by packet; `ahead` has the lengths of the next packets beforehand, as on the data path.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    reason = "a failed measurement ends the program"
)]

use std::{
    hint::black_box,
    process::Command,
    time::{Duration, Instant},
};

use nix::time::{ClockId, clock_gettime};

use pptpctl::testing::{
    ppp::{
        hdlc::{Accm, Decoder, encode},
        mppe::{End, Keys, NtHash, Opener, Sealer, Strength},
    },
    pptp::flow::{Flow, FlowConfig},
};
use sha1::{Digest, Sha1};

/// Hidden argument: runs a row so many times, for callgrind.
const COUNT: &str = "__count";
/// Packets of one system call.
const BATCH: usize = 40;

/// Does the work for so many packets, and returns the time that it took.
type Work = Box<dyn FnMut(usize) -> Duration>;

/// A row: its name, the one that it is compared with, and the work.
type Row = (&'static str, Option<&'static str>, fn() -> Work);

const ROWS: [Row; 14] = [
    ("key: SHA-1 of 112 bytes", None, hash),
    ("seal 1400 alone", None, || seal(1400, false)),
    ("seal 1400 ahead", Some("seal 1400 alone"), || seal(1400, true)),
    ("seal 64 alone", None, || seal(64, false)),
    ("seal 64 ahead", Some("seal 64 alone"), || seal(64, true)),
    ("open 1400 alone", None, || open(1400, false)),
    ("open 1400 ahead", Some("open 1400 alone"), || open(1400, true)),
    ("open 64 alone", None, || open(64, false)),
    ("open 64 ahead", Some("open 64 alone"), || open(64, true)),
    ("HDLC encode 1400", None, || hdlc_encode(1400)),
    ("HDLC decode 1400", None, || hdlc_decode(1400)),
    ("HDLC decode 100", None, || hdlc_decode(100)),
    ("flow, header 1400", None, flow_send),
    ("flow, receive 1400", None, flow_receive),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [first, name, count, ..] = &words[..]
        && first == COUNT
    {
        let (_, _, work) = ROWS.iter().find(|(row, _, _)| row == name).unwrap();
        work()(count.parse().unwrap());
        return;
    }
    // `cargo test --benches` runs this program too, but a measurement is no test.
    if !words.iter().any(|word| word == "--bench") {
        return println!("a measurement: cargo bench --bench codecs");
    }
    let after = |name: &str| words.iter().position(|word| word == name).and_then(|at| words.get(at + 1));
    let rounds: usize = after("--rounds").map_or(15, |count| count.parse().unwrap());
    let only = after("--only").map_or("", String::as_str);
    let rows: Vec<&Row> = ROWS.iter().filter(|(name, _, _)| name.contains(only)).collect();
    let mut works: Vec<Work> = rows.iter().map(|(_, _, work)| work()).collect();
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); rows.len()];
    let packets = 50 * BATCH;
    for _ in 0..=rounds {
        for (work, times) in works.iter_mut().zip(&mut times) {
            times.push(work(packets).as_nanos() as f64 / packets as f64);
        }
    }
    // The first round warms up.
    for times in &mut times {
        times.remove(0);
    }
    println!("{:26} {:>9} {:>20} {:>7} {:>14}", "", "ns/packet", "", "ratio", "instructions");
    for ((name, against, _), own) in rows.iter().zip(&times) {
        let base = against.and_then(|against| rows.iter().position(|(other, _, _)| *other == against));
        let ratio = base.map_or_else(String::new, |base| {
            format!("{:.2}", median(own.iter().zip(&times[base]).map(|(own, base)| own / base)))
        });
        let spread = format!(
            "({:.0} to {:.0})",
            own.iter().copied().fold(f64::INFINITY, f64::min),
            own.iter().copied().fold(0.0, f64::max)
        );
        // Those of packets to open include sealing them.
        let sealed = name.strip_prefix("open ").and_then(|rest| rest.split(' ').next());
        let sealing = sealed.map_or(Some(0), |length| instructions(&format!("seal {length} ahead")));
        let count = instructions(name).zip(sealing).map(|(all, sealing)| all.saturating_sub(sealing));
        let instructions = count.map_or_else(|| "-".to_owned(), |count| count.to_string());
        println!("{name:26} {:>9.0} {spread:>20} {ratio:>7} {instructions:>14}", median(own.iter().copied()));
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Counts instructions, where it is installed: the bench runs without it.
const COUNTER: &str = "valgrind";

/// Returns the instructions for each packet, from two runs under callgrind.
fn instructions(name: &str) -> Option<u64> {
    let own = std::env::current_exe().ok()?;
    let run = |count: usize| {
        let output = Command::new(COUNTER)
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(&own)
            .args([COUNT, name, &count.to_string()])
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let line = text.lines().find_map(|line| line.split_once("Collected :"))?.1.trim();
        line.parse::<u64>().ok()
    };
    let (few, many) = (run(10 * BATCH)?, run(30 * BATCH)?);
    Some((many - few) / u64::try_from(20 * BATCH).ok()?)
}

fn ends() -> (Sealer, Opener) {
    let hash = NtHash::of(b"password");
    let keys = |end| Keys::from_ms_chap_v2(end, &hash, &[3; 24]);
    let sealer = Sealer::new(&keys(End::Server), Strength::Bits128, false).unwrap();
    (sealer, Opener::new(&keys(End::Client), Strength::Bits128, false).unwrap())
}

/// Returns an IPv4 packet.
fn packet(length: usize) -> Vec<u8> {
    let mut packet = vec![0x5a; length];
    let [high, low] = u16::try_from(length).unwrap().to_be_bytes();
    packet.splice(..4, [0x45, 0, high, low]);
    packet
}

/// Runs `each` for every packet, `before` for every batch, and returns the time of both.
fn timed<T>(count: usize, state: &mut T, before: impl Fn(&mut T), mut each: impl FnMut(&mut T)) -> Duration {
    let began = cpu_time();
    for _ in 0..count / BATCH {
        before(state);
        for _ in 0..BATCH {
            each(state);
        }
    }
    cpu_time() - began
}

/// Returns the processor's time of this thread: on a busy machine others would be in that of a clock.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

fn hash() -> Work {
    let mut input = [7_u8; 112];
    Box::new(move |count| {
        timed(
            count,
            &mut input,
            |_| {},
            |input| {
                let digest: [u8; 20] = Sha1::digest(*input).into();
                // Each follows from the one before, as keys do.
                input[56..72].copy_from_slice(&digest[..16]);
            },
        )
    })
}

fn seal(length: usize, ahead: bool) -> Work {
    let ((mut sealer, _), packet) = (ends(), packet(length));
    let mut out = vec![0; length + 4];
    Box::new(move |count| {
        let before = |sealer: &mut Sealer| {
            if ahead {
                sealer.expect([length; BATCH].into_iter());
            }
        };
        timed(count, &mut sealer, before, |sealer| {
            black_box(sealer.seal_parts(0x21, &packet, &mut out).unwrap());
        })
    })
}

fn open(length: usize, ahead: bool) -> Work {
    let ((mut sealer, mut opener), packet) = (ends(), packet(length));
    Box::new(move |count| {
        let mut spent = Duration::ZERO;
        let mut sealed = vec![vec![0; length + 4]; BATCH];
        for _ in 0..count / BATCH {
            sealer.expect([length; BATCH].into_iter());
            for out in &mut sealed {
                sealer.seal_parts(0x21, &packet, out).unwrap();
            }
            let mut sealed = sealed.iter_mut();
            let before = |opener: &mut Opener| {
                if ahead {
                    opener.expect([length + 4; BATCH].into_iter());
                }
            };
            spent += timed(BATCH, &mut opener, before, |opener| {
                black_box(opener.open(sealed.next().unwrap()).unwrap());
            });
        }
        spent
    })
}

/// Returns a frame with random content, as encrypted ones have.
fn frame(length: usize) -> Vec<u8> {
    let mut seed = 1_u32;
    let bytes = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        seed.to_be_bytes()[0]
    });
    [0xff, 0x03, 0x00, 0xfd].into_iter().chain(bytes).take(length).collect()
}

fn hdlc_encode(length: usize) -> Work {
    let (frame, mut out) = (frame(length), Vec::new());
    Box::new(move |count| timed(count, &mut out, Vec::clear, |out| encode(black_box(&frame), Accm::ALL, out)))
}

fn hdlc_decode(length: usize) -> Work {
    let mut encoded = Vec::new();
    encode(&frame(length), Accm::ALL, &mut encoded);
    let mut decoder = Decoder::new(1600);
    Box::new(move |count| {
        timed(
            count,
            &mut decoder,
            |_| {},
            |decoder| {
                decoder.feed(black_box(&encoded), |frame| {
                    black_box(frame);
                });
            },
        )
    })
}

fn flow_send() -> Work {
    let now = Instant::now();
    let (mut flow, mut out) = (Flow::new(FlowConfig::new(1, 2), now), [0; 2048]);
    Box::new(move |count| {
        timed(
            count,
            &mut flow,
            |_| {},
            |flow| {
                black_box(flow.put_header(now, 1400, black_box(&mut out)));
            },
        )
    })
}

fn flow_receive() -> Work {
    let now = Instant::now();
    let mut sender = Flow::new(FlowConfig::new(2, 1), now);
    let (mut flow, mut out) = (Flow::new(FlowConfig::new(1, 2), now), [0; 2048]);
    Box::new(move |count| {
        timed(
            count,
            &mut flow,
            |_| {},
            |flow| {
                let range = sender.put_header(now, 1400, &mut out).unwrap();
                flow.receive(now, &mut out[range], &mut |frame| {
                    black_box(frame);
                })
                .unwrap();
            },
        )
    })
}
