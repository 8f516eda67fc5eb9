//! The steps of `pptpctl demo`: a server, `pptpctl up`, a ping, a page, `pptpctl status`, `pptpctl down`, a
//! final check.

use std::{
    fmt::Display,
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    net::Ipv4Addr,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

#[cfg(target_os = "linux")]
use super::world;
#[cfg(target_os = "freebsd")]
use super::world::jail;
use super::{Outcome, complain, config::ServerConfig, fetch, ping::ping, snapshot::Snapshot, world::Server};
#[cfg(target_os = "freebsd")]
use crate::net::kernel::Kernel;
use crate::net::tun;

/// The profile's file, on the demo's private run directory.
const CONFIG: &str = if cfg!(target_os = "linux") { "/run/demo.toml" } else { "/var/run/demo.toml" };
/// The password's file, beside it.
const PASSWORD: &str =
    if cfg!(target_os = "linux") { "/run/demo.password" } else { "/var/run/demo.password" };
/// Name of the profile.
const NAME: &str = "demo";
/// Limit for an answer through the tunnel.
const PATIENCE: Duration = Duration::from_secs(10);
/// Number of pings.
const PINGS: u16 = 3;

/// Advice for a root user with reduced privileges.
const IN_CONTAINER: &str = if cfg!(target_os = "linux") {
    "root in a container is often not allowed to: give it --privileged, or run it on the host"
} else {
    "root in a jail is often not allowed to: run it on the host"
};

/// The places of client and server, for the first line and for the first step.
const PLACES: [&str; 3] = if cfg!(target_os = "linux") {
    ["two throw-away network namespaces", "a network namespace of its own", "a veth pair"]
} else {
    ["two throw-away jails", "a jail of its own", "an epair"]
};

/// The next step of the user, in the last line.
const NEXT: &str = if cfg!(feature = "setup") {
    "`pptpctl init NAME`, as root, asks for server, user and password, writes the profile and connects"
} else {
    "write a profile (profiles.example.toml shows how), then `pptpctl check` and `pptpctl up NAME`"
};

/// Why a step failed.
enum Failed {
    /// The system does not permit it.
    Denied(String),
    /// It should have worked.
    Defect(String),
}

/// Runs the demo and prints its progress.
pub fn run() -> Outcome {
    if !nix::unistd::geteuid().is_root() {
        let program =
            std::env::current_exe().map_or_else(|_| "pptpctl".into(), |path| path.display().to_string());
        let [places, ..] = PLACES;
        complain(format_args!("it needs root, for {places} and a tunnel device:\n  sudo {program} demo"));
        return Outcome::NotRoot;
    }
    in_place()
}

/// Runs the demo in namespaces of the calling thread.
#[cfg(target_os = "linux")]
fn in_place() -> Outcome {
    match prepare() {
        Ok(()) => play(Path::new("/proc/self/exe")),
        Err((outcome, words)) => {
            complain(words);
            outcome
        }
    }
}

/// Runs the demo in a process in a jail.
#[cfg(target_os = "freebsd")]
fn in_place() -> Outcome {
    match jail::run() {
        Ok(status) => Outcome::of(status),
        Err(error) => {
            complain(format_args!("it could not start: {error}"));
            Outcome::Failed
        }
    }
}

/// Enters the jail that the keeper has made, and runs the demo.
#[cfg(target_os = "freebsd")]
pub fn inside() -> Outcome {
    let program = match jail::enter() {
        Ok(program) => program,
        Err(error) => {
            complain(format_args!("it could not enter its jail: {error}\n  {IN_CONTAINER}"));
            return Outcome::NoNamespaces;
        }
    };
    // Opening a device shows whether the jail may. FreeBSD 14.0 keeps a device that was closed, so it is deleted.
    let opened = tun::open(None).map(|tun| (tun.name.clone(), tun.index));
    let deleted =
        opened.map(|(name, index)| Kernel::open().and_then(|mut kernel| kernel.delete_link(&name, index)));
    if let Err(error) = deleted {
        complain(format_args!("{error}\n  {}", tun::REMEDY));
        return Outcome::NoTun;
    }
    play(&program)
}

/// Runs the demo with this program, in its namespaces or its jail.
fn play(program: &Path) -> Outcome {
    let started = Instant::now();
    let [places, ..] = PLACES;
    line(format_args!("pptpctl demo: a whole PPTP tunnel on this computer, between {places}."));
    line("Your own network, files and tunnels are not touched, and nothing is left when it ends.");
    match show(program) {
        Ok(()) => {
            line(format_args!(
                "\nThat was all, in {:.2} s. Your own tunnel:",
                started.elapsed().as_secs_f32()
            ));
            line(format_args!("  {NEXT}"));
            Outcome::Shown
        }
        Err(Failed::Denied(why)) => {
            complain(format_args!("this system does not allow it: {why}\n  {IN_CONTAINER}"));
            Outcome::NoNamespaces
        }
        Err(Failed::Defect(why)) => {
            complain(format_args!("it did not work: {why}\n  nothing is left of it; please report this"));
            Outcome::Failed
        }
    }
}

/// Checks the requirements, then enters the demo's namespaces.
#[cfg(target_os = "linux")]
fn prepare() -> Result<(), (Outcome, String)> {
    if !std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| has_nobody(&map)) {
        let words = format!(
            "this user namespace has no user nobody (65534), which the engine needs to give up root\n  {IN_CONTAINER}"
        );
        return Err((Outcome::NoNamespaces, words));
    }
    world::enter().map_err(|(what, error)| {
        (Outcome::NoNamespaces, format!("it could not {what}: {error}\n  {IN_CONTAINER}"))
    })?;
    // The device is created in the demo's namespace, not on the host.
    tun::open(None).map(drop).map_err(|error| (Outcome::NoTun, format!("{error}\n  {}", tun::REMEDY)))
}

