//! `pause`: the kill switch lets names and web pages through for a bounded time, and the kernel shuts it.

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use pptpctl::testing::demo::config::{Fault, Service};

use crate::{
    faulty_server, working_server,
    world::{World, in_world, text},
};

const KEYS: &str = "server = \"192.0.2.1:9\"\ndefault = true\nleak = \"block\"\n\
                    retry = { first = \"1h\", max = \"1h\", from-start = true }";

/// The outcome of a connection to the host outside, which has no web server: it refuses what it receives.
fn connect(port: u16) -> ErrorKind {
    let to = SocketAddr::from(([192, 0, 2, 1], port));
    TcpStream::connect_timeout(&to, Duration::from_secs(3)).expect_err("a web server").kind()
}

fn passes(port: u16) -> bool {
    connect(port) == ErrorKind::ConnectionRefused
}

/// Returns whether a question to a resolver outside leaves: the host there refuses it.
fn name_passes() -> bool {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    if socket.connect("192.0.2.1:53").is_err() {
        return false;
    }
    let sent = socket.send(b"?").is_ok();
    sent && socket.recv(&mut [0; 16]).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

/// Brings the tunnel to where it waits for its server, behind the kill switch. With the strict reverse path check answers
/// by TCP pass; those by ICMP do not, so names are asked by TCP here.
fn blocked(world: &World) {
    world.shell("sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.eth0.rp_filter=1");
    assert!(passes(80) && passes(53), "the host outside does not answer");
    let up = world.run(&["up", "vpn"]);
    assert!(up.status.success(), "{}", text(&up.stderr));
    world.wait_for(|| text(&world.run(&["list"]).stdout).contains("waiting"));
    assert!(!passes(80) && !passes(22) && !passes(53), "the kill switch does not block");
}

#[track_caller]
fn pause(world: &World, arguments: &[&str], code: i32) -> String {
    let output = world.run(&[&["pause", "vpn"], arguments].concat());
    let shown = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{shown}");
    shown
}

fn left(world: &World) -> Option<u64> {
    let status = world.run(&["status", "vpn", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    status.get("pause_left").and_then(serde_json::Value::as_u64)
}

#[test]
fn pause_lets_web_pages_through_and_ends() {
    in_world(working_server(), |world| {
        world.profile(KEYS);
        let before = world.state();
        assert!(pause(world, &[], 6).contains("not up"));
        blocked(world);
        let rules = world.shell("ip rule; ip -6 rule; nft list ruleset");

        let shown = pause(world, &["--for", "30m"], 0);
        assert!(shown.contains("names and web pages pass outside the tunnel"), "{shown}");
        assert!(passes(80) && passes(443) && passes(53), "{}", world.shell("ip rule; nft list ruleset"));
        assert!(!passes(22) && !passes(25), "only web pages pass");
        assert!(left(world).is_some_and(|left| left > 60 && left <= 1800));
        let status = text(&world.run(&["status", "vpn"]).stdout);
        assert!(status.contains("  paused       names and web pages pass"), "{status}");

        assert!(pause(world, &["--end"], 0).contains("is shut"));
        assert!(!passes(80) && !passes(53));
        assert_eq!(world.shell("ip rule; ip -6 rule; nft list ruleset"), rules);
        assert_eq!(left(world), None);
        assert!(pause(world, &["--end"], 1).contains("not paused"));
        for wrong in ["31m", "0s", "1h"] {
            pause(world, &["--for", wrong], 2);
        }

        // The same for programs.
        let shown = pause(world, &["--for", "10m", "--json"], 0);
        let object: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert!(object["pause_left"].as_u64().is_some_and(|left| (1..=600).contains(&left)), "{shown}");
        assert_eq!(pause(world, &["--end", "--json"], 0), "{\"name\":\"vpn\",\"pause_left\":null}\n");

        // By itself, and everything is undone.
        pause(world, &["--for", "2s"], 0);
        world.wait_for(|| left(world).is_none());
        assert!(!passes(80) && !passes(53));
        assert_eq!(world.shell("ip rule; ip -6 rule; nft list ruleset"), rules);

        // `down` during a pause undoes that, too.
        pause(world, &[], 0);
        world.down(&before);
        assert!(passes(80));
    });
}

/// The kernel shuts the kill switch although the supervisor is gone.
#[test]
fn pause_ends_after_the_supervisor_was_killed() {
    in_world(working_server(), |world| {
        world.profile(KEYS);
        let rules = || {
            world
                .shell("ip rule; ip -6 rule; nft list ruleset; ip route show table all | grep -v table.local")
        };
        let before = rules();
        blocked(world);
        pause(world, &["--for", "20s"], 0);
        let supervisor = world.pid("supervisor_pid");
        world.shell(&format!("kill -9 {supervisor}"));
        world.wait_for(|| world.run(&["status", "vpn"]).status.code() == Some(6));
        assert!(
            passes(80) || world.shell("nft list ruleset").contains("flags timeout\n\t}"),
            "the time is not over yet"
        );
        world.wait_for(|| !passes(80));
        assert!(!passes(53) && !passes(443) && !passes(22));
        assert!(world.shell("nft list tables").contains("pptpctl_pause_vpn"));
        let recovered = world.run(&["recover"]);
        assert!(recovered.status.success(), "{}", text(&recovered.stderr));
        assert_eq!(rules(), before);
    });
}

/// The pause is over when the tunnel is up, which needs none.
#[test]
fn tunnel_that_comes_up_ends_the_pause() {
    in_world(working_server(), |world| {
        world.profile(
            "default = true\nleak = \"block\"\nretry = { first = \"2s\", max = \"2s\", jitter = \"0%\" }",
        );
        let before = world.state();
        world.up();
        assert!(pause(world, &[], 1).contains("the tunnel is up"));
        // The server refuses the connection of the next dial.
        world.shell("nft add table inet test; nft add chain inet test in '{ type filter hook input priority 0; }'; nft add rule inet test in tcp sport 1723 drop");
        world.shell(&format!("kill -9 {}", world.pid("engine_pid")));
        world.wait_for(|| text(&world.run(&["pause", "vpn"]).stdout).contains("pass outside"));
        assert!(passes(80) && name_passes());
        world.shell("nft delete table inet test");
        world.wait_for(|| text(&world.run(&["status", "vpn"]).stdout).contains("vpn: up on tun0"));
        assert_eq!(left(world), None);
        assert!(!world.shell("nft list tables; ip rule").contains("pause"));
        world.down(&before);
    });
}

/// What answers on the server's port looks like a captive portal: the next step is named, and it works.
#[test]
fn portal_behind_the_kill_switch_leads_to_a_pause() {
    in_world(faulty_server(Fault::OtherService(Service::Http)), |world| {
        world.profile(&KEYS.replace("192.0.2.1:9", "192.0.2.1"));
        let before = world.state();
        let up = world.run(&["up", "vpn"]);
        let shown = text(&up.stdout) + &text(&up.stderr);
        assert!(up.status.success(), "{shown}");
        world.wait_for(|| text(&world.run(&["list"]).stdout).contains("waiting"));
        let status = text(&world.run(&["status", "vpn", "--json"]).stdout);
        for words in ["captive portal", "`pptpctl pause vpn` lets web pages through"] {
            assert!(status.contains(words), "{words}: {status}");
        }
        assert!(!passes(8080));
        pause(world, &[], 0);
        assert!(passes(8080));
        world.down(&before);
    });
}
