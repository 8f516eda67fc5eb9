//! Measures `pptpctl up` and `pptpctl down` for a profile with many routes, and ip(8), which only adds or
//! deletes them in one batch.
//!
//! ```text
//! cargo bench --bench routes                  three rounds of 0, 1000 and 8000 routes, about a minute
//! cargo bench --bench routes -- --rounds 5    more of them
//! ```
//!
//! Needs root and /dev/net/tun. Like `pptpctl demo`, it makes its own namespaces (network, mounts,
//! processes), which end with it, and its own server. The results are medians; the last columns are the time
//! that the routes add to `up` and to `down`, divided by that of ip(8).

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failed measurement ends the program with a message"
)]

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use pptpctl::testing::demo::{
    config::ServerConfig,
    world::{self, Server},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_pptpctl");
const SIZES: [u32; 3] = [0, 1000, 8000];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let rounds: usize = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => 3,
        ["--rounds", number] => number.parse().unwrap(),
        _ => panic!("only --rounds N is understood"),
    };
    world::enter().unwrap_or_else(|(what, error)| panic!("could not {what} ({error}): run it as root"));
    let config =
        ServerConfig { users: vec![("user".to_owned(), "secret".to_owned())], ..ServerConfig::default() };
    let _server = Server::start(Path::new(PROGRAM), &config).unwrap();
    fs::write("/run/password", "secret\n").unwrap();
    fs::set_permissions("/run/password", fs::Permissions::from_mode(0o600)).unwrap();

    println!("routes      up s    down s   ip add s   ip del s   up/ip  down/ip");
    let mut without_routes = [0.0; 2];
    for size in SIZES {
        let prefixes: Vec<String> = (0..size).map(|n| format!("10.{}.{}.0/24", n / 250, n % 250)).collect();
        let measured: Vec<[f64; 4]> = (0..rounds).map(|_| round(&prefixes)).collect();
        let [up, down, add, delete] = [0, 1, 2, 3].map(|column: usize| {
            median(measured.iter().filter_map(|times| times.get(column).copied()).collect())
        });
        print!("{size:6}  {up:8.3}  {down:8.3}  {add:9.3}  {delete:9.3}");
        if size == 0 {
            without_routes = [up, down];
            println!();
        } else {
            println!("  {:6.1}  {:7.1}", (up - without_routes[0]) / add, (down - without_routes[1]) / delete);
        }
    }
}

/// Seconds of `up`, of `down`, and of ip(8) to add and to delete.
fn round(prefixes: &[String]) -> [f64; 4] {
    let list: Vec<String> = prefixes.iter().map(|prefix| format!("\"{prefix}\"")).collect();
    let profile = format!(
        "[profile.vpn]\nserver = \"192.0.2.1\"\nuser = \"user\"\npassword.file = \"/run/password\"\n\
         mppe = \"require-128\"\nroutes = [{}]\n",
        list.join(", ")
    );
    fs::write("/run/profiles.toml", profile).unwrap();
    let pptpctl =
        |word: &str| timed(Command::new(PROGRAM).args(["--config", "/run/profiles.toml", word, "vpn"]), "");
    let up = pptpctl("up");
    let routes = Command::new("ip").args(["route", "show", "dev", "tun0"]).output().unwrap();
    let count = String::from_utf8_lossy(&routes.stdout).lines().filter(|line| line.contains("/24")).count();
    assert_eq!(count, prefixes.len(), "not all routes were added");
    let down = pptpctl("down");

    let words = |word: &str| {
        prefixes.iter().fold(String::new(), |mut words, prefix| {
            writeln!(words, "route {word} {prefix} dev dummy0").unwrap();
            words
        })
    };
    for line in ["link add dummy0 type veth peer name dummy1", "link set dummy0 up"] {
        timed(Command::new("ip").args(line.split(' ')), "");
    }
    let add = timed(Command::new("ip").args(["-batch", "-"]), &words("add"));
    let delete = timed(Command::new("ip").args(["-batch", "-"]), &words("del"));
    timed(Command::new("ip").args(["link", "del", "dummy0"]), "");
    [up, down, add, delete]
}

fn timed(command: &mut Command, input: &str) -> f64 {
    let started = Instant::now();
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let took: Duration = started.elapsed();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    took.as_secs_f64()
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}
