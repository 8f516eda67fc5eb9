//! Kills a process at each point in turn, in a few worlds at a time.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::{fs::MetadataExt, net::UnixStream},
    path::Path,
    process::{Command, Output},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use nix::{
    mount::{MsFlags, mount},
    sys::socket::{getsockopt, sockopt::PeerCredentials},
};
use pptpctl::testing::demo::config::ServerConfig;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::{
    host_state::{processes, snapshot},
    script::script,
    shown::assert_same,
    world::{PASSWORD, World, join_world, new_world, text},
};

/// Each tests a part of the points of one profile.
const WORLDS: u32 = 3;
/// File in which a process records the points that it passes.
const POINTS_FILE: &str = "/var/log/points";
/// Time limit for operations that take an instant on an idle machine.
const LIMIT: Duration = Duration::from_secs(30);
/// Poll interval.
const POLL_INTERVAL: Duration = Duration::from_millis(1);
/// Timeouts that even a busy machine does not exceed.
const LONG_TIMEOUTS: &str = "timeouts = { resolve = \"30s\", connect = \"30s\", control = \"30s\", call = \"30s\", gre = \"30s\", \
    lcp = \"30s\", auth = \"30s\", network = \"30s\", stop = \"500ms\" }\n";
const RESOLV_CONF: &str = "# by hand\nnameserver 192.0.2.2\nsearch lan.example\n";
const HOOK: &str = "#!/bin/sh\ncase $1 in\nup) ip -6 route show dev \"$IFNAME\" >/etc/hooked;;\ndown) rm -f /etc/hooked;;\nesac\n";

/// Results of the worlds of one profile.
#[derive(Default)]
struct Tally {
    /// How many points `up` and `down` have if no process is killed.
    totals: (usize, usize),
    /// The operation about to happen at each point where a process was killed.
    kills: BTreeMap<u32, String>,
}

/// Runs `up` and then `down`, with the supervisor (and before it runs, `up` itself) killed at each point in
/// turn.
pub fn kill_up_and_down_at_every_point(name: &'static str, profile: &str) {
    let tally = in_worlds(profile, move |host, point| {
        let up = host.world.command(&["up", "vpn"]).envs(kill_at(point)).output().unwrap();
        let down = up.status.success().then(|| host.world.run(&["down", "vpn"]));
        let printed = format!(
            "{name}: kill at point {point}: {}{}",
            printed_by(&up),
            down.as_ref().map(printed_by).unwrap_or_default()
        );
        (down.is_some_and(|down| down.status.success()), printed)
    });
    let (up, down) = tally.totals;
    assert_eq!(tally.kills.len(), up + down, "{name}: the number of kills is not the number of points");
    println!("{name}: killed at {up} points of up and at {down} of down");
}

/// Does the same, but kills the engine in between, and the tunnel comes back by itself.
pub fn kill_reconnect_at_every_point(name: &'static str, profile: &str) {
    let tally = in_worlds(profile, move |host, point| {
        let _none = fs::remove_file("/var/log/pptpctl/vpn.log");
        let up = host.world.command(&["up", "vpn"]).envs(kill_at(point)).output().unwrap();
        let mut printed = format!("{name}: kill at point {point}: {}", printed_by(&up));
        if !up.status.success() {
            return (false, printed);
        }
        host.world.shell(&format!("kill -9 {} || true", host.world.pid("engine_pid")));
        let status = || text(&host.world.run(&["status", "vpn", "--json"]).stdout);
        let has_reconnected =
            |status: &str| status.contains("\"reconnects\":1") && status.contains("\"state\":\"up\"");
        wait_for("the reconnect or the kill", || killed_at(point).is_some() || has_reconnected(&status()));
        let withdrew_routes = log().contains("retry.keep-routes = false: until");
        let down = host.world.run(&["down", "vpn"]);
        printed.push_str(&printed_by(&down));
        (down.status.success() && withdrew_routes, printed)
    });
    println!("{name}: killed at {} points of up, loss, return and down", tally.kills.len());
}

/// The device of a tunnel whose supervisor was killed. Its routes and addresses disappear with it, so that
/// `recover` need not delete them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// The engine has ended too, as it does at once.
    Gone,
    /// Another process has it open: the engine on a slow machine, or a process to which it passed the
    /// descriptor.
    Held,
}

/// Kills the supervisor of a tunnel, and then `recover` at each point in turn.
pub fn kill_recover_at_every_point(name: &'static str, device: Device, profile: &str) {
    let tally = in_worlds(profile, move |host, point| {
        let up = host.world.run(&["up", "vpn"]);
        assert!(up.status.success(), "{name}: {}\n{}", printed_by(&up), log());
        let held = (device == Device::Held).then(open_device);
        host.world.shell(&format!("kill -9 {}", host.world.pid("supervisor_pid")));
        host.wait_for_lock();
        host.wait_for_initial_processes("killed");
        let devices = host.world.shell("ip -o link show type tun; ip -n inner -o link show type tun");
        assert_eq!(devices.lines().count(), usize::from(held.is_some()), "{name}: {devices}");
        let recover = host.world.command(&["recover"]).envs(kill_at(point)).output().unwrap();
        let has_recovered = recover.status.success() && text(&recover.stdout).contains("undid ");
        (has_recovered, format!("{name}: kill of recover at point {point}: {}", printed_by(&recover)))
    });
    println!("{name}: killed at {} points of recover", tally.kills.len());
}

