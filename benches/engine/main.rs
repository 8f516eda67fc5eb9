//! Measures the engine of `pptp`, the classic program (Debian's pptp-linux), and a loop that only copies.
//!
//! ```text
//! cargo bench --bench engine                    five rounds, about six minutes
//! cargo bench --bench engine -- --rounds 9      more of them
//! cargo bench --bench engine -- --only async    cells with this word in their name
//! cargo bench --bench engine -- --program PATH  another build of pptp
//! cargo bench --bench engine -- --classic PATH  another build instead of the classic program, to compare two of them
//! ```
//!
//! Needs root, Debian's pptp-linux, and an otherwise idle machine. It makes its own namespaces (network,
//! mounts, processes), which end with it.
//!
//! A cell is a framing (asynchronous or `--sync`), a frame length (1400 or 100 bytes) and a direction: `out`
//! from the pty to the network, `in` the other way. Each program runs as `PROGRAM HOST --nolaunchpppd` with
//! the master of a pty as its standard input. The benchmark is the PPP daemon at the other end and, in a
//! second network namespace behind a veth pair, the server. Outwards, a generator writes to the pty as fast
//! as it can; inwards, a source keeps 64 packets in transit. So the engine always has work and nothing is
//! lost (losses are reported). With `--sync` outwards, only as many frames are in transit as a pty holds
//! without splitting them, which is two of 1400 bytes: from a full pty the classic program gets one frame in
//! thirty. Before each measurement, what arrives is compared with what was sent.
//!
//! * Packets per second: counted outwards at the veth, inwards at the pty.
//! * CPU: what the engine's process used in that time, from `/proc/PID/schedstat`, divided into user and
//!   system time as in `/proc/PID/stat`, which samples every tick.
//! * The floor: the system calls that any program needs that handles packets one by one. Each read of the pty
//!   is sent in pieces of the known frame length as they are, including escapes, with one send(2) each; each
//!   datagram received is written with one write(2). poll(2) is called only when there is nothing more.
//!   Nothing is parsed, searched or counted.
//!
//! Frames look like IPv4 packets with random content. Synchronous ones must: the classic program loses all
//! others there (its defect 1; MPPE frames above all).
//!
//! Ratios are medians over the rounds, each taken from a round in which all three programs ran in turn. The
//! goals: user CPU at most a third of the classic program's; all CPU at most the classic program's, and at
//! most 1.2 times the floor's; packets per second not below the classic program's (2 % are taken for noise).
//! Values that miss a goal are marked with `*`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a failed measurement ends the program with a message"
)]

mod engine;
#[path = "../../tests/pptp_program/isolated.rs"]
mod isolated;
mod load;
#[path = "../shared/spread.rs"]
mod spread;
mod table;
mod world;

use std::time::Duration;

use engine::{Engine, Program};
use load::{Cell, Sample};

/// Warm-up before a measurement, and its duration.
const WARM_UP: Duration = Duration::from_millis(150);
const DURATION: Duration = Duration::from_millis(2000);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == engine::FLOOR) {
        return engine::floor(&words[1..]);
    }
    let after = |name: &str| words.iter().position(|word| word == name).and_then(|at| words.get(at + 1));
    let rounds = after("--rounds").map_or(5, |count| count.parse().unwrap());
    let only = after("--only").map_or("", String::as_str);
    // `cargo test --benches` runs this program too, but a measurement is no test.
    if !words.iter().any(|word| word == "--bench") {
        return println!("a measurement: cargo bench --bench engine");
    }
    let paths = [
        after("--program").map_or(env!("CARGO_BIN_EXE_pptp"), String::as_str),
        after("--classic").map_or(engine::CLASSIC, String::as_str),
    ];
    // Three times the normal time: a busy machine is slow, not stuck.
    let runs = u32::try_from(rounds * 3 * Cell::all().len()).unwrap();
    let limit = Duration::from_secs(60) + 3 * runs * (WARM_UP + DURATION);
    world::inside(limit, |world| measure(world, paths, rounds, only));
}

fn measure(world: &world::World, paths: [&str; 2], rounds: usize, only: &str) {
    let cells: Vec<Cell> = Cell::all().into_iter().filter(|cell| cell.to_string().contains(only)).collect();
    let mut engines: Vec<Engine> = Vec::new();
    for sync in [false, true] {
        for (program, path) in [Program::Ours, Program::Classic].into_iter().zip(paths) {
            if cells.iter().any(|cell| cell.sync == sync) {
                engines.push(Engine::start(program, path, sync, world));
            }
        }
    }
    println!("{}", table::head());
    for cell in &cells {
        let frame = cell.frame();
        let mut floor = Engine::start_floor(cell, world);
        let mut samples: Vec<[Sample; 3]> = Vec::new();
        for round in 0..rounds {
            let mut sample = [Sample::default(); 3];
            for turn in 0..3 {
                let which = (round + turn) % 3;
                let engine = match which {
                    2 => &mut floor,
                    n => engines.iter_mut().filter(|engine| engine.sync == cell.sync).nth(n).unwrap(),
                };
                sample[which] = load::run(engine, cell, &frame);
            }
            samples.push(sample);
        }
        println!("{}", table::row(cell, &samples));
    }
    println!(
        "medians of {rounds} rounds; * misses: ours/classic below 1, above 1/3, above 1; ours/floor above 1.2"
    );
}
