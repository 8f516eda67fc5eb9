//! A full session with each kind of server: up, traffic, checks of status and processes, down, nothing left
//! behind.

use std::{collections::BTreeMap, fs, time::Duration};

use serde_json::Value;

use crate::{
    capture::{Capture, CaptureReport},
    client::{Client, Profile, is_alive, pid, proc_status, tun_links},
    host_state::Snapshot,
    lab::{EVENT_TIMEOUT, Lab, wait_for},
    runner::{Case, report},
    traffic,
};

pub const CASES: &[Case] = &[
    ("sessions::mschapv2_mppe128", |lab| session(lab, Profile::new("vpn", MPPE128), &ENCRYPTED_128)),
    ("sessions::mschapv2_clear", |lab| {
        session(lab, clear("198.51.100.11", "mschapv2"), &Expect { auth: "v2", ..CLEAR })
    }),
    ("sessions::pap", |lab| session(lab, clear("198.51.100.12", "pap"), &Expect { auth: "pap", ..CLEAR })),
    ("sessions::chap_md5", |lab| {
        session(lab, clear("198.51.100.13", "chap"), &Expect { auth: "md5", ..CLEAR })
    }),
    ("sessions::mschapv1_mppe128", |lab| {
        let profile = Profile::new("vpn", "198.51.100.14").set("auth", "[\"mschap\"]");
        session(lab, profile, &Expect { auth: "v1", ..ENCRYPTED_128 });
    }),
    ("sessions::mppe40", |lab| {
        let profile = Profile::new("vpn", "198.51.100.15").set("mppe", "\"require-40\"");
        session(lab, profile, &Expect { mppe: &["40", "stateless"], ..ENCRYPTED_128 });
    }),
    // pppd prefers stateless too, so stateless is negotiated; stateful mode is tested in memory only.
    ("sessions::mppe128_stateful_welcome", |lab| {
        let profile = Profile::new("vpn", "198.51.100.16").set("mppe", "\"require-128+stateful\"");
        session(lab, profile, &ENCRYPTED_128);
    }),
    ("sessions::compression_is_rejected", |lab| {
        let profile = clear("198.51.100.17", "mschapv2").set("ppp.ipv6", "true");
        session(lab, profile, &Expect { auth: "v2", ..CLEAR });
    }),
    ("sessions::clear_link_is_accepted_when_allowed", |lab| {
        let profile = clear("198.51.100.11", "mschapv2").set("mppe", "\"allow\"");
        session(lab, profile, &Expect { auth: "v2", ..CLEAR });
    }),
    ("sessions::every_protocol_acceptable", |lab| {
        let profile =
            Profile::new("vpn", MPPE128).set("auth", "[\"mschapv2\", \"mschap\", \"chap\", \"pap\"]");
        session(lab, profile, &ENCRYPTED_128);
    }),
    ("sessions::lossy_and_reordering_line", lossy_and_reordering_line),
    ("sessions::stays_up_while_idle", stays_up_while_idle),
    ("sessions::mtu_follows_the_path", mtu_follows_the_path),
    ("sessions::by_name", |lab| session(lab, Profile::new("vpn", "vpn.lab.test"), &ENCRYPTED_128)),
    ("sessions::second_server_of_two", second_server_of_two),
    ("sessions::user_with_domain_and_spaces", user_with_domain_and_spaces),
    ("sessions::default_route", default_route),
    ("sessions::fixed_unit_and_address", fixed_unit_and_address),
];

/// The server with MS-CHAPv2 and stateless MPPE-128, the most common configuration.
pub const MPPE128: &str = "198.51.100.10";

/// Expected values in `status` and on the wire.
struct Expect {
    auth: &'static str,
    /// Words in `mppe`; empty if the link is not encrypted.
    mppe: &'static [&'static str],
}

const ENCRYPTED_128: Expect = Expect { auth: "v2", mppe: &["128", "stateless"] };
const CLEAR: Expect = Expect { auth: "", mppe: &[] };

fn clear(server: &str, auth: &str) -> Profile {
    Profile::new("vpn", server).set("auth", &format!("[{auth:?}]")).set("mppe", "\"off\"")
}

