//! Other programs take the tunnel's device down, remove its addresses, rename it or move it away: it is put back within a
//! second, or the tunnel is dialled again.

use std::{fs, process::Command, time::Instant};

use crate::{
    in_world, working_server,
    world::{World, download, text},
};

fn status(world: &World) -> serde_json::Value {
    serde_json::from_slice(&world.run(&["status", "vpn", "--json"]).stdout).unwrap()
}

/// Returns routes, addresses and state of the device.
fn shown(world: &World) -> String {
    world.shell(
        "ip route show table all dev tun0; ip -o addr show dev tun0; ip -o link show dev tun0 | grep -o '<.*>'",
    )
}

fn log() -> String {
    fs::read_to_string("/var/log/pptpctl/vpn.log").unwrap_or_default()
}

/// `extra` is the profile, `script` what the other program does.
#[track_caller]
fn assert_put_back(extra: &'static str, script: &'static str) {
    in_world(working_server(), move |world| {
        world.profile(extra);
        let before = world.state();
        world.up();
        let (engine, up) = (world.pid("engine_pid"), shown(world));
        world.shell(script);
        let changed = Instant::now();
        // The log is written after the change.
        world.wait_for(|| shown(world) == up && log().contains("put back"));
        println!("{script}: put back after {} ms", changed.elapsed().as_millis());
        assert_eq!(world.pid("engine_pid"), engine, "{}", log());
        assert!(status(world).to_string().contains("another program took tun0 down"), "{}", status(world));
        download(world.server_config.office, 10_000);
        world.down(&before);
    });
}

/// `script` makes the device unusable, for this reason.
#[track_caller]
fn assert_dialled_again(script: impl Fn(&World) + Send + 'static, words: &'static str) {
    in_world(working_server(), move |world| {
        world.profile("retry = { first = \"100ms\" }");
        let before = world.state();
        world.up();
        let engine = world.pid("engine_pid");
        script(world);
        world.wait_for(|| {
            let status = status(world);
            let pid = status.get("engine_pid").and_then(serde_json::Value::as_u64);
            status.get("state").is_some_and(|state| state == "up") && pid.is_some_and(|now| now != engine)
        });
        assert!(log().contains(words), "{}", log());
        let last = text(&world.run(&["status", "vpn"]).stdout);
        assert!(last.contains(words), "{last}");
        download(world.server_config.office, 10_000);
        world.down(&before);
    });
}

#[test]
fn device_that_was_set_down_is_up_again() {
    for extra in ["", "default = { mode = \"halves\" }", "default = true\nleak = \"block\""] {
        assert_put_back(extra, "ip link set tun0 down");
    }
}

#[test]
fn addresses_that_were_removed_are_added_again() {
    assert_put_back("", "ip addr flush dev tun0");
    assert_put_back("default = true", "ip addr flush dev tun0; ip link set tun0 down; ip link set tun0 up");
}

#[test]
fn renamed_device_is_replaced() {
    assert_dialled_again(
        |world| {
            world.shell("ip link set tun0 down; ip link set tun0 name wan; ip link set wan up");
        },
        "another program renamed the tunnel's device tun0 to wan",
    );
}

#[test]
fn device_in_another_namespace_is_replaced() {
    assert_dialled_again(
        |world| {
            // Its pid in this world's own numbers, once it has left the namespace.
            let script = "echo $$ > /run/other.pid; exec sleep 600";
            let _other = world.spawn(Command::new("unshare").args(["-n", "sh", "-c", script]));
            world.wait_for(|| fs::read_to_string("/run/other.pid").is_ok_and(|pid| pid.ends_with('\n')));
            world.shell("ip link set tun0 netns $(cat /run/other.pid); rm /run/other.pid");
            world.wait_for(|| log().contains("moved to another network namespace"));
        },
        "tun0 is gone: deleted, or moved to another network namespace",
    );
}
