//! Every failure of `pptpctl up`: its phase, message, exit status and time limit, and nothing left behind.
//! Also a tunnel over an impaired path, which must not fail.
//!
//! Each test has its own namespaces for the client and for the demo server, which misbehaves on purpose.
//! Needs root, /dev/net/tun, ip(8), dnsmasq(8) and busybox(1); fails where they are missing.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's helpers fail the test")]
#![expect(clippy::print_stdout, reason = "the output of `up` shows the cause of a failure")]

mod at_terminal;
mod capture;
mod collisions;
mod container;
mod control_files;
mod control_group;
mod device_changes;
mod doctor;
mod edit;
mod events;
mod foreign_rights;
mod forged;
mod from_start;
mod gre_strays;
mod hostile_input;
mod init;
mod json;
mod killed_processes;
mod login_limit;
mod lost_tunnel;
mod neighbours;
mod old_supervisor;
mod openwrt;
mod own_firewall;
mod pause;
mod peer_routes;
mod progress;
mod prompt;
mod readable;
mod reload;
mod report;
mod resource_exhaustion;
mod restart;
mod restrictions;
mod rogue_routes;
mod run_as_invoker;
#[path = "../lab/script.rs"]
mod script;
mod server_verdicts;
#[path = "../lab/shown.rs"]
mod shown;
mod systemd_filter;
mod visible_state;
mod watch;
mod watchdog;
mod weak_authentication;
mod world;

use std::{
    fs,
    io::{BufRead, BufReader},
    net::UdpSocket,
    os::unix::process::CommandExt,
    process::Stdio,
};

