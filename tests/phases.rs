//! Every way in which `pptpctl up` can fail: each with its phase, its words, its own exit status, within its own
//! time, and nothing left behind. And a tunnel over a bad road, which must not fail.
//!
//! Each test has a world of its own: namespaces that hold the client and a server of ours, which goes wrong on
//! purpose. Needs root, /dev/net/tun and ip(8); fails where they are missing.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::mount::{MsFlags, mount};
use pptpctl::{
    demo::{
        orders::{Orders, Trouble},
        weather::Climate,
        world::{self, Server},
    },
    ppp::{
        auth::AuthProtocol,
        mppe::{Demand, Policy},
    },
};
use sha1::{Digest, Sha1};

const PASSWORD: &str = "correct horse battery staple";

#[test]
fn a_name_that_nobody_knows() {
    in_world(sound(), |world| {
        world.profile(r#"server = "no-such-host.invalid""#);
        world.fails_within(10, "resolve", &["the server's name could not be resolved"], 3.0);
    });
}

#[test]
fn nobody_listens() {
    in_world(sound(), |world| {
        world.profile(r#"server = "192.0.2.1:9""#);
        world.fails_within(11, "connect", &["connection refused", "no PPTP server on this port"], 0.9);
    });
}

#[test]
fn nobody_answers_tcp() {
    in_world(sound(), |world| {
        world.profile(r#"server = "192.0.2.77""#);
        world.fails_within(12, "connect", &["no answer to the TCP connection", "192.0.2.77"], 2.0);
    });
}

#[test]
fn nobody_answers_pptp() {
    in_world(trouble(Trouble::SilentControl), |world| {
        world.profile("");
        world.fails_within(13, "control", &["the server does not answer PPTP", "captive portal"], 3.0);
    });
}

#[test]
fn the_control_connection_is_refused() {
    in_world(trouble(Trouble::RefuseControl { result: 4, error: 0 }), |world| {
        world.profile("");
        world.fails_within(14, "control", &["not authorized to open a control connection (result 4)"], 2.0);
    });
}

#[test]
fn the_call_is_refused() {
    in_world(trouble(Trouble::RefuseCall { result: 4, error: 0, cause: 0 }), |world| {
        world.profile("");
        world.fails_within(15, "call", &["the server refused the call", "busy (result 4)"], 3.0);
    });
}

#[test]
fn the_call_is_refused_with_a_cause() {
    in_world(trouble(Trouble::RefuseCall { result: 2, error: 4, cause: 0 }), |world| {
        world.profile("");
        world.fails_within(15, "call", &["general error (result 2)", "resource"], 3.0);
    });
}

#[test]
fn a_full_server_refuses_the_call() {
    in_world(Orders { addresses: 0, ..sound() }, |world| {
        world.profile("");
        world.fails_within(15, "call", &["busy (result 4)"], 3.0);
    });
}

#[test]
fn the_call_is_never_answered() {
    in_world(trouble(Trouble::SilentCall), |world| {
        world.profile("");
        world.fails_within(16, "call", &["the server did not answer the call request"], 3.0);
    });
}

#[test]
fn gre_is_filtered() {
    in_world(trouble(Trouble::DropGre), |world| {
        world.profile("");
        let words = [
            "GRE is filtered: nothing comes back on IP protocol 47",
            "the control connection is fine",
            "does a firewall drop IP protocol 47 from 192.0.2.1?",
            "nf_conntrack_pptp",
        ];
        world.fails_within(17, "lcp", &words, 4.0);
    });
}

#[test]
fn lcp_finds_no_end() {
    in_world(trouble(Trouble::DeafLcp), |world| {
        world.profile("");
        world.fails_within(18, "lcp", &["the PPP link could not be agreed on"], 4.0);
    });
}

/// GRE works, for acknowledgements come back: then it is not filtered.
#[test]
fn lcp_is_never_spoken() {
    in_world(trouble(Trouble::MuteLcp), |world| {
        world.profile("");
        world.fails_within(18, "lcp", &["the PPP link could not be agreed on"], 4.0);
    });
}

#[test]
fn the_password_is_wrong() {
    in_world(sound(), |world| {
        fs::write("/run/test.password", "not that one\n").unwrap();
        world.profile("retry = { first = \"1s\", attempts = 5 }");
        world.fails_within(19, "authentication", &["wrong user name or password", "691"], 2.0);
        let log = fs::read_to_string("/var/log/pptpctl/vpn.log").unwrap();
        assert_eq!(log.matches("vpn: connect").count(), 1, "dialled again, which locks accounts:\n{log}");
        assert!(!log.contains("not that one"), "{log}");
    });
}

#[test]
fn no_authentication_in_common() {
    in_world(Orders { auth: vec![AuthProtocol::Pap], mppe: no_mppe(), ..sound() }, |world| {
        world.profile(r#"mppe = "off""#);
        world.fails_within(19, "lcp", &["no authentication protocol in common", "PAP"], 4.0);
    });
}

#[test]
fn encryption_is_refused() {
    in_world(Orders { mppe: no_mppe(), ..sound() }, |world| {
        world.profile(r#"mppe = "require-128""#);
        world.fails_within(
            20,
            "encryption",
            &["no encryption that this profile accepts: no encryption: ", "require-128"],
            4.0,
        );
    });
}

#[test]
fn no_address_is_given() {
    in_world(trouble(Trouble::NoIpcp), |world| {
        world.profile("");
        world.fails_within(
            21,
            "addresses",
            &["the server gave no address: no address: the peer did not agree on addresses in time"],
            4.0,
        );
    });
}

#[test]
fn there_is_no_tun_device() {
    in_world(sound(), |world| {
        world.profile("");
        let none: Option<&str> = None;
        mount(Some("tmpfs"), "/dev/net", Some("tmpfs"), MsFlags::empty(), none).unwrap();
        world.fails_within(22, "", &["no tunnel device", "/dev/net/tun is missing"], 1.0);
        assert!(fs::read_dir("/dev/net").unwrap().next().is_none(), "it made the device node by itself");
    });
}

#[test]
fn taken_down_while_it_comes_up() {
    in_world(trouble(Trouble::SilentCall), |world| {
        world.profile("timeouts = { call = \"60s\" }");
        let before = world.state();
        let mut up = world.command(&["up", "vpn"]);
        let up = up.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        while !text(&world.run(&["status", "vpn"]).stdout).contains("phase call") {
            assert!(Instant::now() < deadline, "it does not get to the call");
        }
        assert_eq!(world.run(&["down", "vpn"]).status.code(), Some(0));
        let output = up.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(24), "{}", text(&output.stderr));
        world.assert_state(&before);
    });
}

#[test]
fn there_is_no_way_to_the_server() {
    in_world(sound(), |world| {
        world.profile(r#"server = "203.0.113.9""#);
        world.fails_within(25, "connect", &["no route to the server"], 0.9);
    });
}

#[test]
fn only_root_may() {
    in_world(sound(), |world| {
        world.profile("");
        let before = world.state();
        for arguments in [&["up", "vpn"][..], &["down", "vpn"]] {
            let output = world.command(arguments).uid(65_534).gid(65_534).output().unwrap();
            assert_eq!(output.status.code(), Some(4), "{arguments:?}: {}", text(&output.stderr));
            assert!(text(&output.stderr).contains("needs root"), "{}", text(&output.stderr));
        }
        world.assert_state(&before);
    });
}

#[test]
fn up_twice_and_down_twice() {
    in_world(sound(), |world| {
        world.profile("");
        let before = world.state();
        assert_not_up(world, &before);
        world.up();
        let during = world.state();
        let again = world.run(&["up", "vpn"]);
        assert_eq!(again.status.code(), Some(5), "{}", text(&again.stderr));
        assert!(text(&again.stderr).contains("vpn is up already"), "{}", text(&again.stderr));
        world.assert_state(&during);
        assert_eq!(world.run(&["down", "vpn"]).status.code(), Some(0));
        assert_not_up(world, &before);
    });
}

#[track_caller]
fn assert_not_up(world: &World, before: &str) {
    let down = world.run(&["down", "vpn"]);
    assert_eq!(down.status.code(), Some(6), "{}", text(&down.stderr));
    assert!(text(&down.stderr).contains("vpn is not up"), "{}", text(&down.stderr));
    assert_eq!(world.run(&["status", "vpn"]).status.code(), Some(6));
    world.assert_state(before);
}

#[test]
fn it_comes_up_with_each_authentication_and_encryption() {
    for auth in AuthProtocol::ALL {
        for mppe in [no_mppe(), sound().mppe] {
            if mppe.demand != Demand::Off && !auth.gives_keys() {
                continue;
            }
            in_world(Orders { auth: vec![auth], mppe, ..sound() }, move |world| {
                let wanted = if mppe.demand == Demand::Off { "off" } else { "require-128" };
                world.profile(&format!(
                    "auth = [\"pap\", \"chap\", \"mschap\", \"mschapv2\"]\nmppe = \"{wanted}\""
                ));
                let before = world.state();
                world.up();
                let status = text(&world.run(&["status", "vpn"]).stdout);
                let encryption = if mppe.demand == Demand::Off { "none" } else { "MPPE-128 stateless" };
                let expected = format!("authentication {auth}, encryption {encryption}");
                assert!(status.contains(&expected), "{expected}\n{status}");
                download(world.orders.office, 10_000);
                world.down(&before);
            });
        }
    }
}

#[test]
fn a_bad_road_loses_no_byte() {
    let bad = Climate { loss: 10, duplicate: 10, reorder: 50, delay: 300, hold: 2_000, seed: 1 };
    for (inbound, outbound, extra) in [
        (bad, Climate { seed: 2, ..bad }, ""),
        (bad, Climate { seed: 4, ..bad }, "timeouts = { reorder = \"off\" }"),
    ] {
        in_world(Orders { inbound, outbound, ..sound() }, move |world| {
            world.profile(extra);
            let before = world.state();
            world.up();
            download(world.orders.office, 1_000_000);
            upload(world.orders.office, 500_000);
            let status = world.run(&["status", "vpn", "--json"]);
            let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
            let count = |name: &str| status["counters"][name].as_u64().unwrap_or(0);
            assert!(count("gre.rx_duplicate") > 0 && count("gre.rx_lost") > 0, "a good road? {status}");
            world.down(&before);
        });
    }
}

#[test]
fn a_bad_road_does_not_keep_a_tunnel_from_coming_up() {
    let worlds: Vec<_> = (1..=4)
        .map(|seed| {
            let bad = Climate { loss: 150, duplicate: 100, reorder: 200, delay: 500, hold: 5_000, seed };
            let orders = Orders { inbound: bad, outbound: Climate { seed: seed + 100, ..bad }, ..sound() };
            new_world(orders, |world| {
                world.profile(
                    r#"timeouts = { gre = "10s", lcp = "20s", auth = "20s", network = "20s", stop = "2s" }"#,
                );
                let before = world.state();
                world.up();
                world.down(&before);
            })
        })
        .collect();
    worlds.into_iter().for_each(end_of_world);
}

fn sound() -> Orders {
    Orders { users: vec![("tester".to_owned(), PASSWORD.to_owned())], ..Orders::default() }
}

fn trouble(trouble: Trouble) -> Orders {
    Orders { trouble: Some(trouble), ..sound() }
}

fn no_mppe() -> Policy {
    Policy { demand: Demand::Off, ..sound().mppe }
}

/// A client's namespaces and a server.
struct World {
    orders: Orders,
    _server: Server,
}

/// Runs `test` in a world of its own.
fn in_world(orders: Orders, test: impl FnOnce(&World) + Send + 'static) {
    end_of_world(new_world(orders, test));
}

/// Begins `test` in a world of its own. The thread is one of its own too, because it leaves the host for good.
fn new_world(orders: Orders, test: impl FnOnce(&World) + Send + 'static) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        if let Err((what, error)) = world::enter() {
            panic!("could not {what} ({error}): these tests make namespaces, run them as root");
        }
        let server = Server::start(Path::new(env!("CARGO_BIN_EXE_pptpctl")), &orders).expect("a server");
        // The build directory may lie where nobody but root may look.
        fs::write(World::PROGRAM, "").unwrap();
        let none: Option<&str> = None;
        mount(Some(env!("CARGO_BIN_EXE_pptpctl")), World::PROGRAM, none, MsFlags::MS_BIND, none).unwrap();
        fs::write("/run/test.password", format!("{PASSWORD}\n")).unwrap();
        fs::set_permissions("/run/test.password", fs::Permissions::from_mode(0o600)).unwrap();
        settle();
        test(&World { orders, _server: server });
    })
}

fn end_of_world(world: thread::JoinHandle<()>) {
    if let Err(panic) = world.join() {
        std::panic::resume_unwind(panic);
    }
}

impl World {
    const PROGRAM: &'static str = "/run/pptpctl-under-test";

    /// Writes the profile `vpn`; `extra` comes over the usual lines, key by key.
    fn profile(&self, extra: &str) {
        let usual = "server = \"192.0.2.1\"\nuser = \"tester\"\nmppe = \"require-128\"\nroutes = [\"192.168.77.0/24\"]\n\
             password.file = \"/run/test.password\"\nloglevel = 2\n\
             timeouts = { resolve = \"2s\", connect = \"1s\", control = \"1s\", call = \"1s\", gre = \"1s\", lcp = \"2s\", \
             auth = \"2s\", network = \"2s\", stop = \"500ms\" }\n";
        let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
        let over: Vec<String> = extra.lines().map(key).collect();
        let kept = usual.lines().filter(|line| !over.contains(&key(line)));
        let text: String = std::iter::once("[profile.vpn]")
            .chain(kept)
            .chain(extra.lines())
            .map(|line| format!("{line}\n"))
            .collect();
        fs::write("/run/test.toml", text).unwrap();
        fs::set_permissions("/run/test.toml", fs::Permissions::from_mode(0o644)).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(Self::PROGRAM);
        command.args(["--config", "/run/test.toml"]).args(arguments).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// `up` fails with this exit status, in this phase, in these words, within so many seconds.
    #[track_caller]
    fn fails_within(&self, code: i32, phase: &str, words: &[&str], seconds: f64) {
        let before = self.state();
        let started = Instant::now();
        let output = self.run(&["up", "vpn"]);
        let took = started.elapsed().as_secs_f64();
        let said = text(&output.stderr);
        println!("{}{said}exit status {code} after {took:.2} s", text(&output.stdout));
        assert_eq!(output.status.code(), Some(code), "{}\n{said}", text(&output.stdout));
        let in_phase =
            if phase.is_empty() { String::new() } else { format!("vpn: failed in phase {phase}:") };
        for word in words.iter().copied().chain([in_phase.as_str()]) {
            assert!(said.contains(word), "{word:?} is missing in\n{said}");
        }
        // Room for a busy machine; a timeout that is not the profile's is ten seconds and more.
        assert!(took < seconds + 2.0, "it took {took} s:\n{said}");
        assert!(!said.contains(PASSWORD));
        let kind = said.split(": ").nth(1).unwrap_or_default();
        assert_eq!(said.matches(kind).count(), 1, "it says {kind:?} twice:\n{said}");
        self.assert_state(&before);
        assert_eq!(self.run(&["status", "vpn"]).status.code(), Some(6), "it is still there");
    }

    #[track_caller]
    fn up(&self) {
        let output = self.run(&["up", "vpn"]);
        let log = || fs::read_to_string("/var/log/pptpctl/vpn.log").unwrap_or_default();
        print!("{}", text(&output.stdout));
        assert!(output.status.success(), "{}{}\n{}", text(&output.stdout), text(&output.stderr), log());
    }

    #[track_caller]
    fn down(&self, before: &str) {
        let output = self.run(&["down", "vpn"]);
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
        self.assert_state(before);
    }

    /// Everything that a tunnel can change on its host.
    fn state(&self) -> String {
        let mut state = String::new();
        for arguments in [
            "-d -j route show table all",
            "-d -6 -j route show table all",
            "-d -j rule",
            "-d -6 -j rule",
            "-j addr",
            "-d -j link",
        ] {
            let json = ip(&arguments.split(' ').collect::<Vec<_>>()).replace("},{", "},\n{");
            state.push_str(&format!("{arguments}\n{json}\n"));
        }
        for place in ["/run", "/var/lib", "/etc/resolv.conf"] {
            files(Path::new(place), &mut state);
        }
        state
    }

    #[track_caller]
    fn assert_state(&self, before: &str) {
        let after = self.state();
        let without = |one: &str, other: &str| {
            one.lines()
                .filter(|line| !other.lines().any(|same| same == *line))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let (lost, left) = (without(before, &after), without(&after, before));
        assert!(before == after, "not as before\nlost: {lost:#?}\nleft: {left:#?}");
    }
}

/// Every file with its content; an empty directory is nothing.
fn files(path: &Path, state: &mut String) {
    // The ledgers' lock is made once and stays: to remove a lock that others may wait for would be a race.
    let stays = [Path::new(World::PROGRAM), Path::new("/var/lib/pptpctl/lock")];
    if !path.is_dir() {
        if !stays.contains(&path) {
            state.push_str(&format!("{}={}\n", path.display(), fs::read_to_string(path).unwrap_or_default()));
        }
        return;
    }
    let mut entries: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries.iter().for_each(|entry| files(entry, state));
}

#[track_caller]
fn ip(arguments: &[&str]) -> String {
    let output = Command::new("ip").args(arguments).output().expect("ip(8) of iproute2 is needed");
    assert!(output.status.success(), "ip {arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Waits until the wire is running, which the kernel writes down a moment after it was brought up.
fn settle() {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !ip(&["-j", "link", "show", world::CLIENT_DEVICE]).contains(r#""operstate":"UP""#) {
        assert!(Instant::now() < deadline, "the wire does not come up");
        thread::yield_now();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn download(host: Ipv4Addr, size: usize) {
    let (head, body) = http(host, &format!("GET /file/{size} HTTP/1.1\r\n\r\n"), &[]);
    assert_eq!(body.len(), size, "{head}");
    assert!(head.contains(&format!("X-Sha1: {}\r\n", sha1(&body))), "{head}");
}

#[track_caller]
fn upload(host: Ipv4Addr, size: usize) {
    let body: Vec<u8> = (0..size).map(|at| (at * at / 7 % 251) as u8).collect();
    let (head, digest) = http(host, &format!("PUT /x HTTP/1.1\r\nContent-Length: {size}\r\n\r\n"), &body);
    assert_eq!(text(&digest), sha1(&body), "{head}");
}

#[track_caller]
fn http(host: Ipv4Addr, head: &str, body: &[u8]) -> (String, Vec<u8>) {
    let limit = Duration::from_secs(60);
    let mut stream = TcpStream::connect_timeout(&(host, 80).into(), limit).unwrap();
    stream.set_read_timeout(Some(limit)).unwrap();
    stream.set_write_timeout(Some(limit)).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer") + 4;
    let body = answer.split_off(end);
    (text(&answer), body)
}

fn sha1(bytes: &[u8]) -> String {
    Sha1::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
