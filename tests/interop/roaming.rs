//! A live tunnel to a real server moves to another network and back: the old address is removed and the
//! default route changes. Once for each default-route mode.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use crate::{
    client::{Client, pid, signal},
    host_state::Snapshot,
    lab::{EVENT_TIMEOUT, Lab, wait_for},
    reconnects::{vpn, wait_for_reconnect},
    runner::{Case, report},
    sessions::MPPE128,
    traffic,
};

pub const CASES: &[Case] = &[
    ("roaming::capture_sees_both_cables", capture_sees_both_cables),
    ("roaming::policy", |lab| assert_survives_two_moves(lab, "policy")),
    ("roaming::halves", |lab| assert_survives_two_moves(lab, "halves")),
    ("roaming::replace", |lab| assert_survives_two_moves(lab, "replace")),
    ("roaming::kill_switch_holds_without_supervisor", kill_switch_holds_without_supervisor),
];

/// Routes that the lab gives the client, and that the kernel deletes with the client's address.
const LAB_DEFAULT_ROUTE: &str = "route add default via 192.0.2.1";
const LAB_TABLE_ROUTE: &str = "route add 10.250.0.0/16 via 192.0.2.1 table 99";

fn assert_survives_two_moves(lab: &Lab, mode: &str) {
    let before = Snapshot::take();
    let uplink = Uplink::plug(lab);
    let capture = ClearPacketCapture::start(lab);
    let client = Client::new(
        lab,
        &[vpn(MPPE128).set("routes", "[]").set("default", &format!("{{ mode = \"{mode}\" }}"))],
    );
    client.up("vpn");
    assert!(traffic::ping(traffic::INSIDE, EVENT_TIMEOUT).is_some());
    let supervisor = pid(&client.status("vpn"), "supervisor_pid");
    let pings = Pings::start();
    let mut took = Vec::new();
    for (gone, dev, address, gateway, metric) in [
        ("192.0.2.2/24 dev eth0", "eth1", "192.0.3.2/24", "192.0.3.1", "100"),
        ("192.0.3.2/24 dev eth1", "eth0", "192.0.2.2/24", "192.0.2.1", "50"),
    ] {
        let first = client.status("vpn");
        ip(&format!("address del {gone}"));
        ip(&format!("address replace {address} dev {dev}"));
        ip(&format!("route add default via {gateway} dev {dev} metric {metric}"));
        let moved = Instant::now();
        let reconnected = wait_for_reconnect(&client, &first);
        assert!(
            traffic::ping(traffic::INSIDE, EVENT_TIMEOUT).is_some(),
            "the tunnel is up but carries no packets"
        );
        took.push(moved.elapsed());
        assert_eq!(pid(&reconnected, "supervisor_pid"), supervisor, "the supervisor was replaced");
    }
    drop(pings);
    traffic::assert_traffic();
    // In policy mode only the tunnel's own packets to the server go outside; other packets to it enter the
    // tunnel.
    let server = if mode == "policy" { "tunnel" } else { "outside" };
    let routes = client.run(&["routes", "vpn", traffic::INTERNET, "198.51.100.10", "192.0.2.1"]);
    assert_eq!(routes.code, 0, "{}", routes.text);
    for (destination, expected) in
        [(traffic::INTERNET, "tunnel"), ("198.51.100.10", server), ("192.0.2.1", "outside")]
    {
        let line = routes.text.lines().find(|line| line.contains(destination)).unwrap_or_default();
        assert!(line.contains(expected), "{destination}: expected {expected}:\n{}", routes.text);
    }
    capture.assert_nothing_in_clear();
    client.down("vpn");
    // Only the route that a DHCP client would have set is left. Then restore the routes deleted with the
    // address.
    assert_eq!(ip("-4 route show default").trim(), "default via 192.0.2.1 dev eth0 metric 50");
    ip("route del default");
    ip(LAB_DEFAULT_ROUTE);
    ip(LAB_TABLE_ROUTE);
    drop((uplink, capture));
    before.assert_restored(lab);
    report(format_args!("roaming, {mode}: carries packets again after {took:.1?}"));
}

/// With `leak = "block"`, the server stops, then supervisor and engine are killed; until `recover` no packet
/// leaves in clear.
fn kill_switch_holds_without_supervisor(lab: &Lab) {
    let before = Snapshot::take();
    let capture = ClearPacketCapture::start(lab);
    let profile = vpn(MPPE128).set("routes", "[]").set("default", "true").set("leak", "\"block\"");
    let client = Client::new(lab, &[profile]);
    client.up("vpn");
    assert!(traffic::ping(traffic::INTERNET, EVENT_TIMEOUT).is_some());
    let pings = [Pings::to(traffic::INTERNET), Pings::start()];
    lab.server("kill", "mppe128");
    client.wait_state("vpn", "waiting");
    assert!(traffic::ping(traffic::INTERNET, Duration::from_secs(1)).is_none(), "a host answers in clear");
    lab.server("start", "mppe128");
    let up = client.wait_state("vpn", "up");
    signal(pid(&up, "engine_pid"), Signal::SIGKILL);
    signal(pid(&up, "supervisor_pid"), Signal::SIGKILL);
    assert!(traffic::ping(traffic::INTERNET, Duration::from_secs(2)).is_none(), "a host answers in clear");
    drop(pings);
    capture.assert_nothing_in_clear();
    assert_eq!(client.run(&["recover"]).code, 0);
    drop(capture);
    before.assert_restored(lab);
}

