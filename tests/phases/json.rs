//! `--json` of each command, with a real tunnel: what it prints is JSON, and nothing else.

use serde_json::Value;

use crate::{
    working_server,
    world::{World, in_world, text},
};

/// Runs a command that succeeds; returns the objects that it prints, one a line unless it is a single one.
#[track_caller]
fn objects(world: &World, arguments: &[&str]) -> Vec<Value> {
    let output = world.run(&[arguments, &["--json"]].concat());
    let said = text(&output.stdout);
    assert!(output.status.success(), "{arguments:?}: {said}{}", text(&output.stderr));
    if let Ok(single) = serde_json::from_str(&said) {
        return vec![single];
    }
    said.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

#[track_caller]
fn object(world: &World, arguments: &[&str]) -> Value {
    let mut objects = objects(world, arguments);
    assert_eq!(objects.len(), 1, "{objects:?}");
    objects.remove(0)
}

#[test]
fn what_commands_print_for_programs_is_json_only() {
    in_world(working_server(), |world| {
        world.profile("leak = \"block\"\ndefault = true");
        let before = world.state();
        world.up();

        let waited = objects(world, &["up", "vpn", "--wait"]);
        let [up] = waited.as_slice() else { panic!("{waited:?}") };
        let status = object(world, &["status", "vpn"]);
        assert_eq!(up["event"], "up");
        for member in ["name", "tun", "server", "local", "peer", "mtu"] {
            assert!(!up[member].is_null(), "{member}: {up}");
            assert_eq!(up[member], status[member], "{member}");
        }

        let first = objects(world, &["logs", "vpn"]);
        assert!(
            first.iter().any(|line| line["level"] == "INFO" && line["text"] == "vpn: up on tun0"),
            "{first:?}"
        );
        assert!(first.iter().all(|line| line["time"].is_string()), "{first:?}");

        let file = "/run/session.pcapng";
        let capture = objects(world, &["capture", "vpn", file, "--inner", "--time", "1", "--limit", "1M"]);
        let [begin, end] = capture.as_slice() else { panic!("{capture:?}") };
        assert_eq!((&begin["state"], &begin["limit"]), (&"capturing".into(), &(1 << 20).into()), "{begin}");
        assert_eq!(begin["remarks"].as_array().map(Vec::len), Some(2), "{begin}");
        assert_eq!((&end["state"], &end["why"]), (&"ended".into(), &"the time is over".into()), "{end}");
        assert_eq!((&end["file"], &end["not_captured"]), (&file.into(), &0.into()), "{end}");

        let report = object(world, &["report", "vpn", "--output", "/run/report.txt"]);
        let size = std::fs::metadata("/run/report.txt").unwrap().len();
        assert_eq!(report, serde_json::json!({ "name": "vpn", "file": "/run/report.txt", "bytes": size }));

        let redial = objects(world, &["redial", "vpn", "--wait"]);
        let last = redial.last().unwrap();
        assert_eq!((&last["event"], &last["tun"]), (&"up".into(), &"tun0".into()), "{redial:?}");
        assert_eq!(object(world, &["status", "vpn"])["reconnects"], 1);
        assert_eq!(object(world, &["redial", "vpn"]), serde_json::json!({ "name": "vpn", "redials": true }));

        for arguments in [&["list"][..], &["check"], &["status"], &["routes", "vpn"], &["doctor", "vpn"]] {
            object(world, arguments);
        }
        for written in [file, "/run/report.txt"] {
            std::fs::remove_file(written).unwrap();
        }
        world.down(&before);
    });
}
