use std::{cell::RefCell, rc::Rc};

use super::*;
use crate::{
    apply::{
        Changes, Directories, Output, ProgramError, recover,
        tests::fake_host::{FakeHost, HostState},
    },
    net::routes::Address,
    plan::{ConnectedNetworks, NextHop, OpenTunStep, Part, Plan, Step, Value},
    platform::Platform,
};

/// What pfctl(8) was called with, and what it knows.
#[derive(Default)]
struct FakePf {
    calls: Vec<String>,
    anchor: Option<String>,
    states: String,
    fails: bool,
}

struct Fixture {
    dir: tempfile::TempDir,
    model: FakeHost,
    pf: Rc<RefCell<FakePf>>,
}

impl Fixture {
    fn new() -> Self {
        let pf = Rc::new(RefCell::new(FakePf::default()));
        let shared = Rc::clone(&pf);
        let model = FakeHost::new(HostState::default()).with_programs(Rc::new(move |program, _| {
            assert_eq!(program.name(), "pfctl");
            let mut pf = shared.borrow_mut();
            let args = program.args.join(" ");
            let input = program.input.clone().map(|input| String::from_utf8(input).unwrap());
            let stdout = match args.as_str() {
                "-q -a vpn/leak -s rules" => pf.anchor.clone().unwrap_or_default(),
                "-q -s states" => pf.states.clone(),
                _ => String::new(),
            };
            match args.as_str() {
                "-q -a vpn/leak -f -" => pf.anchor = input,
                "-q -a vpn/leak -F all" => pf.anchor = None,
                _ => {}
            }
            if !args.contains(" -s ") {
                pf.calls.push(args);
            }
            let code = if pf.fails { 1 } else { 0 };
            Ok::<_, ProgramError>(Output { code: Some(code), stdout, stderr: String::new() })
        }));
        Self { dir: tempfile::tempdir().unwrap(), model, pf }
    }

    fn directories(&self) -> Directories {
        let directories =
            Directories { run: self.dir.path().join("run"), state: self.dir.path().join("state") };
        std::fs::create_dir_all(&directories.run).unwrap();
        directories
    }

    fn session(&self) -> Changes {
        Changes::open(&self.directories(), "vpn", self.model.host()).unwrap()
    }

    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.pf.borrow_mut().calls)
    }

    fn loaded(&self) -> String {
        self.pf.borrow().anchor.clone().unwrap_or_default()
    }
}

fn step(connected: &[&str]) -> LeakFilterStep {
    let networks = connected.iter().map(|network| network.parse().unwrap());
    LeakFilterStep {
        anchor: "vpn/leak".to_owned(),
        tun: Value::Open(crate::plan::Symbol::Tun),
        server: Value::Known([203, 0, 113, 9].into()),
        ports: vec![1723],
        guarded: vec!["0.0.0.0/1".parse().unwrap(), "128.0.0.0/1".parse().unwrap()],
        exclude: Vec::new(),
        outside: Vec::new(),
        names: true,
        connected: Value::Known(ConnectedNetworks::of(networks)),
    }
}

fn plan() -> Plan {
    let steps = vec![Step::LeakFilter(step(&[])), Step::OpenTun(OpenTunStep { unit: Some(0) })];
    Plan { platform: Platform::FreeBsd, part: Part::Transport, steps, notes: Vec::new() }
}

const LOAD: [&str; 2] = ["-n -a vpn/leak -f -", "-q -a vpn/leak -f -"];

/// The anchor blocks everything before the tun device is there, and passes the device from then on.
#[test]
fn rules_are_loaded_before_the_device_and_again_with_it() {
    let fixture = Fixture::new();
    let mut session = fixture.session();
    session.perform(&plan()).unwrap();
    assert_eq!(fixture.calls(), LOAD);
    assert!(!fixture.loaded().contains(" on ! "), "{}", fixture.loaded());
    session.pass_device().unwrap();
    assert_eq!(fixture.calls(), LOAD);
    assert!(fixture.loaded().contains("block drop out quick on ! tun0 from any to <pptpctl_guarded>"));
    session.pass_device().unwrap();
    assert_eq!(fixture.calls(), [""; 0], "once is enough");
    assert!(session.has_kill_switch());
    assert!(session.undo_all_and_close().is_empty());
    assert_eq!(fixture.calls(), ["-q -a vpn/leak -F all"]);
    assert!(fixture.loaded().is_empty());
}