/// A world and its initial state.
struct TestHost<'a> {
    world: &'a World,
    before: String,
    initial_processes: Vec<String>,
}

impl TestHost<'_> {
    /// Runs `up` and `down` without a kill, which must not leave anything either. Returns how many points
    /// they have.
    fn run_unkilled(&self) -> (usize, usize) {
        forget_points();
        let up = self.world.command(&["up", "vpn"]).env("PPTPCTL_TEST_POINTS", POINTS_FILE).output().unwrap();
        assert!(up.status.success(), "{}\n{}", printed_by(&up), log());
        let of_up = points().len();
        let hooked = fs::read_to_string("/etc/hooked").expect("the hook has not run");
        let config = fs::read_to_string(World::CONFIG).unwrap();
        assert_eq!(
            hooked.contains("2001:db8:42::/48"),
            config.contains("2001:db8:42::/48"),
            "{hooked}{}",
            log()
        );
        let down = self.world.run(&["down", "vpn"]);
        assert!(down.status.success(), "{}\n{}", printed_by(&down), log());
        self.wait_for_initial_processes("down");
        assert_same(&self.before, &snapshot(), "after `up` and `down`");
        (of_up, points().len() - of_up)
    }

    /// Checks that a single run of `recover` undoes everything that a killed process left.
    #[track_caller]
    fn recover(&self, when: &str) {
        self.wait_for_lock();
        let output = self.world.run(&["recover"]);
        assert!(output.status.success(), "{when}: {}", printed_by(&output));
        let again = self.world.run(&["recover"]);
        assert_eq!(
            text(&again.stdout),
            "nothing to undo\n",
            "{when}: {}{}",
            printed_by(&output),
            printed_by(&again)
        );
        self.wait_for_initial_processes(when);
        assert_same(&self.before, &snapshot(), &format!("{when}{}", printed_by(&output)));
    }

    /// Waits until the lock is free: a killed process is reported before the kernel has closed all its files.
    #[track_caller]
    fn wait_for_lock(&self) {
        wait_for("release of the lock", || match File::open("/run/pptpctl/vpn.lock") {
            // A process that another test is starting may hold an inherited descriptor a little longer:
            // unlock explicitly instead of only closing.
            Ok(lock) => lock.try_lock().is_ok() && lock.unlock().is_ok(),
            Err(_) => true,
        });
    }

    #[track_caller]
    fn wait_for_initial_processes(&self, when: &str) {
        let mut now = Vec::new();
        let started = Instant::now();
        while started.elapsed() < LIMIT {
            now = processes();
            if now == self.initial_processes {
                return;
            }
            thread::sleep(POLL_INTERVAL);
        }
        panic!("{when}: processes are left: {now:#?}");
    }
}

