//! What `up`, `status` and the log say: each result with its phase, failures with their time, and nothing that
//! looks like a fault on a healthy tunnel.

use std::{fs, time::SystemTime};

use nix::mount::{MsFlags, mount};

use super::{
    working_server,
    world::{World, in_world, text},
};

const LOG: &str = "/var/log/pptpctl/vpn.log";

#[test]
fn results_are_shown_with_their_phases() {
    in_world(working_server(), |world| {
        fs::write("/run/hosts", "192.0.2.1 vpn.example.net\n").unwrap();
        let none: Option<&str> = None;
        mount(Some("/run/hosts"), "/etc/hosts", none, MsFlags::MS_BIND, none).unwrap();
        world.profile("server = \"vpn.example.net\"\nhooks.up = [\"/bin/sleep\", \"0.5\"]");
        let before = world.state();
        let output = world.run(&["up", "vpn"]);
        let printed = text(&output.stdout);
        assert!(output.status.success(), "{printed}{}", text(&output.stderr));
        let results = [
            ("resolve", "vpn.example.net is 192.0.2.1 ("),
            ("connect", "192.0.2.1:1723 from 192.0.2.2 ("),
            ("lcp", "MRU 1500, MS-CHAPv2 ("),
            ("addresses", "10.77.0.100 → 10.77.0.1, MTU "),
            ("routes", "done on tun0 ("),
        ];
        let log = fs::read_to_string(LOG).unwrap();
        for (phase, result) in results {
            assert!(printed.contains(&format!("  {phase:<15} {result}")), "{phase}: {printed}");
            let result = result.trim_end_matches(" (");
            let logged = phase == "routes" || log.contains(&format!("vpn: finished {phase}: {result}"));
            assert!(logged && log.contains(&format!("vpn: {phase}\n")), "{phase}: {log}");
        }
        // The time that the hook takes is that of the steps.
        let routes = printed.lines().find(|line| line.starts_with("  routes")).unwrap();
        let took: u32 = routes.rsplit(['(', ' ']).nth(1).unwrap().parse().unwrap();
        assert!(took >= 500, "{routes}");
        world.down(&before);
    });
}

#[test]
fn status_shows_when_the_tunnel_was_lost() {
    in_world(working_server(), |world| {
        world.profile("retry.first = \"100ms\"");
        let before = world.state();
        world.up();
        let status = || text(&world.run(&["status", "vpn"]).stdout);
        assert!(!status().contains("last failure") && !status().contains("dropped"), "{}", status());
        assert_counters_are_described(world);
        world.shell(&format!("kill -9 {}", world.pid("engine_pid")));
        world.wait_for(|| status().contains("reconnected  once"));
        let status = status();
        let line = status.lines().find(|line| line.contains("last failure")).unwrap();
        assert!(line.contains(" s ago), up: internal error: "), "{line}");
        let at = world.pid("last_failure_at");
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        assert!(now >= at && now - at < 120, "{at} {now}");
        world.down(&before);
    });
}

fn assert_counters_are_described(world: &World) {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/man/pptpctl.8")).unwrap();
    let status = world.status_with_counters();
    for name in status.get("counters").unwrap().as_object().unwrap().keys() {
        assert!(page.contains(&format!("\n.It Li {name}\n")), "man/pptpctl.8 does not describe {name}");
    }
}
