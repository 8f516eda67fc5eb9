//! `reload`: the profile changes under a tunnel that is up, and only the difference is applied.

use std::fs;

use pptpctl::testing::demo::config::ServerConfig;
use serde_json::Value;

use crate::{
    working_server,
    world::{World, in_world, text},
};

/// What must stay the same while the connection does: engine, connection and device.
fn connection(world: &World) -> (u64, u64, String) {
    let status = world.status_with_counters();
    assert_eq!(status.get("reconnects"), Some(&Value::from(0)));
    assert_eq!(status.get("state"), Some(&Value::from("up")));
    (
        world.pid("engine_pid"),
        world.pid("supervisor_pid"),
        world.shell("ip -o link show dev tun0 | cut -d: -f1"),
    )
}

#[track_caller]
fn reload(world: &World, arguments: &[&str], code: i32) -> String {
    let output = world.run(&[&["reload", "vpn"], arguments].concat());
    let shown = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{shown}");
    shown
}

#[track_caller]
fn json(world: &World, arguments: &[&str]) -> Value {
    let output = world.run(&[&["reload", "vpn", "--json"], arguments].concat());
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)))
}

fn received(world: &World) -> u64 {
    let status = world.status_with_counters();
    status.pointer("/counters/gre.rx_accepted").and_then(Value::as_u64).unwrap()
}

#[test]
fn routes_and_resolvers_change_without_a_redial() {
    in_world(ServerConfig { dns: vec!["192.168.77.53".parse().unwrap()], ..working_server() }, |world| {
        let file = "/run/test.resolv.conf";
        fs::write(file, "nameserver 192.0.2.99\n").unwrap();
        world.shell(&format!("mount --bind {file} /etc/resolv.conf"));
        let dns = "dns = { servers = [\"192.168.77.53\"], backend = \"file\" }\n";
        world.profile(&format!("{dns}routes = [\"192.168.77.0/24\", \"10.2.0.0/16\"]"));
        let before = world.state();
        let original = fs::read_to_string(World::CONFIG).unwrap();
        world.up();
        let during = connection(world);
        let packets = received(world);
        assert!(reload(world, &[], 0).contains("is in force"), "an unchanged profile");

        let other = dns.replace("77.53", "77.54");
        world.profile(&format!(
            "{other}routes = [\"192.168.77.0/24\", \"10.3.0.0/16\"]\nserver = \"192.0.2.1:1724\"\nuser = \"other\"\n\
             retry = {{ max = \"7s\" }}"
        ));
        let routes = world.shell("ip route");
        let shown = reload(world, &["--dry-run"], 0);
        for words in [
            "nothing was changed",
            "\n  - ip route add 10.2.0.0/16 dev tun0\n",
            "\n  + ip route add 10.3.0.0/16 dev tun0\n",
            "\n  would be in force: routes, dns.servers, retry.max\n",
            "needs a redial: server; `pptpctl reload vpn --redial`",
            "next `up`: user; `pptpctl restart vpn`",
        ] {
            assert!(shown.contains(words), "{words}: {shown}");
        }
        assert_eq!(world.shell("ip route"), routes);

        let result = json(world, &[]);
        assert_eq!(result["result"], "reloaded");
        assert_eq!(result["applied"], serde_json::json!(["routes", "dns.servers", "retry.max"]));
        assert_eq!(result["needs_redial"], serde_json::json!(["server"]));
        assert_eq!(result["needs_restart"], serde_json::json!(["user"]));
        let routes = world.shell("ip route");
        assert!(routes.contains("10.3.0.0/16 dev tun0") && !routes.contains("10.2.0.0/16"), "{routes}");
        let resolvers = fs::read_to_string("/etc/resolv.conf").unwrap();
        assert!(resolvers.contains("192.168.77.54") && !resolvers.contains("192.168.77.53"), "{resolvers}");
        assert_eq!(connection(world), during);
        assert!(received(world) >= packets, "the counters have begun again");
        world.shell("ping -c 1 -W 20 192.168.77.1");

        // What is not in force is still reported.
        let again = reload(world, &[], 0);
        assert!(again.contains("needs a redial: server") && !again.contains("in force: routes"), "{again}");
        fs::write(World::CONFIG, original).unwrap();
        world.down(&before);
        world.shell("umount /etc/resolv.conf");
    });
}

