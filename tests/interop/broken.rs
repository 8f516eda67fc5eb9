//! Situations in which no tunnel comes up, made with real rules, servers and peers: `up` and `doctor --dial` have
//! to name the same cause with the same status, and to leave nothing behind.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{
    capture::Capture,
    client::{Client, Finished, Profile},
    host_state::Snapshot,
    lab::{Lab, Unplugged},
    peer::{Peer, PeerFault},
};

/// The server of the other tunnel in [`Broken::Other`].
const OTHER_SERVER: &str = "198.51.100.16";

/// What is broken. The rules are nftables rules without their table.
pub enum Broken {
    /// The profile or its server: nothing has to be done.
    Already,
    /// The server is a peer with this fault.
    Peer(PeerFault),
    /// The client's own firewall has this rule for packets that it sends.
    OwnOutput(&'static str),
    /// The client's own firewall accepts only what it knows, and then has this rule for packets that it receives.
    OwnInput(&'static str),
    /// A router between client and server has this rule.
    OnTheWay(&'static str),
    /// The resolv.conf(5) of the client is this.
    Resolvers(&'static str),
    /// The tunnel `other` is up: a profile like the one under test, with this key.
    Other(&'static str, &'static str),
}

/// What `doctor --dial` does in a situation.
enum Doctor {
    /// It has the verdict of `up`.
    Agrees,
    /// It is run without a dial, finds nothing and ends with 0, for this reason.
    CannotSee(#[expect(dead_code, reason = "for the reader of the table")] &'static str),
}

/// One row of the table.
pub struct Row {
    broken: Broken,
    profile: Profile,
    for_doctor: Profile,
    code: i32,
    words: &'static [&'static str],
    doctor: Doctor,
    /// Least and greatest run time of `up` in seconds.
    took: (f32, f32),
}

impl Row {
    /// Creates a row: `up` fails with `code` and a message with these words (ignoring case).
    pub fn new(broken: Broken, profile: Profile, code: i32, words: &'static [&'static str]) -> Self {
        let for_doctor = profile.clone();
        Self { broken, profile, for_doctor, code, words, doctor: Doctor::Agrees, took: (0.0, f32::MAX) }
    }

    /// Sets a limit that `up` has to wait for, and another for `doctor`, so that the case does not wait for the
    /// same again. The rest of `up`, graceful shutdown and a slow machine take 17 s at most; the default, 30 s or
    /// 10 s, is outside this interval.
    pub fn waits(self, key: &'static str, seconds: u16, for_doctor: u16) -> Self {
        let limit = f32::from(seconds);
        Self {
            profile: self.profile.set(key, &format!("\"{seconds}s\"")),
            for_doctor: self.for_doctor.set(key, &format!("\"{for_doctor}s\"")),
            took: (limit * 0.9, limit + 17.0),
            ..self
        }
    }

    /// Requires a verdict before any limit of the profile: the shortest is 10 s.
    pub fn at_once(self) -> Self {
        Self { took: (0.0, 8.0), ..self }
    }

    /// Says why `doctor` cannot see this.
    pub fn unseen(self, why: &'static str) -> Self {
        Self { doctor: Doctor::CannotSee(why), ..self }
    }

    /// Makes the situation and checks both commands. Returns what `up` printed.
    pub fn check(self, lab: &Lab) -> Finished {
        let others: Vec<Profile> = match self.broken {
            Broken::Other(key, value) => {
                vec![Profile::new("other", OTHER_SERVER).set("routes", "[]").set(key, value)]
            }
            _ => Vec::new(),
        };
        let situation = Situation::make(lab, &self.broken, &others);
        let before = Snapshot::take();
        let assert_restored = || {
            if others.is_empty() { before.assert_restored(lab) } else { before.assert_same() }
        };
        let capture = Capture::start_without(lab, OTHER_SERVER);
        let up = Client::new(lab, &[&[self.profile][..], &others].concat()).run(&["up", "vpn"]);
        assert_eq!(up.code, self.code, "{}", up.text);
        assert_words(&up.text, self.words);
        let (least, most) = self.took;
        let took = up.took.as_secs_f32();
        assert!(took >= least && took < most, "took {took:.1} s, not {least} to {most}");
        assert_restored();

        let client = Client::new(lab, &[&[self.for_doctor][..], &others].concat());
        let doctor = match self.doctor {
            Doctor::Agrees => {
                let done = client.run(&["doctor", "--json", "--dial", "vpn"]);
                assert_agrees(&done, self.code, self.words);
                done
            }
            Doctor::CannotSee(_) => {
                let done = client.run(&["doctor", "--json", "vpn"]);
                assert_eq!(done.code, 0, "{}", done.text);
                done
            }
        };
        assert_restored();
        for password in ["labpass", "not this"] {
            let leaks = |done: &Finished| done.text.contains(&format!("{password}\n"));
            assert!(!leaks(&up) && !leaks(&doctor), "the output contains the password");
        }
        let wire = capture.finish();
        wire.assert_no_faults();
        assert_eq!(wire.clear, 0, "a tunnel that never came up carried packets");
        assert!(wire.attempts <= 2, "`up` or `doctor` made more than one attempt: {}", wire.attempts);
        if let Some(peer) = &situation.peer {
            let received = peer.received_types();
            let attempts = received.iter().filter(|kind| **kind == 1).count();
            assert_eq!(attempts, 2, "not one attempt of `up` and one of `doctor`: {received:?}");
        }
        up
    }
}

/// Checks that `doctor` ends with this status, because of a finding with these words.
#[track_caller]
pub fn assert_agrees(doctor: &Finished, code: i32, words: &[&str]) {
    assert_eq!(doctor.code, code, "doctor: {}", doctor.text);
    let report: Value = serde_json::from_str(&doctor.text).unwrap();
    assert_eq!(report["status"], code, "{report:#}");
    let all = report["findings"].as_array().unwrap();
    let finding = all.iter().find(|one| one["status"] == code && one["severity"] == "failure");
    let finding = finding.unwrap_or_else(|| panic!("no finding has the status {code}: {report:#}"));
    let parts = [&finding["subject"], &finding["evidence"], &finding["next"]];
    let hints = finding["hints"].as_array().into_iter().flatten();
    let text: Vec<&str> = parts.into_iter().chain(hints).filter_map(Value::as_str).collect();
    assert_words(&text.join("\n"), words);
}

/// Checks that a text has these words, ignoring case.
#[track_caller]
pub fn assert_words(text: &str, words: &[&str]) {
    let lower = text.to_lowercase();
    let missing: Vec<_> = words.iter().filter(|word| !lower.contains(&word.to_lowercase())).collect();
    assert!(missing.is_empty(), "the message lacks {missing:?}: {text}");
}

/// A situation in force; dropping it mends what was broken.
struct Situation<'a> {
    peer: Option<Peer>,
    _way: Option<Unplugged<'a>>,
    own: bool,
    resolvers: Option<Vec<u8>>,
    other: Option<Client<'a>>,
}

const RESOLV_CONF: &str = "/etc/resolv.conf";

impl<'a> Situation<'a> {
    fn make(lab: &'a Lab, broken: &Broken, others: &[Profile]) -> Self {
        let mut made = Self { peer: None, _way: None, own: false, resolvers: None, other: None };
        match broken {
            Broken::Already => {}
            Broken::Peer(fault) => made.peer = Some(Peer::start(*fault)),
            Broken::OnTheWay(rule) => made._way = Some(lab.rule_on_the_way(rule)),
            Broken::OwnOutput(rule) => {
                nft(&format!("chain out {{ type filter hook output priority 0\n {rule}\n }}"));
                made.own = true;
            }
            Broken::OwnInput(rule) => {
                nft(&format!(
                    "chain in {{ type filter hook input priority 0; policy drop\n \
                     ct state established,related accept\n iif lo accept\n meta l4proto icmp accept\n {rule}\n }}"
                ));
                made.own = true;
            }
            Broken::Resolvers(text) => {
                made.resolvers = Some(std::fs::read(RESOLV_CONF).unwrap());
                std::fs::write(RESOLV_CONF, text).unwrap();
            }
            Broken::Other(..) => {
                let client = Client::new(lab, others);
                client.up("other");
                made.other = Some(client);
            }
        }
        made
    }
}

impl Drop for Situation<'_> {
    fn drop(&mut self) {
        if self.own {
            let _gone = Command::new("nft").args(["delete", "table", "inet", "own"]).status();
        }
        if let Some(text) = &self.resolvers {
            std::fs::write(RESOLV_CONF, text).unwrap();
        }
        if let Some(client) = self.other.take() {
            let _done = client.run(&["down", "other"]);
        }
    }
}

/// Loads the table `own` of the client's firewall.
fn nft(chain: &str) {
    let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    nft.stdin.take().unwrap().write_all(format!("table inet own {{\n {chain}\n}}\n").as_bytes()).unwrap();
    assert!(nft.wait().unwrap().success(), "{chain}");
}
