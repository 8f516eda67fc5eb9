//! Hundreds of faults in a row on one tunnel: a relay that spoils packets, servers that restart, networks and devices
//! that change, processes that are killed.
//!
//! After each fault the tunnel must carry packets again within the bound that follows from the documented timers; in
//! between nothing leaves in clear, memory and descriptors stay flat, and the host is as before at the end.
//! `contrib/extended soak` runs the long one. `SOAK_SEED` chooses the faults.

mod faults;
mod relay;
mod resources;

use std::{
    collections::BTreeMap,
    env, fs,
    time::{Duration, Instant},
};

use faults::{Fault, Stage};
use relay::{Relay, Weather};
use resources::Resources;

use crate::{
    default_route,
    witness::{Pings, UplinkCapture},
    world::{LIMIT, SecondServer, World, in_world, text},
};

/// Names resolvers, so that resolv.conf(5) is changed and restored as well.
const DNS: &str = "dns = { servers = [\"192.168.77.53\"], backend = \"file\" }";
const BY_HAND: &str = "# by hand\nnameserver 192.0.2.53\n";
/// Limits of the phases; [`faults::Fault::bound`] is computed from them.
const TIMEOUTS: &str = "timeouts = { resolve = \"10s\", connect = \"3s\", control = \"5s\", call = \"5s\", gre = \"5s\", \
     lcp = \"5s\", auth = \"5s\", network = \"5s\", stop = \"1s\" }\n\
     retry = { first = \"200ms\", max = \"2s\" }\n\
     ppp = { lcp-echo-interval = \"2s\", lcp-echo-failure = 4 }";

/// Each cheap fault once; for `SOAK_MINUTES`, if that is set (contrib/extended soak), random faults, `SOAK_PER_HOUR` in an
/// hour.
#[test]
fn tunnel_survives_faults() {
    if env::var_os("SOAK_MINUTES").is_none() {
        return run(Duration::ZERO, Duration::ZERO, Some(&Fault::CHEAP));
    }
    let pace = Duration::from_secs(3600) / u32::try_from(number("SOAK_PER_HOUR", 300)).unwrap();
    run(Duration::from_secs(60 * number("SOAK_MINUTES", 60)), pace, None);
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

/// Runs these faults once, or random ones for this time, one per `pace`.
fn run(length: Duration, pace: Duration, list: Option<&'static [Fault]>) {
    in_world(move |world| {
        world.private_etc();
        fs::write("/etc/resolv.conf", BY_HAND).unwrap();
        // Its addresses and flags after the first use.
        world.plug(2, 50);
        world.unplug(2);
        world.plug(1, 100);
        let seed = number("SOAK_SEED", 2637);
        let mut stage = Stage {
            world,
            relay: Relay::start(world, seed),
            server: Some(world.second_server()),
            uplink: 1,
            random: seed,
        };
        world.wait_for("the host's state settles", || {
            let state = host_state(world);
            std::thread::sleep(Duration::from_secs(2));
            state == host_state(world)
        });
        let before = host_state(world);
        world.profile(
            "\"198.51.100.1\"",
            &format!("{}\nleak = \"block\"\n{DNS}\n{TIMEOUTS}", default_route("policy")),
        );
        world.up();
        let (capture, pings) = (UplinkCapture::open(), Pings::start());
        pings.time_to_answer(Instant::now(), || world.log());
        let (started, mut report, mut resources) = (Instant::now(), Report::default(), Resources::default());
        let mut next = list.into_iter().flatten();
        loop {
            let progress = started.elapsed().as_secs_f64() / length.as_secs_f64();
            let fault = match list {
                Some(_) => match next.next() {
                    Some(fault) => *fault,
                    None => break,
                },
                None if progress >= 1.0 => break,
                None => Fault::draw(&mut stage.random, progress),
            };
            let (begun, engine) = (Instant::now(), world.status()["engine_pid"].clone());
            pings.forget();
            stage.cause(fault);
            let over = Instant::now();
            let took = recovered(world, &pings, over, fault, report.faults);
            let same = world.status()["engine_pid"] == engine;
            println!(
                "{:6.0} s: {}: carries again after {} ms{}",
                started.elapsed().as_secs_f64(),
                fault.name(),
                took.as_millis(),
                if same { "" } else { ", redialled" }
            );
            report.count(fault, took, same);
            let mut leaks = capture.take_in_clear();
            if fault == Fault::RulesDeleted {
                // Until they are restored the main table decides (pptpctl(8), CAVEATS).
                leaks.clear();
            }
            report.leaks.extend(leaks.iter().map(|packets| format!("{}: {packets}", fault.name())));
            // Supervisors are killed only before and after.
            if (1.0 / 8.0..7.0 / 8.0).contains(&progress) {
                resources.sample(world);
            }
            std::thread::sleep(pace.saturating_sub(begun.elapsed()));
        }
        report.print(started.elapsed());
        assert!(report.leaks.is_empty(), "packets left in clear: {:#?}", report.leaks);
        assert!(fs::read_to_string("/etc/resolv.conf").unwrap().contains("192.168.77.53"), "{}", world.log());
        capture.assert_only_tunnel_packets(&["up1", "up2"]);
        drop(pings);
        stage.go_home();
        world.down();
        println!("relay: {:?}", stage.relay.stop());
        drop(stage.server);
        resources.assert_flat();
        // IPv6 addresses of an uplink that was down are tentative for a moment.
        let deadline = Instant::now() + LIMIT;
        while host_state(world) != before && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(200));
        }
        let after = host_state(world);
        let only = |a: &str, b: &str| -> Vec<String> {
            a.lines().filter(|line| !b.lines().any(|other| other == *line)).map(str::to_owned).collect()
        };
        assert_eq!(only(&before, &after), only(&after, &before), "the host is not as before");
        assert_eq!(before, after);
    });
}

