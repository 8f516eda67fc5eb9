//! An engine that was stopped is replaced, and systemd's watchdog is told that the supervisor runs.

use std::{fs, os::unix::net::UnixDatagram, process::Stdio};

use pptpctl::testing::demo::config::Fault;

use crate::{
    faulty_server, in_world, working_server,
    world::{LIMIT, download, text},
};

#[test]
fn stopped_engine_is_replaced() {
    in_world(working_server(), |world| {
        world.profile("retry = { first = \"100ms\" }");
        let before = world.state();
        world.up();
        let engine = world.pid("engine_pid");
        world.shell(&format!("kill -STOP {engine}"));
        let mut warned = false;
        world.wait_for(|| {
            let status = world.run(&["status", "vpn", "--json"]);
            warned |= text(&status.stdout).contains("the engine process has not answered for");
            let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
            status["state"] == "up" && status["engine_pid"].as_u64().is_some_and(|now| now != engine)
        });
        assert!(warned, "no warning in the status");
        download(world.server_config.office, 10_000);
        let log = fs::read_to_string("/var/log/pptpctl/vpn.log").unwrap();
        assert!(log.contains("it was stopped, or it hangs"), "{log}");
        world.down(&before);
    });
}

#[test]
fn engine_stopped_during_the_dial_ends_up() {
    in_world(faulty_server(Fault::SilentCall), |world| {
        world.profile("");
        let before = world.state();
        let mut up = world.command(&["up", "vpn"]);
        let up = world.spawn(up.stdout(Stdio::null()).stderr(Stdio::piped()));
        world.wait_for(|| world.run(&["status", "vpn"]).status.success());
        let engine = world.pid("engine_pid");
        world.shell(&format!("kill -STOP {engine}"));
        let up = up.wait_with_output();
        assert_eq!(up.status.code(), Some(1), "{}", text(&up.stderr));
        assert!(text(&up.stderr).contains("it was stopped, or it hangs"), "{}", text(&up.stderr));
        world.assert_state(&before);
    });
}

#[test]
fn systemds_watchdog_gets_its_messages() {
    in_world(working_server(), |world| {
        world.profile("");
        let systemd = UnixDatagram::bind("/run/notify").unwrap();
        systemd.set_read_timeout(Some(LIMIT)).unwrap();
        let mut up = world.command(&["up", "vpn", "--foreground"]);
        up.env("NOTIFY_SOCKET", "/run/notify").env("WATCHDOG_USEC", "3000000");
        let mut up = world.spawn(up.stdout(Stdio::null()).stderr(Stdio::null()));
        let mut buffer = [0; 256];
        let mut messages = std::iter::from_fn(|| {
            let size = systemd.recv(&mut buffer).ok()?;
            Some(text(&buffer[..size]))
        });
        assert!(messages.any(|message| message.starts_with("READY=1")), "not ready");
        for _ in 0..3 {
            assert!(messages.any(|message| message == "WATCHDOG=1"), "no message of the watchdog");
        }
        assert!(world.run(&["down", "vpn"]).status.success());
        assert!(up.wait().unwrap().success());
    });
}
