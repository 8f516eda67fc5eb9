use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, rc::Rc};

use super::*;
use crate::{
    apply::{
        Changes, Directories, Output, ProgramError, recover,
        tests::fake_host::{FakeHost, HostState},
    },
    plan::{Clamp, Macros, Part, PfRules, Plan, Step, Value},
};

/// A pfctl(8) that stands in where there is no pf: it writes down how it was called, knows one anchor, and refuses a
/// file in which `wrong` stands.
const STAND_IN: &str = r#"#!/bin/sh
cd "$(dirname "$0")"
echo "pfctl $*" >> calls
anchor= file= show= flush= check=
while [ $# -gt 0 ]; do
    case $1 in
        -n) check=yes; shift ;;
        -q) shift ;;
        -a) anchor=$2; shift 2 ;;
        -s) show=$2; shift 2 ;;
        -F) flush=$2; shift 2 ;;
        -f) file=$2; shift 2 ;;
        -D|-k|-i) shift 2 ;;
        *) echo "usage: pfctl" >&2; exit 1 ;;
    esac
done
if [ -n "$file" ]; then
    [ "$file" = - ] && { cat > input; file=input; sed 's/^/< /' input >> calls; }
    if grep -n wrong "$file" > /dev/null; then
        echo "$file:$(grep -n wrong "$file" | cut -d: -f1): syntax error" >&2
        echo "pfctl: Syntax error in config file: pf rules not loaded" >&2
        exit 1
    fi
    [ "$check" = yes ] || cat "$file" >> anchor
elif [ "$flush" = all ]; then
    rm -f anchor
elif [ -n "$show" ]; then
    if [ -n "$anchor" ]; then
        [ "$show" = rules ] && cat anchor 2> /dev/null
    else
        cat "main-$show" 2> /dev/null
    fi
fi
exit 0
"#;

/// A host of the model with the stand-in, in a directory of its own.
struct Desk {
    dir: tempfile::TempDir,
    model: FakeHost,
}

impl Desk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let stand_in = dir.path().join("pfctl");
        fs::write(&stand_in, STAND_IN).unwrap();
        let model = FakeHost::new(HostState::default()).with_programs(Rc::new(move |program, _| {
            if program.name() != "pfctl" {
                return Err(ProgramError::Missing { program: program.name() });
            }
            // By the shell: a file that another test's child still has open for writing cannot be run itself (ETXTBSY).
            let args = [&[stand_in.display().to_string()], program.args.as_slice()].concat();
            super::super::Program { path: "/bin/sh".into(), args, ..program.clone() }.run()
        }));
        Self { dir, model }
    }

    fn rules(&self, text: &str) -> PathBuf {
        let file = self.dir.path().join("pf.conf.vpn");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        file
    }

    /// The calls since it was asked last.
    fn calls(&self) -> String {
        let path = self.dir.path().join("calls");
        let text = fs::read_to_string(&path).unwrap_or_default();
        drop(fs::remove_file(path));
        text.replace(&self.dir.path().display().to_string(), "DIR")
    }

    fn loaded(&self) -> bool {
        self.dir.path().join("anchor").exists()
    }

    fn places(&self) -> Directories {
        let places = Directories { run: self.dir.path().join("run"), state: self.dir.path().join("state") };
        fs::create_dir_all(&places.run).unwrap();
        places
    }

    fn session(&self) -> Changes {
        Changes::open(&self.places(), "vpn", Box::new(self.model.clone())).unwrap()
    }
}

fn pf(anchor: &str, rules: PfRules) -> FirewallStep {
    let macros = Macros {
        tun: Value::Known("tun0".to_owned()),
        local: Value::Known([10, 99, 0, 2].into()),
        peer: Value::Known([10, 99, 0, 1].into()),
        server: Value::Known([203, 0, 113, 9].into()),
    };
    FirewallStep::Pf { anchor: anchor.to_owned(), rules, macros }
}

fn plan(steps: Vec<FirewallStep>) -> Plan {
    let steps = steps.into_iter().map(Step::Firewall).collect();
    Plan { platform: Platform::FreeBsd, part: Part::Network, steps, notes: Vec::new() }
}

fn open_tun() -> Plan {
    let steps = vec![Step::OpenTun { unit: Some(0) }];
    Plan { platform: Platform::FreeBsd, part: Part::Transport, steps, notes: Vec::new() }
}

