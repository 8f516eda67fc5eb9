//! The namespaces, the server and its clients.

use std::{
    fs,
    io::Write,
    net::Ipv4Addr,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pptpctl::testing::demo::{config::ServerConfig, impairment::ImpairmentConfig, world::Server};

use crate::{
    far_end::{PROGRAM, Running, prepare, run, server_config, write_private},
    relay,
};

/// The server's address.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The far end of every tunnel.
pub const INNER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The far end of the relay's path, for measurements without a tunnel.
pub const PATH_FAR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// The near end's device of that path.
pub const PATH_DEVICE: &str = "tun90";
pub const CONFIG: &str = "/run/bench.toml";
const PASSWORD: &str = "/run/bench.password";
/// Limit for everything that is waited for.
pub const LIMIT: Duration = Duration::from_secs(60);

pub struct Lab {
    _server: Server,
}

impl Lab {
    /// Starts the server, with this program's `pptpctl` for the clients.
    pub fn new(program: &Path, own: &Path) -> Self {
        prepare(program);
        // A descriptor for each connection and each device.
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, most.min(8192), most).unwrap();
        let config = ServerConfig { addresses: 1000, ..server_config() };
        // This build's server, also for another build of the client.
        let server = Server::start(own, &config).unwrap();
        write_private(PASSWORD, "bench\n");
        Self { _server: server }
    }

    /// Puts the relay between client and server, with this impairment in each direction.
    pub fn relay(&self, each: ImpairmentConfig) -> Running {
        let own = std::env::current_exe().unwrap();
        let orders = serde_json::to_string(&each).unwrap();
        let mut command = Command::new(own);
        let child = command.args([relay::ROLE, &orders]).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let running = Running(child.unwrap());
        wait_until("the relay", || fs::exists(relay::READY).unwrap());
        fs::remove_file(relay::READY).unwrap();
        running
    }

    /// Writes the profiles: name, unit of the device, MPPE, and whether to start it with the others.
    pub fn profiles(&self, profiles: &[(String, u32, &str, bool)]) {
        let mut text = Vec::new();
        for (name, unit, mppe, autostart) in profiles {
            // The route is not used: sockets are bound to the device.
            let (high, low) = (unit / 250, unit % 250);
            write!(
                text,
                "[profile.{name}]\nserver = \"{SERVER}\"\nuser = \"bench\"\npassword.file = \"{PASSWORD}\"\n\
                 auth = [\"mschapv2\"]\nmppe = \"{mppe}\"\nunit = {unit}\nroutes = [\"10.{}.{low}.0/24\"]\n\
                 autostart = {autostart}\n",
                100 + high
            )
            .unwrap();
        }
        write_private(CONFIG, std::str::from_utf8(&text).unwrap());
    }

    /// Runs `pptpctl` with these arguments, and returns how long it took.
    pub fn run(&self, arguments: &[&str]) -> Duration {
        let begin = Instant::now();
        run(Command::new(PROGRAM).args(["--config", CONFIG]).args(arguments).stdout(Stdio::null()));
        begin.elapsed()
    }
}

pub fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !happened() {
        assert!(Instant::now() < end, "no {what} within {LIMIT:?}");
        thread::sleep(Duration::from_millis(5));
    }
}
