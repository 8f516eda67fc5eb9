//! `watch` at a terminal.

use std::process::Stdio;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    at_terminal::AtTerminal,
    working_server,
    world::{PASSWORD, World, in_world, text},
};

const ENTER: &str = "\u{1b}[?1049h";
const UTF8: (&str, &str) = ("LC_ALL", "C.UTF-8");
const LEAVE: &str = "\u{1b}[?7h\u{1b}[?25h\u{1b}[?1049l";

#[test]
fn tunnels_are_watched_and_taken_down() {
    in_world(working_server(), |world| {
        world.profile("");
        let before = world.state();
        world.up();
        let mut at = AtTerminal::start(world, &["watch"], &[UTF8]);
        at.expect(ENTER);
        at.expect("vpn   up     tun0  10.77.0.100  10.77.0.1");
        at.expect("vpn: up on tun0 for ");
        at.send("\r");
        at.expect("addresses    ");
        at.expect("10.77.0.100 to 10.77.0.1, MTU ");
        at.send("\u{1b}");
        at.expect("Enter: details");
        at.send("d");
        at.expect("take vpn down? y");
        at.send("n");
        at.expect("Enter: details");
        assert!(world.run(&["status", "vpn"]).status.success());
        at.send("dy");
        at.expect("vpn is down");
        at.expect("vpn   down");
        world.assert_state(&before);
        at.send("q");
        assert_eq!(at.end(), 0);
        assert!(at.shown.ends_with(LEAVE), "{:?}", at.shown);
    });
}

#[test]
fn tunnel_is_dialled_again_and_its_log_is_shown() {
    in_world(working_server(), |world| {
        world.profile("routes = [\"10.77.1.0/24\"]\nretry.first = \"100ms\"");
        let before = world.state();
        world.up();
        let engine = world.pid("engine_pid");
        let mut at = AtTerminal::start(world, &["watch", "vpn"], &[UTF8]);
        at.expect(ENTER);
        at.expect("10.77.1.0/24");
        at.expect("log\u{1b}[0m");
        at.expect("engine: ");
        at.send("r");
        at.expect("dial vpn again? y");
        at.send("y");
        at.expect("vpn dials again");
        at.expect("up again, reconnect 1");
        let log = world.run(&["logs", "vpn"]);
        assert!(text(&log.stdout).contains("redial: the user asks for it"), "{}", text(&log.stdout));
        assert_ne!(world.pid("engine_pid"), engine);
        world.shell("ping -c 1 -W 5 10.77.0.1");
        at.send("q");
        assert_eq!(at.end(), 0);
        world.down(&before);
    });
}

#[test]
fn first_screen_says_that_it_asks() {
    in_world(working_server(), |world| {
        world.profile("");
        let before = world.state();
        world.up();
        let supervisor = world.pid("supervisor_pid");
        world.shell(&format!("kill -STOP {supervisor}"));
        let mut one = AtTerminal::start(world, &["watch", "vpn"], &[UTF8]);
        let mut all = AtTerminal::start(world, &["watch"], &[UTF8]);
        for at in [&mut one, &mut all] {
            at.expect("asking vpn for its state");
            at.expect(" q: quit");
            for wrong in ["no profiles", "1970", "Esc", "r: dial again"] {
                assert!(!at.shown.contains(wrong), "{wrong:?} in {}", at.shown);
            }
        }
        world.shell(&format!("kill -CONT {supervisor}"));
        for at in [&mut one, &mut all] {
            at.expect("vpn: up on tun0 for ");
        }
        // There is no table to go back to.
        one.expect("r: dial again");
        one.send("\u{1b}");
        one.expect("addresses    ");
        assert!(!one.shown.contains("Esc"), "{}", one.shown);
        for at in [&mut one, &mut all] {
            at.send("q");
            assert_eq!(at.end(), 0);
        }
        world.down(&before);
    });
}