fn session(lab: &Lab, profile: Profile, expect: &Expect) {
    let before = Snapshot::take();
    let client = Client::new(lab, &[profile]);
    let capture = Capture::start(lab);
    let up = client.up("vpn");
    let ping = traffic::ping(traffic::INSIDE, EVENT_TIMEOUT).expect("no answer to ping right after up");
    let case = lab.case_dir().file_name().unwrap().to_string_lossy().into_owned();
    report(format_args!("{case}: up in {:.0?}, first ping after {:.0?}", up.took, up.took + ping));
    let status = client.status("vpn");
    assert_status(&status, expect);
    assert_engine_is_confined(&status);
    assert_files(&status);
    traffic::assert_traffic();
    client.down("vpn");
    assert!(client.try_status("vpn").is_none(), "a supervisor answers after `down`");
    before.assert_restored(lab);
    let wire = capture.finish();
    wire.assert_clean();
    assert_encryption(&wire, !expect.mppe.is_empty());
    assert_graceful_shutdown(&wire);
    assert_eq!(wire.attempts, 1, "more than one attempt");
}

fn assert_status(status: &Value, expect: &Expect) {
    assert_eq!(status["state"], "up", "{status}");
    let text = |key: &str| status[key].as_str().unwrap_or_default().to_lowercase();
    assert!(text("auth").contains(expect.auth), "auth is {}, not {}", status["auth"], expect.auth);
    for word in expect.mppe {
        assert!(text("mppe").contains(word), "mppe is {}, without {word}", status["mppe"]);
    }
    if expect.mppe.is_empty() {
        assert!(["", "none", "off"].contains(&&*text("mppe")), "mppe is {}, not none", status["mppe"]);
    }
    let tun = text("tun");
    assert!(tun_links().iter().any(|(name, _)| *name == tun), "no such device: {tun}");
    assert!(text("local").starts_with("10.77.") && text("peer").starts_with("10.77."), "{status}");
    assert!(status["counters"].is_object() && status["since"].is_number(), "{status}");
}

/// Checks that the engine, which parses network data, has no privileges and cannot gain any.
fn assert_engine_is_confined(status: &Value) {
    let (engine, supervisor) = (pid(status, "engine_pid"), pid(status, "supervisor_pid"));
    assert!(is_alive(engine) && is_alive(supervisor) && engine != supervisor, "{status}");
    let status_fields: BTreeMap<String, String> = proc_status(engine);
    for ids in ["Uid", "Gid"] {
        assert!(
            status_fields[ids].split_whitespace().all(|id| id != "0"),
            "{ids} of the engine: {}",
            status_fields[ids]
        );
    }
    assert!(
        status_fields["Groups"].split_whitespace().all(|id| id != "0"),
        "groups of the engine: {}",
        status_fields["Groups"]
    );
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(u64::from_str_radix(&status_fields[set], 16).unwrap(), 0, "{set} of the engine");
    }
    assert_eq!(status_fields["NoNewPrivs"], "1", "the engine may gain privileges");
    let names = |pid: i32| fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    for pid in [engine, supervisor] {
        let arguments = String::from_utf8_lossy(&names(pid)).into_owned();
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let environment = String::from_utf8_lossy(&environment);
        assert!(
            !arguments.contains("labpass\0") && !environment.contains("=labpass"),
            "the password is visible: {arguments}"
        );
    }
}

/// Checks that the pid file contains the supervisor's pid and that other users cannot open the control
/// socket.
fn assert_files(status: &Value) {
    let tun = status["tun"].as_str().unwrap();
    let pid_file = fs::read_to_string(format!("/run/{tun}.pid"))
        .unwrap_or_else(|error| panic!("/run/{tun}.pid: {error}"));
    assert_eq!(pid_file.trim(), status["supervisor_pid"].to_string());
    let socket = fs::metadata("/run/pptpctl/vpn.sock").expect("no control socket");
    let mode = std::os::unix::fs::MetadataExt::mode(&socket);
    assert_eq!(mode & 0o077, 0, "the control socket is open to others: {mode:o}");
}

