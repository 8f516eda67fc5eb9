//! What the supervisor does about each part of the engine.

use std::{
    env, fs, thread,
    time::{Duration, Instant},
};

use nix::mount::{MsFlags, mount};
use pptpctl::testing::demo::config::ServerConfig;

use crate::world::{World, in_world, text, timeouts};

pub const CASES: &[(&str, fn())] = &[
    ("captured_supervisor_gets_at_nothing_else", crate::captured::captured_supervisor),
    ("silent_engine_does_not_keep_up_waiting", silent_engine),
    ("engine_that_only_answers_does_not_keep_up_waiting", patient_engine),
    ("silent_engine_of_a_tunnel_is_replaced", silent_engine_of_a_tunnel),
    ("forbidden_messages_end_the_engine", forbidden_messages),
    ("claimed_addresses_are_checked", claimed_addresses),
    ("invisible_characters_are_replaced", invisible_characters),
    ("flood_of_lines_does_not_rotate_the_log_away", flood_of_lines),
    ("endless_messages_do_not_delay_down", endless_messages),
];

/// Runs `test` in a world whose pptpctl has the engine of this part.
fn with_engine(part: &'static str, extra: &'static str, test: impl FnOnce(&World) + Send + 'static) {
    let this = env::current_exe().unwrap();
    in_world(ServerConfig::default(), move |world| {
        let none: Option<&str> = None;
        mount(Some(&this), World::PROGRAM, none, MsFlags::MS_BIND, none).unwrap();
        world.profile(&format!("user = \"{part}\"\n{extra}"));
        test(world);
    });
}

fn log() -> String {
    fs::read_to_string("/var/log/pptpctl/vpn.log").unwrap_or_default()
}

fn silent_engine() {
    with_engine("silent", "", |world| {
        world.assert_up_fails(1, "connect", &["the engine process has not answered for 1"], 22.0);
    });
}

fn patient_engine() {
    let short = ["connect", "control", "call", "gre", "lcp", "auth", "network"].map(|phase| (phase, "1s"));
    let short: &'static str = timeouts(&short).leak();
    with_engine("patient", short, |world| {
        let words = ["the engine has reported no result of the dial for 37 s"];
        world.assert_up_fails(1, "connect", &words, 38.0);
    });
}

fn silent_engine_of_a_tunnel() {
    with_engine("up-then-silent", "retry = { first = \"100ms\" }", |world| {
        let before = world.state();
        world.up();
        let engine = world.pid("engine_pid");
        let mut warned = false;
        world.wait_for(|| {
            let status = text(&world.run(&["status", "vpn"]).stdout);
            warned |= status.contains("has not answered for");
            thread::sleep(Duration::from_millis(300));
            log().contains("it was stopped, or it hangs") && status.contains("up on")
        });
        assert!(warned, "no warning in the status\n{}", log());
        assert_ne!(world.pid("engine_pid"), engine);
        world.down(&before);
    });
}

fn forbidden_messages() {
    for (part, words) in [("descriptor", "it has descriptors"), ("unknown-message", "invalid message")] {
        with_engine(part, "", move |world| {
            world.assert_up_fails(1, "connect", &[words], 5.0);
        });
    }
}

fn claimed_addresses() {
    for (part, code, phase, words) in [
        ("claims 127.0.0.2", 1, "connect", "our address is not valid for a host"),
        ("claims 224.0.0.9", 1, "connect", "our address is not valid for a host"),
        ("claims 0.0.0.0", 1, "connect", "our address is not valid for a host"),
        ("claims 192.0.2.2", 30, "routes", "which has it already"),
        ("claims 192.0.2.1", 30, "routes", "the server's own address"),
        ("claims 192.0.2.255", 30, "routes", "stands for all hosts"),
    ] {
        with_engine(part, "", move |world| world.assert_up_fails(code, phase, &[words], 5.0));
    }
}

fn invisible_characters() {
    with_engine("invisible", "", |world| {
        let output = world.run(&["up", "vpn"]);
        let shown = text(&output.stdout) + &text(&output.stderr) + &log();
        assert!(shown.contains("call ?dekcah???? ok"), "{shown}");
        let hidden = ['\u{202e}', '\u{2066}', '\u{200b}', '\u{feff}', '\u{e0041}'];
        assert!(!shown.contains(hidden), "{shown:?}");
    });
}

fn flood_of_lines() {
    with_engine("flood", "", |world| {
        let mut up = world.spawn(world.command(&["up", "vpn"]).stdout(std::process::Stdio::null()));
        let length = || fs::metadata("/var/log/pptpctl/vpn.log").map_or(0, |log| log.len());
        world.wait_for(|| length() > 200_000);
        // The engine has written all when it answers again; meanwhile nothing is lost.
        let mut last = 0;
        world.wait_for(|| {
            thread::sleep(Duration::from_secs(1));
            std::mem::replace(&mut last, length()) == length()
        });
        assert!(
            log().contains("vpn: connect") && log().contains("before the flood"),
            "the beginning is lost"
        );
        assert!(!fs::exists("/var/log/pptpctl/vpn.log.1").unwrap() && length() < 1_000_000, "{}", length());
        assert!(world.run(&["down", "vpn"]).status.success());
        assert_eq!(up.wait().unwrap().code(), Some(24));
    });
}

fn endless_messages() {
    with_engine("endless", "", |world| {
        let before = world.state();
        let mut up = world.spawn(world.command(&["up", "vpn"]).stdout(std::process::Stdio::null()));
        world.wait_for(|| world.run(&["status", "vpn"]).status.success());
        let started = Instant::now();
        assert!(world.run(&["down", "vpn"]).status.success());
        assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
        assert_eq!(up.wait().unwrap().code(), Some(24));
        world.assert_state(&before);
    });
}
