//! Measures whole tunnels over one veth pair, all in one run: `pptpctl` to the server of `pptpctl demo`, in clear
//! and with MPPE-128; a null forwarder; and wireguard-go, boringtun-cli, gotatun and OpenVPN, if they are in PATH.
//!
//! ```text
//! cargo bench --bench tunnel                       five rounds, about ten minutes
//! cargo bench --bench tunnel -- --rounds 9         more of them
//! cargo bench --bench tunnel -- --only tcp         cells with this word in their name
//! cargo bench --bench tunnel -- --paths null,clear these tunnels only
//! cargo bench --bench tunnel -- --program PATH     another build of pptpctl, as client and as server
//! cargo bench --bench tunnel -- --svg FILE         also writes a picture, relative to the null forwarder
//! ```
//!
//! Needs root, and ip(8) and nsenter(1). It makes its own namespaces (network, mounts, processes), which end with
//! it. Both ends share one machine: absolute figures say little, the ratios of one run are the result.
//!
//! * The null forwarder moves packets between a tun device and a raw GRE socket with the same code as `pptpctl`
//!   ([`PacketIo`](pptpctl::testing::net::packets::PacketIo), [`Batch`](pptpctl::testing::os::batch::Batch)), with
//!   20 bytes in front of each packet, and nothing else: the limit of these system calls.
//! * Null forwarders that run only if `--paths` names them receive in other ways, and send as `null` does. `null-ring` and
//!   `null-frames` have a packet socket with a ring, in whole blocks (TPACKET_V3, a block that is not full after a
//!   millisecond) or packet by packet (TPACKET_V2). The packet socket gets copies, and the IP stack has to find a
//!   receiver for the originals: the raw socket that sends, whose filter drops them. `null-uring` receives
//!   from the raw socket through io_uring(7), with one request for any number of packets (x86_64 and 64-bit ARM).
//! * `veth` is the pair itself, without a tunnel.
//! * A cell is TCP with one or four streams, up (from the client), down, or both at once; or UDP in packets of
//!   1400 or 64 bytes, of which 256 are kept in transit.
//! * Mbit/s counts payload that has arrived. CPU is what the processes of both ends of the tunnel used, in seconds
//!   for each Gbit; work of the kernel that it charges to other processes is not in it.
//!
//! Each round measures every tunnel once, in turn. A ratio is the median over the rounds, each taken within a
//! round; behind it the smallest and the largest.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a failed measurement ends the program with a message"
)]

#[path = "../shared/far_end.rs"]
mod far_end;
#[path = "../../tests/pptp_program/isolated.rs"]
mod isolated;
mod load;
mod null;
mod others;
mod packet_ring;
#[path = "../shared/picture.rs"]
mod picture;
#[path = "../shared/spread.rs"]
mod spread;
mod table;
mod tunnels;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod uring;

use load::{Cell, Sample};
use tunnels::World;

/// Set in the program that runs inside the namespaces.
const WORLD: &str = "BENCH_WORLD";

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == null::ROLE) {
        return null::run(&words[1], &words[2]);
    }
    // `cargo test --benches` runs this program too, but a measurement is no test.
    if !words.iter().any(|word| word == "--bench") {
        return println!("a measurement: cargo bench --bench tunnel");
    }
    if std::env::var_os(WORLD).is_none() {
        let mut world = isolated::isolated_command(WORLD, "null zero full random urandom tty net/tun");
        let status = world.args(&words).status().unwrap();
        assert!(status.success(), "the measurement failed in its namespaces (root is needed): {status}");
        return;
    }
    let after = |name: &str| words.iter().position(|word| word == name).and_then(|at| words.get(at + 1));
    let rounds: usize = after("--rounds").map_or(5, |count| count.parse().unwrap());
    let only = after("--only").map_or("", String::as_str);
    let program = after("--program").map_or(env!("CARGO_BIN_EXE_pptpctl"), String::as_str);
    let wanted: Option<Vec<&str>> = after("--paths").map(|names| names.split(',').collect());

    let own = std::env::current_exe().unwrap();
    let world = World::new(program.as_ref(), &own, &|name| match &wanted {
        Some(names) => names.contains(&name),
        None => null::ALL.iter().all(|forwarder| forwarder.name != name || forwarder.by_default),
    });
    println!("{}\nload {}", world.versions.join("\n"), picture::load());
    let mut groups = Vec::new();
    for cell in Cell::all().into_iter().filter(|cell| cell.to_string().contains(only)) {
        let mut samples: Vec<Vec<Sample>> = Vec::new();
        for round in 0..rounds {
            let count = world.tunnels.len();
            let mut sample = vec![Sample::default(); count];
            for turn in 0..count {
                let which = (round + turn) % count;
                sample[which] = load::measure(&world, &world.tunnels[which], cell);
            }
            samples.push(sample);
        }
        println!("{}", table::rows(&world, cell, &samples));
        groups.push((cell.to_string(), table::bars(&world, &samples)));
    }
    if let Some(file) = after("--svg") {
        let title = "Throughput, of that of a null forwarder with the same system calls";
        std::fs::write(file, picture::svg(title, &groups)).unwrap();
    }
}
