//! Programs that assume they own all routes and rules of the host, and delete ours.

use std::{
    fs,
    io::Write,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    LITERAL, MODES, default_route,
    witness::Pings,
    world::{LIMIT, World, in_world},
};

/// Deletes everything with our protocol number: rules and routes of every table and of both families.
const DELETE_OURS: &str = "
    for family in -4 -6; do
        ip $family -d rule | sed -n 's/^\\([0-9]*\\):.*proto 112.*/\\1/p' | while read -r priority; do
            ip $family rule del priority $priority
        done
        ip $family route flush table all proto 112
    done; true";

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended_by_itself = self.0.kill();
        let _status = self.0.wait();
    }
}

fn on_laptop(words: &[&str], input: Stdio) -> Running {
    let mut command = Command::new("nsenter");
    command.arg("--net=/run/netns/laptop").args(words).stdin(input);
    Running(command.spawn().unwrap())
}

/// A program that deletes our routes and rules on request, and quickly even on a busy machine.
struct RouteDeleter([Running; 2]);

impl RouteDeleter {
    fn start() -> Self {
        Self(["-4", "-6"].map(|family| on_laptop(&["ip", "-force", family, "-batch", "-"], Stdio::piped())))
    }

    fn delete_ours(&mut self) {
        for Running(child) in &mut self.0 {
            let input = child.stdin.as_mut().unwrap();
            input.write_all(b"rule flush protocol 112\nroute flush table all proto 112\n").unwrap();
        }
    }
}

/// Returns the routes and rules of pptpctl, of both families.
fn own_routes_and_rules(world: &World) -> Vec<String> {
    let ipv6 = world.laptop("ip -6 -d route show table all; ip -6 -d rule");
    let mut all = world.routes();
    all.extend(ipv6.lines().map(|line| format!("IPv6 {}", line.trim())));
    all.retain(|line| line.contains("proto 112"));
    all.sort();
    all
}

#[test]
fn deleted_routes_and_rules_are_restored() {
    for mode in MODES {
        for leak in ["", "leak = \"block\""] {
            in_world(move |world| {
                world.plug(1, 100);
                let before = world.routes();
                world.profile(
                    LITERAL,
                    &format!("{}\n{leak}\nroutes = [\"192.168.77.0/24\"]", default_route(mode)),
                );
                world.up();
                let up = own_routes_and_rules(world);
                assert!(!up.is_empty(), "{:?}", world.routes());
                let engine = world.status()["engine_pid"].clone();
                let pings = Pings::start();
                pings.time_to_answer(Instant::now(), || world.log());
                world.laptop(DELETE_OURS);
                let deleted = Instant::now();
                world.wait_for("all routes and rules", || {
                    own_routes_and_rules(world) == up && world.log().contains("routes and rules were gone")
                });
                pings.time_to_answer(Instant::now(), || world.log());
                println!(
                    "{mode} {leak}: all restored {} ms after their deletion",
                    deleted.elapsed().as_millis()
                );
                assert_eq!(world.status()["engine_pid"], engine, "{}", world.log());
                assert!(world.status()["warnings"].is_null(), "{}", world.status());
                drop(pings);
                world.down();
                assert_eq!(world.routes(), before, "{}", world.log());
            });
        }
    }
}

/// Neither program gives way: a few restorations per minute, and one warning.
#[test]
fn restoring_is_rate_limited() {
    in_world(|world| {
        world.plug(1, 100);
        world.profile(LITERAL, &default_route("policy"));
        world.up();
        let up = own_routes_and_rules(world);
        let supervisor = world.status()["supervisor_pid"].as_u64().unwrap();
        let mut deleter = RouteDeleter::start();
        let restorations = || world.log().matches("routes and rules were gone").count();
        let warnings = || world.log().matches("routes and rules keep disappearing").count();
        // Ten times, each after the supervisor's pause, and before the first of them is a minute old.
        world.wait_within(Duration::from_secs(55), "a warning", || {
            deleter.delete_ours();
            warnings() == 1
        });
        let (restored, ticks) = (restorations(), world.ticks(supervisor));
        // Long enough for many polls.
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(3) {
            deleter.delete_ours();
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!((restorations(), warnings()), (restored, 1), "{}", world.log());
        assert!(restored <= 10, "{}", world.log());
        assert!(world.ticks(supervisor) - ticks < 100, "{} ticks in 3 s", world.ticks(supervisor) - ticks);
        assert!(
            world.status()["warnings"].to_string().contains("routes and rules keep disappearing"),
            "{}",
            world.status()
        );
        drop(deleter);
        // Until a minute after the first restoration.
        let given_up = Instant::now();
        while own_routes_and_rules(world) != up {
            assert!(given_up.elapsed() < Duration::from_secs(60) + LIMIT, "{}", world.log());
            thread::sleep(Duration::from_millis(100));
        }
        Pings::start().time_to_answer(Instant::now(), || world.log());
        world.down();
    });
}

/// The real program, with its defaults: whenever it configures a network it removes rules that it did not
/// add, and routes without a device, such as those of the kill switch.
#[test]
fn routes_survive_reconfiguration_by_systemd_networkd() {
    for (mode, leak) in [("policy", ""), ("policy", "leak = \"block\""), ("halves", "leak = \"block\"")] {
        in_world(move |world| {
            world.private_etc();
            fs::create_dir_all("/etc/systemd/network").unwrap();
            fs::write(
                "/etc/systemd/network/late.network",
                "[Match]\nName=late\n[Network]\nAddress=10.3.0.10/24\n",
            )
            .unwrap();
            // With a read-only /sys, systemd-networkd does not wait for udev(7).
            world.shell(
                "mkdir -p /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp
                 chown -R systemd-network: /run/systemd/netif
                 nsenter --net=/run/netns/laptop mount -t sysfs -o ro none /sys",
            );
            let log = "/run/networkd.log";
            let networkd = format!("exec /lib/systemd/systemd-networkd >{log} 2>&1");
            let networkd =
                on_laptop(&["env", "SYSTEMD_LOG_LEVEL=debug", "sh", "-c", &networkd], Stdio::null());
            let log_contains = |words: &str| fs::read_to_string(log).unwrap_or_default().contains(words);
            world.wait_for("systemd-networkd", || log_contains("Enumeration completed"));
            world.plug(1, 100);
            world.profile(LITERAL, &format!("{}\n{leak}", default_route(mode)));
            world.up();
            let up = own_routes_and_rules(world);
            let pings = Pings::start();
            pings.time_to_answer(Instant::now(), || world.log());

            world.laptop("ip link add late type veth peer name far; ip link set far up");
            world.wait_for("removal by systemd-networkd", || log_contains("Removing foreign ro"));
            // The kill switch follows the new network: all of its rules are performed again, with one more.
            let restored =
                if leak.is_empty() { "routes and rules were gone" } else { "the kill switch follow" };
            world.wait_for("restored routes and rules", || {
                let mut now = own_routes_and_rules(world);
                now.retain(|line| leak.is_empty() || !line.contains("10.3.0.0/24"));
                now == up && world.log().contains(restored)
            });
            pings.time_to_answer(Instant::now(), || world.log());
            let removed = fs::read_to_string(log).unwrap().matches("Removing foreign ro").count();
            println!("{mode} {leak}: systemd-networkd removed {removed}, all restored");
            drop((pings, networkd));
            world.down();
            assert_eq!(own_routes_and_rules(world), Vec::<String>::new());
        });
    }
}
