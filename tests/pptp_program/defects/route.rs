//! Defect 8: the host route.

use std::{fs, os::unix::fs::PermissionsExt};

use nix::sys::signal::Signal;

use crate::{peer::*, world::*};

const LINE: &str = "192.0.2.1 --nolaunchpppd";

#[test]
fn defect_08_host_route_is_removed_with_tunnel() {
    against_the_classic(
        "defects::route::defect_08_host_route_is_removed_with_tunnel",
        "left",
        |program, _| {
            let server = Server::start("");
            let before = routes();
            let pptp = tunnel(program);
            assert_ne!(routes(), before, "the host route was not added");
            end(pptp);
            let after = routes();
            stop_server(server);
            if after == before { Ok(()) } else { Err(format!("left behind:\n{after}")) }
        },
    );
}

/// As on NixOS, which has no /bin/ip.
#[test]
fn defect_08_host_route_needs_no_ip_program() {
    against_the_classic(
        "defects::route::defect_08_host_route_needs_no_ip_program",
        "no host route",
        |program, _| {
            let server = Server::start("");
            let before = proc_routes();
            let broken = "/run/ip";
            fs::write(broken, "#!/bin/sh\nexit 127\n").unwrap();
            fs::set_permissions(broken, fs::Permissions::from_mode(0o755)).unwrap();
            let ip = fs::canonicalize("/bin/ip").unwrap().display().to_string();
            output("mount", &["--bind", broken, &ip]);
            let pptp = tunnel(program);
            let during = proc_routes();
            output("umount", &[&ip]);
            end(pptp);
            stop_server(server);
            if during == before { Err("no host route".to_owned()) } else { Ok(()) }
        },
    );
}

/// The server is behind a router, which changes while the tunnel is up. Then the tunnel takes the default
/// route, and the router changes again: the route to the server must never lead into the tunnel.
#[test]
fn defect_08_host_route_follows_network_change() {
    against_the_classic(
        "defects::route::defect_08_host_route_follows_network_change",
        "via 192.0.2.11",
        |program, log| {
            let server = Server::start("");
            let device = two_routers(&server);
            ip(&["route", "add", "default", "via", "192.0.2.11"]);
            let pptp = Pptp::start(program, LINE, Pipe::Socket);
            let mut daemon = Daemon::new(false, true);
            daemon.ping(&pptp.ppp, 1, 0);
            assert!(route_to_server().contains("via 192.0.2.11"), "{}", route_to_server());
            assert!(
                output("ip", &["route"]).contains("192.0.2.1 via 192.0.2.11"),
                "no host route by the first router"
            );

            ip(&["route", "replace", "default", "via", "192.0.2.12"]);
            if program == CLASSIC {
                // The classic program does not watch the network; two seconds suffice to show that it does
                // not follow the change.
                std::thread::sleep(std::time::Duration::from_secs(2));
                let route = route_to_server();
                end(pptp);
                stop_server(server);
                return if route.contains("via 192.0.2.12") { Ok(()) } else { Err(route) };
            }
            eventually("the route by the second router", || route_to_server().contains("via 192.0.2.12"));
            log.wait_for("the network has changed: 192.0.2.1/32 via 192.0.2.12");
            daemon.ping(&pptp.ppp, 1, 10);

            // A point-to-point device that appears after the start is the tunnel. It takes the default route,
            // with metric 0.
            ip(&["tuntap", "add", "tunnel0", "mode", "tun"]);
            ip(&["link", "set", "tunnel0", "up"]);
            ip(&["route", "replace", "default", "dev", "tunnel0"]);
            ip(&["route", "add", "default", "via", "192.0.2.11", "metric", "100"]);
            eventually("the route by the first router", || route_to_server().contains("via 192.0.2.11"));
            // No route but the tunnel's is left: the host route stays as it was.
            ip(&["route", "del", "default", "via", "192.0.2.11", "metric", "100"]);
            ip(&["route", "add", "198.51.100.0/24", "dev", &device]);
            daemon.ping(&pptp.ppp, 3, 20);
            assert!(route_to_server().contains("via 192.0.2.11"), "{}", route_to_server());
            // Another program's host route is left alone; after its deletion ours returns.
            ip(&["route", "replace", "192.0.2.1", "via", "192.0.2.12", "proto", "static"]);
            ip(&["route", "add", "default", "via", "192.0.2.11", "metric", "100"]);
            daemon.ping(&pptp.ppp, 3, 30);
            assert!(route_to_server().contains("via 192.0.2.12"), "{}", route_to_server());
            ip(&["route", "del", "192.0.2.1", "via", "192.0.2.12"]);
            eventually("our host route by the first router", || route_to_server().contains("via 192.0.2.11"));
            // Ours is withdrawn if another program's is added beside it: it may delete its own without a gateway.
            let host_routes = || output("ip", &["route", "show", "192.0.2.1"]);
            ip(&["route", "add", "192.0.2.1", "via", "192.0.2.11", "proto", "static", "metric", "7"]);
            eventually("only the other host route", || !host_routes().contains("proto 112"));
            daemon.ping(&pptp.ppp, 3, 40);
            ip(&["route", "del", "192.0.2.1", "metric", "7"]);
            eventually("our host route again", || host_routes().contains("proto 112"));
            // The device goes down, which deletes all its routes, and comes up again.
            ip(&["link", "set", &device, "down"]);
            eventually("the route into the tunnel", || route_to_server().contains("tunnel0"));
            ip(&["link", "set", &device, "up"]);
            ip(&["route", "add", "192.0.2.12", "dev", &device]);
            ip(&["route", "add", "default", "via", "192.0.2.12", "metric", "100"]);
            eventually("the route by the second router after link-up", || {
                route_to_server().contains("via 192.0.2.12")
            });
            daemon.ping(&pptp.ppp, 3, 40);
            end(pptp);
            assert!(!output("ip", &["route"]).contains("192.0.2.1 "), "{}", output("ip", &["route"]));
            ip(&["link", "del", "tunnel0"]);
            stop_server(server);
            Ok(())
        },
    );
}

