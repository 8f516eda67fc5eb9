//! Subscriptions on the control socket, and `events`.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    process::Stdio,
};

use serde_json::Value;

use crate::{
    download, working_server,
    world::{LIMIT, in_world, text},
};

const SOCKET: &str = "/run/pptpctl/vpn.sock";

fn subscribe() -> UnixStream {
    let mut stream = UnixStream::connect(SOCKET).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(b"{\"command\":\"subscribe\",\"interval\":1}\n").unwrap();
    stream
}

#[test]
fn events_follow_a_tunnel_from_redial_to_down() {
    in_world(working_server(), |world| {
        world.profile("retry.first = \"100ms\"");
        let before = world.state();
        let early = world.run(&["events", "vpn"]);
        assert_eq!(early.status.code(), Some(6), "{}", text(&early.stderr));
        world.up();
        let mut events = world.command(&["events", "vpn", "--interval", "1"]);
        let mut events = world.spawn(events.stdout(Stdio::piped()));
        let lines = BufReader::new(events.stdout.take().unwrap()).lines();
        let mut lines = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
        let mut until = |wanted: &str| {
            let mut passed = Vec::new();
            loop {
                let line = lines.next().unwrap_or_else(|| panic!("no {wanted} in {passed:#?}"));
                let event = line["event"].as_str().unwrap().to_owned();
                assert_eq!(line["name"], "vpn");
                passed.push(event.clone());
                if event == wanted {
                    return (line, passed);
                }
            }
        };
        let (hello, passed) = until("subscribed");
        assert_eq!((hello["protocol"].as_u64(), passed.len()), (Some(1), 1));
        let (statistics, _) = until("statistics");
        assert_eq!(statistics["status"]["state"], "up");
        assert!(statistics["status"]["counters"]["ppp.received_bytes"].is_u64(), "{statistics}");
        until("statistics");
        let engine = world.pid("engine_pid");
        world.shell(&format!("kill -9 {engine}"));
        let (lost, _) = until("failure");
        assert_eq!(lost["failure"]["kind"], "internal", "{lost}");
        let (again, passed) = until("reconnected");
        assert_eq!((again["tun"].as_str(), again["reconnects"].as_u64()), (Some("tun0"), Some(1)));
        for phase in ["waiting", "phase"] {
            assert!(passed.iter().any(|event| event == phase), "{passed:?}");
        }
        world.down(&before);
        let (down, _) = until("down");
        assert_eq!((down.get("failure"), down["problems"].as_array().map(Vec::len)), (None, Some(0)));
        assert!(events.wait().unwrap().success());
    });
}

#[test]
fn subscribers_that_do_not_read_delay_nothing() {
    in_world(working_server(), |world| {
        world.profile("");
        let before = world.state();
        world.up();
        let silent: Vec<_> = (0..8).map(|_| subscribe()).collect();
        let mut refused = String::new();
        // The supervisor reads the requests in order.
        world.wait_for(|| {
            refused.clear();
            subscribe().read_to_string(&mut refused).is_ok() && refused.contains("8 subscribers already")
        });
        assert!(world.run(&["status", "vpn"]).status.success());
        world.down(&before);
        drop(silent);
    });
}

