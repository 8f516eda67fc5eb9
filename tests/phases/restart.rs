//! `restart`: the tunnel goes down and comes up again, unless it could not come up.

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
