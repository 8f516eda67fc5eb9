//! The network changes under a tunnel: uplinks come and go, with other gateways and other addresses, and the
//! tunnel follows without a packet of it leaving in clear.
//!
//! Each test has its own world: namespaces for a laptop with two uplinks, two routers, and a server of ours
//! that both lead to. Needs root, /dev/net/tun, ip(8), nft(8), nsenter(1), ping(8) and systemd-networkd(8); fails if
//! they are missing. The time until the tunnel carries packets again is printed: `cargo test --test roam --
//! --nocapture`.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's helpers fail the test")]
#![expect(clippy::indexing_slicing, reason = "packets whose length the kernel has checked")]
#![expect(clippy::print_stdout, reason = "the measured times are results")]

mod collisions;
mod displaced;
mod foreign;
mod interplay;
mod local_networks;
mod lost;
mod path_mtu;
mod soak;
mod strict;
mod transmit_window;
mod witness;
mod world;

use std::{
    fs,
    net::UdpSocket,
    process::Stdio,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use witness::{Pings, UplinkCapture};
use world::{World, bind, in_world, text, thread_on_laptop, write_private};

/// The modes in which all traffic goes through the tunnel.
const MODES: [&str; 3] = ["halves", "replace", "policy"];

const LITERAL: &str = "\"192.0.2.1\"";

fn default_route(mode: &str) -> String {
    format!("default = {{ mode = \"{mode}\" }}")
}

/// Moves back and forth between two networks. The first move keeps the old address, as when a cable is
/// plugged in beside Wi-Fi; the second removes it.
#[track_caller]
fn assert_follows_two_moves(name: &'static str, extra: String) {
    in_world(move |world| {
        world.plug(1, 100);
        world.profile(LITERAL, &extra);
        let up = world.up();
        let (capture, pings) = (UplinkCapture::open(), Pings::start());
        pings.time_to_answer(Instant::now(), || world.log());

        world.plug(2, 50);
        let moved = Instant::now();
        world.wait_for("another connection", || world.status()["reconnects"] == 1);
        pings.time_to_answer(Instant::now(), || world.log());
        let first = pings.longest_gap(moved);

        world.plug(1, 100);
        thread::sleep(Duration::from_secs(1));
        let moved = Instant::now();
        world.unplug(2);
        world.wait_for("another connection", || {
            world.status()["reconnects"] == 2 && world.status()["state"] == "up"
        });
        pings.time_to_answer(Instant::now(), || world.log());
        let second = pings.longest_gap(moved);
        println!(
            "{name}: up in {} ms; silent for {} ms when a better network appeared, for {} ms when its network disappeared",
            up.as_millis(),
            first.as_millis(),
            second.as_millis()
        );
        // Ten times what an idle machine needs.
        assert!(first < Duration::from_secs(15) && second < Duration::from_secs(15), "{}", world.log());
        assert_eq!(
            world.log().matches("next attempt in").count(),
            0,
            "the supervisor waited before a dial:\n{}",
            world.log()
        );
        capture.assert_only_tunnel_packets(&["up1", "up2"]);
        drop(pings);
        world.down();
    });
}

#[test]
fn follows_two_moves_in_mode_halves() {
    assert_follows_two_moves("halves", default_route(MODES[0]));
}

#[test]
fn follows_two_moves_in_mode_replace() {
    assert_follows_two_moves("replace", default_route(MODES[1]));
}

#[test]
fn follows_two_moves_in_mode_policy() {
    assert_follows_two_moves("policy", default_route(MODES[2]));
}

/// Only some networks are routed through the tunnel; no host route is needed.
#[test]
fn follows_two_moves_with_split_routes() {
    assert_follows_two_moves("split", "routes = [\"192.168.77.0/24\"]".to_owned());
}

/// The kernel deletes the routes of a device that goes down, ours included. They are restored when it is up
/// again, on the same connection.
#[test]
fn short_link_loss_keeps_the_connection() {
    in_world(|world| {
        world.plug(1, 100);
        world.profile(LITERAL, &default_route("halves"));
        world.up();
        let engine = world.status()["engine_pid"].clone();
        let (capture, pings) = (UplinkCapture::open(), Pings::start());
        // Both changes fall into one poll, however long they take.
        let supervisor = world.status()["supervisor_pid"].as_u64().unwrap();
        world.laptop(&format!("kill -STOP {supervisor}"));
        world.laptop(
            "ip link set up1 down; sleep 1; ip link set up1 up; ip route add default via 10.1.0.1 dev up1 metric 100",
        );
        world.laptop(&format!("kill -CONT {supervisor}"));
        let back = Instant::now();
        let took = pings.time_to_answer(back, || world.log());
        println!("short link loss: carries packets again after {} ms", took.as_millis());
        assert_eq!(world.status()["engine_pid"], engine, "{}", world.log());
        world.wait_for("packets dropped as a loop", || {
            world.status()["counters"]["drop.loop"].as_u64().is_some_and(|count| count > 0)
        });
        let routes = world.routes().join("\n");
        assert!(routes.contains("192.0.2.1 via 10.1.0.1 dev up1 table main proto 112"), "{routes}");
        capture.assert_only_tunnel_packets(&["up1"]);
        drop(pings);
        world.down();
    });
}

/// A minute without any network: no attempts, hardly any wake-ups, no packets; then the tunnel is back at
/// once.
#[test]
fn supervisor_is_idle_without_an_uplink() {
    in_world(|world| {
        world.plug(1, 100);
        world.profile(LITERAL, &default_route("halves"));
        world.up();
        let (capture, pings) = (UplinkCapture::open(), Pings::start());
        pings.time_to_answer(Instant::now(), || world.log());
        world.unplug(1);
        world.wait_state("no network");
        let supervisor = world.status()["supervisor_pid"].as_u64().unwrap();
        let shown = text(&world.run(&["status", "vpn"]).stdout);
        assert!(shown.contains("vpn: no network"), "{shown}");
        assert!(world.status()["engine_pid"].is_null());
        let (attempts, sleeps) = (dials(world), wake_ups(world, supervisor));
        thread::sleep(Duration::from_secs(60));
        let woken = wake_ups(world, supervisor) - sleeps;
        assert_eq!(dials(world), attempts, "dialled without a network:\n{}", world.log());
        // The status request before, one poll per minute, and a margin.
        assert!(woken <= 10, "{woken} wake-ups in a minute without a network");
        world.plug(1, 100);
        let back = Instant::now();
        let took = pings.time_to_answer(back, || world.log());
        println!("a minute without network: {woken} wake-ups; carries again after {} ms", took.as_millis());
        assert_eq!(world.status()["reconnects"], 1);
        capture.assert_only_tunnel_packets(&["up1"]);
        drop(pings);
        world.down();
    });
}

fn dials(world: &World) -> usize {
    world.log().matches("vpn: connect").count()
}

fn wake_ups(world: &World, pid: u64) -> u64 {
    let status = world.laptop(&format!("cat /proc/{pid}/status"));
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count.unwrap().trim().parse().unwrap()
}

/// Many changes that do not affect the tunnel.
#[test]
fn route_change_storm_costs_little_cpu() {
    in_world(|world| {
        world.plug(1, 100);
        world.profile(LITERAL, &default_route("halves"));
        world.up();
        let engine = world.status()["engine_pid"].clone();
        let supervisor = world.status()["supervisor_pid"].as_u64().unwrap();
        let ticks = || world.ticks(supervisor);
        let before = ticks();
        world.laptop("for n in $(seq 500); do echo route add 10.99.$((n % 200)).0/24 dev up1; echo route del 10.99.$((n % 200)).0/24 dev up1; done | ip -batch -");
        // More than the socket's buffer holds, while the supervisor does not read.
        world.laptop(&format!("kill -STOP {supervisor}"));
        world.laptop("for n in $(seq 20000); do echo route add 10.99.$((n % 200)).0/24 dev up1; echo route del 10.99.$((n % 200)).0/24 dev up1; done | ip -batch -");
        world.laptop(&format!("kill -CONT {supervisor}"));
        world.plug(2, 50);
        world.wait_for("the host route by the new next hop", || {
            world.routes().iter().any(|route| route.contains("192.0.2.1 via 10.2.0.1 dev up2"))
        });
        let spent = ticks() - before;
        println!("41000 changes: {spent} ticks of CPU");
        assert!(spent < 500, "{spent} ticks of CPU");
        world.wait_for("another engine", || {
            let status = world.status();
            status["state"] == "up" && status["engine_pid"] != engine
        });
        world.down();
    });
}

#[test]
fn dial_restarts_on_another_network() {
    in_world(|world| {
        world.plug(1, 100);
        // The first router forwards nothing.
        world.shell("nsenter --net=/run/netns/r1 sh -c 'echo 0 > /proc/sys/net/ipv4/ip_forward'");
        // Long enough for the other network to be plugged in.
        let long_timeouts = "timeouts = { connect = \"60s\", stop = \"1s\" }";
        world.profile(LITERAL, &format!("{}\n{long_timeouts}", default_route("halves")));
        let mut up = world.command(&["up", "vpn"]);
        let up = up.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        world.wait_for("the dial", || world.status()["phase"] == "connect");
        world.plug(2, 50);
        let moved = Instant::now();
        let output = up.wait_with_output().unwrap();
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
        println!("a dial in progress: up {} ms after the new network", moved.elapsed().as_millis());
        assert!(text(&output.stderr).contains("the network has changed"), "{}", text(&output.stderr));
        world.down();
    });
}

#[test]
fn restarted_server_is_redialled() {
    in_world(|world| {
        world.plug(1, 100);
        let server = world.second_server();
        world.profile(
            "\"198.51.100.1\"",
            &format!("{}\nretry = {{ first = \"200ms\", max = \"1s\" }}", default_route("halves")),
        );
        world.up();
        let (capture, pings) = (UplinkCapture::open(), Pings::start());
        pings.time_to_answer(Instant::now(), || world.log());
        drop(server);
        world.wait_for("the loss", || world.status()["state"] != "up");
        let _server = world.second_server();
        let back = Instant::now();
        world.wait_for("the tunnel", || world.status()["reconnects"] == 1 && world.status()["state"] == "up");
        let took = pings.time_to_answer(back, || world.log());
        println!("server restarted: carries again after {} ms", took.as_millis());
        capture.assert_only_tunnel_packets(&["up1"]);
        drop(pings);
        world.down();
    });
}

/// A name with two addresses, of which the first does not answer: dialled at the start, and not again after a
/// move.
#[test]
fn dead_first_address_is_dialled_only_once() {
    in_world(|world| {
        world.plug(1, 100);
        // The thread ends with the world, when no more queries come.
        let (ready, listening) = mpsc::channel();
        let _resolver = thread_on_laptop(move || {
            let socket = UdpSocket::bind("127.0.0.1:53").unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
            ready.send(()).unwrap();
            while answer(&socket) {}
        });
        listening.recv().unwrap();
        // Without a blackhole, ICMP host unreachable arrives about when the connect timeout ends.
        world.shell("ip route add blackhole 192.0.2.77");
        write_private("/run/resolv.conf", "nameserver 127.0.0.1\noptions timeout:5\n", 0o644);
        bind("/run/resolv.conf", "/etc/resolv.conf");
        world.profile("\"vpn.example.net\"", &default_route("halves"));
        let up = world.up();
        let log = world.log();
        let failed = log.find("192.0.2.77").unwrap_or(usize::MAX);
        assert!(
            failed < log.find("192.0.2.1:1723 from").unwrap_or(0),
            "192.0.2.77 was not dialled first:\n{log}"
        );
        assert_eq!(world.status()["server"], "192.0.2.1:1723");
        let (capture, pings) = (UplinkCapture::open(), Pings::start());
        world.plug(2, 50);
        world.unplug(1);
        let moved = Instant::now();
        let took = pings.time_to_answer(moved, || world.log());
        println!(
            "two addresses: up in {} ms; carries again {} ms after a move",
            up.as_millis(),
            took.as_millis()
        );
        assert_eq!(world.log().matches("no answer from 192.0.2.77").count(), 1, "{}", world.log());
        capture.assert_only_tunnel_packets(&["up2"]);
        drop(pings);
        world.down();
    });
}

/// Answers every query for an A record with two addresses, and every other query with none.
fn answer(socket: &UdpSocket) -> bool {
    let mut query = [0; 512];
    let Ok((size, from)) = socket.recv_from(&mut query) else { return false };
    let end = query[12..size].iter().position(|byte| *byte == 0).unwrap() + 12 + 5;
    let wants_a = query[end - 4..end - 2] == [0, 1];
    let mut reply = query[..end].to_vec();
    reply[2..4].copy_from_slice(&[0x81, 0x80]);
    reply[6..12].copy_from_slice(&[0, if wants_a { 2 } else { 0 }, 0, 0, 0, 0]);
    if wants_a {
        for address in [[192, 0, 2, 77], [192, 0, 2, 1]] {
            reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
            reply.extend(address);
        }
    }
    socket.send_to(&reply, from).is_ok()
}

/// Changes that DHCP makes while the tunnel is up are kept.
#[test]
fn down_keeps_a_foreign_default_route() {
    for mode in MODES {
        in_world(move |world| {
            world.plug(1, 100);
            world.laptop("ip route replace default via 10.1.0.254 dev up1 metric 100");
            let expected = world.routes();
            world.laptop("ip route replace default via 10.1.0.1 dev up1 metric 100");
            world.profile(LITERAL, &default_route(mode));
            world.up();
            let log = |what: &str| format!("{what}\n{}", world.log());
            // A new lease with another router, which the supervisor follows at its next poll.
            world.laptop("ip route replace default via 10.1.0.254 dev up1 metric 100");
            world.wait_for("the new next hop", || {
                world.log().contains("the route to 192.0.2.1 is 10.1.0.254 dev up1 now")
            });
            let host_route = "192.0.2.1 via 10.1.0.254 dev up1";
            if mode == "policy" {
                let host = world.laptop("ip route show 192.0.2.1");
                assert!(host.is_empty(), "policy needs no host route: {}", log(&host));
            } else {
                world.wait_for("the host route by the new next hop", || {
                    world.routes().iter().any(|route| route.contains(host_route))
                });
            }
            let default_routes = || world.laptop("ip route show default");
            if mode == "replace" {
                world.wait_for("our default route alone", || {
                    default_routes().lines().count() == 1 && default_routes().contains("tun0")
                });
            } else {
                assert!(default_routes().contains("via 10.1.0.254"), "{}", log(&default_routes()));
            }
            world.down();
            assert_eq!(world.routes(), expected, "{}", log(mode));
        });
    }
}

/// Another program replaces our default route; ours is restored, and `down` leaves the other program's route
/// in force.
#[test]
fn down_keeps_a_route_that_replaced_ours() {
    in_world(|world| {
        world.laptop(
            "ip link set up1 up; ip addr add 10.1.0.10/24 dev up1; ip route add default via 10.1.0.254",
        );
        let expected = world.routes();
        world.laptop("ip route replace default via 10.1.0.1");
        world.profile(LITERAL, &default_route("replace"));
        world.up();
        world.laptop("ip route replace default via 10.1.0.254");
        world.wait_for("our default route", || {
            let default = world.laptop("ip route show default");
            default.lines().count() == 1 && default.contains("tun0")
        });
        world.down();
        assert_eq!(world.routes(), expected, "{}", world.log());
        assert!(fs::read_dir("/var/lib/pptpctl").unwrap().next().is_none());
    });
}