#[test]
fn profile_with_errors_changes_nothing() {
    in_world(working_server(), |world| {
        world.profile("");
        world.up();
        let during = connection(world);
        let state = world.shell("ip route; ip rule; nft list ruleset");
        let valid = fs::read_to_string(World::CONFIG).unwrap();
        let [mask, secret] = ["routes = [\"10.2.0.0/33\"]", "password = \"hunter2\""];
        for (wrong, code, words) in [
            (mask, 3, "10.2.0.0/33"),
            (secret, 3, "password"),
            ("routes = [", 3, "this is not TOML"),
            // The network between client and server.
            ("routes = [\"192.0.2.0/24\"]", 30, "192.0.2.0/24"),
            ("hooks.up = [\"/run/no-such-program\"]", 23, "may not start /run/no-such-program"),
            ("nftables.file = \"/run/no-such-file\"", 23, "/run/no-such-file"),
        ] {
            let key = wrong.split(['.', ' ']).next().unwrap();
            let kept = valid.lines().filter(|line| !line.starts_with(key));
            let text = kept.chain([wrong]).map(|line| format!("{line}\n")).collect::<String>();
            fs::write(World::CONFIG, text).unwrap();
            let shown = reload(world, &[], code);
            assert!(shown.contains("nothing was changed") && shown.contains(words), "{wrong}: {shown}");
            assert!(!shown.contains("hunter2"), "{shown}");
            if wrong == mask {
                assert!(shown.contains("test.toml:") && shown.contains('^'), "{shown}");
            }
            assert_eq!(world.shell("ip route; ip rule; nft list ruleset"), state, "{wrong}");
            assert_eq!(connection(world), during, "{wrong}");
        }
        fs::write(World::CONFIG, valid).unwrap();
        assert!(reload(world, &[], 0).contains("is in force"));
        assert!(world.run(&["down", "vpn"]).status.success());
        assert_eq!(world.run(&["reload", "vpn"]).status.code(), Some(6));
    });
}

/// A step that fails in the middle: rules that nft(8) refuses.
#[test]
fn former_steps_are_put_back_after_a_step_has_failed() {
    in_world(working_server(), |world| {
        world.profile("routes = [\"192.168.77.0/24\", \"10.2.0.0/16\"]\nnat = true");
        let before = world.state();
        world.up();
        let during = connection(world);
        let state = || world.shell("ip route; ip rule; nft list ruleset");
        let former = state();
        fs::write("/run/rules.nft", "no rule\n").unwrap();
        world.profile(
            "nat = true\nnftables.file = \"/run/rules.nft\"\nroutes = [\"10.3.0.0/16\"]\nleak = \"block\"",
        );
        let shown = reload(world, &[], 23);
        assert!(shown.contains("the former steps are in force again"), "{shown}");
        assert_eq!(state(), former);
        assert_eq!(connection(world), during);
        fs::remove_file("/run/rules.nft").unwrap();
        world.profile("routes = [\"192.168.77.0/24\", \"10.2.0.0/16\"]\nnat = true");
        world.down(&before);
    });
}

#[test]
fn rules_file_and_hooks_are_renewed() {
    in_world(working_server(), |world| {
        fs::write("/run/rules.nft", "chain one { }\n").unwrap();
        let profile = |up: &str, down: &str, more: &str| {
            let hook = |word: &str| format!("[\"/bin/sh\", \"-c\", \"echo {word} >> /run/hooks\"]");
            world.profile(&format!(
                "nftables.file = \"/run/rules.nft\"\nhooks = {{ up = {}, down = {} }}\n{more}",
                hook(up),
                hook(down)
            ));
        };
        let hooks = || fs::read_to_string("/run/hooks").unwrap().replace('\n', " ");
        profile("u1", "d1", "");
        world.up();
        let during = connection(world);
        assert_eq!(hooks(), "u1 ");
        // The rules alone: the same path, other content.
        fs::write("/run/rules.nft", "chain two { }\n").unwrap();
        reload(world, &[], 0);
        let rules = world.shell("nft list ruleset");
        assert!(rules.contains("chain two") && !rules.contains("chain one"), "{rules}");
        assert_eq!(hooks(), "u1 ");
        // Another down hook is recorded; another route runs no hook.
        profile("u1", "d2", "routes = [\"10.3.0.0/16\"]");
        reload(world, &[], 0);
        assert_eq!(hooks(), "u1 ");
        // Another up hook: the former down hook runs first.
        profile("u2", "d3", "routes = [\"10.3.0.0/16\"]");
        reload(world, &[], 0);
        assert_eq!(hooks(), "u1 d2 u2 ");
        assert_eq!(connection(world), during);
        assert!(world.run(&["down", "vpn"]).status.success());
        assert_eq!(hooks(), "u1 d2 u2 d3 ");
        assert!(!world.shell("nft list ruleset").contains("pptpctl"));
    });
}