#[test]
fn metrics_are_those_of_the_tunnel() {
    in_world(working_server(), |world| {
        world.profile("");
        let before = world.state();
        let metrics = || {
            let output = world.run(&["metrics"]);
            assert!(output.status.success(), "{}", text(&output.stderr));
            text(&output.stdout)
        };
        assert!(metrics().contains("\npptpctl_up{tunnel=\"vpn\"} 0\n"), "{}", metrics());
        world.up();
        download(world.server_config.office, 100_000);
        world.status_with_counters();
        world.wait_for(|| metrics().contains("pptpctl_received_bytes_total"));
        let shown = metrics();
        assert!(
            shown.contains("\npptpctl_up{tunnel=\"vpn\"} 1\n") && shown.ends_with("\n# EOF\n"),
            "{shown}"
        );
        let received =
            shown.lines().find_map(|line| line.strip_prefix("pptpctl_received_bytes_total{tunnel=\"vpn\"} "));
        assert!(received.unwrap().parse::<u64>().unwrap() > 100_000, "{shown}");
        fs::write("/run/pptpctl.prom", "older").unwrap();
        assert!(world.run(&["metrics", "--textfile", "/run/pptpctl.prom"]).status.success());
        let file = fs::read_to_string("/run/pptpctl.prom").unwrap();
        assert!(
            file.contains("# TYPE pptpctl_reconnects_total counter\n") && !file.contains("EOF"),
            "{file}"
        );
        assert_eq!(fs::metadata("/run/pptpctl.prom").unwrap().permissions().mode() & 0o7777, 0o644);
        let lost = world.run(&["metrics", "--textfile", "/proc/none/pptpctl.prom"]);
        assert_eq!(lost.status.code(), Some(1), "{}", text(&lost.stderr));
        fs::remove_file("/run/pptpctl.prom").unwrap();
        world.down(&before);
        // The library that others parse the format with, where it is installed.
        fs::write("/run/metrics", shown).unwrap();
        world.shell(
            "python3 -c 'import prometheus_client' 2>/dev/null || exit 0; python3 -c '\nfrom \
             prometheus_client.openmetrics.parser import text_string_to_metric_families as parse\n\
             assert len(list(parse(open(\"/run/metrics\").read()))) > 10'; rm /run/metrics",
        );
    });
}

/// `link.manage = false`: NetworkManager's VPN service reads these lines, and sets up the rest.
#[test]
fn unmanaged_tunnel_sets_up_the_device_alone_and_says_what_a_manager_needs() {
    in_world(working_server(), |world| {
        world.profile("routes = []\nlink.manage = false\nretry.first = \"100ms\"");
        let before = world.state();
        let routes = || {
            world.shell("ip route show table all | grep -v tun0; ip rule; nft list ruleset; cat /etc/resolv.conf || true")
        };
        let others = routes();
        let mut up = world.command(&["up", "--foreground", "--json", "vpn"]);
        let mut up = world.spawn(up.stdout(Stdio::piped()).stderr(Stdio::null()));
        let lines = BufReader::new(up.stdout.take().unwrap()).lines();
        let mut events = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
        let carrier = events.find(|event| event["event"] == "up").unwrap();
        assert_eq!(
            (&carrier["tun"], &carrier["server"]),
            (&"tun0".into(), &"192.0.2.1:1723".into()),
            "{carrier}"
        );
        let (local, peer) = (carrier["local"].as_str().unwrap(), carrier["peer"].as_str().unwrap());
        let shown = world.shell("ip -o -4 addr show dev tun0; ip -o link show dev tun0");
        assert!(shown.contains(&format!("inet {local} peer {peer}/32")), "{carrier} {shown}");
        assert!(
            shown.contains(&format!("mtu {} ", carrier["mtu"])) && shown.contains(",UP,"),
            "{carrier} {shown}"
        );
        assert_eq!(
            world.shell("ip route show dev tun0").lines().count(),
            1,
            "the kernel's route to the peer"
        );
        assert_eq!(routes(), others);
        // The manager may take it down and change its addresses.
        world.shell("ip addr flush dev tun0");
        world.shell(&format!("kill -9 {}", world.pid("engine_pid")));
        let mut between = Vec::new();
        let again = events
            .find(|event| {
                between.push(event["event"].as_str().unwrap().to_owned());
                event["event"] == "up"
            })
            .unwrap();
        // The loss is told before anything of the next attempt.
        assert_eq!(&between[..2], ["failure", "waiting"], "{between:?}");
        assert_eq!(again["local"], carrier["local"], "{again}");
        assert!(world.shell("ip -o -4 addr show dev tun0").contains(local));
        world.down(&before);
        assert!(up.wait().unwrap().success());
    });
}
