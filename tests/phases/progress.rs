//! What `up` prints while a tunnel comes up: at a terminal, for programs, and with less or more words.

use pptpctl::testing::demo::config::Fault;
use serde_json::Value;

use crate::{
    at_terminal::AtTerminal,
    faulty_server, working_server,
    world::{World, in_world, text, timeouts},
};

const UTF8: (&str, &str) = ("LC_ALL", "C.UTF-8");

#[test]
fn terminal_shows_the_running_phase_and_marks_results() {
    in_world(faulty_server(Fault::SilentCall), |world| {
        world.profile(&timeouts(&[("call", "2s")]));
        let mut at = AtTerminal::start(world, &["up", "vpn"], &[UTF8]);
        at.expect("\u{1b}[32m✓\u{1b}[0m control ");
        at.expect("\r  call            1 s, at most 2 s ...\u{1b}[K");
        // It is removed before the result.
        at.expect("\r\u{1b}[K\u{1b}[31m✗\u{1b}[0m call            failed (");
        at.expect("vpn: failed in phase call: ");
        assert_eq!(at.end(), 16);

        let mut at = AtTerminal::start(world, &["up", "vpn"], &[UTF8, ("NO_COLOR", "1")]);
        at.expect("✓ control ");
        at.expect("✗ call ");
        assert_eq!(at.end(), 16);
        assert!(!at.shown.contains("\u{1b}[3"), "{:?}", at.shown);

        let mut at = AtTerminal::start(world, &["up", "vpn"], &[UTF8, ("TERM", "dumb")]);
        at.expect("\n  control ");
        assert_eq!(at.end(), 16);
        assert!(!at.shown.contains(['\u{1b}', '✓', '✗']), "{:?}", at.shown);
    });
}

#[test]
fn lines_break_at_words_at_a_narrow_terminal() {
    in_world(faulty_server(Fault::SilentCall), |world| {
        world.profile(&timeouts(&[("call", "1s")]));
        for columns in [50, 80, 120] {
            let mut at = AtTerminal::start_at(world, Some(columns), &["up", "vpn"], &[("NO_COLOR", "1")]);
            assert_eq!(at.end(), 16);
            let lines = at.shown.split(['\r', '\n']).map(|line| line.replace("\u{1b}[K", ""));
            let lines: Vec<String> = lines.collect();
            for line in &lines {
                assert!(line.chars().count() <= usize::from(columns), "{columns}: {line:?}");
            }
            let words = lines.iter().flat_map(|line| line.split_whitespace()).collect::<Vec<_>>().join(" ");
            assert!(words.contains("a phone number (phone = \"…\") or a quirk"), "{words}");
        }
    });
}

#[test]
fn json_lines_are_those_of_events() {
    in_world(working_server(), |world| {
        world.profile("");
        let before = world.state();
        let events = |arguments: &[&str], code: i32| {
            let output = world.run(arguments);
            assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
            let lines = text(&output.stdout);
            let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            lines.collect::<Vec<_>>()
        };
        let up = events(&["up", "--json", "vpn"], 0);
        assert!(up.iter().all(|line| line["name"] == "vpn" && line["time_ms"].is_u64()), "{up:#?}");
        let phases: Vec<_> = up.iter().filter_map(|line| line["phase"].as_str()).collect();
        assert_eq!((phases.first(), phases.last()), (Some(&"connect"), Some(&"routes")));
        let last = up.last().unwrap();
        assert_eq!((last["event"].as_str(), last["tun"].as_str()), (Some("up"), Some("tun0")));
        world.down(&before);
        std::fs::write("/run/test.password", "wrong\n").unwrap();
        let failed = events(&["up", "--json", "vpn"], 19);
        let last = failed.last().unwrap();
        assert_eq!((&last["event"], &last["failure"]["phase"]), (&"down".into(), &"authentication".into()));
    });
}

#[test]
fn quiet_and_verbose_change_the_lines_only() {
    in_world(working_server(), |world: &World| {
        world.profile("");
        let before = world.state();
        let shown = |option: &str| {
            let output = world.run(&["up", option, "vpn"]);
            assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
            world.down(&before);
            text(&output.stdout)
        };
        assert_eq!(shown("-q"), "");
        let verbose = shown("-v");
        assert!(verbose.contains("\n  control         begins, at most 30 s\n"), "{verbose}");
        assert!(verbose.contains("\n  routes          begins\n"), "{verbose}");
        assert!(verbose.contains("vpn: up on tun0 after "), "{verbose}");
    });
}
