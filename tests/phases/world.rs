//! A client's namespaces with the demo server at the other end of the wire, and helpers to run pptpctl there.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    ops::{Deref, DerefMut},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::mount::{MsFlags, mount};
use pptpctl::testing::demo::{
    config::ServerConfig,
    world::{self, Server},
};
use sha1::{Digest, Sha1};

use crate::shown::{assert_same, ip, network_state};

/// The password of the user `tester`.
pub const PASSWORD: &str = "correct horse battery staple";

/// The time limit for events that take milliseconds on an idle machine.
pub const LIMIT: Duration = Duration::from_secs(60);
/// The polling interval of `wait_for`.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A client's namespaces and a server.
pub struct World {
    pub server_config: ServerConfig,
    _server: Server,
}

/// A child process of the test, killed and reaped on drop: a world ends only when all its processes have been
/// reaped, and only this process can reap its child.
pub struct Running(Option<Child>);

impl Running {
    pub fn wait_with_output(mut self) -> Output {
        self.0.take().expect("taken only here and in drop").wait_with_output().unwrap()
    }
}

impl Deref for Running {
    type Target = Child;

    fn deref(&self) -> &Child {
        self.0.as_ref().expect("the child is taken only at the end")
    }
}

impl DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Child {
        self.0.as_mut().expect("the child is taken only at the end")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ended_by_itself = child.kill();
            let _status = child.wait();
        }
    }
}

/// Runs `test` in a new world.
pub fn in_world(server_config: ServerConfig, test: impl FnOnce(&World) + Send + 'static) {
    join_world(new_world(server_config, test));
}

/// Starts `test` in a new world, on a new thread, as a thread cannot return to the host's namespaces.
pub fn new_world(
    server_config: ServerConfig,
    test: impl FnOnce(&World) + Send + 'static,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        if let Err((what, error)) = world::enter() {
            panic!("could not {what} ({error}): these tests make namespaces, run them as root");
        }
        let server = Server::start(Path::new(env!("CARGO_BIN_EXE_pptpctl")), &server_config)
            .expect("the demo server did not start");
        // The build directory may be accessible to root only.
        fs::write(World::PROGRAM, "").unwrap();
        let none: Option<&str> = None;
        mount(Some(env!("CARGO_BIN_EXE_pptpctl")), World::PROGRAM, none, MsFlags::MS_BIND, none).unwrap();
        fs::write("/run/test.password", format!("{PASSWORD}\n")).unwrap();
        fs::set_permissions("/run/test.password", fs::Permissions::from_mode(0o600)).unwrap();
        settle();
        test(&World { server_config, _server: server });
    })
}

pub fn join_world(world: thread::JoinHandle<()>) {
    if let Err(panic) = world.join() {
        std::panic::resume_unwind(panic);
    }
}

impl World {
    /// The profile file.
    pub const CONFIG: &'static str = "/run/test.toml";
    /// The program, at a path where all users may run it.
    pub const PROGRAM: &'static str = "/run/pptpctl-under-test";