/// Tests the check itself: it detects packets on both cables.
fn capture_sees_both_cables(lab: &Lab) {
    let _second = Uplink::plug(lab);
    ip("address add 192.0.3.2/24 dev eth1");
    ip("route add default via 192.0.3.1 dev eth1 metric 100");
    for from in ["192.0.2.2", "192.0.3.2"] {
        let capture = ClearPacketCapture::start(lab);
        capture.assert_nothing_in_clear();
        let cable = if from == "192.0.2.2" { "eth0" } else { "eth1" };
        let ping =
            Command::new("ping").args(["-n", "-q", "-c1", "-W0.3", "-I", cable, traffic::INSIDE]).output();
        assert!(!ping.unwrap().status.success(), "{} answers without a tunnel", traffic::INSIDE);
        // Address resolution comes before the packet.
        let seen = wait_for(EVENT_TIMEOUT, || capture.client_sent().concat().contains(from).then_some(()));
        assert!(seen.is_some(), "the ping was not captured: {:?}", capture.client_sent());
    }
}

/// Runs ip(8) as the client.
fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A second cable to the wire, initially without an address.
struct Uplink;

impl Uplink {
    fn plug(lab: &Lab) -> Self {
        ip("link add eth1 type veth peer name cli2 netns wire");
        // No generated address, as it appears at an unpredictable time.
        ip("link set eth1 addrgenmode none");
        lab.wire(&["ip", "address", "add", "192.0.3.1/24", "dev", "cli2"]);
        lab.wire(&["ip", "link", "set", "cli2", "up"]);
        for (netns, dev) in [("wire", "cli2"), ("client", "eth1")] {
            let args =
                ["netns", "exec", netns, "ethtool", "-K", dev, "tx", "off", "tso", "off", "gso", "off"];
            assert!(Command::new("ip").args(args).output().unwrap().status.success(), "ethtool of {dev}");
        }
        ip("link set eth1 up");
        Self
    }
}

impl Drop for Uplink {
    fn drop(&mut self) {
        let _gone = Command::new("ip").args(["link", "del", "eth1"]).status();
        if std::thread::panicking() {
            // Restore the network for the next case.
            for arguments in [
                "address replace 192.0.2.2/24 dev eth0",
                "route flush default",
                LAB_DEFAULT_ROUTE,
                LAB_TABLE_ROUTE,
            ] {
                let _perhaps = Command::new("ip").args(arguments.split(' ')).status();
            }
        }
    }
}

/// Records, on the wire, packets that should have been in the tunnel, and their cable. The server's cable is
/// ignored: when a tunnel ends, the server routes its remaining packets for the inside address to the wire.
struct ClearPacketCapture<'a>(&'a Lab);

impl<'a> ClearPacketCapture<'a> {
    fn start(lab: &'a Lab) -> Self {
        for line in [
            "add table ip capture",
            "add set ip capture seen { typeof iifname . ip saddr . ip daddr . ip protocol; flags dynamic; counter; }",
            "add chain ip capture look { type filter hook prerouting priority -300; }",
            "add rule ip capture look ip daddr { 10.99.0.0/16, 10.77.0.0/16, 198.18.0.0/15 } \
             add @seen { iifname . ip saddr . ip daddr . ip protocol }",
        ] {
            lab.wire(&["nft", line]);
        }
        Self(lab)
    }

    /// Returns the recorded packets of the client, one line per flow.
    fn client_sent(&self) -> Vec<String> {
        let listed = self.0.wire(&["nft", "list", "set", "ip", "capture", "seen"]);
        // The far ends of eth0 and eth1 are called cli and cli2.
        listed.lines().filter(|line| line.contains("\"cli")).map(|line| line.trim().to_owned()).collect()
    }

    fn assert_nothing_in_clear(&self) {
        let seen = self.client_sent();
        assert!(seen.is_empty(), "packets for the tunnel left in clear: {seen:#?}");
    }
}

impl Drop for ClearPacketCapture<'_> {
    fn drop(&mut self) {
        self.0.wire(&["nft", "delete", "table", "ip", "capture"]);
    }
}

/// Continuous pings, which leave in clear if the tunnel's routes are missing.
struct Pings(Child);

impl Pings {
    fn start() -> Self {
        Self::to(traffic::INSIDE)
    }

    fn to(address: &str) -> Self {
        let mut ping = Command::new("ping");
        ping.args(["-q", "-i", "0.02", "-w", "120", address]).stdin(Stdio::null());
        Self(ping.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Pings {
    fn drop(&mut self) {
        let _ended = self.0.kill().and_then(|()| self.0.wait());
    }
}
