//! A network namespace per test with one or two uplinks, and the profiles and facts that the tests share.

use std::{
    fs,
    net::Ipv4Addr,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use pptpctl::testing::{
    apply::{ApplyError, Changes, Directories, Host, RecoveredItem, recover, recover_keeping},
    plan::{self, Facts, Ipv6, Plan},
    platform::Platform,
    profile::{DefaultRoute, PasswordSource, Profile, Route as SplitRoute, Server},
    secret::Secret,
};

pub use crate::shown::ip;
use crate::shown::{assert_same, ip_batch, network_state};

pub const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
const LOCAL: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);

/// The default routes through the first uplink, and through the second.
const FIRST_DEFAULT_ROUTES: &str = "route add default via 192.0.2.1 dev up0 proto dhcp src 192.0.2.2 metric 100\n\
                     route add default via 2001:db8::1 dev up0 metric 1024\n";
const SECOND_DEFAULT_ROUTES: &str = "route add default via 198.51.100.1 dev up2 metric 600\n\
                      route add default via 2001:db8:2::1 dev up2 metric 2048\n";

pub fn profile() -> Profile {
    let server = Server {
        host: pptpctl::testing::profile::Host::Name("vpn.example.net".to_owned()),
        port: Server::PORT,
    };
    Profile::new("vpn".parse().unwrap(), server, "user", PasswordSource::Inline(Secret::from("secret")))
}

pub fn with_default(mode: DefaultRoute) -> Profile {
    Profile { default_route: Some(mode), ..profile() }
}

pub fn split(prefix: &str) -> SplitRoute {
    SplitRoute::to(prefix.parse().unwrap())
}

pub fn link_facts(facts: &mut Facts, session: &Changes) {
    facts.tun = session.tun().map(|tun| tun.name.clone());
    facts.mtu = Some(1400);
    facts.local = Some(LOCAL);
    facts.peer = Some(PEER);
    facts.ipv6 = Ipv6::from_identifiers(2, 1);
}

