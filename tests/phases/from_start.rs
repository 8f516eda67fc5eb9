//! `retry.from-start`: a tunnel that has never been up is tried until it is, as at boot before the modem.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::net::UnixDatagram,
    process::{Output, Stdio},
};

use nix::{
    mount::{MsFlags, mount},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    working_server,
    world::{LIMIT, Running, World, in_world, text},
};

const RETRY: &str = "retry = { first = \"100ms\", max = \"300ms\", from-start = true }";

fn printed(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

fn start(world: &World, arguments: &[&str]) -> Running {
    world.spawn(world.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()))
}

/// Starts `up --wait` for a tunnel that is being tried. It waits, and handles signals, when this returns.
fn start_waiting(world: &World) -> Running {
    let mut waiting = start(world, &["up", "--wait", "vpn"]);
    let mut line = String::new();
    BufReader::new(waiting.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("vpn: waiting; connect: connection refused"), "{line}");
    waiting
}

fn interrupt(child: &Running) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
}

fn status(world: &World) -> String {
    printed(&world.run(&["status", "vpn"]))
}

fn wait_for_state(world: &World, state: &str) {
    world.wait_for(|| status(world).contains(state));
}

/// Waits until the tunnel has failed at least once more.
fn wait_for_attempts(world: &World) {
    let attempts =
        || fs::read_to_string("/var/log/pptpctl/vpn.log").unwrap().matches("vpn: connect\n").count();
    let before = attempts();
    world.wait_for(|| attempts() > before + 1);
}

#[test]
fn tunnel_comes_up_when_the_network_does() {
    for named in [false, true] {
        in_world(working_server(), move |world| {
            fs::write("/run/hosts", "192.0.2.1 vpn.example.net\n").unwrap();
            fs::write("/run/no-hosts", "").unwrap();
            let hosts = |file: &str| {
                let none: Option<&str> = None;
                mount(Some(file), "/etc/hosts", none, MsFlags::MS_BIND, none).unwrap();
            };
            let server = if named { "server = \"vpn.example.net\"\n" } else { "" };
            world.profile(&format!("{server}retry = {{ first = \"1h\", max = \"1h\", from-start = true }}"));
            let before = world.state();
            world.shell("ip link set eth0 down");
            hosts("/run/no-hosts");
            let up = world.run(&["up", "vpn"]);
            let said = printed(&up);
            assert!(up.status.success(), "{said}");
            let phase =
                if named { "vpn: not up yet: resolve: " } else { "vpn: not up yet: connect: no route" };
            for words in [phase, "vpn: trying, no network, waiting for one\n", "`pptpctl status vpn` shows"] {
                assert!(said.contains(words), "{words}: {said}");
            }
            assert!(status(world).contains("vpn: no network, waiting for one\n"), "{}", status(world));
            assert!(status(world).contains("  last failure "), "{}", status(world));
            let again = world.run(&["up", "vpn"]);
            assert_eq!(again.status.code(), Some(5), "{}", printed(&again));

            let waiting = start(world, &["up", "--wait", "vpn"]);
            hosts("/run/hosts");
            world.shell("ip link set eth0 up");
            let waited = waiting.wait_with_output();
            assert!(waited.status.success(), "{}", printed(&waited));
            assert!(text(&waited.stdout).contains("vpn: up on tun0 for "), "{}", printed(&waited));
            assert!(world.run(&["up", "--wait", "vpn"]).status.success(), "it is up already");
            world.down(&before);
        });
    }
}

/// The command of `contrib/systemd/pptpctl@.service`, which a server that does not run yet must not delay.
#[test]
fn command_of_the_systemd_unit_is_ready_at_once() {
    in_world(working_server(), |world| {
        world.profile("server = \"192.0.2.1:9\"\nretry = { first = \"100ms\", max = \"300ms\" }");
        let before = world.state();
        let unit = include_str!("../../contrib/systemd/pptpctl@.service");
        let command =
            unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/pptpctl ")).unwrap();
        let command = command.replace("%i", "vpn");
        let systemd = UnixDatagram::bind("/run/notify.sock").unwrap();
        systemd.set_read_timeout(Some(LIMIT)).unwrap();
        let mut up = world.command(&command.split(' ').collect::<Vec<_>>());
        let mut up = world.spawn(up.env("NOTIFY_SOCKET", "/run/notify.sock").stderr(Stdio::null()));
        let mut bytes = [0; 512];
        let size = systemd.recv(&mut bytes).unwrap();
        assert_eq!(text(&bytes[..size]), "READY=1\nSTATUS=trying");
        wait_for_state(world, "waiting");
        assert!(world.run(&["down", "vpn"]).status.success());
        assert_eq!(up.wait().unwrap().code(), Some(24), "taken down before it was up");
        drop(systemd);
        fs::remove_file("/run/notify.sock").unwrap();
        world.assert_state(&before);
    });
}

