//! `up --autostart` and `down --autostart` with profiles that set `autostart = true`.

use std::fs;

use crate::{
    resolver_world::in_resolver_world,
    world::{World, text},
};

#[test]
fn autostart_brings_up_enabled_profiles() {
    in_resolver_world(|net| {
        net.world.profile("autostart = true");
        let one = fs::read_to_string(World::CONFIG).unwrap();
        let two = one.replace("profile.vpn", "profile.two").replace("192.168.77.0/24", "192.168.78.0/24");
        let dead = one.replace("profile.vpn", "profile.dead").replace("192.0.2.1", "192.0.2.1:9");
        let idle =
            one.replace("profile.vpn", "profile.idle").replace("autostart = true", "autostart = false");
        fs::write(World::CONFIG, format!("{one}{two}{dead}{idle}")).unwrap();
        let before = net.world.state();
        let output = net.world.run(&["up", "--autostart"]);
        let printed = text(&output.stdout) + &text(&output.stderr);
        // A failed profile is reported, and the other profiles still come up.
        assert_eq!(output.status.code(), Some(11), "{printed}");
        assert!(printed.contains("dead: failed in phase connect"), "{printed}");
        let is_up = |name: &str| net.world.run(&["status", name]).status.success();
        assert!(is_up("vpn") && is_up("two") && !is_up("dead") && !is_up("idle"), "{printed}");
        // A second run leaves running tunnels alone.
        let pid = net.pid("supervisor_pid");
        assert_eq!(net.world.run(&["up", "--autostart"]).status.code(), Some(11));
        assert_eq!(net.pid("supervisor_pid"), pid);
        let output = net.world.run(&["down", "--autostart"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        net.world.assert_state(&before);
    });
}

#[test]
fn autostart_continues_after_unreadable_profile() {
    in_resolver_world(|net| {
        net.world.profile("autostart = true");
        let one = fs::read_to_string(World::CONFIG).unwrap();
        let wrong = one.replace("profile.vpn", "profile.wrong").replace("192.0.2.1", "192.0.2.");
        fs::write(World::CONFIG, format!("{wrong}{one}")).unwrap();
        let output = net.world.run(&["up", "--autostart"]);
        assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
        assert!(net.world.run(&["status", "vpn"]).status.success());
        assert_eq!(net.world.run(&["down", "--autostart"]).status.code(), Some(3));
        assert!(!net.world.run(&["status", "vpn"]).status.success());
    });
}

/// Independent profiles are dialled at the same time, and shown in their order; taken down the last first.
#[test]
fn autostart_dials_independent_profiles_at_once() {
    in_resolver_world(|net| {
        net.world.profile("autostart = true");
        let one = fs::read_to_string(World::CONFIG).unwrap();
        let named = |at: u8| {
            one.replace("profile.vpn", &format!("profile.n{at}"))
                .replace("192.168.77.0/24", &format!("192.168.{}.0/24", 100 + at))
        };
        let many: String = (0..6).map(named).collect();
        fs::write(World::CONFIG, many).unwrap();
        let before = net.world.state();
        let output = net.world.run(&["up", "--autostart"]);
        let printed = text(&output.stdout);
        assert!(output.status.success(), "{printed}{}", text(&output.stderr));
        let places: Vec<_> = (0..6).map(|at| printed.find(&format!("n{at}: up on tun")).unwrap()).collect();
        assert!(places.is_sorted(), "{printed}");
        assert!((0..6).all(|at| net.world.run(&["status", &format!("n{at}")]).status.success()));
        let output = net.world.run(&["down", "--autostart"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let lines = text(&output.stdout);
        assert_eq!(
            lines.lines().collect::<Vec<_>>(),
            ["n5: down", "n4: down", "n3: down", "n2: down", "n1: down", "n0: down"]
        );
        net.world.assert_state(&before);
    });
}