/// Replaces the client's on-link route with routes to two routers, both of which are the server's host.
/// Returns the device.
fn two_routers(server: &Server) -> String {
    let route = route_to_server();
    let device = route.split(" dev ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    ip(&["addr", "flush", "dev", &device]);
    ip(&["addr", "add", "192.0.2.2/32", "dev", &device]);
    for router in ["192.0.2.11", "192.0.2.12"] {
        ip(&["route", "add", router, "dev", &device]);
        server.run("ip", &["addr", "add", &format!("{router}/24"), "dev", "wire"]);
    }
    device
}

fn tunnel(program: &str) -> Pptp {
    let pptp = Pptp::start(program, LINE, Pipe::Socket);
    Daemon::new(false, true).ping(&pptp.ppp, 1, 0);
    pptp
}

fn end(mut pptp: Pptp) {
    pptp.signal(Signal::SIGTERM);
    assert_eq!(pptp.wait().code(), Some(0));
    no_manager();
}

/// Drops the server and waits until the veth pair is gone.
fn stop_server(server: Server) {
    drop(server);
    eventually("deletion of eth0", || !fs::read_to_string("/proc/net/dev").unwrap().contains("eth0:"));
}

#[track_caller]
fn ip(args: &[&str]) {
    assert!(std::process::Command::new("ip").args(args).status().unwrap().success(), "{args:?}");
}

fn routes() -> String {
    output("ip", &["-4", "route", "show", "table", "all"])
}

fn route_to_server() -> String {
    output("ip", &["-4", "-o", "route", "get", SERVER])
}

/// Reads the routes without ip(8).
fn proc_routes() -> String {
    fs::read_to_string("/proc/net/route").unwrap()
}
