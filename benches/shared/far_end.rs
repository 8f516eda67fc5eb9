//! Namespaces of a measurement: the server's is the far end; programs that end with it.

use std::{
    fs,
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns},
};
use pptpctl::testing::{
    demo::{config::ServerConfig, server::ROLE},
    ppp::mppe::{Demand, Policy},
};

/// The program that is measured, at a path where all users may run it.
pub const PROGRAM: &str = "/run/program";

/// A process that ends with the measurement.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

/// Hides what the host keeps of its tunnels, and puts the program at [`PROGRAM`]: the build directory may be accessible to
/// root only.
pub fn prepare(program: &Path) {
    fs::set_permissions("/run", fs::Permissions::from_mode(0o755)).unwrap();
    for place in ["/var/lib", "/var/log"] {
        mount(Some("tmpfs"), place, Some("tmpfs"), MsFlags::empty(), Some("mode=0755")).unwrap();
    }
    fs::write(PROGRAM, "").unwrap();
    mount(Some(program), PROGRAM, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
}

/// Returns the configuration of the server: one user, with encryption or without. It names resolvers, as servers in use do:
/// without them it would reject these options, which costs a round trip.
pub fn server_config() -> ServerConfig {
    ServerConfig {
        users: vec![("bench".to_owned(), "bench".to_owned())],
        dns: vec![Ipv4Addr::new(10, 77, 0, 53); 2],
        mppe: Policy { demand: Demand::Allow, ..ServerConfig::default().mppe },
        ..ServerConfig::default()
    }
}

/// Writes a file that only root may read.
pub fn write_private(path: &str, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Returns the processes whose command line contains `words`.
pub fn processes(words: &str) -> Vec<u32> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).replace('\0', " ").contains(words)
        })
        .collect()
}

/// Returns the network namespace of the far end.
pub fn far_namespace() -> String {
    format!("/proc/{}/ns/net", processes(ROLE)[0])
}

/// Runs `work` in the far namespace.
pub fn at_far_end<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        scope
            .spawn(|| {
                setns(fs::File::open(far_namespace()).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
                work()
            })
            .join()
            .unwrap()
    })
}

pub fn ip(words: &str) {
    run(Command::new("ip").args(words.split(' ')));
}

pub fn run(command: &mut Command) {
    let status = command.stdin(Stdio::null()).status();
    assert!(status.as_ref().is_ok_and(std::process::ExitStatus::success), "{command:?}: {status:?}");
}