    /// Writes the profile `vpn`; keys in `extra` replace the default ones.
    pub fn profile(&self, extra: &str) {
        let defaults = "server = \"192.0.2.1\"\nuser = \"tester\"\nmppe = \"require-128\"\nroutes = [\"192.168.77.0/24\"]\n\
             password.file = \"/run/test.password\"\nloglevel = 2\n"
            .to_owned()
            + &timeouts(&[]);
        let key = |line: &str| line.split(['=', '.']).next().unwrap_or_default().trim().to_owned();
        let replaced: Vec<String> = extra.lines().map(key).collect();
        let kept = defaults.lines().filter(|line| !replaced.contains(&key(line)));
        let text: String = std::iter::once("[profile.vpn]")
            .chain(kept)
            .chain(extra.lines())
            .map(|line| format!("{line}\n"))
            .collect();
        fs::write(Self::CONFIG, text).unwrap();
        fs::set_permissions(Self::CONFIG, fs::Permissions::from_mode(0o644)).unwrap();
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(Self::PROGRAM);
        command.args(["--config", Self::CONFIG]).args(arguments).stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Starts a process that ends with the test.
    #[track_caller]
    pub fn spawn(&self, command: &mut Command) -> Running {
        Running(Some(command.spawn().unwrap()))
    }

    /// Runs a shell script in this world, with the world's pids, and returns its standard output; it must
    /// succeed.
    #[track_caller]
    pub fn shell(&self, script: &str) -> String {
        let output = Command::new("sh").args(["-c", script]).output().unwrap();
        assert!(output.status.success(), "{script}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Returns a pid of the tunnel by its key in the status.
    #[track_caller]
    pub fn pid(&self, which: &str) -> u64 {
        let status = self.run(&["status", "vpn", "--json"]);
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        status.get(which).and_then(serde_json::Value::as_u64).expect("no pid in the status")
    }

    /// Polls until `happened` returns true, for at most [`LIMIT`].
    #[track_caller]
    pub fn wait_for(&self, mut happened: impl FnMut() -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !happened() {
            assert!(Instant::now() < deadline, "the condition does not hold within the limit");
            // Leaves the processor to the other processes.
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Returns a status that contains the engine's counters; `status` omits them if the engine does not
    /// answer in time.
    #[track_caller]
    pub fn status_with_counters(&self) -> serde_json::Value {
        let mut status = serde_json::Value::Null;
        self.wait_for(|| {
            status = serde_json::from_slice(&self.run(&["status", "vpn", "--json"]).stdout).unwrap();
            let counters = status.get("counters").and_then(serde_json::Value::as_object);
            counters.is_some_and(|counters| !counters.is_empty())
        });
        status
    }

    /// Checks that `up` fails with this exit status, phase and message within this number of seconds.
    #[track_caller]
    pub fn assert_up_fails(&self, code: i32, phase: &str, words: &[&str], seconds: f64) {
        let before = self.state();
        let started = Instant::now();
        let output = self.run(&["up", "vpn"]);
        let took = started.elapsed().as_secs_f64();
        let stderr = text(&output.stderr);
        // Shown when the test fails, and with --nocapture.
        println!("{}{stderr}exit status {code} after {took:.2} s", text(&output.stdout));
        assert_eq!(output.status.code(), Some(code), "{}\n{stderr}", text(&output.stdout));
        let in_phase =
            if phase.is_empty() { String::new() } else { format!("vpn: failed in phase {phase}:") };
        for word in words.iter().copied().chain([in_phase.as_str()]) {
            assert!(stderr.contains(word), "{word:?} is missing in\n{stderr}");
        }
        // Tolerance for a busy machine; a timeout other than the profile's is at least 10 s.
        assert!(took < seconds + 5.0, "`up` took {took} s:\n{stderr}");
        assert!(!stderr.contains(PASSWORD));
        let kind = stderr.split(": ").nth(1).unwrap_or_default();
        assert_eq!(stderr.matches(kind).count(), 1, "the message has {kind:?} twice:\n{stderr}");
        self.assert_state(&before);
        assert_eq!(self.run(&["status", "vpn"]).status.code(), Some(6), "the tunnel is not down");
    }

    #[track_caller]
    pub fn up(&self) {
        let output = self.run(&["up", "vpn"]);
        let log = || fs::read_to_string("/var/log/pptpctl/vpn.log").unwrap_or_default();
        print!("{}", text(&output.stdout));
        assert!(output.status.success(), "{}{}\n{}", text(&output.stdout), text(&output.stderr), log());
    }

    #[track_caller]
    pub fn down(&self, before: &str) {
        let output = self.run(&["down", "vpn"]);
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
        self.assert_state(before);
    }

    /// Returns the state of everything that a tunnel can change on its host.
    pub fn state(&self) -> String {
        let mut state = network_state();
        for path in ["/run", "/var/lib", "/etc/resolv.conf"] {
            files(Path::new(path), &mut state);
        }
        state
    }

    #[track_caller]
    pub fn assert_state(&self, before: &str) {
        assert_same(before, &self.state(), "at the end");
    }
}

/// Returns the timeouts of a profile: `short` for the phases under test, and 30 s for all others, which a
/// busy machine does not reach.
pub fn timeouts(short: &[(&str, &str)]) -> String {
    let limits: String = ["resolve", "connect", "control", "call", "gre", "lcp", "auth", "network"]
        .map(|phase| {
            let own = short.iter().find(|(name, _)| *name == phase);
            format!("{phase} = \"{}\", ", own.map_or("30s", |(_, limit)| limit))
        })
        .concat();
    format!("timeouts = {{ {limits}stop = \"500ms\" }}\n")
}

/// Appends every file below `path` with its content; empty directories are left out.
fn files(path: &Path, state: &mut String) {
    if !path.is_dir() {
        // The record of undecided log-ins outlives its supervisor on purpose.
        if path.extension().is_some_and(|extension| extension == "logins") {
            return;
        }
        if path != Path::new(World::PROGRAM) {
            state.push_str(&format!("{}={}\n", path.display(), fs::read_to_string(path).unwrap_or_default()));
        }
        return;
    }
    let mut entries: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries.iter().for_each(|entry| files(entry, state));
}

/// Waits until the operational state of the wire is up, which the kernel sets asynchronously.
fn settle() {
    let deadline = Instant::now() + LIMIT;
    while !ip(&["-j", "link", "show", pptpctl::testing::demo::config::CLIENT_DEVICE])
        .contains(r#""operstate":"UP""#)
    {
        assert!(Instant::now() < deadline, "the wire does not come up");
        thread::sleep(POLL_INTERVAL);
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
pub fn download(host: Ipv4Addr, size: usize) {
    let (head, body) = http(host, &format!("GET /file/{size} HTTP/1.1\r\n\r\n"), &[]);
    assert_eq!(body.len(), size, "{head}");
    assert!(head.contains(&format!("X-Sha1: {}\r\n", sha1(&body))), "{head}");
}

#[track_caller]
pub fn upload(host: Ipv4Addr, size: usize) {
    let body: Vec<u8> = (0..=250).cycle().zip(3_u8..=201).map(|(a, b)| a ^ b).cycle().take(size).collect();
    let (head, digest) = http(host, &format!("PUT /x HTTP/1.1\r\nContent-Length: {size}\r\n\r\n"), &body);
    assert_eq!(text(&digest), sha1(&body), "{head}");
}

#[track_caller]
fn http(host: Ipv4Addr, head: &str, body: &[u8]) -> (String, Vec<u8>) {
    let limit = Duration::from_secs(60);
    let mut stream = TcpStream::connect_timeout(&(host, 80).into(), limit).unwrap();
    stream.set_read_timeout(Some(limit)).unwrap();
    stream.set_write_timeout(Some(limit)).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("no HTTP header") + 4;
    let body = answer.split_off(end);
    (text(&answer), body)
}

fn sha1(bytes: &[u8]) -> String {
    Sha1::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