/// Tests the points in some worlds until one is not reached: then the commands must have succeeded. `run`
/// returns whether they have, and their output.
fn in_worlds(
    profile: &str,
    run: impl Fn(&TestHost<'_>, u32) -> (bool, String) + Send + Sync + 'static,
) -> Tally {
    let tally = Arc::new(Mutex::new(Tally::default()));
    let run = Arc::new(run);
    let profile = format!("{profile}{LONG_TIMEOUTS}");
    let worlds: Vec<_> = (1..=WORLDS)
        .map(|first| {
            let (tally, run, profile) = (Arc::clone(&tally), Arc::clone(&run), profile.clone());
            let users = vec![("tester".to_owned(), PASSWORD.to_owned())];
            new_world(ServerConfig { users, ipv6: true, ..ServerConfig::default() }, move |world| {
                configure_host(world, &profile);
                let host = TestHost { world, before: snapshot(), initial_processes: processes() };
                let totals = host.run_unkilled();
                tally.lock().unwrap().totals = totals;
                for point in (first..).step_by(WORLDS as usize) {
                    forget_points();
                    let (is_done, printed) = run(&host, point);
                    let Some(passed) = killed_at(point) else {
                        assert!(is_done, "not killed, but failed: {printed}\n{}", log());
                        host.wait_for_initial_processes(&printed);
                        assert_same(&host.before, &snapshot(), &printed);
                        break;
                    };
                    host.recover(&format!("killed at \"{passed}\", {printed}"));
                    tally.lock().unwrap().kills.insert(point, passed);
                }
            })
        })
        .collect();
    worlds.into_iter().for_each(join_world);
    let tally = std::mem::take(&mut *tally.lock().unwrap());
    let last = *tally.kills.keys().last().expect("no process was killed");
    let missing: Vec<u32> = (1..=last).filter(|point| !tally.kills.contains_key(point)).collect();
    assert!(missing.is_empty(), "no process was killed at points {missing:?} of {last}");
    tally
}

/// Gives the host a state to preserve: two uplinks, a firewall, a resolver.
fn configure_host(world: &World, profile: &str) {
    private_etc();
    fs::write("/etc/resolv.conf", RESOLV_CONF).unwrap();
    script("/etc/pptpctl/hook", HOOK);
    fs::copy(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/examples/nftables.vpn"),
        "/etc/nftables.vpn",
    )
    .unwrap();
    world.shell(
        "set -e
         echo 1 >/proc/sys/net/ipv6/conf/default/addr_gen_mode
         echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
         echo 1 >/proc/sys/net/ipv4/ip_forward
         ip route add default via 192.0.2.1 dev eth0 proto dhcp src 192.0.2.2 metric 100
         ip link add up2 type veth peer name far2; ip link set far2 up; ip link set up2 up
         ip addr add 198.51.100.2/24 dev up2; ip addr add 2001:db8:2::2/64 dev up2 nodad
         ip route add default via 198.51.100.1 dev up2 metric 600
         ip -6 route add default via 2001:db8:2::1 dev up2 metric 2048
         ip rule add from 198.51.100.2 lookup 77 priority 20000
         nft add table inet theirs
         nft 'add chain inet theirs input { type filter hook input priority 10; }'
         nft add rule inet theirs input tcp dport 1 drop
         ip netns add inner; ip -n inner link set lo up
         ip netns exec inner nft add table ip theirs",
    );
    world.profile(profile);
    // eth0 and both ends of the other link. Until the kernel has checked their carrier they are neither up
    // nor down.
    wait_for("carrier of the links", || world.shell("ip -o link show up").matches(" state UP ").count() == 3);
    wait_for("the local route of the address", || {
        world.shell("ip -6 route show table local").contains("local 2001:db8:2::2 dev up2")
    });
    // The first tunnel creates the directories that stay.
    let (up, down) = (world.run(&["up", "vpn"]), world.run(&["down", "vpn"]));
    assert!(
        up.status.success() && down.status.success(),
        "{}{}\n{}",
        printed_by(&up),
        printed_by(&down),
        log()
    );
}

/// Mounts a private copy of /etc.
fn private_etc() {
    let none: Option<&str> = None;
    mount(Some("tmpfs"), "/mnt", Some("tmpfs"), MsFlags::empty(), Some("mode=0755")).unwrap();
    assert!(Command::new("cp").args(["-a", "/etc/.", "/mnt/"]).status().unwrap().success());
    mount(Some("/mnt"), "/etc", none, MsFlags::MS_MOVE, none).unwrap();
    // It may be a symbolic link to a file of the host.
    fs::remove_file("/etc/resolv.conf").unwrap();
}

/// Returns another descriptor of the tun device that the supervisor has open.
fn open_device() -> File {
    // This thread is in another pid namespace than the supervisor: the kernel translates the pid of a
    // socket's peer.
    let control = UnixStream::connect("/run/pptpctl/vpn.sock").unwrap();
    let supervisor = getsockopt(&control, PeerCredentials).unwrap().pid();
    let process = pidfd_open(Pid::from_raw(supervisor).unwrap(), PidfdFlags::empty()).unwrap();
    let node = fs::metadata("/dev/net/tun").unwrap().rdev();
    (0..256)
        .filter_map(|number| pidfd_getfd(&process, number, PidfdGetfdFlags::empty()).ok())
        .map(File::from)
        .find(|file| file.metadata().unwrap().rdev() == node)
        .expect("the supervisor has no tun device open")
}

fn kill_at(point: u32) -> [(&'static str, String); 2] {
    [("PPTPCTL_TEST_DIE_AT", point.to_string()), ("PPTPCTL_TEST_POINTS", POINTS_FILE.to_owned())]
}

/// Returns the operation about to happen at this point, if the point was reached.
fn killed_at(point: u32) -> Option<String> {
    points().into_iter().find_map(|line| line.strip_prefix(&format!("{point} ")).map(str::to_owned))
}

fn points() -> Vec<String> {
    fs::read_to_string(POINTS_FILE).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// Makes all rounds begin alike: creating the ledger directory, which stays on purpose, is one more point.
fn forget_points() {
    let _none = fs::remove_file(POINTS_FILE);
    let _none = fs::remove_dir("/var/lib/pptpctl");
}

fn printed_by(output: &Output) -> String {
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

fn log() -> String {
    fs::read_to_string("/var/log/pptpctl/vpn.log").unwrap_or_default()
}

#[track_caller]
fn wait_for(what: &str, happened: impl Fn() -> bool) {
    let started = Instant::now();
    while !happened() {
        assert!(started.elapsed() < LIMIT, "timeout: {what}");
        thread::sleep(POLL_INTERVAL);
    }
}