fn assert_encryption(wire: &CaptureReport, encrypted: bool) {
    if encrypted {
        assert_eq!(wire.clear, 0, "packets left in clear though MPPE is required");
        assert!(
            wire.encrypted > 2000,
            "4 MiB were not sent through the tunnel: {} encrypted packets",
            wire.encrypted
        );
    } else {
        assert!(
            wire.clear > 2000 && wire.encrypted == 0,
            "{} clear, {} encrypted",
            wire.clear,
            wire.encrypted
        );
    }
}

/// Checks for graceful shutdown: LCP Terminate-Request (RFC 1661 §5.5), Call-Clear-Request (12, RFC 2637
/// §2.12) and Stop-Control-Connection-Request (3, §2.3). The last ones may be missing, as this server closes
/// the control connection when its pppd exits.
fn assert_graceful_shutdown(wire: &CaptureReport) {
    assert!(wire.terminates > 0, "no LCP Terminate-Request");
    // Echo messages (5, 6) are sent after a minute without other messages.
    let requests: Vec<u16> =
        wire.messages[2..].iter().copied().filter(|kind| ![5, 6].contains(kind)).collect();
    assert!([12, 3].starts_with(&requests), "no graceful shutdown: {:?}", wire.messages);
}

/// Packets from the server are lost, delayed, duplicated and reordered; TCP data still arrives intact.
fn lossy_and_reordering_line(lab: &Lab) {
    let before = Snapshot::take();
    let client = Client::new(lab, &[Profile::new("vpn", MPPE128)]);
    let capture = Capture::start(lab);
    client.up("vpn");
    lab.guest("tc qdisc add dev vec0 root netem delay 5ms loss 1% reorder 10% 50% duplicate 1%");
    let outcome = std::panic::catch_unwind(traffic::assert_traffic);
    lab.guest("tc qdisc del dev vec0 root");
    let counters = client.counters("vpn");
    if let Err(cause) = outcome {
        std::panic::resume_unwind(cause);
    }
    for name in ["gre.rx_buffered", "gre.rx_lost", "gre.rx_duplicate"] {
        assert!(counters[name].as_u64() > Some(0), "{name} is {}: the line was not impaired", counters[name]);
    }
    client.down("vpn");
    before.assert_restored(lab);
    capture.finish().assert_clean();
}

/// Echoes of both sides on the control connection and in LCP keep an idle tunnel up. Reports the cost of
/// idling.
fn stays_up_while_idle(lab: &Lab) {
    const IDLE: Duration = Duration::from_secs(6);
    let before = Snapshot::take();
    let often = Profile::new("often", "198.51.100.19")
        .set("timeouts.idle-wait", "\"1s\"")
        .set("timeouts.max-echo-wait", "\"30s\"")
        .set("ppp.lcp-echo-interval", "\"1s\"")
        .set("ppp.lcp-echo-failure", "30");
    let seldom = Profile::new("seldom", MPPE128).set("routes", "[]");
    let client = Client::new(lab, &[often, seldom]);
    client.up("often");
    client.up("seldom");
    let first = client.status("often");
    let counters_before = client.counters("often");
    let quiet = client.status("seldom");
    let processes = [pid(&quiet, "supervisor_pid"), pid(&quiet, "engine_pid")];
    let wakes = || processes.map(|pid| proc_status(pid)["voluntary_ctxt_switches"].parse::<u64>().unwrap());
    let wakes_before = wakes();
    std::thread::sleep(IDLE);
    let wakes_after = wakes();
    let per_minute = |at: usize| (wakes_after[at] - wakes_before[at]) * 60 / IDLE.as_secs();
    let resident = processes.map(|pid| proc_status(pid)["VmRSS"].clone());
    report(format_args!("idle supervisor: {}, {} wake-ups a minute", resident[0], per_minute(0)));
    report(format_args!("idle engine: {}, {} wake-ups a minute", resident[1], per_minute(1)));
    // The client's echo requests on the control connection (one outstanding at a time) and its replies to the
    // server's LCP echoes: about one of each per second, less if a machine stalls.
    for name in ["control.echo_requests_sent", "ppp.sent_control"] {
        let wanted = counters_before[name].as_u64().unwrap() + IDLE.as_secs() / 2;
        let more = wait_for(EVENT_TIMEOUT, || {
            (client.counters("often")[name].as_u64() > Some(wanted)).then_some(())
        });
        assert!(
            more.is_some(),
            "{name}: {} at first, now {}",
            counters_before[name],
            client.counters("often")[name]
        );
    }
    let later = client.status("often");
    for key in ["state", "engine_pid", "reconnects", "local"] {
        assert_eq!(later[key], first[key], "{key}");
    }
    client.down("often");
    client.down("seldom");
    before.assert_restored(lab);
}

