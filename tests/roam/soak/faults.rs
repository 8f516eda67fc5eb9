//! The faults, and how long a tunnel may need afterwards.

use std::{path::Path, time::Duration};

use pptpctl::testing::demo::impairment::ImpairmentConfig;

use super::{Relay, SecondServer, Weather, World, split_mix};
use crate::world::text;

/// A machine that is busy with other work.
const BUSY: u64 = 10;
/// Four unanswered echoes at an interval of two seconds, and one more for a fraction of it.
const DEAD_PEER: u64 = 10;
/// The longest phase of a dial that began in bad weather, and the graceful exit of its engine.
const PHASE: u64 = 5 + 3 + 1;
/// The longest wait between two attempts, with its jitter.
const WAIT: u64 = 3;
/// The supervisor's question to its engine: the interval, and the time for the answer.
const WATCHDOG: u64 = 45 + 15;
/// The longest delay of a poll of the network, and a probe.
const POLL: u64 = 5 + 5;

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    Loss,
    Duplicates,
    Reordering,
    Delay,
    Corruption,
    Storm,
    ShortHole,
    LongHole,
    NoWayOut,
    NoWayIn,
    EngineKilledInStorm,
    ServerKilled,
    ServerAway,
    OtherUplink,
    UplinkFlaps,
    NextHopIsReplaced,
    DeviceDown,
    AddressesFlushed,
    DeviceRenamed,
    DeviceDeleted,
    RulesDeleted,
    EngineKilled,
    EngineStopped,
    SupervisorKilled,
}

/// Faults with their weight in a random choice.
const WEIGHTS: [(Fault, u64); 24] = [
    (Fault::Loss, 8),
    (Fault::Duplicates, 5),
    (Fault::Reordering, 5),
    (Fault::Delay, 5),
    (Fault::Corruption, 8),
    (Fault::Storm, 8),
    (Fault::ShortHole, 8),
    (Fault::LongHole, 3),
    (Fault::NoWayOut, 4),
    (Fault::NoWayIn, 4),
    (Fault::EngineKilledInStorm, 6),
    (Fault::ServerKilled, 6),
    (Fault::ServerAway, 4),
    (Fault::OtherUplink, 10),
    (Fault::UplinkFlaps, 5),
    (Fault::NextHopIsReplaced, 4),
    (Fault::DeviceDown, 5),
    (Fault::AddressesFlushed, 4),
    (Fault::DeviceRenamed, 4),
    (Fault::DeviceDeleted, 4),
    (Fault::RulesDeleted, 4),
    (Fault::EngineKilled, 6),
    (Fault::EngineStopped, 1),
    (Fault::SupervisorKilled, 5),
];

impl Fault {
    /// One of each kind, of those that take a second or two.
    pub const CHEAP: [Self; 8] = [
        Self::Storm,
        Self::Corruption,
        Self::ShortHole,
        Self::OtherUplink,
        Self::ServerKilled,
        Self::DeviceDown,
        Self::EngineKilled,
        Self::SupervisorKilled,
    ];

    /// Returns a random fault. Between an eighth and seven eighths of the time one supervisor stays, so that what it
    /// needs can be compared.
    pub fn draw(random: &mut u64, progress: f64) -> Self {
        let kept = |fault: Self| fault != Self::SupervisorKilled || !(0.125..0.875).contains(&progress);
        let possible = || WEIGHTS.into_iter().filter(|(fault, _)| kept(*fault));
        let mut place = split_mix(random) % possible().map(|(_, weight)| weight).sum::<u64>();
        for (fault, weight) in possible() {
            if place < weight {
                return fault;
            }
            place -= weight;
        }
        Self::Loss
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Loss => "packets lost",
            Self::Duplicates => "packets duplicated",
            Self::Reordering => "packets reordered",
            Self::Delay => "packets delayed",
            Self::Corruption => "packets corrupted",
            Self::Storm => "all of these",
            Self::ShortHole => "short black hole",
            Self::LongHole => "long black hole",
            Self::NoWayOut => "black hole to the server",
            Self::NoWayIn => "black hole to the host",
            Self::EngineKilledInStorm => "engine killed while packets are spoilt",
            Self::ServerKilled => "server restarted",
            Self::ServerAway => "server away",
            Self::OtherUplink => "another uplink and address",
            Self::UplinkFlaps => "uplink without carrier for a moment",
            Self::NextHopIsReplaced => "default route of another program",
            Self::DeviceDown => "tun device set down",
            Self::AddressesFlushed => "addresses flushed",
            Self::DeviceRenamed => "tun device renamed",
            Self::DeviceDeleted => "tun device deleted",
            Self::RulesDeleted => "rules deleted",
            Self::EngineKilled => "engine killed",
            Self::EngineStopped => "engine stopped",
            Self::SupervisorKilled => "supervisor killed, up again",
        }
    }

    /// Returns the time within which the tunnel carries packets again, from the end of the fault.
    pub const fn bound(self) -> Duration {
        let seconds = match self {
            // The loss may be noticed only now, and a dial may have to fail first.
            Self::Loss
            | Self::Duplicates
            | Self::Reordering
            | Self::Delay
            | Self::Corruption
            | Self::Storm
            | Self::ShortHole
            | Self::LongHole
            | Self::NoWayOut
            | Self::NoWayIn
            | Self::EngineKilledInStorm
            | Self::ServerKilled
            | Self::ServerAway => DEAD_PEER + PHASE + WAIT,
            Self::OtherUplink | Self::UplinkFlaps | Self::NextHopIsReplaced => POLL + PHASE + WAIT,
            Self::DeviceDown | Self::AddressesFlushed | Self::RulesDeleted => POLL,
            Self::DeviceRenamed | Self::DeviceDeleted => POLL + WAIT,
            Self::EngineKilled | Self::SupervisorKilled => WAIT,
            Self::EngineStopped => WATCHDOG + WAIT,
        };
        Duration::from_secs(seconds + BUSY)
    }
}