use nix::{
    mount::{MsFlags, mount},
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use pptpctl::testing::{
    demo::{
        config::{Fault, ServerConfig},
        impairment::ImpairmentConfig,
    },
    ppp::{
        auth::AuthProtocol,
        mppe::{Demand, Policy},
    },
};
use world::{PASSWORD, World, download, in_world, join_world, new_world, text, timeouts, upload};

#[test]
fn unknown_name_is_reported() {
    in_world(working_server(), |world| {
        world.profile(r#"server = "no-such-host.invalid""#);
        world.assert_up_fails(10, "resolve", &["the server's name could not be resolved"], 3.0);
    });
}

/// IPv6 passes between the link-local addresses negotiated by IPV6CP, and IPv6 routes lead into the tunnel.
#[test]
fn ipv6_is_negotiated_in_the_tunnel() {
    in_world(ServerConfig { ipv6: true, ..working_server() }, |world| {
        world.profile("ppp.ipv6 = true\nroutes = [\"192.168.77.0/24\", \"2001:db8:42::/48\"]");
        let before = world.state();
        world.up();
        let addresses = world.shell("ip -6 -o addr show dev tun0");
        let peer = addresses.split_once("peer ").and_then(|(_, rest)| rest.split('/').next());
        let peer = peer.unwrap_or_else(|| panic!("no peer address: {addresses}"));
        let pinged = world.shell(&format!("ping -c 5 -W 5 {peer}%tun0"));
        assert!(!pinged.contains(" 0 received"), "{pinged}");
        assert!(world.shell("ip -6 route get 2001:db8:42::1").contains("dev tun0"));
        world.down(&before);
    });
}

#[test]
fn silent_resolver_is_reported() {
    in_world(working_server(), |world| {
        world.profile(&format!("server = \"vpn.example.net\"\n{}", timeouts(&[("resolve", "2s")])));
        let resolver = UdpSocket::bind("127.0.0.1:53").unwrap();
        resolver.set_nonblocking(true).unwrap();
        let none: Option<&str> = None;
        fs::write("/run/resolv.conf", "nameserver 127.0.0.1\n").unwrap();
        mount(Some("/run/resolv.conf"), "/etc/resolv.conf", none, MsFlags::MS_BIND, none).unwrap();
        world.assert_up_fails(10, "resolve", &["the server's name could not be resolved", "2 s"], 2.0);
        let mut query = [0; 512];
        let size = resolver.recv(&mut query).expect("no DNS query");
        assert!(text(&query[..size]).contains("example"), "{:?}", text(&query[..size]));
    });
}

#[test]
fn refused_connection_is_reported() {
    in_world(working_server(), |world| {
        world.profile(r#"server = "192.0.2.1:9""#);
        world.assert_up_fails(11, "connect", &["connection refused", "no PPTP server on this port"], 0.9);
    });
}

#[test]
fn tcp_timeout_is_reported() {
    in_world(working_server(), |world| {
        world.profile(&format!("server = \"192.0.2.77\"\n{}", timeouts(&[("connect", "3s")])));
        // Without this entry the kernel's address resolution fails after 3 s too, before our timeout.
        world.shell("ip neigh add 192.0.2.77 lladdr 02:00:00:00:00:77 nud permanent dev eth0");
        world.assert_up_fails(12, "connect", &["no answer to the TCP connection", "192.0.2.77"], 4.5);
    });
}

#[test]
fn silent_control_connection_is_reported() {
    in_world(faulty_server(Fault::SilentControl), |world| {
        world.profile(&timeouts(&[("control", "1s")]));
        world.assert_up_fails(13, "control", &["the server does not answer PPTP", "captive portal"], 3.0);
    });
}

#[test]
fn refused_control_connection_is_reported() {
    in_world(faulty_server(Fault::RefuseControl { result: 4, error: 0 }), |world| {
        world.profile("");
        world.assert_up_fails(
            14,
            "control",
            &["not authorized to open a control connection (result 4)"],
            2.0,
        );
    });
}

#[test]
fn refused_call_is_reported() {
    in_world(faulty_server(Fault::RefuseCall { result: 4, error: 0, cause: 0 }), |world| {
        world.profile("");
        world.assert_up_fails(15, "call", &["the server refused the call", "busy (result 4)"], 3.0);
    });
}

#[test]
fn refused_call_is_reported_with_cause() {
    in_world(faulty_server(Fault::RefuseCall { result: 2, error: 4, cause: 0 }), |world| {
        world.profile("");
        world.assert_up_fails(15, "call", &["general error (result 2)", "resource"], 3.0);
    });
}

#[test]
fn call_refused_by_full_server_is_reported() {
    in_world(ServerConfig { addresses: 0, ..working_server() }, |world| {
        world.profile("");
        world.assert_up_fails(15, "call", &["busy (result 4)"], 3.0);
    });
}

#[test]
fn unanswered_call_is_reported() {
    in_world(faulty_server(Fault::SilentCall), |world| {
        world.profile(&timeouts(&[("call", "1s")]));
        world.assert_up_fails(16, "call", &["the server did not answer the call request"], 3.0);
    });
}

#[test]
fn filtered_gre_is_reported() {
    in_world(faulty_server(Fault::DropGre), |world| {
        world.profile(&timeouts(&[("gre", "1s")]));
        let words = [
            "GRE, IP protocol 47, is filtered",
            "the control connection is fine",
            "this host's own firewall does not drop it",
            "the router must pass PPTP",
        ];
        world.assert_up_fails(17, "lcp", &words, 4.0);
    });
}

#[test]
fn endless_lcp_is_reported() {
    in_world(faulty_server(Fault::DeafLcp), |world| {
        world.profile(&timeouts(&[("lcp", "2s")]));
        world.assert_up_fails(18, "lcp", &["the PPP link could not be agreed on"], 4.0);
    });
}

/// The server acknowledges GRE packets but sends none: GRE works, so the failure must not be reported as
/// filtering.
#[test]
fn missing_lcp_is_reported() {
    in_world(faulty_server(Fault::MuteLcp), |world| {
        world.profile(&timeouts(&[("lcp", "2s")]));
        world.assert_up_fails(18, "lcp", &["the PPP link could not be agreed on"], 4.0);
    });
}

#[test]
fn wrong_password_is_reported() {
    in_world(working_server(), |world| {
        fs::write("/run/test.password", "not that one\n").unwrap();
        world.profile("retry = { first = \"1s\", attempts = 5 }");
        world.assert_up_fails(19, "authentication", &["wrong user name or password", "691"], 2.0);
        let log = fs::read_to_string("/var/log/pptpctl/vpn.log").unwrap();
        assert_eq!(
            log.matches("vpn: connect").count(),
            1,
            "more than one dial with a wrong password, which can lock the account:\n{log}"
        );
        assert!(!log.contains("not that one"), "{log}");
    });
}

#[test]
fn server_without_proof_is_reported() {
    in_world(faulty_server(Fault::WrongProof), |world| {
        world.profile("retry = { first = \"1s\", attempts = 5 }");
        let words = [
            "authentication failed: the server did not prove that it knows the password",
            "may not be the server",
        ];
        world.assert_up_fails(19, "authentication", &words, 2.0);
    });
}

#[test]
fn unanswered_authentication_is_reported() {
    in_world(faulty_server(Fault::DeafAuth), |world| {
        world.profile(&timeouts(&[("auth", "2s")]));
        world.assert_up_fails(
            19,
            "authentication",
            &["the peer stopped answering during authentication"],
            3.0,
        );
    });
}

#[test]
fn missing_common_authentication_is_reported() {
    in_world(ServerConfig { auth: vec![AuthProtocol::Pap], mppe: no_mppe(), ..working_server() }, |world| {
        world.profile(r#"mppe = "off""#);
        world.assert_up_fails(19, "lcp", &["no authentication protocol in common", "PAP"], 4.0);
    });
}

#[test]
fn refused_encryption_is_reported() {
    in_world(ServerConfig { mppe: no_mppe(), ..working_server() }, |world| {
        world.profile(r#"mppe = "require-128""#);
        world.assert_up_fails(
            20,
            "encryption",
            &["no encryption that this profile accepts: the peer does not support encryption", "require-128"],
            4.0,
        );
    });
}

/// The server has refused nothing, so the next attempt may succeed: not the status of a refusal.
#[test]
fn unanswered_encryption_is_reported() {
    in_world(faulty_server(Fault::DeafCcp), |world| {
        world.profile(&timeouts(&[("network", "2s")]));
        let words = ["encryption does not work", "the server does not finish CCP"];
        world.assert_up_fails(20, "encryption", &words, 4.0);
    });
}

#[test]
fn missing_address_is_reported() {
    in_world(faulty_server(Fault::NoIpcp), |world| {
        world.profile(&timeouts(&[("network", "2s")]));
        world.assert_up_fails(
            21,
            "addresses",
            &["the server gave no address: the peer did not agree on addresses in time"],
            4.0,
        );
    });
}

#[test]
fn missing_tun_device_is_reported() {
    in_world(working_server(), |world| {
        world.profile("");
        let none: Option<&str> = None;
        mount(Some("tmpfs"), "/dev/net", Some("tmpfs"), MsFlags::empty(), none).unwrap();
        world.assert_up_fails(22, "", &["no tunnel device", "/dev/net/tun is missing"], 1.0);
        assert!(fs::read_dir("/dev/net").unwrap().next().is_none(), "`up` created the device node");
    });
}

#[test]
fn down_interrupts_up() {
    in_world(faulty_server(Fault::SilentCall), |world| {
        world.profile("timeouts = { call = \"60s\" }");
        let before = world.state();
        let mut up = world.command(&["up", "vpn"]);
        let up = world.spawn(up.stdout(Stdio::piped()).stderr(Stdio::piped()));
        world.wait_for(|| text(&world.run(&["status", "vpn"]).stdout).contains("phase call"));
        assert_eq!(world.run(&["down", "vpn"]).status.code(), Some(0));
        let output = up.wait_with_output();
        assert_eq!(output.status.code(), Some(24), "{}", text(&output.stderr));
        world.assert_state(&before);
    });
}

#[test]
fn unreachable_server_is_reported() {
    in_world(working_server(), |world| {
        world.profile(r#"server = "203.0.113.9""#);
        world.assert_up_fails(25, "connect", &["no route to the server"], 0.9);
    });
}

#[test]
fn up_requires_root() {
    in_world(working_server(), |world| {
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
fn second_up_and_second_down_are_refused() {
    in_world(working_server(), |world| {
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
fn two_tunnels_to_one_server() {
    in_world(working_server(), |world| {
        world.profile("");
        let one = fs::read_to_string(World::CONFIG).unwrap();
        let other = one.replace("[profile.vpn]", "[profile.other]").replace("192.168.77.0", "192.168.78.0");
        fs::write(World::CONFIG, one + &other).unwrap();
        let before = world.state();
        world.up();
        let during = world.state();
        let output = world.run(&["up", "other"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        download(world.server_config.office, 100_000);
        // The engine times an LCP echo after it was asked for its counters, for the next answer.
        let mut status = String::new();
        world.wait_for(|| {
            status = text(&world.run(&["status"]).stdout);
            status.contains(" ms")
        });
        let cells = |row: usize| status.lines().nth(row).unwrap().split_whitespace().collect::<Vec<_>>();
        let titles = "NAME STATE DEV ADDRESS PEER SINCE IN/s OUT/s LOSS RTT";
        assert_eq!(cells(0).join(" "), titles);
        let (other, vpn) = (cells(1), cells(2));
        assert_eq!(other.get(..3), Some(&["other", "up", "tun1"][..]), "{status}");
        assert_eq!(vpn.get(..3), Some(&["vpn", "up", "tun0"][..]), "{status}");
        assert!(!vpn.get(3..9).unwrap().contains(&"-"), "{status}");
        let json: serde_json::Value =
            serde_json::from_slice(&world.run(&["status", "vpn", "--json"]).stdout).unwrap();
        assert!(json["round_trip_micros"].as_u64().is_some_and(|micros| micros < 60_000_000), "{json}");
        assert!(world.run(&["down", "other"]).status.success());
        world.assert_state(&during);
        download(world.server_config.office, 100_000);
        world.down(&before);
    });
}

#[test]
fn engine_runs_unprivileged_and_confined() {
    in_world(working_server(), |world| {
        world.profile("");
        world.up();
        let engine = world.pid("engine_pid");
        let status = world.shell(&format!("cat /proc/{engine}/status"));
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_start_matches(':').split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert!(field("Uid").iter().chain(&field("Gid")).all(|id| id != "0"), "{status}");
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(field(set), ["0000000000000000"], "{set}");
        }
        assert_eq!(field("NoNewPrivs"), ["1"]);
        assert_eq!(field("Seccomp"), ["2"], "no system call filter");
        let files = world.shell(&format!("ls /proc/{engine}/root/ | wc -l; ls /proc/{engine}/fd | wc -l"));
        let files: Vec<u32> = files.split_whitespace().map(|word| word.parse().unwrap()).collect();
        // Channel, /dev/null, log, TCP, GRE, tun.
        assert!(matches!(files[..], [0, descriptors] if descriptors <= 7), "{files:?}");
    });
}

/// While `up` waits for the password a second `up` is refused, and Ctrl-C leaves nothing behind.
#[test]
fn interrupted_password_command_leaves_nothing() {
    in_world(working_server(), |world| {
        world.profile("password.command = [\"sleep\", \"60\"]");
        let before = world.state();
        let mut up = world.command(&["up", "vpn"]);
        let mut up = world.spawn(up.process_group(0).stdout(Stdio::piped()));
        let mut stdout = BufReader::new(up.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let again = world.run(&["up", "vpn"]).status.code();
        // As Ctrl-C in a terminal does: the password command gets the signal too.
        killpg(Pid::from_raw(up.id().try_into().unwrap()), Signal::SIGINT).unwrap();
        let up = up.wait().unwrap();
        assert!(line.contains("password") && line.contains("from the command sleep"), "{line}");
        assert_eq!((again, up.code()), (Some(5), Some(24)));
        world.assert_state(&before);
    });
}

#[test]
fn up_succeeds_with_each_authentication_and_encryption() {
    for auth in AuthProtocol::ALL {
        for mppe in [no_mppe(), working_server().mppe] {
            if mppe.demand != Demand::Off && !auth.gives_keys() {
                continue;
            }
            in_world(ServerConfig { auth: vec![auth], mppe, ..working_server() }, move |world| {
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
                download(world.server_config.office, 10_000);
                world.down(&before);
            });
        }
    }
}

#[test]
fn impaired_path_loses_no_tcp_data() {
    let bad = ImpairmentConfig { loss: 10, duplicate: 10, reorder: 50, delay: 300, hold: 2_000, seed: 1 };
    for (inbound, outbound, extra) in [
        (bad, ImpairmentConfig { seed: 2, ..bad }, ""),
        (bad, ImpairmentConfig { seed: 4, ..bad }, "timeouts = { reorder = \"off\" }"),
    ] {
        in_world(ServerConfig { inbound, outbound, ..working_server() }, move |world| {
            world.profile(extra);
            let before = world.state();
            world.up();
            download(world.server_config.office, 1_000_000);
            upload(world.server_config.office, 500_000);
            let status = world.status_with_counters();
            let count = |name: &str| status["counters"][name].as_u64().unwrap_or(0);
            assert!(
                count("gre.rx_duplicate") > 0 && count("gre.rx_lost") > 0,
                "the path was not impaired: {status}"
            );
            world.down(&before);
        });
    }
}

#[test]
fn up_succeeds_on_impaired_path() {
    let worlds: Vec<_> = (1..=4)
        .map(|seed| {
            let bad =
                ImpairmentConfig { loss: 150, duplicate: 100, reorder: 200, delay: 500, hold: 5_000, seed };
            let server_config = ServerConfig {
                inbound: bad,
                outbound: ImpairmentConfig { seed: seed + 100, ..bad },
                ..working_server()
            };
            new_world(server_config, |world| {
                world.profile(
                    r#"timeouts = { gre = "10s", lcp = "20s", auth = "20s", network = "20s", stop = "2s" }"#,
                );
                let before = world.state();
                world.up();
                world.down(&before);
            })
        })
        .collect();
    worlds.into_iter().for_each(join_world);
}

fn working_server() -> ServerConfig {
    ServerConfig { users: vec![("tester".to_owned(), PASSWORD.to_owned())], ..ServerConfig::default() }
}

fn faulty_server(trouble: Fault) -> ServerConfig {
    ServerConfig { trouble: Some(trouble), ..working_server() }
}

fn no_mppe() -> Policy {
    Policy { demand: Demand::Off, ..working_server().mppe }
}