/// Waits until the tunnel is up and carries packets, and returns how long that took.
#[track_caller]
fn recovered(world: &World, pings: &Pings, over: Instant, fault: Fault, number: usize) -> Duration {
    let bound = fault.bound();
    let deadline = over + bound;
    loop {
        if let Some(took) = pings.answer_after(over)
            && world.status()["state"] == "up"
        {
            return took;
        }
        assert!(
            Instant::now() < deadline,
            "fault {number}, {}: no answer within {} s\n{}\n{}",
            fault.name(),
            bound.as_secs(),
            text(&world.run(&["status", "vpn"]).stdout),
            world
                .log()
                .lines()
                .rev()
                .take(150)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .collect::<Vec<_>>()
                .join("\n")
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Returns everything on the laptop that a tunnel can change.
fn host_state(world: &World) -> String {
    let mut state = world.laptop(
        "for f in -4 -6; do ip $f -d route show table all; ip $f -d rule; done; ip -d addr; ip -d link; nft list ruleset
         cat /proc/sys/net/ipv4/conf/*/rp_filter
         find /run /var/lib -type f ! -name '*.logins' | sort | xargs md5sum; cat /etc/resolv.conf",
    );
    // Lifetimes run; the relay and the profile belong to the test.
    state = state
        .lines()
        .filter(|line| !line.contains("valid_lft") && !line.contains("/run/test."))
        .collect::<Vec<_>>()
        .join("\n");
    state
}

/// Recovery times.
#[derive(Default)]
struct Report {
    faults: usize,
    redials: usize,
    /// What left in clear, by the fault after which it was seen.
    leaks: Vec<String>,
    times: BTreeMap<Fault, Vec<Duration>>,
}

impl Report {
    fn count(&mut self, fault: Fault, took: Duration, same_engine: bool) {
        self.faults += 1;
        self.redials += usize::from(!same_engine);
        self.times.entry(fault).or_default().push(took);
    }

    fn print(&self, took: Duration) {
        println!("{} faults in {} s, {} redials", self.faults, took.as_secs(), self.redials);
        println!("{:44} number  median ms  longest ms  bound ms", "fault");
        for (fault, times) in &self.times {
            let mut times = times.clone();
            times.sort();
            println!(
                "{:44} {:6}  {:9}  {:10}  {:8}",
                fault.name(),
                times.len(),
                times[times.len() / 2].as_millis(),
                times.last().unwrap().as_millis(),
                fault.bound().as_millis()
            );
        }
    }
}

/// Returns a random number (SplitMix64).
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