/// Where faults happen.
pub struct Stage<'a> {
    pub world: &'a World,
    pub relay: Relay,
    pub server: Option<SecondServer>,
    /// The uplink in use.
    pub uplink: u8,
    pub random: u64,
}

impl Stage<'_> {
    /// Causes a fault and, unless the tunnel is to overcome it by itself, ends it.
    #[track_caller]
    pub fn cause(&mut self, fault: Fault) {
        let clear = ImpairmentConfig::default();
        let path = |path: ImpairmentConfig| Weather { path, ..Weather::default() };
        let storm = Weather {
            path: ImpairmentConfig {
                loss: 100,
                duplicate: 100,
                reorder: 100,
                delay: 20_000,
                hold: 50_000,
                ..clear
            },
            corrupt: 50,
            ..Weather::default()
        };
        let hole = Weather { no_way_in: true, no_way_out: true, ..Weather::default() };
        match fault {
            Fault::Loss => {
                let loss = u16::try_from(100 + self.below(500)).unwrap();
                self.pass(3, path(ImpairmentConfig { loss, ..clear }));
            }
            Fault::Duplicates => self.pass(2, path(ImpairmentConfig { duplicate: 400, ..clear })),
            Fault::Reordering => {
                self.pass(2, path(ImpairmentConfig { reorder: 300, delay: 2_000, hold: 40_000, ..clear }));
            }
            Fault::Delay => {
                let delay = u32::try_from(100_000 + self.below(300_000)).unwrap();
                self.pass(3, path(ImpairmentConfig { delay, ..clear }));
            }
            Fault::Corruption => self.pass(3, Weather { corrupt: 200, ..Weather::default() }),
            Fault::Storm => self.pass(3, storm),
            Fault::ShortHole => self.pass(2, hole),
            Fault::LongHole => self.pass(14, hole),
            Fault::NoWayOut => self.pass(3, Weather { no_way_out: true, ..Weather::default() }),
            Fault::NoWayIn => self.pass(3, Weather { no_way_in: true, ..Weather::default() }),
            Fault::EngineKilledInStorm => {
                self.relay.set(storm);
                self.kill("engine_pid", "KILL");
                self.pass(3, storm);
            }
            Fault::ServerKilled => self.restart_server(0),
            Fault::ServerAway => self.restart_server(3),
            Fault::OtherUplink => self.move_to(3 - self.uplink),
            Fault::UplinkFlaps => {
                let uplink = self.uplink;
                self.world.laptop(&format!("ip link set up{uplink} down; sleep 0.5"));
                self.world.plug(uplink, 100);
            }
            Fault::NextHopIsReplaced => {
                let uplink = self.uplink;
                self.world.laptop(&format!(
                    "ip route replace default via 10.{uplink}.0.254 dev up{uplink} metric 100; sleep 1"
                ));
                self.world.plug(uplink, 100);
            }
            Fault::DeviceDown => self.change_device("ip link set $d down"),
            Fault::AddressesFlushed => self.change_device("ip addr flush dev $d"),
            Fault::DeviceRenamed => {
                self.change_device("ip link set $d down; ip link set $d name other; ip link set other up");
            }
            Fault::DeviceDeleted => self.change_device("ip link del $d"),
            Fault::RulesDeleted => {
                self.world.laptop(
                    "ip rule | cut -d: -f1 | while read n; do case $n in 0|32766|32767);; *) ip rule del pref $n;; esac; done",
                );
            }
            Fault::EngineKilled => self.kill("engine_pid", "KILL"),
            Fault::EngineStopped => self.kill("engine_pid", "STOP"),
            Fault::SupervisorKilled => {
                self.kill("supervisor_pid", "KILL");
                let output = self.world.run(&["up", "vpn"]);
                assert!(output.status.success(), "{}{}", text(&output.stderr), self.world.log());
            }
        }
    }

    /// Returns to the first uplink.
    pub fn go_home(&mut self) {
        if self.uplink != 1 {
            self.move_to(1);
        }
    }

    fn pass(&self, seconds: u64, weather: Weather) {
        self.relay.set(weather);
        std::thread::sleep(Duration::from_secs(seconds));
        self.relay.set(Weather::default());
    }

    fn restart_server(&mut self, pause: u64) {
        self.server = None;
        std::thread::sleep(Duration::from_secs(pause));
        self.server = Some(self.world.second_server());
    }

    fn move_to(&mut self, uplink: u8) {
        self.world.plug(uplink, 100);
        self.world.unplug(self.uplink);
        self.uplink = uplink;
    }

    fn change_device(&self, script: &str) {
        self.world.laptop(&format!("d=$(ip -o link show type tun | cut -d: -f2); {script}"));
    }

    #[track_caller]
    fn kill(&self, which: &str, signal: &str) {
        let pid = self.world.status()[which].as_u64().expect("no such process");
        self.world.laptop(&format!("kill -{signal} {pid}"));
        if signal == "KILL" {
            self.world.wait_for("its end", || !Path::new(&format!("/proc/{pid}")).exists());
        }
    }

    fn below(&mut self, limit: u64) -> u64 {
        split_mix(&mut self.random) % limit
    }
}
