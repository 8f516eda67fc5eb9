//! A client with one resolver in its own network and another behind the tunnel, and helpers to query them.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use nix::mount::{MsFlags, mount};
use pptpctl::testing::demo::config::ServerConfig;

pub use crate::script::script;
use crate::{
    responder::{Responder, ThreadStarter},
    world::{PASSWORD, Running, World, in_world, text},
};

/// The resolver of the client's own network.
pub const NEAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// The resolver behind the tunnel.
pub const FAR: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
/// The address of `who.example` from the near resolver.
pub const NEAR_ANSWER: &str = "192.0.2.66";
/// The address of `who.example` from the far resolver.
pub const FAR_ANSWER: &str = "192.168.77.66";
/// The contents of /etc/resolv.conf before any tunnel.
pub const RESOLV_CONF: &str =
    "# by hand\nnameserver 192.0.2.2\nsearch lan.example\noptions timeout:10 attempts:1\n";

pub struct ResolverWorld<'a> {
    pub world: &'a World,
    pub near: Responder,
    pub far: Responder,
}

/// Runs a test in a world with a private /etc and two resolvers that give different answers.
pub fn in_resolver_world(test: impl FnOnce(&ResolverWorld<'_>) + Send + 'static) {
    let users = vec![("tester".to_owned(), PASSWORD.to_owned())];
    in_resolver_world_with(ServerConfig { users, dns: vec![FAR], ..ServerConfig::default() }, test);
}

/// Like [`in_resolver_world`], with another server; the far resolver is the first of the server's `dns`.
pub fn in_resolver_world_with(
    server_config: ServerConfig,
    test: impl FnOnce(&ResolverWorld<'_>) + Send + 'static,
) {
    let starter = ThreadStarter::new();
    in_world(server_config, move |world| {
        private_etc();
        fs::write("/etc/resolv.conf", RESOLV_CONF).unwrap();
        let names = [
            ("who.example", NEAR_ANSWER.parse().unwrap()),
            ("vpn.example", Ipv4Addr::new(192, 0, 2, 1)),
            ("vpn-gateway.net", Ipv4Addr::new(192, 0, 2, 1)),
            ("near.example", Ipv4Addr::new(192, 0, 2, 67)),
            ("blocked.example", Ipv4Addr::UNSPECIFIED),
            ("loop.example", Ipv4Addr::new(127, 0, 0, 9)),
        ];
        // This thread is outside the world's PID namespace and not in its /proc; a child of it is.
        let mut neighbour = world.spawn(Command::new("cat").stdin(Stdio::piped()));
        let input = neighbour.stdin.take();
        let netns = format!("/proc/{}/ns/net", world.shell("pgrep -n -x cat").trim());
        let near = Responder::start(&starter, &netns, NEAR, &names);
        drop((input, neighbour));
        let names = [
            ("who.example", FAR_ANSWER.parse().unwrap()),
            ("host.corp.example", Ipv4Addr::new(192, 168, 77, 9)),
        ];
        let far = Responder::start(&starter, "/proc/1/ns/net", world.server_config.dns[0], &names);
        test(&ResolverWorld { world, near, far });
    });
}

/// Mounts a private copy of /etc that the test may change.
pub fn private_etc() {
    let none: Option<&str> = None;
    mount(Some("tmpfs"), "/mnt", Some("tmpfs"), MsFlags::empty(), Some("mode=0755")).unwrap();
    let copied = Command::new("cp").args(["-a", "/etc/.", "/mnt/"]).status().unwrap();
    assert!(copied.success());
    mount(Some("/mnt"), "/etc", none, MsFlags::MS_MOVE, none).unwrap();
    fs::remove_file("/etc/resolv.conf").unwrap();
    // The C library queries DNS directly, without caches or other sources.
    fs::write("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n").unwrap();
}

impl ResolverWorld<'_> {
    /// Resolves a name as programs on this host do; `None` if it has no address.
    pub fn resolve(&self, name: &str) -> Option<String> {
        let output = Command::new("getent").args(["ahostsv4", name]).output().unwrap();
        text(&output.stdout).split_whitespace().next().map(str::to_owned)
    }

    #[track_caller]
    pub fn assert_resolves(&self, name: &str, expected: &str) {
        assert_eq!(self.resolve(name).as_deref(), Some(expected), "{name}: {}", resolv_conf());
    }

    pub fn status(&self) -> serde_json::Value {
        let output = self.world.run(&["status", "vpn", "--json"]);
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub fn log(&self) -> String {
        fs::read_to_string("/var/log/pptpctl/vpn.log").unwrap_or_default()
    }

    /// Kills the supervisor and its engine, and waits until the device is gone.
    pub fn kill_both(&self) {
        self.world.shell(&format!("kill -9 {} {}", self.pid("supervisor_pid"), self.pid("engine_pid")));
        self.world.wait_for(|| !self.world.shell("ip -o link").contains("tun"));
        // Waits until the lock is released.
        self.world.wait_for(|| self.world.run(&["status", "vpn"]).status.code() == Some(6));
    }

    pub fn pid(&self, which: &str) -> u64 {
        self.status().get(which).and_then(serde_json::Value::as_u64).expect("no pid in the status")
    }

    pub fn spawn(&self, command: &mut Command) -> Running {
        self.world.spawn(command)
    }
}

pub fn resolv_conf() -> String {
    fs::read_to_string("/etc/resolv.conf").unwrap_or_default()
}

/// Returns the directory into which the packages are unpacked.
pub fn packages() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/netns_dns/packages");
        let output = Command::new(script).output().unwrap();
        assert!(output.status.success(), "no packages: {}", text(&output.stderr));
        text(&output.stdout).trim().into()
    })
}

/// Mounts packages over /usr and copies their /etc, as if they were installed, without running their scripts.
pub fn install(names: &[&str]) {
    let dir = packages();
    let layers: Vec<String> = names
        .iter()
        .map(|name| dir.join(name).join("usr").display().to_string())
        .chain(["/usr".to_owned()])
        .collect();
    let options = format!("lowerdir={}", layers.join(":"));
    mount(Some("overlay"), "/usr", Some("overlay"), MsFlags::empty(), Some(options.as_str())).unwrap();
    for name in names {
        let etc = dir.join(name).join("etc");
        if etc.exists() {
            let copied = Command::new("cp").arg("-a").arg(etc.join(".")).arg("/etc/").status().unwrap();
            assert!(copied.success());
        }
    }
}
