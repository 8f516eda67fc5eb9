//! The steps of `pptpctl demo`: a server, `pptpctl up`, a ping, a page, `pptpctl status`, `pptpctl down`, a
//! final check.

use std::{
    fmt::{self, Display},
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    net::Ipv4Addr,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{
    Outcome,
    config::ServerConfig,
    fetch,
    ping::ping,
    world::{self, Server},
};
use crate::net::{netlink::Netlink, routes::Filter, tun};

/// The profile's file, on the demo's private /run.
const CONFIG: &str = "/run/demo.toml";
/// The password's file, beside it.
const PASSWORD: &str = "/run/demo.password";
/// Name of the profile.
const NAME: &str = "demo";
/// Limit for an answer through the tunnel.
const PATIENCE: Duration = Duration::from_secs(10);
/// Number of pings.
const PINGS: u16 = 3;

/// Advice for a root user with reduced privileges.
const IN_CONTAINER: &str =
    "root in a container is often not allowed to: give it --privileged, or run it on the host";

/// Why a step failed.
enum Failed {
    /// The system does not permit it.
    Denied(String),
    /// It should have worked.
    Defect(String),
}

/// Runs the demo and prints its progress.
pub fn run() -> Outcome {
    let started = Instant::now();
    if let Err((outcome, words)) = prepare() {
        complain(words);
        return outcome;
    }
    line("pptpctl demo: a whole PPTP tunnel on this computer, between two throw-away network namespaces.");
    line("Your own network, files and tunnels are not touched, and nothing is left when it ends.");
    match show() {
        Ok(()) => {
            line(format_args!(
                "\nThat was all, in {:.2} s. Your own tunnel:",
                started.elapsed().as_secs_f32()
            ));
            line(
                "  write a profile (profiles.example.toml shows how), then `pptpctl check` and `pptpctl up NAME`",
            );
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
fn prepare() -> Result<(), (Outcome, String)> {
    if !nix::unistd::geteuid().is_root() {
        let program =
            std::env::current_exe().map_or_else(|_| "pptpctl".into(), |path| path.display().to_string());
        let words = format!(
            "it creates network namespaces and a tunnel device, which requires root: sudo {program} demo"
        );
        return Err((Outcome::NotRoot, words));
    }
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
    tun::open(None).map(drop).map_err(|error| (Outcome::NoTun, error.to_string()))
}

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

fn show() -> Result<(), Failed> {
    let orders = server_config()?;
    step(1, "A server in a network namespace of its own");
    let server = Server::start(Path::new("/proc/self/exe"), &orders).map_err(failed("the server"))?;
    let (address, client, office) = (orders.address, orders.client, orders.office);
    say(format_args!("the server is {address}, the client {client}, on a veth pair"));
    say(format_args!("it asks for MS-CHAPv2 and {}-bit MPPE; behind it is {office}", orders.mppe.min.bits()));
    write_profile(&orders).map_err(failed("the profile"))?;

    let before = Snapshot::take()?;
    step(2, "The tunnel, with a profile of eight lines");
    pptpctl(&["--config", CONFIG, "up", NAME])?;

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
    pptpctl(&["status", NAME])?;

    step(6, "Down again");
    pptpctl(&["down", NAME])?;

    step(7, "Is everything as before?");
    let after = Snapshot::take()?;
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
fn pptpctl(arguments: &[&str]) -> Result<(), Failed> {
    let shown = format!("pptpctl {}", arguments.join(" "));
    say(format_args!("$ {shown}"));
    let mut child = Command::new("/proc/self/exe")
        .args(arguments)
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

/// What a tunnel can change in this namespace, and the files in /run.
#[derive(PartialEq, Eq)]
struct Snapshot {
    links: Vec<String>,
    addresses: Vec<String>,
    routes: Vec<String>,
    files: Vec<String>,
}

impl Snapshot {
    fn take() -> Result<Self, Failed> {
        let asked = |error: crate::net::routes::Error| Failed::Defect(error.to_string());
        let mut netlink = Netlink::open().map_err(asked)?;
        let links = netlink.links().map_err(asked)?;
        let mut addresses = Vec::new();
        for link in &links {
            for address in netlink.addresses(&link.name).map_err(asked)? {
                addresses.push(format!("{}: {address:?}", link.name));
            }
        }
        let mut routes = Vec::new();
        for ipv6 in [false, true] {
            let all = netlink.routes(&Filter { ipv6, table: None, dest: None }).map_err(asked)?;
            routes.extend(all.iter().map(|route| format!("{route:?}")));
        }
        let files = files(Path::new("/run"));
        Ok(Self { links: links.iter().map(|link| format!("{link:?}")).collect(), addresses, routes, files })
    }

    fn summary(&self) -> String {
        let Self { links, addresses, routes, .. } = self;
        format!(
            "{} interfaces, {} addresses, {} routes and no file in /run that was not there",
            links.len(),
            addresses.len(),
            routes.len()
        )
    }
}

impl Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for text in self.links.iter().chain(&self.addresses).chain(&self.routes).chain(&self.files) {
            writeln!(f, "  {text}")?;
        }
        Ok(())
    }
}

/// Returns every file below a directory, without the directories.
fn files(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(files(&path));
        } else {
            found.push(path.display().to_string());
        }
    }
    found.sort();
    found
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

fn complain(text: impl Display) {
    let _closed = writeln!(io::stderr().lock(), "pptpctl demo: {text}");
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