#[test]
fn first_attempts_are_repeated_as_often_as_the_profile_says() {
    in_world(working_server(), |world| {
        world.profile(
            &format!("server = \"192.0.2.1:9\"\n{RETRY}").replace("from-start", "attempts = 2, from-start"),
        );
        let before = world.state();
        let output = world.run(&["up", "--wait", "vpn"]);
        let said = printed(&output);
        assert_eq!(output.status.code(), Some(11), "{said}");
        assert_eq!(said.matches("vpn: trying, next attempt in 1 s\n").count(), 2, "{said}");
        assert_eq!(said.matches("not up yet").count(), 1, "the same failure is shown once: {said}");
        assert!(said.contains("vpn: failed in phase connect: connection refused"), "{said}");
        world.assert_state(&before);

        // A verdict on the account ends it, whatever the profile says.
        fs::write("/run/test.password", "not that one\n").unwrap();
        world.profile(RETRY);
        let before = world.state();
        let output = world.run(&["up", "vpn"]);
        assert_eq!(output.status.code(), Some(19), "{}", printed(&output));
        world.assert_state(&before);
    });
}

#[test]
fn interrupt_ends_what_the_command_has_begun() {
    in_world(working_server(), |world| {
        world.profile(&format!("server = \"192.0.2.1:9\"\n{RETRY}"));
        let before = world.state();
        let first = start(world, &["up", "--wait", "vpn"]);
        world.wait_for(|| status(world).contains("last failure"));
        let second = start_waiting(world);
        interrupt(&second);
        let second = second.wait_with_output();
        assert_eq!(second.status.code(), Some(5), "{}", printed(&second));
        assert!(printed(&second).contains("not up yet; its supervisor continues"), "{}", printed(&second));
        wait_for_attempts(world);
        interrupt(&first);
        let first = first.wait_with_output();
        assert_eq!(first.status.code(), Some(24), "{}", printed(&first));
        world.assert_state(&before);
        let log = fs::read_to_string("/var/log/pptpctl/vpn.log").unwrap();
        assert!(log.contains("taken down before it was up") && !log.contains("ERROR"), "{log}");

        // Without --wait the supervisor stays when the command has returned, until it is taken down.
        assert!(world.run(&["up", "vpn"]).status.success());
        wait_for_attempts(world);
        let waiting = start_waiting(world);
        assert!(world.run(&["down", "vpn"]).status.success());
        let waited = waiting.wait_with_output();
        assert_eq!(waited.status.code(), Some(11), "{}", printed(&waited));
        assert!(printed(&waited).contains("it has ended; its last failure: connect"), "{}", printed(&waited));
        world.assert_state(&before);
    });
}

#[test]
fn service_has_started_before_there_is_a_server() {
    in_world(working_server(), |world| {
        world.profile(&format!("server = \"192.0.2.1:9\"\n{RETRY}"));
        let before = world.state();
        let systemd = UnixDatagram::bind("/run/notify.sock").unwrap();
        systemd.set_read_timeout(Some(LIMIT)).unwrap();
        let mut up = world.command(&["up", "--foreground", "vpn"]);
        let up = up.env("NOTIFY_SOCKET", "/run/notify.sock").stderr(Stdio::null());
        let mut up = world.spawn(up);
        let mut bytes = [0; 512];
        let mut receive = || loop {
            match systemd.recv(&mut bytes) {
                Ok(size) => break text(&bytes[..size]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => panic!("no further notification of systemd: {error}"),
            }
        };
        assert_eq!(receive(), "READY=1\nSTATUS=trying");
        assert_eq!(receive(), "STATUS=connect");
        let waiting = receive();
        assert!(
            waiting.starts_with("STATUS=waiting 0 s for the next attempt; connect: connection refused"),
            "{waiting}"
        );
        assert!(world.run(&["down", "vpn"]).status.success());
        assert_eq!(up.wait().unwrap().code(), Some(24));
        drop(systemd);
        fs::remove_file("/run/notify.sock").unwrap();
        world.assert_state(&before);
    });
}

#[test]
fn pause_of_an_earlier_supervisor_is_waited_for() {
    in_world(working_server(), |world| {
        world.profile(RETRY);
        let before = world.state();
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let uptime = fs::read_to_string("/proc/uptime").unwrap();
        let (boot, uptime) = (boot.trim(), uptime.split('.').next().unwrap());
        let record = "/var/lib/pptpctl/vpn.logins";
        fs::create_dir_all("/var/lib/pptpctl").unwrap();
        let text =
            format!(r#"{{"undecided":2,"how":"unanswered","boot":"{boot}","uptime":{uptime},"unix":0}}"#);
        fs::write(record, text).unwrap();
        // A failure with the status of a verdict would keep systemd from starting the tunnel ever again.
        let up = world.run(&["up", "vpn"]);
        let said = printed(&up);
        assert!(up.status.success() && said.contains("vpn: trying, next attempt in "), "{said}");
        let shown = status(world);
        assert!(shown.contains("the last 2 log-ins ended without a verdict"), "{shown}");
        assert!(world.run(&["down", "vpn"]).status.success());
        fs::remove_file(record).unwrap();
        fs::remove_dir("/var/lib/pptpctl").unwrap_or_default();
        world.assert_state(&before);
    });
}
