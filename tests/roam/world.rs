//! A laptop with two uplinks, a router behind each, and a server that both lead to.
//!
//! ```text
//!  laptop                 r1                    core                    server
//!  up1 10.1.0.10 ── 10.1.0.1 lan|wan .2 ── .1 c1 │
//!                                                │ eth0 192.0.2.2 ── 192.0.2.1, office 192.168.77.1
//!  up2 10.2.0.10 ── 10.2.0.1 lan|wan .6 ── .5 c2 │
//!                         r2                    (the test's own thread)
//! ```
//!
//! The routers drop packets with the other network's source address (BCP 38), as providers do: a connection
//! does not survive a move by accident.

use std::{
    cell::Cell,
    fs,
    io::{BufRead, BufReader, Write},
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns},
};
use pptpctl::testing::demo::{
    config::ServerConfig,
    world::{self, Server},
};

/// Password of the user `tester`.
pub const PASSWORD: &str = "correct horse battery staple";
/// Address of the server.
pub const SERVER: [u8; 4] = [192, 0, 2, 1];
/// Address that only the tunnel leads to.
pub const OFFICE: [u8; 4] = [192, 168, 77, 1];
/// Time limit for everything here; an idle machine needs a tenth of it.
pub const LIMIT: Duration = Duration::from_secs(20);

/// Dialling an address without a host costs the `connect` timeout; a busy server is allowed more time.
const TIMEOUTS: &str = "timeouts = { resolve = \"10s\", connect = \"3s\", control = \"10s\", call = \"10s\", gre = \"10s\", \
     stop = \"1s\" }";

const NETWORK_SETUP: &str = "set -e
    echo 1 > /proc/sys/net/ipv4/ip_forward
    ip netns add laptop; ip -n laptop link set lo up
    for n in 1 2; do
        ip netns add r$n
        w=$((n * 4 - 3))
        ip link add c$n type veth peer name wan netns r$n
        ip addr add 203.0.113.$w/30 dev c$n; ip link set c$n up
        ip -n r$n addr add 203.0.113.$((w + 1))/30 dev wan; ip -n r$n link set wan up
        ip -n r$n route add default via 203.0.113.$w
        ip -n r$n link add lan type veth peer name up$n netns laptop
        ip -n r$n addr add 10.$n.0.1/24 dev lan; ip -n r$n link set lan up
        nsenter --net=/run/netns/r$n sh -c '
            echo 1 > /proc/sys/net/ipv4/ip_forward
            echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter; echo 1 > /proc/sys/net/ipv4/conf/lan/rp_filter'
        ip route add 10.$n.0.0/24 via 203.0.113.$((w + 1))
    done
    nsenter -t 1 -n ip route add default via 192.0.2.2";

pub struct World {
    _server: Server,
}

/// A restartable server on its own network behind the core.
pub struct SecondServer(Child);

/// Runs `test` in its own world, on a thread that leaves the host's namespaces for good.
pub fn in_world(test: impl FnOnce(&World) + Send + 'static) {
    let (jobs, job_queue) = mpsc::channel::<Job>();
    let world = thread::spawn(move || {
        JOBS.set(Some(jobs));
        if let Err((what, error)) = world::enter() {
            panic!("could not {what} ({error}): these tests make namespaces, run them as root");
        }
        let server = Server::start(Path::new(env!("CARGO_BIN_EXE_pptpctl")), &server_config())
            .expect("the demo server did not start");
        // The build directory may be accessible only to root.
        fs::write(World::PROGRAM, "").unwrap();
        bind(env!("CARGO_BIN_EXE_pptpctl"), World::PROGRAM);
        write_private("/run/test.password", &format!("{PASSWORD}\n"), 0o600);
        let world = World { _server: server };
        world.shell(NETWORK_SETUP);
        test(&world);
        JOBS.set(None);
    });
    while let Ok(job) = job_queue.recv() {
        thread::spawn(job);
    }
    if let Err(panic) = world.join() {
        std::panic::resume_unwind(panic);
    }
}

