//! The two namespaces and the tunnels between them.

use std::{
    net::Ipv4Addr,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use pptpctl::testing::demo::{config::CLIENT_DEVICE, server::ROLE, world::Server};

use crate::{
    far_end::{PROGRAM, Running, at_far_end, prepare, processes, run, server_config, write_private},
    load, null, others,
};

/// The ends of the veth pair.
pub const NEAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
pub const FAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const CONFIG: &str = "/run/bench.toml";
const PASSWORD: &str = "/run/bench.password";
/// Limit for a tunnel to come up.
const LIMIT: Duration = Duration::from_secs(30);

/// A path between the two namespaces.
pub struct Tunnel {
    pub name: &'static str,
    /// The near end's device.
    pub device: String,
    /// The far end's address.
    pub far: Ipv4Addr,
    /// Processes of both ends.
    pub processes: Vec<u32>,
}

/// All tunnels.
pub struct World {
    pub tunnels: Vec<Tunnel>,
    /// The programs that are measured.
    pub versions: Vec<String>,
    _children: Vec<Running>,
    _server: Server,
}

impl World {
    /// Brings up the tunnels whose names `wanted` accepts.
    pub fn new(program: &Path, own: &Path, wanted: &dyn Fn(&str) -> bool) -> Self {
        prepare(program);
        let config = server_config();
        let server = Server::start(program, &config).unwrap();
        let (mut tunnels, mut children) = (Vec::new(), Vec::new());
        let mut versions = vec![format!("pptpctl: {}", program.display())];
        if wanted("veth") {
            let device = CLIENT_DEVICE.to_owned();
            tunnels.push(Tunnel { name: "veth", device, far: FAR, processes: Vec::new() });
        }
        for forwarder in null::ALL.iter().filter(|forwarder| wanted(forwarder.name)) {
            for end in ["far", "near"] {
                let child = Command::new(own).args(forwarder.arguments(end)).spawn().unwrap();
                children.push(Running(child));
            }
            let device = format!("tun{}", forwarder.unit);
            wait_for(&device, &device);
            let processes = processes(&forwarder.arguments("").join(" "));
            let [_, far] = forwarder.addresses();
            tunnels.push(Tunnel { name: forwarder.name, device, far, processes });
        }
        write_profiles();
        for (name, unit) in [("clear", 10), ("mppe", 11)] {
            if !wanted(name) {
                continue;
            }
            run(Command::new(PROGRAM).args(["--config", CONFIG, "up", name]).stdout(Stdio::null()));
            let mut processes = processes(&format!("pptpctl: engine {name}"));
            processes.extend(server_processes());
            tunnels.push(Tunnel { name, device: format!("tun{unit}"), far: config.inner, processes });
        }
        others::start_all(wanted, &mut tunnels, &mut children, &mut versions);
        for tunnel in &tunnels {
            load::wait_until_reachable(tunnel);
        }
        Self { tunnels, versions, _children: children, _server: server }
    }
}

fn write_profiles() {
    let mut text = String::new();
    for (name, unit, mppe) in [("clear", 10, "off"), ("mppe", 11, "require-128")] {
        // The routes are not used: sockets are bound to the device.
        text += &format!(
            "[profile.{name}]\nserver = \"{FAR}\"\nuser = \"bench\"\npassword.file = \"{PASSWORD}\"\n\
             auth = [\"mschapv2\"]\nmppe = \"{mppe}\"\nunit = {unit}\nroutes = [\"10.99.{unit}.0/24\"]\n"
        );
    }
    write_private(CONFIG, &text);
    write_private(PASSWORD, "bench\n");
}

fn server_processes() -> Vec<u32> {
    processes(ROLE)
}

/// Waits until the devices of both ends exist.
pub fn wait_for(near: &str, far: &str) {
    let exists = |device: &str| nix::net::if_::if_nametoindex(device).is_ok();
    let end = Instant::now() + LIMIT;
    while !(exists(near) && at_far_end(|| exists(far))) {
        assert!(Instant::now() < end, "no devices {near} and {far} within {LIMIT:?}");
        thread::sleep(Duration::from_millis(20));
    }
    // Its owner adds the address.
    thread::sleep(Duration::from_millis(300));
}

/// Starts a program that ends with the measurement.
pub fn start(command: &mut Command) -> Running {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    Running(child.unwrap_or_else(|error| panic!("{command:?}: {error}")))
}