/// The wire drops long GRE packets without an error message: the MTU of the device is lowered to what passes.
fn mtu_follows_the_path(lab: &Lab) {
    let before = Snapshot::take();
    let client = Client::new(lab, &[Profile::new("vpn", MPPE128)]);
    let hole = lab.drops_long_gre(1300);
    let doctor = client.run(&["doctor", "--dial", "vpn"]);
    let text = doctor.text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(doctor.code == 0 && text.contains("warning path"), "{}", doctor.text);
    before.assert_restored(lab);
    client.up("vpn");
    let mtu = wait_for(EVENT_TIMEOUT, || {
        let status = client.status("vpn");
        status["warnings"].to_string().contains("GRE packets of").then(|| status["mtu"].as_u64())?
    });
    // 1300 less 20 (IP), 16 (GRE), 4 (PPP), 4 (MPPE).
    assert!(mtu.is_some_and(|mtu| (1244..=1256).contains(&mtu)), "{mtu:?}: {}", client.status("vpn"));
    traffic::assert_traffic();
    drop(hole);
    client.down("vpn");
    before.assert_restored(lab);
}

fn second_server_of_two(lab: &Lab) {
    let before = Snapshot::take();
    let profile = Profile::new("vpn", "").set("server", "[\"198.51.100.32\", \"198.51.100.10\"]");
    let client = Client::new(lab, &[profile]);
    client.up("vpn");
    assert!(traffic::ping(traffic::INSIDE, EVENT_TIMEOUT).is_some());
    assert!(client.status("vpn")["server"].as_str().unwrap().starts_with(MPPE128));
    client.down("vpn");
    before.assert_restored(lab);
}

fn user_with_domain_and_spaces(lab: &Lab) {
    let before = Snapshot::take();
    let domain = Profile::new("domain", MPPE128).set("user", r#""LAB\\labuser""#);
    let apart = Profile::new("apart", MPPE128).set("domain", "\"LAB\"");
    let spaces = Profile::new("spaces", MPPE128)
        .set("user", "\"user space\"")
        .set("password.file", "\"/run/lab/secret/spaced\"");
    let client = Client::new(lab, &[domain, apart, spaces]);
    for name in ["domain", "apart", "spaces"] {
        client.up(name);
        assert!(traffic::ping(traffic::INSIDE, EVENT_TIMEOUT).is_some(), "{name}: no answer to ping");
        client.down(name);
        before.assert_restored(lab);
    }
}

fn default_route(lab: &Lab) {
    let before = Snapshot::take();
    let profile = Profile::new("vpn", MPPE128).set("routes", "[]").set("default", "{ mode = \"replace\" }");
    let client = Client::new(lab, &[profile]);
    client.up("vpn");
    // The server must still be reached outside the tunnel, or the transport is routed into its own tunnel.
    assert!(
        traffic::ping(traffic::INTERNET, EVENT_TIMEOUT).is_some(),
        "no answer from the host beyond the server"
    );
    traffic::assert_traffic();
    client.down("vpn");
    before.assert_restored(lab);
    assert!(traffic::ping(MPPE128, EVENT_TIMEOUT).is_some(), "no answer by the restored default route");
}

fn fixed_unit_and_address(lab: &Lab) {
    let before = Snapshot::take();
    let profile = Profile::new("vpn", MPPE128)
        .set("user", "\"fixeduser\"")
        .set("password.file", "\"/run/lab/secret/fixed\"")
        .set("unit", "7");
    let client = Client::new(lab, &[profile]);
    client.up("vpn");
    let status = client.status("vpn");
    assert_eq!((&status["tun"], &status["local"]), (&Value::from("tun7"), &Value::from("10.77.10.7")));
    assert_files(&status);
    assert!(traffic::ping(traffic::INSIDE, EVENT_TIMEOUT).is_some());
    client.down("vpn");
    before.assert_restored(lab);
}