fn server_config() -> ServerConfig {
    ServerConfig { users: vec![("tester".to_owned(), PASSWORD.to_owned())], ..ServerConfig::default() }
}

pub fn bind(from: &str, to: &str) {
    let none: Option<&str> = None;
    mount(Some(from), to, none, MsFlags::MS_BIND, none).unwrap();
}

pub fn write_private(path: &str, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

impl World {
    pub const CONFIG: &'static str = "/run/test.toml";
    /// Executable by all users.
    pub const PROGRAM: &'static str = "/run/pptpctl-under-test";

    /// Writes the profile `vpn`; `extra` may set its own timeouts.
    pub fn profile(&self, server: &str, extra: &str) {
        let timeouts = if extra.contains("timeouts") { "" } else { TIMEOUTS };
        let text = format!(
            "[profile.vpn]\nserver = {server}\nuser = \"tester\"\nmppe = \"require-128\"\nloglevel = 2\n\
             password.file = \"/run/test.password\"\n{timeouts}\n{extra}\n"
        );
        write_private(Self::CONFIG, &text, 0o644);
    }

    /// Runs a shell script in the core of the network and returns its output.
    #[track_caller]
    pub fn shell(&self, script: &str) -> String {
        run(Command::new("sh").args(["-c", script]), script)
    }

    /// Runs a shell script on the laptop and returns its output.
    #[track_caller]
    pub fn laptop(&self, script: &str) -> String {
        run(&mut inside("laptop", &["sh", "-c", script]), script)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = inside("laptop", &[Self::PROGRAM, "--config", Self::CONFIG]);
        command.args(arguments);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Mounts a private copy of /etc.
    pub fn private_etc(&self) {
        self.shell(
            "set -e; mount -t tmpfs -o mode=0755 tmpfs /mnt; cp -a /etc/. /mnt/; mount --move /mnt /etc
             rm /etc/resolv.conf",
        );
    }

    /// Plugs an uplink in, as DHCP does: address and default route.
    pub fn plug(&self, uplink: u8, metric: u32) {
        self.laptop(&format!(
            "ip link set up{uplink} up && ip addr replace 10.{uplink}.0.10/24 dev up{uplink} && \
             ip route replace default via 10.{uplink}.0.1 dev up{uplink} metric {metric}"
        ));
    }

    /// Removes an uplink's network, as when a DHCP client releases it.
    pub fn unplug(&self, uplink: u8) {
        self.laptop(&format!("ip addr flush dev up{uplink}; ip link set up{uplink} down"));
    }

    /// Runs `up` and returns how long it took.
    #[track_caller]
    pub fn up(&self) -> Duration {
        let started = Instant::now();
        let output = self.run(&["up", "vpn"]);
        assert!(output.status.success(), "{}{}\n{}", text(&output.stdout), text(&output.stderr), self.log());
        started.elapsed()
    }

    #[track_caller]
    pub fn down(&self) {
        let output = self.run(&["down", "vpn"]);
        assert!(output.status.success(), "{}{}\n{}", text(&output.stdout), text(&output.stderr), self.log());
    }

    #[track_caller]
    pub fn status(&self) -> serde_json::Value {
        let output = self.run(&["status", "vpn", "--json"]);
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    #[track_caller]
    pub fn wait_state(&self, state: &str) {
        self.wait_for(state, || self.status()["state"] == state);
    }

    /// Waits for an event for up to [`LIMIT`].
    #[track_caller]
    pub fn wait_for(&self, what: &str, happened: impl FnMut() -> bool) {
        self.wait_within(LIMIT, what, happened);
    }

    /// The same with another limit.
    #[track_caller]
    pub fn wait_within(&self, limit: Duration, what: &str, mut happened: impl FnMut() -> bool) {
        let deadline = Instant::now() + limit;
        while !happened() {
            assert!(Instant::now() < deadline, "timeout: {what}\n{}\n{}", self.status(), self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Returns the CPU time of a process, in clock ticks.
    pub fn ticks(&self, pid: u64) -> u64 {
        let stat = self.laptop(&format!("cat /proc/{pid}/stat"));
        stat.split_whitespace().skip(13).take(2).map(|n| n.parse::<u64>().unwrap()).sum()
    }

    pub fn log(&self) -> String {
        fs::read_to_string("/var/log/pptpctl/vpn.log").unwrap_or_default()
    }

    /// Returns all IPv4 routes and rules of the laptop, sorted.
    pub fn routes(&self) -> Vec<String> {
        let text = self.laptop("ip -4 -d route show table all; ip -d rule");
        let mut lines: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
        lines.sort();
        lines
    }

    /// Starts or restarts a server at 198.51.100.1.
    pub fn second_server(&self) -> SecondServer {
        self.second_server_naming(&[])
    }

    /// The same with resolvers for its clients.
    pub fn second_server_naming(&self, dns: &[Ipv4Addr]) -> SecondServer {
        self.shell(
            "set -e; ip netns del s2 2>&- || true; ip link del c3 2>&- || true; ip netns add s2
             ip link add c3 type veth peer name wan netns s2
             ip addr add 203.0.113.9/30 dev c3; ip link set c3 up
             ip -n s2 addr add 203.0.113.10/30 dev wan; ip -n s2 link set wan up; ip -n s2 link set lo up
             ip -n s2 route add default via 203.0.113.9
             ip route add 198.51.100.0/24 via 203.0.113.10
             nsenter --net=/run/netns/s2 sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'",
        );
        let config = ServerConfig {
            address: [198, 51, 100, 1].into(),
            client: [198, 51, 100, 2].into(),
            dns: dns.to_vec(),
            ..server_config()
        };
        let mut child = inside("s2", &[Self::PROGRAM, pptpctl::testing::demo::server::ROLE])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = serde_json::to_vec(&config).unwrap();
        line.push(b'\n');
        child.stdin.as_mut().unwrap().write_all(&line).unwrap();
        let mut line_read = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line_read).unwrap();
        assert_eq!(line_read, "ready\n");
        // The server is in a namespace of its own, which has no name; its process identifies it.
        self.shell(
            "for p in /proc/[0-9]*; do
                 tr '\\0' ' ' < $p/cmdline | grep -q __serve && [ ${p#/proc/} != 1 ] && \
                     nsenter --net=$p/ns/net ip route add default via 198.51.100.2
             done; true",
        );
        SecondServer(child)
    }
}

impl Drop for SecondServer {
    fn drop(&mut self) {
        let _ended_by_itself = self.0.kill();
        let _status = self.0.wait();
    }
}

type Job = Box<dyn FnOnce() + Send>;

thread_local! {
    /// A process whose children will be in another pid namespace cannot create threads (clone(2)): the test's
    /// first thread creates them for the one in the world.
    static JOBS: Cell<Option<mpsc::Sender<Job>>> = const { Cell::new(None) };
}

/// Runs `work` on a thread in the laptop's network; the returned channel delivers its result.
pub fn thread_on_laptop<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> mpsc::Receiver<T> {
    thread_in(fs::File::open("/run/netns/laptop").unwrap(), work)
}

/// The same in another network namespace.
pub fn thread_in<T: Send + 'static>(
    namespace: fs::File,
    work: impl FnOnce() -> T + Send + 'static,
) -> mpsc::Receiver<T> {
    let (result, done) = mpsc::channel();
    let jobs = JOBS.take().expect("called in a world");
    let job = move || {
        setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
        let _disconnected = result.send(work());
    };
    jobs.send(Box::new(job)).unwrap();
    JOBS.set(Some(jobs));
    done
}

fn inside(namespace: &str, words: &[&str]) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{namespace}")).args(words).stdin(Stdio::null());
    command
}

#[track_caller]
fn run(command: &mut Command, what: &str) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{what}: {}", text(&output.stderr));
    text(&output.stdout)
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
