//! A profile that names no source of its password: `up` asks at the terminal.

use std::{fs, process::Stdio};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    at_terminal::AtTerminal,
    working_server,
    world::{PASSWORD, World, download, in_world, text},
};

const PROMPT: &str = "vpn: password of tester at 192.0.2.1: ";

/// Writes the profile without its password, with other keys in its place.
fn profile(world: &World, keys: &str) {
    world.profile("retry.first = \"100ms\"");
    let profile = fs::read_to_string(World::CONFIG).unwrap();
    let profile = profile.replace("password.file = \"/run/test.password\"\n", keys);
    fs::write(World::CONFIG, profile).unwrap();
}

#[test]
fn password_is_asked_once_and_kept_for_redials() {
    in_world(working_server(), |world| {
        profile(world, "");
        let before = world.state();
        let mut at = AtTerminal::start(world, &["up", "vpn"], &[]);
        at.expect(PROMPT);
        assert!(!at.echoes());
        at.send(&format!("{PASSWORD}\n"));
        at.expect("vpn: up on");
        assert_eq!(at.end(), 0);
        assert!(!at.shown.contains(PASSWORD), "{}", at.shown);

        let supervisor = world.pid("supervisor_pid");
        // By the numbers of this namespace.
        let shown = world.shell(&format!("cat /proc/{supervisor}/cmdline /proc/{supervisor}/environ"));
        assert!(shown.contains("vpn") && !shown.contains(PASSWORD), "{shown}");
        world.shell(&format!("kill -9 {}", world.pid("engine_pid")));
        world.wait_for(|| {
            let status = text(&world.run(&["status", "vpn"]).stdout);
            status.contains("up on") && status.contains("reconnected")
        });
        download(world.server_config.office, 10_000);
        let profiles = text(&world.run(&["list", "--json"]).stdout);
        assert!(profiles.contains("\"password\":\"ask\""), "{profiles}");
        world.down(&before);
    });
}

#[test]
fn refused_password_is_asked_for_once_more() {
    in_world(working_server(), |world| {
        profile(world, "password.ask = true\n");
        let before = world.state();
        let mut at = AtTerminal::start(world, &["up", "vpn"], &[]);
        at.expect(PROMPT);
        at.send("hunter2\n");
        at.expect("check user, domain and password");
        at.expect("vpn: once more");
        at.expect(PROMPT);
        at.send(&format!("{PASSWORD}\n"));
        assert_eq!(at.end(), 0);
        world.down(&before);

        let mut at = AtTerminal::start(world, &["up", "vpn"], &[]);
        for _ in 0..2 {
            at.expect(PROMPT);
            at.send("hunter2\n");
        }
        assert_eq!(at.end(), 19, "not a third time");
        assert!(!at.shown.contains("hunter2"));
        world.assert_state(&before);
    });
}

#[test]
fn end_of_the_prompt_restores_the_terminal_and_leaves_nothing() {
    in_world(working_server(), |world| {
        profile(world, "");
        let before = world.state();
        let asked = || {
            let mut at = AtTerminal::start(world, &["up", "vpn"], &[]);
            at.expect(PROMPT);
            at
        };
        // Ctrl-Z and Ctrl-\ do nothing.
        let mut at = asked();
        at.send("x\x1a\x1c\x03");
        assert_eq!(at.end(), 24, "Ctrl-C");
        assert!(at.shown.contains("\npptpctl: vpn: taken down before it was up"), "{}", at.shown);

        let mut at = asked();
        let status = text(&world.run(&["list"]).stdout);
        assert!(status.contains("starting"), "{status}");
        // setsid(1) has executed pptpctl; the number is that of the test's namespace.
        kill(Pid::from_raw(i32::try_from(at.command.id()).unwrap()), Signal::SIGTERM).unwrap();
        assert_eq!(at.end(), 24, "SIGTERM");

        let mut at = asked();
        at.send("\x04");
        at.expect("vpn: no password was typed");
        assert_eq!(at.end(), 3, "end of input");
        let mut at = asked();
        at.send("\n");
        assert_eq!(at.end(), 3, "an empty line");
        world.assert_state(&before);
    });
}

#[test]
fn without_a_terminal_the_error_names_other_sources() {
    in_world(working_server(), |world| {
        for (keys, words) in [
            ("", "vpn: the profile names no source of its password, and there is no terminal to ask at"),
            ("password.ask = true\n", "vpn: the password is asked for (password.ask = true), and there"),
        ] {
            profile(world, keys);
            let before = world.state();
            let mut up = std::process::Command::new("setsid");
            up.args(["-w", World::PROGRAM, "--config", World::CONFIG, "up", "vpn"]).stdin(Stdio::null());
            let output = up.output().unwrap();
            let stderr = text(&output.stderr);
            assert_eq!(output.status.code(), Some(3), "{stderr}");
            assert!(stderr.contains(words) && stderr.contains("password.command"), "{stderr}");
            world.assert_state(&before);
            let plan = text(&world.run(&["up", "--dry-run", "vpn"]).stdout);
            assert!(plan.contains("the password is asked for at the terminal"), "{plan}");
            let doctor = text(&world.run(&["doctor", "vpn"]).stdout);
            assert!(doctor.contains("it comes from the terminal when"), "{doctor}");
        }
    });
}

/// The real systemd-ask-password(1), which asks at the terminal itself if it has one.
#[test]
fn password_of_systemd_ask_password_is_used() {
    in_world(working_server(), |world| {
        world.shell("systemd-ask-password --version");
        profile(world, "password.command = [\"systemd-ask-password\", \"--timeout=60\", \"Which?\"]\n");
        let before = world.state();
        let mut at = AtTerminal::start(world, &["up", "vpn"], &[]);
        at.expect("Which?");
        world.wait_for(|| !at.echoes());
        at.send(&format!("{PASSWORD}\n"));
        assert_eq!(at.end(), 0);
        world.down(&before);
    });
}