/// The kill switch is there after the reload, and all of it is undone although the supervisor was killed.
#[test]
fn killed_after_a_reload_everything_is_undone() {
    in_world(working_server(), |world| {
        world.profile("routes = [\"192.168.77.0/24\", \"10.2.0.0/16\"]");
        let before =
            world.shell("ip route; ip rule; ip -6 rule; ip route show table all | grep -v table.local");
        world.up();
        let during = connection(world);
        let connects =
            || fs::read_to_string("/var/log/pptpctl/vpn.log").unwrap().matches("vpn: connect\n").count();
        assert_eq!(connects(), 1);
        let plain = fs::read_to_string(World::CONFIG).unwrap();
        for keys in [
            "default = true\nleak = \"block\"",
            "default.mode = \"halves\"\nleak = \"block\"",
            "default = true",
        ] {
            let text: String = plain
                .lines()
                .filter(|line| !line.starts_with("routes"))
                .map(|line| format!("{line}\n"))
                .collect();
            fs::write(World::CONFIG, text + keys + "\n").unwrap();
            let shown = reload(world, &[], 0);
            assert!(!world.shell("ip route").contains("10.2.0.0/16"), "{shown}");
            assert!(world.shell("ip route get 198.51.100.9").contains("dev tun0"), "{shown}");
            world.shell("ping -c 1 -W 20 192.168.77.1");
            assert_eq!(connection(world), during, "{shown}");
        }
        world.shell(&format!("kill -9 {}", during.1));
        world.wait_for(|| world.run(&["status", "vpn"]).status.code() == Some(6));
        let recovered = world.run(&["recover"]);
        assert!(recovered.status.success(), "{}", text(&recovered.stderr));
        let after =
            world.shell("ip route; ip rule; ip -6 rule; ip route show table all | grep -v table.local");
        assert_eq!(after, before);
        assert!(!std::path::Path::new("/var/lib/pptpctl/vpn.ledger").exists());
    });
}

#[test]
fn redial_applies_what_the_connection_needs() {
    in_world(working_server(), |world| {
        world.profile("");
        let before = world.state();
        world.up();
        let engine = world.pid("engine_pid");
        let supervisor = world.pid("supervisor_pid");
        world.profile("mtu = 1300\nretry = { first = \"1h\", max = \"1h\", attempts = 0 }");
        let shown = reload(world, &[], 0);
        assert!(shown.contains("needs a redial: mtu") && shown.contains("in force: retry.first"), "{shown}");
        assert!(!world.shell("ip link show dev tun0").contains("mtu 1300"));
        let shown = reload(world, &["--redial"], 0);
        assert!(shown.contains("in force: mtu") && shown.contains("dials again now"), "{shown}");
        world.wait_for(|| {
            let status: Value =
                serde_json::from_slice(&world.run(&["status", "vpn", "--json"]).stdout).unwrap();
            status["state"] == "up" && status["reconnects"] == 1
        });
        assert_ne!(world.pid("engine_pid"), engine);
        assert_eq!(world.pid("supervisor_pid"), supervisor);
        assert!(world.shell("ip link show dev tun0").contains("mtu 1300"));
        let log = fs::read_to_string("/var/log/pptpctl/vpn.log").unwrap();
        assert!(!log.contains("next attempt in"), "{log}");
        assert!(reload(world, &["--redial"], 0).contains("is in force"));
        world.profile("");
        world.down(&before);
    });
}
