//! A lost tunnel reconnects, except after failures where a retry would do harm.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{
    capture::Capture,
    client::{Client, Profile, is_alive, pid},
    host_state::Snapshot,
    lab::{EVENT_TIMEOUT, Lab, wait_for},
    runner::{Case, report},
    sessions::MPPE128,
    traffic,
};

pub const CASES: &[Case] = &[
    ("reconnects::call_ended_by_server_is_redialled", |lab| {
        assert_reconnects(lab, vpn(MPPE128), |lab| lab.server("drop", "mppe128"))
    }),
    ("reconnects::server_restart_is_survived", |lab| {
        assert_reconnects(lab, vpn(MPPE128), |lab| {
            lab.server("stop", "mppe128");
            lab.server("start", "mppe128");
        });
    }),
    ("reconnects::server_crash_is_survived", |lab| {
        assert_reconnects(lab, vpn(MPPE128), |lab| {
            lab.server("kill", "mppe128");
            lab.server("start", "mppe128");
        });
    }),
    ("reconnects::dead_line_is_detected", |lab| {
        let profile =
            vpn("198.51.100.19").set("ppp.lcp-echo-interval", "\"1s\"").set("ppp.lcp-echo-failure", "3");
        assert_reconnects(lab, profile, |lab| {
            let _dead = lab.unplugged("198.51.100.19");
            let client = Client::with_written_profiles(lab);
            let detected =
                wait_for(EVENT_TIMEOUT, || client.try_status("vpn").filter(|status| status["state"] != "up"));
            assert!(detected.is_some(), "the dead line is not detected");
        });
    }),
    ("reconnects::changed_password_stops_redialling", password_has_changed),
    ("reconnects::attempts_are_counted_and_spaced", attempts_are_spaced),
    ("reconnects::down_while_waiting", down_while_waiting),
];

pub fn vpn(server: &str) -> Profile {
    Profile::new("vpn", server).set("retry.first", "\"200ms\"").set("timeouts.stop", "\"1s\"")
}

/// Checks that after `break_it` the same supervisor reconnects.
fn assert_reconnects(lab: &Lab, profile: Profile, break_it: fn(&Lab)) {
    let before = Snapshot::take();
    let client = Client::new(lab, &[profile]);
    let capture = Capture::start(lab);
    client.up("vpn");
    assert!(traffic::ping(traffic::INSIDE, EVENT_TIMEOUT).is_some());
    let during = Snapshot::take();
    let first = client.status("vpn");
    break_it(lab);
    let broken = Instant::now();
    let reconnected = wait_for_reconnect(&client, &first);
    assert_eq!(
        pid(&reconnected, "supervisor_pid"),
        pid(&first, "supervisor_pid"),
        "the supervisor was replaced"
    );
    assert!(
        traffic::ping(traffic::INSIDE, EVENT_TIMEOUT).is_some(),
        "the tunnel is up but carries no packets"
    );
    let case = lab.case_dir().file_name().unwrap().to_string_lossy().into_owned();
    report(format_args!("{case}: carries packets again after {:.1?}", broken.elapsed()));
    let changed = during.differences(&Snapshot::take());
    // The tunnel's address may change; anything else may not.
    let address_only =
        changed.lines().filter(|line| line.starts_with("    ")).all(|line| line.contains("10.77."));
    assert!(address_only, "the host's state has changed after the reconnect:\n{changed}");
    client.down("vpn");
    before.assert_restored(lab);
    let wire = capture.finish();
    wire.assert_clean();
    assert_eq!(wire.clear, 0, "packets left in clear during the reconnect");
}

pub fn wait_for_reconnect(client: &Client, first: &Value) -> Value {
    let reconnected = wait_for(EVENT_TIMEOUT, || {
        client.try_status("vpn").filter(|status| {
            status["state"] == "up" && status["reconnects"].as_u64() > first["reconnects"].as_u64()
        })
    });
    reconnected.unwrap_or_else(|| panic!("the tunnel does not reconnect: {:?}", client.try_status("vpn")))
}

fn password_has_changed(lab: &Lab) {
    let before = Snapshot::take();
    let client = Client::new(lab, &[vpn(MPPE128)]);
    let capture = Capture::start(lab);
    client.up("vpn");
    let supervisor = pid(&client.status("vpn"), "supervisor_pid");
    lab.guest("sed -i.bak 's/^labuser .*/labuser * changed */' /etc/ppp/chap-secrets");
    lab.server("drop", "mppe128");
    let ended = wait_for(EVENT_TIMEOUT, || (!is_alive(supervisor)).then_some(()));
    lab.guest("mv /etc/ppp/chap-secrets.bak /etc/ppp/chap-secrets");
    assert!(
        ended.is_some(),
        "the supervisor retries with a refused password: {:?}",
        client.try_status("vpn")
    );
    assert_eq!(capture.finish().attempts, 2, "one session, and one refusal");
    before.assert_restored(lab);
}

fn attempts_are_spaced(lab: &Lab) {
    let before = Snapshot::take();
    let profile = vpn(MPPE128).set("retry.attempts", "3").set("retry.jitter", "\"0%\"");
    let client = Client::new(lab, &[profile]);
    client.up("vpn");
    let supervisor = pid(&client.status("vpn"), "supervisor_pid");
    let killed = Instant::now();
    lab.server("kill", "mppe128");
    let ended = wait_for(EVENT_TIMEOUT, || (!is_alive(supervisor)).then_some(killed.elapsed()));
    lab.server("start", "mppe128");
    let took =
        ended.unwrap_or_else(|| panic!("the supervisor does not give up: {:?}", client.try_status("vpn")));
    // 200, 400 and 800 ms.
    assert!(took > Duration::from_millis(1300), "the supervisor gave up too early, after {took:?}");
    before.assert_restored(lab);
}

fn down_while_waiting(lab: &Lab) {
    let before = Snapshot::take();
    let client = Client::new(lab, &[vpn(MPPE128).set("retry.first", "\"10m\"")]);
    client.up("vpn");
    lab.server("kill", "mppe128");
    client.wait_state("vpn", "waiting");
    lab.server("start", "mppe128");
    // Must end long before the next attempt.
    client.down("vpn");
    before.assert_restored(lab);
}