/// The redial of a tunnel that is given up on and a killed supervisor leave the rules; `recover` removes them.
#[test]
fn rules_stay_until_down_or_recover() {
    let fixture = Fixture::new();
    let mut session = fixture.session();
    session.perform(&plan()).unwrap();
    assert!(session.undo_all_but_kill_switch().is_empty());
    assert!(!fixture.loaded().is_empty(), "given up");
    fixture.calls();
    // As after kill -9: the next supervisor continues, and loads the rules over those in force.
    let mut session = fixture.session();
    assert!(session.is_continued() && session.has_kill_switch());
    session.perform(&plan()).unwrap();
    session.pass_device().unwrap();
    assert!(fixture.calls().iter().all(|call| !call.contains("-F")), "never open in between");
    drop(session);
    let gone = |_: &_| false;
    let recovery =
        crate::apply::recover_keeping(&fixture.directories(), &mut fixture.model.host(), &gone, Some("vpn"));
    assert_eq!(recovery.recovered[0].kept, 1, "{recovery:?}");
    assert!(!fixture.loaded().is_empty());
    let recovery = recover(&fixture.directories(), &mut fixture.model.host(), &gone);
    assert!(recovery.errors.is_empty() && fixture.loaded().is_empty(), "{recovery:?}");
}

#[test]
fn rules_follow_the_networks_of_the_host() {
    let fixture = Fixture::new();
    let mut session = fixture.session();
    session.perform(&plan()).unwrap();
    assert!(!session.networks_changed(None));
    // A next hop outside of all networks counts as one.
    let next_hop = NextHop::By { gateway: "198.51.100.1".parse().ok(), dev: "em0".to_owned(), source: None };
    assert!(session.networks_changed(Some(&next_hop)));
    fixture.calls();
    session.follow_networks(Some(&next_hop)).unwrap();
    assert_eq!(fixture.calls(), LOAD);
    assert!(
        fixture.loaded().contains("to { 198.51.100.1/32, 255.255.255.255 } port 67"),
        "{}",
        fixture.loaded()
    );
    assert!(!session.networks_changed(Some(&next_hop)));
}

/// Another program may flush all anchors.
#[test]
fn flushed_rules_are_loaded_again() {
    let fixture = Fixture::new();
    let mut session = fixture.session();
    session.perform(&plan()).unwrap();
    let (missing, renewed) = session.renew_routes();
    assert!(missing == 0 && renewed.is_ok());
    fixture.pf.borrow_mut().anchor = None;
    let (missing, renewed) = session.renew_routes();
    assert!(missing == 1 && renewed.is_ok() && !fixture.loaded().is_empty());
}

#[test]
fn rules_of_others_are_not_replaced() {
    let fixture = Fixture::new();
    fixture.pf.borrow_mut().anchor = Some("pass all\n".to_owned());
    let error = fixture.session().perform(&plan()).unwrap_err().to_string();
    assert!(
        error.contains("the anchor vpn/leak contains rules that this tunnel did not load: each tunnel"),
        "{error}"
    );
    assert_eq!(fixture.loaded(), "pass all\n");
}

const STATES: &str = "\
all tcp 198.51.100.2:4711 -> 93.184.216.34:443       ESTABLISHED:ESTABLISHED
all tcp 198.51.100.2:4712 -> 93.184.216.34:80       ESTABLISHED:ESTABLISHED
all tcp 198.51.100.2:22 <- 93.184.216.35:5555       ESTABLISHED:ESTABLISHED
all tcp 198.51.100.2:4713 -> 203.0.113.9:1723       ESTABLISHED:ESTABLISHED
all gre 198.51.100.2 -> 203.0.113.9       MULTIPLE:MULTIPLE
all udp 10.99.0.2:4714 -> 93.184.216.36:123       MULTIPLE:SINGLE
tun0 udp 10.99.0.3:4714 -> 93.184.216.37:123       MULTIPLE:SINGLE
all udp 127.0.0.1:4714 -> 127.0.0.1:53       MULTIPLE:SINGLE
";

