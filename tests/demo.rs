//! `pptpctl demo` as a user runs it: that it works, and that it leaves nothing behind, however it ends.
//!
//! Needs root and /dev/net/tun, and fails without them. The "host" is a network namespace made by the test,
//! so that changes by other programs do not matter.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's helpers fail the test")]

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    sched::{CloneFlags, unshare},
    sys::signal::{Signal, kill},
    unistd::{Pid, pipe2},
};

/// Limit for a demo, and for the kernel to clean up.
const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn demo_succeeds_and_leaves_nothing() {
    let host = Host::new();
    let before = host.state();
    let started = Instant::now();
    let output = demo().output().unwrap();
    let took = started.elapsed();
    let (text, errors) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{text}\n{errors}");
    assert_eq!(errors, "", "standard error is not empty");
    for expected in [
        "1. A server in a network namespace of its own",
        "$ pptpctl --config /run/demo.toml up demo",
        "authentication  MS-CHAPv2, accepted by demo-server",
        "encryption      MPPE-128 stateless",
        "demo: up on tun0 after",
        "192.168.77.1 answers after",
        "says: Hello 10.77.0.100, you have come through the tunnel.",
        "$ pptpctl status demo",
        "security     authentication MS-CHAPv2, encryption MPPE-128 stateless",
        "demo: down",
        "yes: 2 interfaces",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing in\n{text}");
    }
    assert!(text.lines().last().unwrap().starts_with("  `pptpctl init NAME`"), "{text}");
    assert!(took < LIMIT, "{took:?}");
    host.assert_nothing_left(&before);
}

#[test]
fn interrupted_demo_leaves_nothing() {
    let host = Host::new();
    let before = host.state();
    for (moment, signal) in [
        ("1. A server", Signal::SIGINT),
        ("2. The tunnel", Signal::SIGTERM),
        ("connect ", Signal::SIGKILL),
        ("3. A ping", Signal::SIGINT),
        ("5. Its state", Signal::SIGKILL),
        ("6. Down again", Signal::SIGKILL),
    ] {
        let (mut child, mut stdout) = stepwise_demo();
        assert!(read_until(&mut stdout, moment), "the demo ended before {moment:?}");
        assert!(!processes().is_empty(), "the test finds no process of the demo");
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
        assert!(!child.wait().unwrap().success(), "{moment}: {signal}");
        host.assert_nothing_left(&before);
    }
}

#[test]
fn demo_continues_when_its_reader_exits() {
    let host = Host::new();
    let before = host.state();
    let (mut child, mut stdout) = stepwise_demo();
    assert!(read_until(&mut stdout, "1. A server"));
    drop(stdout);
    assert!(child.wait().unwrap().success());
    host.assert_nothing_left(&before);
}

#[test]
fn missing_requirements_are_reported() {
    let host = Host::new();
    let before = host.state();
    let mut as_nobody = demo();
    as_nobody.uid(65_534).gid(65_534);
    let output = as_nobody.output().unwrap();
    let (_, errors) = texts(&output);
    assert_eq!(output.status.code(), Some(4), "{errors}");
    assert!(errors.contains("it needs root, for ") && errors.contains("\n  sudo "), "{errors}");

    // Root in a new user namespace.
    let output = Command::new("unshare").args(["-Ur", &program(), "demo"]).output().unwrap();
    let (_, errors) = texts(&output);
    assert_eq!(output.status.code(), Some(7), "{errors}");
    assert!(errors.contains("user namespace"), "{errors}");

    // As in a container: root, but not permitted to make namespaces.
    let output = Command::new("setpriv")
        .args(["--bounding-set=-sys_admin", "--inh-caps=-sys_admin", &program(), "demo"])
        .output()
        .expect("setpriv(1) of util-linux is needed");
    let (_, errors) = texts(&output);
    assert_eq!(output.status.code(), Some(7), "{errors}");
    assert!(errors.contains("could not make namespaces") && errors.contains("container"), "{errors}");

    host.hide_tun();
    let output = demo().output().unwrap();
    let (_, errors) = texts(&output);
    assert_eq!(output.status.code(), Some(22), "{errors}");
    assert!(errors.contains("/dev/net/tun is missing") && errors.contains("modprobe tun"), "{errors}");
    assert!(fs::read_dir("/dev/net").unwrap().next().is_none(), "the demo created the device node");
    host.assert_nothing_left(&before);
}

fn demo() -> Command {
    // The test may have been started with SIGINT ignored, as a background job is; a child inherits that.
    let mut command = Command::new("env");
    command.args(["--default-signal", &program(), "demo"]).stdin(Stdio::null());
    command
}

