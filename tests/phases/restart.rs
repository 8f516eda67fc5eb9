//! `restart`: the tunnel goes down and comes up again, unless it could not come up. `redial`: only its connection.

use std::{fs, process::Stdio};

use crate::{
    working_server,
    world::{World, in_world, text},
};

#[test]
fn restart_takes_the_profile_as_it_is_now() {
    in_world(working_server(), |world| {
        world.profile("");
        let before = world.state();
        // Like `up`, if there is no tunnel.
        let first = world.run(&["restart", "vpn"]);
        assert_eq!(first.status.code(), Some(0), "{}", text(&first.stderr));
        let supervisor = world.pid("supervisor_pid");
        world.profile("routes = [\"192.168.77.0/24\", \"10.9.0.0/16\"]");
        let again = world.run(&["restart", "vpn", "--wait"]);
        let shown = text(&again.stdout);
        assert_eq!(again.status.code(), Some(0), "{shown}{}", text(&again.stderr));
        assert!(shown.contains("vpn: down\n") && shown.contains("vpn: up on tun0"), "{shown}");
        assert_ne!(world.pid("supervisor_pid"), supervisor);
        assert!(world.shell("ip route").contains("10.9.0.0/16 dev tun0"));

        // A profile with which `up` would fail leaves the tunnel as it is.
        let supervisor = world.pid("supervisor_pid");
        for wrong in ["routse = []\n", "password.file = \"/nonexistent\"\n", "password.ask = true\n"] {
            let profile = fs::read_to_string(World::CONFIG).unwrap();
            let other = profile.replace("password.file = \"/run/test.password\"\n", "") + wrong;
            fs::write(World::CONFIG, other).unwrap();
            // Without the terminal that the tests may have.
            let mut restart = std::process::Command::new("setsid");
            restart.args(["-w", World::PROGRAM, "--config", World::CONFIG, "restart", "vpn"]);
            let refused = restart.stdin(Stdio::null()).output().unwrap();
            assert_eq!(refused.status.code(), Some(3), "{wrong}: {}", text(&refused.stdout));
            fs::write(World::CONFIG, profile).unwrap();
            assert_eq!(world.pid("supervisor_pid"), supervisor, "{wrong}");
        }
        world.profile("");
        world.down(&before);
    });
}

#[test]
fn redial_ends_a_long_wait_or_the_link_and_nothing_else() {
    in_world(working_server(), |world| {
        world.profile("retry.first = \"1h\"\nretry.max = \"1h\"");
        let before = world.state();
        let redial = |arguments: &[&str], code: i32, words: &str| {
            let output = world.run(arguments);
            let shown = text(&output.stdout) + &text(&output.stderr);
            assert!(output.status.code() == Some(code) && shown.contains(words), "{shown}");
        };
        redial(&["redial", "vpn"], 6, "vpn is not up; `pptpctl up vpn` brings it up");
        redial(&["redial", "vnp"], 3, "there is no profile `vnp`");
        world.up();
        let (supervisor, engine) = (world.pid("supervisor_pid"), world.pid("engine_pid"));
        let routes = world.shell("ip route");
        world.shell(&format!("kill -9 {engine}"));
        world.wait_for(|| text(&world.run(&["status", "vpn"]).stdout).contains("next attempt in"));
        for reconnects in ["reconnected  once", "reconnected  2 times"] {
            redial(&["redial", "--wait", "vpn"], 0, "vpn: up on tun0 for ");
            let status = text(&world.run(&["status", "vpn"]).stdout);
            assert!(status.contains(reconnects), "{status}");
            assert_ne!(world.pid("engine_pid"), engine);
            assert_eq!(world.pid("supervisor_pid"), supervisor);
            assert_eq!(world.shell("ip route"), routes);
        }
        redial(&["redial", "vpn"], 0, "vpn: dials again; `pptpctl status vpn` shows how far it is");
        world.down(&before);
    });
}