#[test]
fn an_anchor_is_checked_then_loaded_then_flushed_with_its_states() {
    let desk = Desk::new();
    let file = desk.rules("pass in on $vpn_if from $vpn_peer\n");
    let mut session = desk.session();
    session.perform(&open_tun()).unwrap();
    session
        .perform(&plan(vec![pf("vpn", PfRules::File(file)), pf("pptpctl/vpn", PfRules::Nat)]))
        .unwrap_err();
    // The stand-in has one anchor for all: the second is refused, because it holds something.
    insta::assert_snapshot!(desk.calls(), @"
    pfctl -q -a vpn -s rules
    pfctl -q -a vpn -s nat
    pfctl -n -a vpn -D vpn_if=tun0 -D vpn_local=10.99.0.2 -D vpn_peer=10.99.0.1 -D vpn_server=203.0.113.9 -f DIR/pf.conf.vpn
    pfctl -q -a vpn -D vpn_if=tun0 -D vpn_local=10.99.0.2 -D vpn_peer=10.99.0.1 -D vpn_server=203.0.113.9 -f DIR/pf.conf.vpn
    pfctl -q -s info
    pfctl -q -s nat
    pfctl -q -s rules
    pfctl -q -a pptpctl/vpn -s rules
    ");
    assert!(desk.loaded());
    assert!(session.undo_all_and_close().is_empty());
    insta::assert_snapshot!(desk.calls(), @"
    pfctl -q -a vpn -F all
    pfctl -q -i tun0 -F state
    pfctl -q -k 10.99.0.2
    pfctl -q -k 0.0.0.0/0 -k 10.99.0.2
    ");
    assert!(!desk.loaded());
}

#[test]
fn translation_is_read_from_standard_input() {
    let desk = Desk::new();
    let mut session = desk.session();
    session.perform(&plan(vec![pf("pptpctl/vpn", PfRules::NatTo)])).unwrap();
    insta::assert_snapshot!(desk.calls(), @"
    pfctl -q -a pptpctl/vpn -s rules
    pfctl -q -a pptpctl/vpn -s nat
    pfctl -n -a pptpctl/vpn -D vpn_if=tun0 -D vpn_local=10.99.0.2 -D vpn_peer=10.99.0.1 -D vpn_server=203.0.113.9 -f -
    < match out on $vpn_if inet from ! ($vpn_if) to any nat-to ($vpn_if)
    pfctl -q -a pptpctl/vpn -D vpn_if=tun0 -D vpn_local=10.99.0.2 -D vpn_peer=10.99.0.1 -D vpn_server=203.0.113.9 -f -
    < match out on $vpn_if inet from ! ($vpn_if) to any nat-to ($vpn_if)
    pfctl -q -s info
    pfctl -q -s nat
    ");
    drop(session);
    // Killed: another process undoes it, by the ledger alone.
    let recovery = recover(&desk.places(), &mut desk.model.clone(), &|_| false);
    assert!(recovery.errors.is_empty(), "{:?}", recovery.errors);
    assert!(!desk.loaded());
    assert!(desk.calls().starts_with("pfctl -q -a pptpctl/vpn -F all\n"));
}

#[test]
fn a_mistake_is_told_in_pfctls_words_and_nothing_is_loaded() {
    let desk = Desk::new();
    let file = desk.rules("pass in all\nwrong\n");
    let mut session = desk.session();
    let error = session.perform(&plan(vec![pf("vpn", PfRules::File(file.clone()))])).unwrap_err().to_string();
    assert!(error.contains(&format!("{}:2: syntax error", file.display())), "{error}");
    assert!(!desk.loaded() && !desk.calls().contains("pfctl -q -a vpn -D"), "checked only");
    assert!(session.undo_all_and_close().is_empty());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o646)).unwrap();
    let mut session = desk.session();
    let error = session.perform(&plan(vec![pf("vpn", PfRules::File(file))])).unwrap_err().to_string();
    assert!(error.contains("others than its owner may write it"), "{error}");
    assert!(session.undo_all_and_close().is_empty());
}

#[test]
fn an_anchor_that_holds_something_is_left_alone() {
    let desk = Desk::new();
    fs::write(desk.dir.path().join("anchor"), "pass all\n").unwrap();
    let file = desk.rules("block all\n");
    let mut session = desk.session();
    let error = session.perform(&plan(vec![pf("vpn", PfRules::File(file))])).unwrap_err().to_string();
    assert!(error.contains("holds rules already") && error.contains("`pfctl -a vpn -F all`"), "{error}");
    assert!(session.undo_all_and_close().is_empty());
    assert!(desk.loaded(), "and not flushed either");
}

/// Killed before any call of pfctl, while the rules are loaded and while they are flushed.
#[test]
fn killed_at_every_call() {
    let mut points = 0;
    for down in [false, true] {
        for budget in 0.. {
            let desk = Desk::new();
            let file = desk.rules("pass all\n");
            let up = if down { usize::MAX } else { budget };
            let mut session = Changes::open(&desk.places(), "vpn", Box::new(desk.model.restart(up))).unwrap();
            let mut done = session.perform(&plan(vec![pf("vpn", PfRules::File(file))])).is_ok();
            drop(session);
            if down {
                done = recover(&desk.places(), &mut desk.model.restart(budget), &|_| false).errors.is_empty();
            }
            let recovery = recover(&desk.places(), &mut desk.model.clone(), &|_| false);
            assert!(recovery.errors.is_empty(), "{:?}", recovery.errors);
            assert!(!desk.loaded(), "killed at {budget}, down {down}");
            assert!(!desk.places().ledger("vpn").exists());
            points += 1;
            if done {
                break;
            }
        }
    }
    assert!(points > 8, "{points}");
}

#[test]
fn a_main_ruleset_that_never_looks_there_is_told_of() {
    let desk = Desk::new();
    let main = |name: &str, text: &str| fs::write(desk.dir.path().join(name), text).unwrap();
    let file = PfRules::File(desk.rules("pass all\n"));
    let doubts = |anchor: &str, rules: &PfRules, platform| {
        pf::doubts(&mut desk.model.clone(), anchor, rules, platform).join("\n")
    };
    main("main-info", "Status: Disabled for 0 days 00:01:00          Debug: Urgent\n");
    insta::assert_snapshot!(doubts("vpn", &file, Platform::FreeBsd), @r#"
    pf is disabled, so the rules change nothing: `pfctl -e` enables it
    pf never looks into the anchor vpn; /etc/pf.conf lacks nat-anchor "vpn" and anchor "vpn"
    "#);
    insta::assert_snapshot!(doubts("vpn", &file, Platform::OpenBsd), @r#"
    pf is disabled, so the rules change nothing: `pfctl -e` enables it
    pf never looks into the anchor vpn; /etc/pf.conf lacks anchor "vpn"
    "#);
    insta::assert_snapshot!(doubts("pptpctl/vpn", &PfRules::Nat, Platform::NetBsd), @r#"
    pf is disabled, so the rules change nothing: `pfctl -e` enables it
    pf never looks into the anchor pptpctl/vpn; /etc/pf.conf lacks nat-anchor "pptpctl/*"
    "#);
    main("main-info", "Status: Enabled for 0 days 00:01:00          Debug: Urgent\n");
    main("main-rules", "scrub in all fragment reassemble\nanchor \"vpn\" all\n");
    main("main-nat", "nat-anchor \"vpn\" all\nnat-anchor \"pptpctl/*\" all\n");
    for platform in [Platform::FreeBsd, Platform::OpenBsd, Platform::NetBsd] {
        assert_eq!(doubts("vpn", &file, platform), "");
    }
    assert_eq!(doubts("pptpctl/vpn", &PfRules::Nat, Platform::FreeBsd), "");
    assert_ne!(doubts("pptpctl/vpn", &PfRules::NatTo, Platform::OpenBsd), "", "an anchor, not a nat-anchor");
}

#[test]
fn which_rules_evaluate_an_anchor() {
    for (line, kind, anchor, calls) in [
        ("anchor \"vpn\" all", "anchor", "vpn", true),
        ("anchor \"vpn\" on tun0 all {", "anchor", "vpn", true),
        ("anchor \"*\" all", "anchor", "vpn", true),
        ("anchor \"*\" all", "anchor", "a/b", false),
        ("anchor \"pptpctl/*\" all", "anchor", "pptpctl/vpn", true),
        ("anchor \"vpn2\" all", "anchor", "vpn", false),
        ("nat-anchor \"vpn\" all", "anchor", "vpn", false),
        ("pass all", "anchor", "vpn", false),
        ("anchor", "anchor", "vpn", false),
        ("", "anchor", "vpn", false),
    ] {
        assert_eq!(pf::calls(line, kind, anchor), calls, "{line}");
    }
}

#[test]
fn the_brace_that_would_end_our_table() {
    for (text, line) in [
        ("chain x { }\n", None),
        ("chain x {\n}\n}\n", Some(3)),
        ("# }\nchain x { comment \"}\" }\n", None),
        ("}", Some(1)),
        ("set s { elements = { 1, 2 } } }", Some(1)),
        ("chain x {", None),
        ("", None),
    ] {
        assert_eq!(nft::first_brace_too_many(text), line, "{text:?}");
    }
}

fn nft(nat: bool, mss: Option<Clamp>) -> FirewallStep {
    let macros = match pf("x", PfRules::Nat) {
        FirewallStep::Pf { macros, .. } | FirewallStep::Nft { macros, .. } => macros,
    };
    FirewallStep::Nft { table: "pptpctl_vpn".to_owned(), file: None, nat, mss, macros }
}

#[test]
fn without_the_program_it_is_named() {
    let desk = Desk::new();
    let mut session = desk.session();
    let error = session.perform(&plan(vec![nft(true, None)])).unwrap_err().to_string();
    assert!(error.contains("nft: no such program"), "{error}");
    assert!(session.undo_all_and_close().is_empty(), "it was refused before anything was begun");
    // What is only the default is done without.
    let rules = nft(false, Some(Clamp::Mtu(Value::Known(1400))));
    let mut session = desk.session();
    session.perform(&plan(vec![rules.clone()])).unwrap();
    insta::assert_snapshot!(session.take_notes().join("\n"), @r#"TCP segment sizes are not clamped (nft: no such program in /usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin; install it): what this host forwards into the tunnel may stall; mss = "off" does without"#);
    session.perform(&plan(vec![rules])).unwrap();
    assert!(session.undo_all_and_close().is_empty());
}

/// A nft(8) whose kernel has no tables of the family inet, or none at all: what was asked for fails, what is only the
/// default is noted, and neither has anything to complain about at the end.
#[test]
fn a_kernel_without_inet_tables() {
    let clamp = |mss| nft(false, Some(mss));
    for lists in [true, false] {
        let refused = |code: i32, stderr: &str| {
            Ok(Output { code: Some(code), stdout: String::new(), stderr: stderr.to_owned() })
        };
        let model =
            FakeHost::new(HostState::default()).with_programs(Rc::new(move |program, _| {
                match program.args.first().map(String::as_str) {
                    Some("list") if lists => refused(0, ""),
                    _ => refused(
                        1,
                        "/dev/stdin:5:7-10: Error: Could not process rule: Operation not supported\n",
                    ),
                }
            }));
        let desk = Desk { model, ..Desk::new() };
        for wanted in [nft(true, Some(Clamp::Mtu(Value::Known(1400)))), clamp(Clamp::Bytes(1300))] {
            let mut session = desk.session();
            let error = session.perform(&plan(vec![wanted])).unwrap_err().to_string();
            assert!(error.contains("Operation not supported"), "{error}");
            assert_eq!(session.undo_all_and_close().len(), 0, "lists: {lists}");
        }
        let rules = clamp(Clamp::Mtu(Value::Known(1400)));
        let mut session = desk.session();
        session.perform(&plan(vec![rules.clone()])).unwrap();
        let notes = session.take_notes();
        assert!(matches!(&notes[..], [note] if note.contains("Operation not supported")), "{notes:?}");
        session.perform(&plan(vec![rules])).unwrap();
        assert!(session.take_notes().is_empty(), "told once");
        assert_eq!(session.undo_all_and_close().len(), 0, "lists: {lists}");
        assert!(!desk.places().ledger("vpn").exists());
    }
}

/// A table that is there and can't be taken away is told of, whoever wanted it.
#[test]
fn a_table_that_stays_is_told_of() {
    let model = FakeHost::new(HostState::default()).with_programs(Rc::new(|program, state| {
        let input = String::from_utf8_lossy(program.input.as_deref().unwrap_or_default()).into_owned();
        let done =
            |stdout: &str| Ok(Output { code: Some(0), stdout: stdout.to_owned(), stderr: String::new() });
        // A device stands for the table.
        match (program.args[0].as_str(), state.links.is_empty()) {
            ("list", false) => done("table inet pptpctl_vpn\n"),
            ("-f", true) => {
                state.device("table");
                done("")
            }
            ("-f", false) if input.lines().count() == 2 => {
                Ok(Output { code: Some(1), stdout: String::new(), stderr: "Error: busy\n".to_owned() })
            }
            _ => done(""),
        }
    }));
    let desk = Desk { model, ..Desk::new() };
    let mut session = desk.session();
    session.perform(&plan(vec![nft(false, Some(Clamp::Mtu(Value::Known(1400))))])).unwrap();
    assert!(session.take_notes().is_empty());
    let errors = session.undo_all_and_close();
    assert!(matches!(&errors[..], [error] if error.to_string().contains("busy")), "{errors:?}");
    assert!(desk.places().ledger("vpn").exists(), "trying again may help");
}