#[track_caller]
pub fn assert_none(errors: Vec<ApplyError>) {
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

/// A network namespace and directories for one test, which runs on its own thread.
pub struct Lab {
    pub directories: Directories,
    _dir: tempfile::TempDir,
}

impl Lab {
    pub fn run<T: Send>(test: impl FnOnce(&Lab) -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                enter_new_namespace();
                let dir = tempfile::tempdir().unwrap();
                let directories =
                    Directories { run: dir.path().join("run"), state: dir.path().join("state") };
                fs::create_dir(&directories.run).unwrap();
                test(&Lab { directories, _dir: dir })
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    pub fn one_uplink(&self) {
        uplink("up0", "192.0.2.2/24", "2001:db8::2/64");
        ip_batch(&[], FIRST_DEFAULT_ROUTES);
    }

    pub fn two_uplinks(&self) {
        let first = veth("up0", "192.0.2.2/24", "2001:db8::2/64");
        ip_batch(&[], &(first + &veth("up2", "198.51.100.2/24", "2001:db8:2::2/64")));
        settle();
        ip_batch(&[], &[FIRST_DEFAULT_ROUTES, SECOND_DEFAULT_ROUTES].concat());
    }

    pub fn session(&self, profile: &str) -> Changes {
        self.session_with(profile, Host::system().unwrap())
    }

    pub fn session_with(&self, profile: &str, host: Host) -> Changes {
        Changes::open(&self.directories, profile, host).unwrap()
    }

    pub fn network(&self, profile: &Profile) -> Plan {
        plan::network(profile, Platform::Linux, &self.directories.run)
    }

    /// Performs both plans as the supervisor does, and returns the resolved network plan.
    pub fn bring_up(&self, session: &mut Changes, profile: &Profile) -> Result<Plan, ApplyError> {
        self.bring_up_to(session, profile, SERVER)
    }

    pub fn bring_up_to(
        &self,
        session: &mut Changes,
        profile: &Profile,
        server: Ipv4Addr,
    ) -> Result<Plan, ApplyError> {
        let mut facts = session.facts(server, None)?;
        facts.outside = session.next_hops_outside(&profile.exclude);
        session.perform(&plan::transport(profile, Platform::Linux).resolve(&facts))?;
        link_facts(&mut facts, session);
        let network = self.network(profile).resolve(&facts);
        session.perform(&network)?;
        Ok(network)
    }

    pub fn recover(&self) {
        let recovery = recover(&self.directories, &mut Host::system().unwrap(), &|_| false);
        assert_none(recovery.errors);
        assert!(recovery.alive.is_empty());
        assert!(!self.directories.ledger("vpn").exists());
    }

    /// Undoes what a dead supervisor left of this profile, except its kill switch.
    pub fn recover_keeping(&self, profile: &str) -> RecoveredItem {
        let mut recovery =
            recover_keeping(&self.directories, &mut Host::system().unwrap(), &|_| false, Some(profile));
        assert_none(recovery.errors);
        recovery.recovered.pop().expect("no ledger")
    }

    /// Waits until a tun device whose descriptor was closed is gone: a child that another test forked may hold
    /// the descriptor until it executes its program.
    #[track_caller]
    pub fn wait_until_gone(&self, device: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while ip(&["-o", "link"]).contains(&format!(" {device}:")) {
            assert!(Instant::now() < deadline, "the device is not deleted");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn run_files(&self) -> Vec<String> {
        list(&self.directories.run)
    }

    #[track_caller]
    pub fn assert_state(&self, before: &str, when: &str) {
        assert_same(before, &self.state(), when);
    }

    /// Returns the state of everything that a plan can change.
    pub fn state(&self) -> String {
        settle();
        let mut text = network_state();
        text.push_str(&format!("nft: {}\n", nft(&["-j", "list", "ruleset"])));
        text.push_str(&format!("run: {:?}\n", self.run_files()));
        text
    }
}

/// Runs one ip(8) command per line; all must succeed.
#[track_caller]
pub fn ip_lines(lines: &str) {
    ip_batch(&[], lines);
}

pub fn enter_new_namespace() {
    if let Err(errno) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
        panic!("these tests make network namespaces and need root: run them as root (unshare: {errno})");
    }
    // No generated addresses and no duplicate address detection: the compared state must not change by
    // itself.
    fs::write("/proc/sys/net/ipv6/conf/default/addr_gen_mode", "1").unwrap();
    fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0").unwrap();
    ip(&["link", "set", "lo", "up"]);
}

/// Creates a veth pair whose far end represents the network.
pub fn uplink(name: &str, ipv4: &str, ipv6: &str) {
    ip_batch(&[], &veth(name, ipv4, ipv6));
    settle();
}

fn veth(name: &str, ipv4: &str, ipv6: &str) -> String {
    format!(
        "link add {name} type veth peer name {name}-far\nlink set {name}-far up\nlink set {name} up\n\
         addr add {ipv4} dev {name}\naddr add {ipv6} dev {name} nodad\n"
    )
}

/// Waits until every interface that is up is running and every IPv6 address has its local route, both of
/// which the kernel sets up asynchronously.
pub fn settle() {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let shown = ip_batch(&["-6", "-o"], "link show up\naddr\nroute show table local\n");
        let words = shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let mut addresses = words.filter_map(|words| match words.as_slice() {
            [_, _, "inet6", address, ..] => address.split('/').next().map(str::to_owned),
            _ => None,
        });
        let addressed = addresses.all(|address| shown.contains(&format!("local {address} dev")));
        if addressed && !shown.contains("LOWERLAYERDOWN") {
            return;
        }
        assert!(Instant::now() < deadline, "the interfaces and addresses do not become ready");
        std::thread::yield_now();
    }
}

#[track_caller]
pub fn nft(arguments: &[&str]) -> String {
    let output = Command::new("nft").args(arguments).output().expect("nft(8) of nftables is needed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "nft {}: {errors}", arguments.join(" "));
    String::from_utf8(output.stdout).unwrap()
}

pub fn list(dir: &Path) -> Vec<String> {
    let mut files: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            format!("{}={}", path.display(), fs::read_to_string(&path).unwrap_or_default())
        })
        .collect();
    files.sort();
    files
}
