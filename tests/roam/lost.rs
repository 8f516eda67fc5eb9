//! A server that is gone for a while: routes and resolvers meanwhile (`retry.keep-routes`).
//!
//! The office's address also exists outside the tunnel, on a host that answers in clear.

use std::{
    fs,
    time::{Duration, Instant},
};

use crate::{
    MODES, default_route,
    witness::{Pings, UplinkCapture},
    world::{World, in_world},
};

const BY_HAND: &str = "# by hand\nnameserver 192.0.2.53\n";

/// Returns the routes through the tunnel: all traffic in each mode, and the office alone.
fn route_settings() -> Vec<String> {
    let split = "routes = [\"192.168.77.0/24\"]".to_owned();
    MODES.iter().map(|mode| default_route(mode)).chain([split]).collect()
}

/// Runs a tunnel whose server stops and restarts; `during_outage` checks the time without a server.
fn run_with_server_outage(
    routes: &str,
    extra: &str,
    during_outage: impl FnOnce(&World, &Pings) + Send + 'static,
) {
    let keys = format!(
        "{routes}\n{extra}\ndns = {{ servers = [\"192.168.77.53\"], backend = \"file\" }}\n\
         retry.first = \"200ms\"\nretry.max = \"500ms\""
    );
    in_world(move |world| {
        world.private_etc();
        fs::write("/etc/resolv.conf", BY_HAND).unwrap();
        world.plug(1, 100);
        let server = world.second_server();
        let before = world.routes();
        world.profile("\"198.51.100.1\"", &keys);
        world.up();
        assert!(resolv_conf().contains("192.168.77.53"), "{}", world.log());
        let (capture, pings) = (UplinkCapture::open(), Pings::start());
        pings.time_to_answer(Instant::now(), || world.log());
        capture.assert_only_tunnel_packets(&["up1"]);
        world.shell("ip addr add 192.168.77.1/32 dev lo");

        drop(server);
        world.wait_for("the loss", || world.status()["state"] != "up");
        during_outage(world, &pings);

        let _server = world.second_server();
        world.wait_for("the tunnel", || {
            let status = world.status();
            status["reconnects"] == 1 && status["state"] == "up"
        });
        assert!(world.status()["warnings"].is_null(), "{}", world.status());
        let capture = UplinkCapture::open();
        pings.time_to_answer(Instant::now(), || world.log());
        capture.assert_only_tunnel_packets(&["up1"]);
        assert!(resolv_conf().contains("192.168.77.53"), "{}", world.log());
        drop(pings);
        world.down();
        assert_eq!(world.routes(), before, "{}", world.log());
        assert_eq!(resolv_conf(), BY_HAND);
        assert!(fs::read_dir("/var/lib/pptpctl").unwrap().next().is_none());
    });
}

fn resolv_conf() -> String {
    fs::read_to_string("/etc/resolv.conf").unwrap()
}

#[test]
fn nothing_leaves_in_clear_while_the_server_is_gone() {
    for routes in route_settings() {
        run_with_server_outage(&routes, "", |world, _| {
            let capture = UplinkCapture::open();
            world.wait_for("failed attempts", || world.log().matches("next attempt in").count() >= 3);
            assert!(resolv_conf().contains("192.168.77.53"), "{}", world.log());
            capture.assert_only_tunnel_packets(&["up1"]);
        });
    }
}

#[test]
fn host_works_without_a_lost_tunnel_if_configured() {
    for routes in route_settings() {
        run_with_server_outage(&routes, "retry.keep-routes = false", |world, pings| {
            let (capture, lost) = (UplinkCapture::open(), Instant::now());
            let took = pings.time_to_answer(lost, || world.log());
            println!(
                "without routes: the host outside the tunnel answers {} ms after the loss",
                took.as_millis()
            );
            // Dialling does not change this.
            world.wait_for("failed attempts", || world.log().matches("next attempt in").count() >= 3);
            pings.time_to_answer(Instant::now(), || world.log());
            assert!(pings.longest_gap(lost) < Duration::from_secs(5), "{}", world.log());
            assert!(capture.count_in_clear() > 0);
            assert_eq!(resolv_conf(), BY_HAND);
            let default = world.laptop("ip route show default");
            assert_eq!(default.trim(), "default via 10.1.0.1 dev up1 metric 100", "{}", world.log());
            let warnings = world.status()["warnings"].to_string();
            assert!(warnings.contains("retry.keep-routes = false"), "{warnings}");
        });
    }
}
