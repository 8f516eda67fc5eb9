//! Measures the behaviour of tunnels on networks with delay, loss and reordering, and of many tunnels at a time.
//!
//! ```text
//! cargo bench --bench networks -- setup              set-up with 0, 20 and 100 ms of delay
//! cargo bench --bench networks -- tunnels            1, 10, 100 and 500 tunnels
//! cargo bench --bench networks -- loss               goodput and delay with losses and reordering
//! cargo bench --bench networks -- loss --only "1 % lost"   one condition, by its name
//! cargo bench --bench networks -- loss --rounds 9    more rounds than five; of tunnels, more than one
//! cargo bench --bench networks -- tunnels --program PATH    another build of pptpctl
//! cargo bench --bench networks -- loss --svg FILE    also writes a picture
//! ```
//!
//! Needs root, and ip(8) and nsenter(1). It makes its own namespaces (network, mounts, processes), which end with it.
//! The server is that of `pptpctl demo`.
//!
//! * The path of `setup` and `loss` is a relay of ours between two tun devices ([`relay`]): it delays, drops and holds up
//!   IP packets by [`ImpairedPath`](pptpctl::testing::demo::impairment::ImpairedPath), the same way for the tunnel's
//!   packets and for those of the comparison without a tunnel.
//! * `setup` measures the time from the start of `pptpctl up` to its end, and to the answer to the first ping through the
//!   tunnel. It counts the round trips in the packets that the relay sees, from the first SYN to the end of `up`.
//! * `tunnels` brings up all tunnels with `up --autostart`, and leaves them idle for a minute: proportional set size of
//!   supervisor, launcher and engine, their CPU time, and their wake-ups (voluntary context switches).
//! * `loss` measures the goodput of one TCP stream (CUBIC) to the server for each condition, through the path alone, a tunnel in
//!   clear and one with MPPE-128; then the one-way delay of datagrams of 200 bytes, of which 1000 are sent in a second.
//!
//! Each round measures everything once, in turn. A ratio is the median over the rounds, each taken within a round; behind
//! it the smallest and the largest.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a failed measurement ends the program with a message"
)]

#[path = "../shared/far_end.rs"]
mod far_end;
#[path = "../../tests/pptp_program/isolated.rs"]
mod isolated;
mod lab;
mod loss;
#[path = "../shared/picture.rs"]
mod picture;
mod relay;
mod setup;
#[path = "../shared/spread.rs"]
mod spread;
mod tunnels;

/// Set in the program that runs inside the namespaces.
const WORLD: &str = "BENCH_WORLD";

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == relay::ROLE) {
        return relay::run(&words[1]);
    }
    let part = words.first().map_or("", String::as_str);
    // `cargo test --benches` runs this program too, but a measurement is no test.
    if !words.iter().any(|word| word == "--bench") || !["setup", "tunnels", "loss"].contains(&part) {
        return println!("a measurement: cargo bench --bench networks -- setup, or tunnels, or loss");
    }
    if std::env::var_os(WORLD).is_none() {
        let mut world = isolated::isolated_command(WORLD, "null zero full random urandom tty net/tun");
        let status = world.args(&words).status().unwrap();
        assert!(status.success(), "the measurement failed in its namespaces (root is needed): {status}");
        return;
    }
    let after = |name: &str| words.iter().position(|word| word == name).and_then(|at| words.get(at + 1));
    let rounds = |usual| after("--rounds").map_or(usual, |count| count.parse().unwrap());
    let program = after("--program").map_or(env!("CARGO_BIN_EXE_pptpctl"), String::as_str);
    println!("pptpctl: {program}; load {}", picture::load());
    match part {
        "setup" => setup::run(program.as_ref(), rounds(5)),
        "tunnels" => tunnels::run(program.as_ref(), rounds(1), after("--counts").map(String::as_str)),
        _ => {
            let only = after("--only").map_or("", String::as_str);
            loss::run(program.as_ref(), rounds(5), only, after("--svg").map(String::as_str));
        }
    }
    println!("load {}", picture::load());
}