#[test]
fn member_of_the_group_sees_that_only_root_may_dial_again() {
    in_world(working_server(), |world| {
        world.profile("control.group = \"daemon\"");
        let before = world.state();
        world.up();
        let engine = world.pid("engine_pid");
        let member = ["setpriv", "--reuid=65534", "--regid=65534", "--groups=1"];
        let mut at = AtTerminal::start_by(world, &member, &["watch", "vpn"], &[UTF8]);
        at.expect("vpn: up on tun0 for ");
        at.expect("log\u{1b}[0m\u{1b}[2m: only root can read it");
        for (key, question, refusal) in [
            ("r", "dial vpn again? y", "vpn does not dial again: only root may ask for that"),
            ("d", "take vpn down? y", "vpn is not taken down: only root may ask for that"),
        ] {
            at.send(key);
            at.expect(question);
            at.send("y");
            at.expect(refusal);
        }
        at.send("q");
        assert_eq!(at.end(), 0);
        assert_eq!(world.pid("engine_pid"), engine);
        world.down(&before);
    });
}

#[test]
fn long_wait_ends_when_the_user_dials_again() {
    in_world(working_server(), |world| {
        world.profile("retry.first = \"1h\"\nretry.max = \"1h\"");
        let before = world.state();
        world.up();
        world.shell(&format!("kill -9 {}", world.pid("engine_pid")));
        let mut at = AtTerminal::start(world, &["watch", "vpn"], &[UTF8]);
        // The wait is longer than any limit of a test.
        at.expect("vpn: waiting, next attempt in ");
        at.send("r");
        at.expect("dial vpn again? y");
        at.send("y");
        at.expect("up again, reconnect 1");
        at.send("q");
        assert_eq!(at.end(), 0);
        assert!(world.run(&["status", "vpn"]).status.success());
        world.down(&before);
    });
}

#[test]
fn password_is_never_on_the_screen() {
    in_world(working_server(), |world: &World| {
        world.profile("password.ask = true\nretry.first = \"100ms\"");
        let before = world.state();
        let mut watch = AtTerminal::start_at(world, Some(200), &["watch"], &[UTF8]);
        watch.expect("vpn: down");
        watch.send("\r");
        let mut up = AtTerminal::start(world, &["up", "vpn"], &[UTF8]);
        up.expect("password of tester");
        up.send(&format!("{PASSWORD}\n"));
        assert_eq!(up.end(), 0);
        watch.expect("vpn: up on tun0 for ");
        watch.expect("engine: ");
        watch.send("r");
        watch.expect("dial vpn again? y");
        watch.send("y");
        watch.expect("up again, reconnect 1");
        watch.expect("engine: ");
        watch.send("q");
        assert_eq!(watch.end(), 0);
        // A line may be broken at its spaces.
        for word in PASSWORD.split(' ').skip(1) {
            assert!(!watch.shown.contains(word) && !up.shown.contains(word), "{word}");
        }
        world.down(&before);
    });
}

/// Such as one whose window manager or multiplexer has stopped it.
#[test]
fn terminal_that_accepts_nothing_does_not_keep_the_process() {
    in_world(working_server(), |world| {
        world.profile("");
        let mut at = AtTerminal::start_at(world, Some(200), &["watch"], &[UTF8]);
        at.expect("vpn: down");
        assert!(!at.echoes());
        // Each key writes the screen again, until it does not fit; then the terminal has its own settings again.
        world.wait_for(|| {
            at.send("j");
            at.echoes()
        });
        kill(Pid::from_raw(i32::try_from(at.command.id()).unwrap()), Signal::SIGTERM).unwrap();
        world.wait_for(|| at.command.try_wait().unwrap().is_some());
    });
}

#[test]
fn terminal_is_restored_after_a_signal() {
    in_world(working_server(), |world| {
        world.profile("");
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
            let mut at = AtTerminal::start(world, &["watch", "vpn"], &[]);
            at.expect(ENTER);
            at.expect("vpn: down");
            // setsid(1) has become the command.
            let pid = i32::try_from(at.command.id()).unwrap();
            kill(Pid::from_raw(pid), signal).unwrap();
            assert_eq!(at.end(), 0, "{signal}");
            assert!(at.shown.ends_with(LEAVE), "{signal}: {:?}", at.shown);
        }
        let output = world.command(&["watch"]).stdout(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains("watch needs a terminal"), "{}", text(&output.stderr));
        let unknown = world.run(&["watch", "vnp"]);
        assert_eq!(unknown.status.code(), Some(3), "{}", text(&unknown.stderr));
    });
}