#[cfg(target_os = "linux")]
/// Returns whether a user namespace maps user 65534, which the engine changes to.
fn has_nobody(uid_map: &str) -> bool {
    uid_map.lines().any(|line| {
        let mut fields = line.split_whitespace().map(|field| field.parse::<u64>().ok());
        match (fields.next().flatten(), fields.nth(1).flatten()) {
            (Some(first), Some(count)) => (first..first.saturating_add(count)).contains(&65_534),
            _ => false,
        }
    })
}

fn show(program: &Path) -> Result<(), Failed> {
    let orders = server_config()?;
    let [_, place, link] = PLACES;
    step(1, &format!("A server in {place}"));
    let server = Server::start(program, &orders).map_err(failed("the server"))?;
    let (address, client, office) = (orders.address, orders.client, orders.office);
    say(format_args!("the server is {address}, the client {client}, on {link}"));
    say(format_args!("it asks for MS-CHAPv2 and {}-bit MPPE; behind it is {office}", orders.mppe.min.bits()));
    write_profile(&orders).map_err(failed("the profile"))?;

    let before = Snapshot::take().map_err(failed("the state of the network"))?;
    step(2, "The tunnel, with a profile of eight lines");
    pptpctl(program, &["--config", CONFIG, "up", NAME])?;

    step(3, "A ping through it");
    let mut answers = Vec::new();
    for sequence in 1..=PINGS {
        let took = ping(office, sequence, PATIENCE).map_err(failed(&format!("no answer from {office}")))?;
        answers.push(format!("{:.2} ms", took.as_secs_f64() * 1e3));
    }
    say(format_args!("{office} answers after {}", answers.join(", ")));

    step(4, "A page through it");
    let page = fetch::page(office, PATIENCE).map_err(failed(&format!("no page from http://{office}/")))?;
    say(format_args!("http://{office}/ says: {}", page.trim_end()));

    step(5, "Its state");
    pptpctl(program, &["status", NAME])?;

    step(6, "Down again");
    pptpctl(program, &["down", NAME])?;

    step(7, "Is everything as before?");
    let after = Snapshot::take().map_err(failed("the state of the network"))?;
    if before != after {
        return Err(Failed::Defect(format!("this was before:\n{before}\nand this is after:\n{after}")));
    }
    say(format_args!("yes: {}", before.summary()));
    drop(server);
    Ok(())
}

/// Returns a valid server configuration with a random password.
fn server_config() -> Result<ServerConfig, Failed> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| Failed::Defect(format!("no random bytes: {error}")))?;
    let password = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let users = vec![("newcomer".to_owned(), password)];
    Ok(ServerConfig { users, host_name: "demo-server".to_owned(), ..ServerConfig::default() })
}

fn write_profile(orders: &ServerConfig) -> io::Result<()> {
    for (name, password) in &orders.users {
        private(PASSWORD)?.write_all(format!("{password}\n").as_bytes())?;
        let profile = format!(
            "[profile.{NAME}]\nserver = \"{}\"\nuser = \"{name}\"\npassword.file = \"{PASSWORD}\"\nauth = [\"mschapv2\"]\n\
             mppe = \"require-128\"\nroutes = [\"{}/24\"]\ntimeouts = {{ connect = \"10s\", control = \"10s\", call = \"10s\" }}\n",
            orders.address,
            network(orders.office),
        );
        private(CONFIG)?.write_all(profile.as_bytes())?;
    }
    Ok(())
}

fn private(path: &str) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

const fn network(host: Ipv4Addr) -> Ipv4Addr {
    let [a, b, c, _] = host.octets();
    Ipv4Addr::new(a, b, c, 0)
}

/// Runs this program as a user does and prints its output.
fn pptpctl(program: &Path, arguments: &[&str]) -> Result<(), Failed> {
    let shown = format!("pptpctl {}", arguments.join(" "));
    say(format_args!("$ {shown}"));
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed(&shown))?;
    if let Some(stdout) = child.stdout.take() {
        for text in BufReader::new(stdout).lines() {
            say(text.map_err(failed(&shown))?);
        }
    }
    let status = child.wait().map_err(failed(&shown))?;
    if status.success() { Ok(()) } else { Err(Failed::Defect(format!("`{shown}` ended with {status}"))) }
}

fn failed(what: &str) -> impl Fn(io::Error) -> Failed {
    let what = what.to_owned();
    move |error| {
        let words = format!("{what}: {error}");
        if error.kind() == io::ErrorKind::PermissionDenied {
            Failed::Denied(words)
        } else {
            Failed::Defect(words)
        }
    }
}

fn step(number: u8, title: &str) {
    line(format_args!("\n{number}. {title}"));
}

fn say(text: impl Display) {
    line(format_args!("   {text}"));
}

/// Prints a line; ignores errors, as the reader may have closed the pipe.
fn line(text: impl Display) {
    let _closed = writeln!(io::stdout().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detects_user_namespace_without_nobody() {
        assert!(has_nobody("         0          0 4294967295\n"), "no user namespace at all");
        assert!(has_nobody("0 1000 1\n1 100000 65536\n"), "a rootless container");
        assert!(!has_nobody("         0       1000          1\n"), "unshare -Ur");
        assert!(!has_nobody("") && !has_nobody("0 0"));
    }

    #[test]
    fn network_clears_last_octet() {
        assert_eq!(network(Ipv4Addr::new(192, 168, 77, 1)), Ipv4Addr::new(192, 168, 77, 0));
    }
}
