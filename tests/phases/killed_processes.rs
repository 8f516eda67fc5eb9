//! The supervisor, the engine or both are killed: the host is restored, or the engine is replaced.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
};

use crate::{working_server, world::*};

#[test]
fn recover_restores_host_after_killed_supervisor() {
    for both in [false, true] {
        in_world(working_server(), move |world| {
            world.profile("default = { mode = \"halves\" }");
            let before = world.state();
            world.up();
            let (supervisor, engine) = (world.pid("supervisor_pid"), world.pid("engine_pid"));
            let victims = if both { format!("{supervisor} {engine}") } else { supervisor.to_string() };
            world.shell(&format!("kill -9 {victims}"));
            // The engine exits when its supervisor is gone, and the device disappears with it.
            let gone =
                format!("! kill -0 {supervisor} 2>&- && ! kill -0 {engine} 2>&- && echo gone || echo alive");
            world.wait_for(|| world.shell(&gone) == "gone\n");
            // Before `recover`, `status` distinguishes this from a tunnel that is down.
            let status = world.run(&["status", "vpn"]);
            assert_eq!(status.status.code(), Some(6));
            assert!(text(&status.stdout).contains("`pptpctl recover` undoes"), "{}", text(&status.stdout));
            assert!(text(&world.run(&["list"]).stdout).contains("vpn      died"));
            let recovered = world.run(&["recover"]);
            assert_eq!(recovered.status.code(), Some(0), "{}", text(&recovered.stderr));
            world.assert_state(&before);
            // The tunnel can be brought up again.
            world.up();
            world.down(&before);
        });
    }
}

/// The kill switch of a killed supervisor stays while the next `up` reads the password, dials, and fails.
#[test]
fn kill_switch_of_killed_supervisor_stays_until_the_tunnel_is_up() {
    in_world(working_server(), |world| {
        let keys = "default = true\nleak = \"block\"";
        world.profile(keys);
        let before = world.state();
        world.up();
        let rules = || world.shell("ip rule | wc -l");
        let (closed, supervisor) = (rules(), world.pid("supervisor_pid"));
        world.shell(&format!("kill -9 {supervisor}"));
        world.wait_for(|| world.shell(&format!("kill -0 {supervisor} 2>&- || echo gone")) == "gone\n");
        // The program runs while nothing of the new supervisor exists.
        let program = "[\"/bin/sh\", \"-c\", \"ip rule | wc -l >/run/rules; exit 1\"]";
        world.profile(&format!("{keys}\npassword.command = {program}"));
        let up = world.run(&["up", "vpn"]);
        assert_eq!(up.status.code(), Some(3), "{}", text(&up.stderr));
        assert!(text(&up.stdout).contains("stay blocked until it is up"), "{}", text(&up.stdout));
        assert_eq!([fs::read_to_string("/run/rules").unwrap(), rules()], [closed.clone(), closed.clone()]);

        world.profile(&format!("{keys}\nuser = \"stranger\""));
        let up = world.run(&["up", "vpn"]);
        assert_eq!(up.status.code(), Some(19), "{}", text(&up.stderr));
        assert_eq!(rules(), closed);

        world.profile(keys);
        world.up();
        assert_eq!(rules(), closed);
        download(world.server_config.office, 10_000);
        world.shell("rm /run/rules");
        world.down(&before);
    });
}

/// An engine that is killed while it changes to its empty root directory leaves the directory behind.
#[test]
fn jail_of_killed_engine_is_removed() {
    in_world(working_server(), |world| {
        world.profile("");
        let before = world.state();
        // A pid above the kernel's maximum.
        let jail = "/run/pptpctl/.engine-2147483646";
        let create_jail = || {
            fs::create_dir_all(jail).unwrap();
            fs::set_permissions("/run/pptpctl", Permissions::from_mode(0o755)).unwrap();
        };
        create_jail();
        assert_eq!(world.run(&["recover"]).status.code(), Some(0));
        world.assert_state(&before);
        create_jail();
        world.up();
        world.down(&before);
    });
}

#[test]
fn killed_engine_is_replaced() {
    in_world(working_server(), |world| {
        world.profile("retry = { first = \"100ms\" }");
        let before = world.state();
        world.up();
        let engine = world.pid("engine_pid");
        world.shell(&format!("kill -9 {engine}"));
        world.wait_for(|| {
            let status = world.run(&["status", "vpn", "--json"]);
            let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
            status["state"] == "up" && status["engine_pid"].as_u64().is_some_and(|now| now != engine)
        });
        download(world.server_config.office, 10_000);
        world.down(&before);
    });
}