/// pf passes packets of a known connection before it evaluates rules.
#[test]
fn connections_past_the_tunnel_are_ended() {
    let fixture = Fixture::new();
    let mut session = fixture.session();
    session.perform(&plan()).unwrap();
    fixture.calls();
    fixture.pf.borrow_mut().states = STATES.to_owned();
    let address = Address { local: [10, 99, 0, 2].into(), peer: None, prefix: 32 };
    fixture.model.state.borrow_mut().addresses.push(("tun0".to_owned(), address));
    session.pass_device().unwrap();
    let [checked, loaded] = LOAD;
    let ended = ["-q -k 0.0.0.0/0 -k 93.184.216.34", "-q -k 93.184.216.35"];
    assert_eq!(fixture.calls(), [checked, loaded, ended[0], ended[1]], "not those of the tunnel");
    // A route of another program takes those of the tunnel, too.
    session.end_connections_to(&["93.184.216.36/31".parse().unwrap()]).unwrap();
    let ended = ["-q -k 0.0.0.0/0 -k 93.184.216.36", "-q -k 0.0.0.0/0 -k 93.184.216.37"];
    assert_eq!(fixture.calls(), ended);
    let many = |third: u32| format!("all udp 10.0.0.1:1 -> 93.184.{}.{}:9  A:B\n", third / 256, third % 256);
    fixture.pf.borrow_mut().states = (0..300).map(many).collect();
    session.end_connections_to(&["93.184.0.0/16".parse().unwrap()]).unwrap();
    assert_eq!(fixture.calls(), ["-q -F states"]);
    // A list that is cut off may lack some.
    fixture.pf.borrow_mut().states = "\n".repeat(MAX_OUTPUT);
    session.end_connections_to(&["93.184.0.0/16".parse().unwrap()]).unwrap();
    assert_eq!(fixture.calls(), ["-q -F states"]);
}

#[test]
fn failed_load_fails_the_step() {
    let fixture = Fixture::new();
    fixture.pf.borrow_mut().fails = true;
    let error = fixture.session().perform(&plan()).unwrap_err().to_string();
    assert!(error.contains("pfctl"), "{error}");
}

#[test]
fn what_pf_does_not_evaluate_is_said() {
    let rules = "anchor \"vpn/leak\" all\nblock drop in all\npass out quick all flags S/SA\n";
    let said = |info: &str, rules: &str, devices: &str| doubts(info, rules, devices, "vpn/leak").join("\n");
    let enabled = "Status: Enabled for 0 days 00:00:07           Debug: err\n";
    assert_eq!(said(enabled, rules, "all\nem0\n\tCleared: now\nlo0 (skip)\n"), "");
    assert_eq!(said(enabled, &rules.replace("vpn/leak", "vpn/*"), ""), "");
    assert!(said("Status: Disabled for 0 days\n", rules, "").contains("`pfctl -e` enables it"));
    for missing in ["", "anchor \"vpn\" all\n", "anchor \"*\" all\n", "nat-anchor \"vpn/leak\" all\n"] {
        assert!(
            said(enabled, missing, "").contains("needs the line anchor \"vpn/leak\" before"),
            "{missing}"
        );
    }
    let late = format!("pass in quick on em0 all\npass quick on lo0 all\npass out quick on em0 all\n{rules}");
    let words = said(enabled, &late, "");
    assert!(words.contains("`pass out quick on em0 all` in") && words.lines().count() == 1, "{words}");
    let some = said(enabled, "anchor \"vpn/leak\" in on em1 all\n", "");
    assert!(some.contains("for some packets only: `anchor \"vpn/leak\" in on em1 all`"), "{some}");
    assert!(said(enabled, rules, "em0 (skip)\n").contains("filters nothing on em0"));
}
