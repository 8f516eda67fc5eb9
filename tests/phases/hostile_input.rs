//! Interference by users, other programs and a stuck engine: the supervisor must not hang, exit or leave
//! anything behind.

use std::{
    fs,
    io::Write,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use nix::mount::{MsFlags, mount};
use pptpctl::testing::{
    apply::{
        Directories,
        ledger::{Header, Ledger, PriorState},
    },
    demo::config::Fault,
    plan::{Part, RemoveDefaultStep, Step},
};

use super::{
    faulty_server, working_server,
    world::{World, download, in_world, text},
};

const SOCKET: &str = "/run/pptpctl/vpn.sock";

#[test]
fn tunnel_survives_closed_log_reader() {
    in_world(working_server(), |world| {
        world.profile("");
        let before = world.state();
        let mut up = world.command(&["up", "vpn", "--foreground"]);
        let mut up = world.spawn(up.stdout(Stdio::null()).stderr(Stdio::piped()));
        drop(up.stderr.take());
        world.wait_for(|| is_up_or_exited(world, &mut up));
        assert!(up.try_wait().unwrap().is_none(), "`up` has exited");
        assert!(text(&world.run(&["status", "vpn"]).stdout).contains("up on"));
        world.down(&before);
        assert!(up.wait().unwrap().success());
    });
}

#[test]
fn down_works_when_engine_is_stopped() {
    in_world(working_server(), |world| {
        world.profile("");
        let before = world.state();
        world.up();
        let engine = world.pid("engine_pid");
        world.shell(&format!("kill -STOP {engine}"));
        // Far more requests than the channel to the engine holds.
        for _ in 0..100 {
            let clients: Vec<_> = (0..8)
                .map(|_| {
                    let mut client = UnixStream::connect(SOCKET).unwrap();
                    client.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
                    client.write_all(b"{\"command\":\"status\"}\n").unwrap();
                    client
                })
                .collect();
            thread::sleep(Duration::from_millis(2));
            drop(clients);
        }
        // Within LIMIT: a supervisor that waits for the stopped engine never ends.
        let mut down = world.spawn(world.command(&["down", "vpn"]).stdout(Stdio::null()));
        world.wait_for(|| down.try_wait().unwrap().is_some());
        world.assert_state(&before);
    });
}

#[test]
fn idle_control_clients_do_not_block_others() {
    in_world(working_server(), |world| {
        world.profile("");
        let before = world.state();
        world.up();
        let idle_clients: Vec<_> = (0..40).map(|_| UnixStream::connect(SOCKET).unwrap()).collect();
        assert!(text(&world.run(&["status", "vpn"]).stdout).contains("up on"));
        world.down(&before);
        drop(idle_clients);
    });
}

#[test]
fn control_directory_is_readable_with_any_umask() {
    in_world(working_server(), |world| {
        world.profile("");
        let before = world.state();
        world.shell(&format!("umask 077; {} --config {} up vpn", World::PROGRAM, World::CONFIG));
        assert_eq!(fs::metadata("/run/pptpctl").unwrap().permissions().mode() & 0o7777, 0o755);
        assert_eq!(fs::metadata(SOCKET).unwrap().permissions().mode() & 0o7777, 0o600);
        world.down(&before);
    });
}

#[test]
fn deleted_device_is_replaced() {
    in_world(working_server(), |world| {
        world.profile("retry = { first = \"100ms\" }");
        let before = world.state();
        world.up();
        let engine = world.pid("engine_pid");
        world.shell("ip link delete tun0");
        world.wait_for(|| {
            let status = world.run(&["status", "vpn", "--json"]);
            let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
            status["state"] == "up" && status["engine_pid"].as_u64().is_some_and(|now| now != engine)
        });
        download(world.server_config.office, 10_000);
        world.down(&before);
    });
}

#[test]
fn down_ends_up_that_waits_for_password() {
    // The server never answers a call, so `down` always arrives before `up` has succeeded.
    in_world(faulty_server(Fault::SilentCall), |world| {
        world.profile("");
        let slow = fs::read_to_string(World::CONFIG).unwrap();
        let slow = slow.replace(
            "password.file = \"/run/test.password\"",
            "password.command = [\"sh\", \"-c\", \"sleep 0.3; cat /run/test.password\"]",
        );
        fs::write(World::CONFIG, slow).unwrap();
        let before = world.state();
        let mut up = world.command(&["up", "vpn"]);
        let up = world.spawn(up.stdout(Stdio::null()).stderr(Stdio::piped()));
        // The lock contains a pid, so it is held.
        world.wait_for(|| fs::metadata("/run/pptpctl/vpn.lock").is_ok_and(|lock| lock.len() > 0));
        let down = world.run(&["down", "vpn"]);
        let up = up.wait_with_output();
        assert_eq!(down.status.code(), Some(0), "{}{}", text(&down.stderr), text(&up.stderr));
        assert_eq!(up.status.code(), Some(24), "{}", text(&up.stderr));
        world.assert_state(&before);
    });
}

fn is_up_or_exited(world: &World, up: &mut std::process::Child) -> bool {
    text(&world.run(&["status", "vpn"]).stdout).contains("up on") || up.try_wait().unwrap().is_some()
}

#[test]
fn ledger_survives_temporarily_full_disk() {
    in_world(working_server(), |_| {
        let state = Path::new("/run/small");
        fs::create_dir(state).unwrap();
        mount(Some("tmpfs"), state, Some("tmpfs"), MsFlags::empty(), Some("size=16k")).unwrap();
        fs::write(state.join("filler"), [0; 8192]).unwrap();
        let places = Directories { run: "/run".into(), state: state.to_owned() };
        let mut ledger = Ledger::create(&places, Header::of_this_process("vpn")).unwrap();
        let step = Step::RemoveDefault(RemoveDefaultStep { ipv6: false });
        let mut steps = 0;
        while ledger.intend(Part::Network, &step, PriorState::Nothing, None).is_ok() {
            steps += 1;
        }
        fs::remove_file(state.join("filler")).unwrap();
        ledger.intend(Part::Network, &step, PriorState::Nothing, None).unwrap();
        let read = Ledger::open(ledger.path()).unwrap().unwrap();
        assert_eq!(read.record().garbled, [0; 0]);
        assert_eq!(read.record().entries.len(), steps + 1);
    });
}

/// A hook may run pptpctl for another tunnel: no lock that both need is held while a hook runs.
#[test]
fn hook_can_bring_up_another_tunnel() {
    in_world(working_server(), |world| {
        let hook = |what: &str| {
            let (program, config) = (World::PROGRAM, World::CONFIG);
            format!("[\"{program}\", \"--config\", \"{config}\", \"{what}\", \"two\"]")
        };
        world.profile("");
        let two = fs::read_to_string(World::CONFIG).unwrap();
        let two = two.replace("[profile.vpn]", "[profile.two]").replace("192.168.77.0", "192.168.78.0");
        world.profile(&format!(
            "hooks = {{ up = {}, down = {}, timeout = \"60s\" }}",
            hook("up"),
            hook("down")
        ));
        let one = fs::read_to_string(World::CONFIG).unwrap();
        fs::write(World::CONFIG, one + &two).unwrap();
        let before = world.state();
        let started = Instant::now();
        world.up();
        let up = text(&world.run(&["status", "two"]).stdout);
        assert!(up.contains("two: up on"), "{up}");
        world.down(&before);
        assert!(started.elapsed() < Duration::from_secs(50), "one tunnel waited for a lock of the other");
    });
}

/// A failed down hook is not run again, so the message must not refer to `recover`.
#[test]
fn final_failure_advises_no_retry() {
    in_world(working_server(), |world| {
        world.profile("hooks.down = [\"/bin/false\"]");
        let before = world.state();
        world.up();
        let output = world.run(&["down", "vpn"]);
        assert_eq!(output.status.code(), Some(23));
        let stderr = text(&output.stderr);
        assert!(stderr.contains("run /bin/false") && stderr.contains("trying again cannot help"), "{stderr}");
        assert!(!stderr.contains("recover"), "{stderr}");
        assert_eq!(text(&world.run(&["recover"]).stdout), "nothing to undo\n");
        world.assert_state(&before);
    });
}