/// Returns the path of a copy that every user may run.
fn program() -> String {
    Host::PROGRAM.to_owned()
}

/// Starts a demo that blocks after each line until the line is read.
fn stepwise_demo() -> (Child, BufReader<File>) {
    // Each line is a packet, and the pipe holds one (pipe(7)).
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC | OFlag::O_DIRECT).unwrap();
    fcntl(&writer, FcntlArg::F_SETPIPE_SZ(1)).unwrap();
    let child = demo().stdout(writer).stderr(Stdio::null()).spawn().unwrap();
    (child, BufReader::new(reader.into()))
}

/// Reads output up to a line that contains `word`.
fn read_until(stdout: &mut impl BufRead, word: &str) -> bool {
    stdout.lines().map_while(Result::ok).any(|line| line.contains(word))
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// The demo's host. Only one at a time, as each looks for processes of the same program.
struct Host {
    _lock: MutexGuard<'static, ()>,
}

impl Host {
    const PROGRAM: &'static str = "/run/pptpctl-under-test";

    fn new() -> Self {
        static LOCK: Mutex<()> = Mutex::new(());
        let lock = LOCK.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Err(errno) = unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS) {
            panic!("the demo makes network namespaces: run its tests as root (unshare: {errno})");
        }
        mount(&["--make-rprivate", "/"]);
        // Mounts by other programs below /run (namespaces of `ip netns`) could disappear at any time: remove
        // them now.
        let mounts = fs::read_to_string("/proc/thread-self/mounts").unwrap();
        let mount_points = mounts.lines().rev().filter_map(|mount| mount.split(' ').nth(1));
        for dir in mount_points.filter(|dir| dir.starts_with("/run/")) {
            let _gone_meanwhile = Command::new("umount").args(["--lazy", dir]).output().unwrap();
        }
        mount(&["-t", "tmpfs", "tmpfs", "/run"]);
        // The build directory may be readable by root only, and a separate file distinguishes this demo's
        // processes from those of other tests. The copy is made by another process: a child started meanwhile
        // would inherit a descriptor open for writing, and running the copy would fail (ETXTBSY).
        let copied = Command::new("cp").args([env!("CARGO_BIN_EXE_pptpctl"), Self::PROGRAM]).status();
        assert!(copied.unwrap().success(), "no copy of the program");
        Self { _lock: lock }
    }

    fn hide_tun(&self) {
        // Not with mount(8), which leaves a directory in /run.
        let none: Option<&str> = None;
        nix::mount::mount(Some("tmpfs"), "/dev/net", Some("tmpfs"), nix::mount::MsFlags::empty(), none)
            .unwrap();
    }

    fn state(&self) -> String {
        let mut text = String::new();
        for arguments in
            ["-d link", "addr", "route show table all", "-6 route show table all", "rule", "netns"]
        {
            let output = Command::new("ip").args(arguments.split(' ')).output().expect("ip(8) is needed");
            text.push_str(&String::from_utf8_lossy(&output.stdout));
        }
        let mounts = fs::read_to_string("/proc/thread-self/mounts").unwrap();
        // Except for the mount made by `hide_tun`.
        for mount in mounts.lines().filter(|mount| !mount.contains(" /dev/net ")) {
            text.push_str(&format!("{mount}\n"));
        }
        for dir in ["/run", "/var/lib/pptpctl", "/var/log/pptpctl", "/etc/pptpctl"] {
            let mut names: Vec<PathBuf> =
                fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
            names.sort();
            text.push_str(&format!("{dir}: {names:?}\n"));
        }
        text
    }

    #[track_caller]
    fn assert_nothing_left(&self, before: &str) {
        // A killed process takes a moment to disappear.
        let deadline = Instant::now() + LIMIT;
        while !processes().is_empty() {
            assert!(Instant::now() < deadline, "processes are left: {:?}", processes());
            std::thread::yield_now();
        }
        assert_eq!(before, self.state());
    }
}

fn mount(arguments: &[&str]) {
    assert!(Command::new("mount").args(arguments).status().unwrap().success(), "mount {arguments:?}");
}

/// Returns the command lines of all processes in /proc that run the copy of the program.
fn processes() -> Vec<String> {
    let file = |path: &Path| fs::metadata(path).ok().map(|facts| (facts.dev(), facts.ino()));
    let program = file(Path::new(Host::PROGRAM));
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| file(&entry.path().join("exe")) == program)
        .map(|entry| fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default().replace('\0', " "))
        .collect()
}
