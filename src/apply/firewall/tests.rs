use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, rc::Rc};

use super::*;
use crate::{
    apply::{
        Changes, Directories, Output, ProgramError, recover,
        tests::fake_host::{FakeHost, HostState},
    },
    plan::{Clamp, Macros, OpenTunStep, Part, PfRules, Plan, Step, Value},
};

/// A replacement for pfctl(8) on hosts without pf: it logs its arguments, stores one anchor, and refuses a
/// file that contains `wrong`.
const FAKE_PFCTL: &str = r#"#!/bin/sh
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

/// A fake host with the replacement pfctl, in a temporary directory.
struct Fixture {
    dir: tempfile::TempDir,
    model: FakeHost,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let fake_pfctl = dir.path().join("pfctl");
        fs::write(&fake_pfctl, FAKE_PFCTL).unwrap();
        let model = FakeHost::new(HostState::default()).with_programs(Rc::new(move |program, _| {
            if program.name() != "pfctl" {
                return Err(ProgramError::Missing { program: program.name() });
            }
            // Run by the shell: executing a file that another test's child has open to write gives ETXTBSY.
            let args = [&[fake_pfctl.display().to_string()], program.args.as_slice()].concat();
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

    /// Returns the pfctl calls since the last call of this function.
    fn calls(&self) -> String {
        let path = self.dir.path().join("calls");
        let text = fs::read_to_string(&path).unwrap_or_default();
        drop(fs::remove_file(path));
        text.replace(&self.dir.path().display().to_string(), "DIR")
    }

    fn loaded(&self) -> bool {
        self.dir.path().join("anchor").exists()
    }

    fn directories(&self) -> Directories {
        let directories =
            Directories { run: self.dir.path().join("run"), state: self.dir.path().join("state") };
        fs::create_dir_all(&directories.run).unwrap();
        directories
    }

    fn session(&self) -> Changes {
        Changes::open(&self.directories(), "vpn", self.model.host()).unwrap()
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
    let steps = vec![Step::OpenTun(OpenTunStep { unit: Some(0) })];
    Plan { platform: Platform::FreeBsd, part: Part::Transport, steps, notes: Vec::new() }
}

#[test]
fn anchor_is_checked_loaded_then_flushed_with_states() {
    let fixture = Fixture::new();
    let file = fixture.rules("pass in on $vpn_if from $vpn_peer\n");
    let mut session = fixture.session();
    session.perform(&open_tun()).unwrap();
    session
        .perform(&plan(vec![pf("vpn", PfRules::File(file)), pf("pptpctl/vpn", PfRules::Nat)]))
        .unwrap_err();
    // The replacement stores one anchor for all names: the second is refused because the first holds rules.
    insta::assert_snapshot!(fixture.calls(), @"
    pfctl -q -a vpn -s rules
    pfctl -q -a vpn -s nat
    pfctl -n -a vpn -D vpn_if=tun0 -D vpn_local=10.99.0.2 -D vpn_peer=10.99.0.1 -D vpn_server=203.0.113.9 -f DIR/pf.conf.vpn
    pfctl -q -a vpn -D vpn_if=tun0 -D vpn_local=10.99.0.2 -D vpn_peer=10.99.0.1 -D vpn_server=203.0.113.9 -f DIR/pf.conf.vpn
    pfctl -q -s info
    pfctl -q -s nat
    pfctl -q -s rules
    pfctl -q -a pptpctl/vpn -s rules
    ");
    assert!(fixture.loaded());
    assert!(session.undo_all_and_close().is_empty());
    insta::assert_snapshot!(fixture.calls(), @"
    pfctl -q -a vpn -F all
    pfctl -q -i tun0 -F state
    pfctl -q -k 10.99.0.2
    pfctl -q -k 0.0.0.0/0 -k 10.99.0.2
    ");
    assert!(!fixture.loaded());
}

#[test]
fn nat_rules_are_loaded_from_standard_input() {
    let fixture = Fixture::new();
    let mut session = fixture.session();
    session.perform(&plan(vec![pf("pptpctl/vpn", PfRules::NatTo)])).unwrap();
    insta::assert_snapshot!(fixture.calls(), @"
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
    // The supervisor was killed: another process undoes the step from the ledger alone.
    let recovery = recover(&fixture.directories(), &mut fixture.model.host(), &|_| false);
    assert!(recovery.errors.is_empty(), "{:?}", recovery.errors);
    assert!(!fixture.loaded());
    assert!(fixture.calls().starts_with("pfctl -q -a pptpctl/vpn -F all\n"));
}

#[test]
fn syntax_error_is_reported_and_nothing_is_loaded() {
    let fixture = Fixture::new();
    let file = fixture.rules("pass in all\nwrong\n");
    let mut session = fixture.session();
    let error = session.perform(&plan(vec![pf("vpn", PfRules::File(file.clone()))])).unwrap_err().to_string();
    assert!(error.contains(&format!("{}:2: syntax error", file.display())), "{error}");
    assert!(!fixture.loaded() && !fixture.calls().contains("pfctl -q -a vpn -D"), "the rules were loaded");
    assert!(session.undo_all_and_close().is_empty());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o646)).unwrap();
    let mut session = fixture.session();
    let error = session.perform(&plan(vec![pf("vpn", PfRules::File(file))])).unwrap_err().to_string();
    assert!(error.contains("others than its owner may write it"), "{error}");
    assert!(session.undo_all_and_close().is_empty());
}

#[test]
fn anchor_with_foreign_rules_is_left_alone() {
    let fixture = Fixture::new();
    fs::write(fixture.dir.path().join("anchor"), "pass all\n").unwrap();
    let file = fixture.rules("block all\n");
    let mut session = fixture.session();
    let error = session.perform(&plan(vec![pf("vpn", PfRules::File(file))])).unwrap_err().to_string();
    assert!(
        error.contains("contains rules that this tunnel did not load")
            && error.contains("`pfctl -a vpn -F all`"),
        "{error}"
    );
    assert!(session.undo_all_and_close().is_empty());
    assert!(fixture.loaded(), "the foreign rules were flushed");
}

/// Kills the process before each call of pfctl, while the rules are loaded and while they are flushed.
#[test]
fn anchor_is_flushed_after_crash_at_any_pfctl_call() {
    let mut points = 0;
    for down in [false, true] {
        for budget in 0.. {
            let fixture = Fixture::new();
            let file = fixture.rules("pass all\n");
            let up = if down { usize::MAX } else { budget };
            let mut session =
                Changes::open(&fixture.directories(), "vpn", fixture.model.restart(up).host()).unwrap();
            let mut done = session.perform(&plan(vec![pf("vpn", PfRules::File(file))])).is_ok();
            drop(session);
            if down {
                done = recover(&fixture.directories(), &mut fixture.model.restart(budget).host(), &|_| false)
                    .errors
                    .is_empty();
            }
            let recovery = recover(&fixture.directories(), &mut fixture.model.host(), &|_| false);
            assert!(recovery.errors.is_empty(), "{:?}", recovery.errors);
            assert!(!fixture.loaded(), "killed at {budget}, down {down}");
            assert!(!fixture.directories().ledger("vpn").exists());
            points += 1;
            if done {
                break;
            }
        }
    }
    assert!(points > 8, "{points}");
}

#[test]
fn warns_when_main_ruleset_does_not_call_the_anchor() {
    let fixture = Fixture::new();
    let main = |name: &str, text: &str| fs::write(fixture.dir.path().join(name), text).unwrap();
    let file = PfRules::File(fixture.rules("pass all\n"));
    let warnings = |anchor: &str, rules: &PfRules, platform| {
        pf::warnings(&mut fixture.model.host(), anchor, rules, platform).join("\n")
    };
    main("main-info", "Status: Disabled for 0 days 00:01:00          Debug: Urgent\n");
    insta::assert_snapshot!(warnings("vpn", &file, Platform::FreeBsd), @r#"
    pf is disabled, so the rules change nothing: `pfctl -e` enables it
    pf does not evaluate the anchor vpn; /etc/pf.conf lacks nat-anchor "vpn" and anchor "vpn"
    "#);
    insta::assert_snapshot!(warnings("vpn", &file, Platform::OpenBsd), @r#"
    pf is disabled, so the rules change nothing: `pfctl -e` enables it
    pf does not evaluate the anchor vpn; /etc/pf.conf lacks anchor "vpn"
    "#);
    insta::assert_snapshot!(warnings("pptpctl/vpn", &PfRules::Nat, Platform::NetBsd), @r#"
    pf is disabled, so the rules change nothing: `pfctl -e` enables it
    pf does not evaluate the anchor pptpctl/vpn; /etc/pf.conf lacks nat-anchor "pptpctl/*"
    "#);
    main("main-info", "Status: Enabled for 0 days 00:01:00          Debug: Urgent\n");
    main("main-rules", "scrub in all fragment reassemble\nanchor \"vpn\" all\n");
    main("main-nat", "nat-anchor \"vpn\" all\nnat-anchor \"pptpctl/*\" all\n");
    for platform in [Platform::FreeBsd, Platform::OpenBsd, Platform::NetBsd] {
        assert_eq!(warnings("vpn", &file, platform), "");
    }
    assert_eq!(warnings("pptpctl/vpn", &PfRules::Nat, Platform::FreeBsd), "");
    assert_ne!(
        warnings("pptpctl/vpn", &PfRules::NatTo, Platform::OpenBsd),
        "",
        "nat-to needs an anchor, not a nat-anchor"
    );
}

#[test]
fn anchor_rules_are_matched_by_name_and_kind() {
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
        assert_eq!(pf::evaluates(line, kind, anchor), calls, "{line}");
    }
}

#[test]
fn finds_first_unbalanced_closing_brace() {
    for (text, line) in [
        ("chain x { }\n", None),
        ("chain x {\n}\n}\n", Some(3)),
        ("# }\nchain x { comment \"}\" }\n", None),
        ("}", Some(1)),
        ("set s { elements = { 1, 2 } } }", Some(1)),
        ("chain x {", None),
        ("", None),
    ] {
        assert_eq!(nft::first_unbalanced_brace(text), line, "{text:?}");
    }
}

fn nft(nat: bool, mss: Option<Clamp>) -> FirewallStep {
    let macros = match pf("x", PfRules::Nat) {
        FirewallStep::Pf { macros, .. } | FirewallStep::Nft { macros, .. } => macros,
        FirewallStep::Helper { .. } => unreachable!("it is for pf"),
    };
    FirewallStep::Nft { table: "pptpctl_vpn".to_owned(), file: None, nat, mss, macros }
}

#[test]
fn missing_nft_is_an_error_or_a_note() {
    let fixture = Fixture::new();
    let mut session = fixture.session();
    let error = session.perform(&plan(vec![nft(true, None)])).unwrap_err().to_string();
    assert!(error.contains("nft: no such program"), "{error}");
    assert!(session.undo_all_and_close().is_empty(), "undoing the refused plan failed");
    // The default clamp is optional.
    let rules = nft(false, Some(Clamp::Mtu(Value::Known(1400))));
    let mut session = fixture.session();
    session.perform(&plan(vec![rules.clone()])).unwrap();
    insta::assert_snapshot!(session.take_notes().join("\n"), @r#"TCP segment sizes are not clamped (nft: no such program in /usr/sbin, /usr/bin, /sbin, /bin, /usr/local/sbin, /usr/local/bin; install it): TCP connections that this host forwards into the tunnel may stall; mss = "off" disables this"#);
    session.perform(&plan(vec![rules])).unwrap();
    assert!(session.undo_all_and_close().is_empty());
}

/// A replacement for nft(8) on a kernel without tables of the family inet, or without nftables: steps that
/// the user requested fail, the default clamp adds a note, and undoing either reports no error.
#[test]
fn default_clamp_is_skipped_without_inet_tables() {
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
        let fixture = Fixture { model, ..Fixture::new() };
        for wanted in [nft(true, Some(Clamp::Mtu(Value::Known(1400)))), clamp(Clamp::Bytes(1300))] {
            let mut session = fixture.session();
            let error = session.perform(&plan(vec![wanted])).unwrap_err().to_string();
            assert!(error.contains("Operation not supported"), "{error}");
            assert_eq!(session.undo_all_and_close().len(), 0, "lists: {lists}");
        }
        let rules = clamp(Clamp::Mtu(Value::Known(1400)));
        let mut session = fixture.session();
        session.perform(&plan(vec![rules.clone()])).unwrap();
        let notes = session.take_notes();
        assert!(matches!(&notes[..], [note] if note.contains("Operation not supported")), "{notes:?}");
        session.perform(&plan(vec![rules])).unwrap();
        assert!(session.take_notes().is_empty(), "the note is repeated");
        assert_eq!(session.undo_all_and_close().len(), 0, "lists: {lists}");
        assert!(!fixture.directories().ledger("vpn").exists());
    }
}

/// A table that exists and can't be deleted is reported, whether or not the user requested it.
#[test]
fn undeletable_table_is_reported() {
    let model = FakeHost::new(HostState::default()).with_programs(Rc::new(|program, state| {
        let input = String::from_utf8_lossy(program.input.as_deref().unwrap_or_default()).into_owned();
        let done =
            |stdout: &str| Ok(Output { code: Some(0), stdout: stdout.to_owned(), stderr: String::new() });
        // A link of the fake host represents the table.
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
    let fixture = Fixture { model, ..Fixture::new() };
    let mut session = fixture.session();
    session.perform(&plan(vec![nft(false, Some(Clamp::Mtu(Value::Known(1400))))])).unwrap();
    assert!(session.take_notes().is_empty());
    let errors = session.undo_all_and_close();
    assert!(matches!(&errors[..], [error] if error.to_string().contains("busy")), "{errors:?}");
    assert!(
        fixture.directories().ledger("vpn").exists(),
        "the ledger was removed although a retry may succeed"
    );
}

/// The anchor of a lost tunnel is flushed with its states, and loaded again when the tunnel is back.
#[test]
fn anchor_of_a_lost_tunnel_is_flushed_until_it_is_back() {
    let fixture = Fixture::new();
    let file = fixture.rules("pass all\n");
    let mut session = fixture.session();
    session.perform(&open_tun()).unwrap();
    let network = plan(vec![pf("vpn", PfRules::File(file))]);
    session.perform(&network).unwrap();
    let loads = fixture.calls();
    assert!(session.withdraw_routes().is_empty());
    assert!(!fixture.loaded());
    insta::assert_snapshot!(fixture.calls(), @"
    pfctl -q -a vpn -F all
    pfctl -q -i tun0 -F state
    pfctl -q -k 10.99.0.2
    pfctl -q -k 0.0.0.0/0 -k 10.99.0.2
    ");
    session.perform(&network).unwrap();
    assert_eq!(fixture.calls(), loads);
    assert!(session.undo_all_and_close().is_empty() && !fixture.loaded());
    assert!(!fixture.directories().ledger("vpn").exists());
}

/// Kills the process before each call of pfctl while the tunnel is lost and comes back.
#[test]
fn anchor_is_flushed_after_crash_while_the_tunnel_is_lost() {
    let mut points = 0;
    for budget in 0.. {
        let fixture = Fixture::new();
        let network = plan(vec![pf("vpn", PfRules::File(fixture.rules("pass all\n")))]);
        let mut session =
            Changes::open(&fixture.directories(), "vpn", fixture.model.restart(budget).host()).unwrap();
        let done = session.perform(&network).is_ok()
            && session.withdraw_routes().is_empty()
            && session.perform(&network).is_ok();
        drop(session);
        let recovery = recover(&fixture.directories(), &mut fixture.model.host(), &|_| false);
        assert!(recovery.errors.is_empty(), "{:?}", recovery.errors);
        assert!(!fixture.loaded(), "killed at {budget}");
        assert!(!fixture.directories().ledger("vpn").exists());
        points += 1;
        if done {
            break;
        }
    }
    assert!(points > 15, "{points}");
}
