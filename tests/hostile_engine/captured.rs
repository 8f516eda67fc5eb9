//! A captured supervisor: a process with the restrictions of one does its worst, by itself and through its launcher.

use std::{
    env,
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::{
        fs::{PermissionsExt, symlink},
        net::{UnixListener, UnixStream},
    },
    path::Path,
    process::Command,
};

use nix::{
    sys::signal::kill,
    unistd::{Pid, Uid, setuid},
};
use pptpctl::testing::{
    os::launch::{
        ProgramFile, Start,
        files::{self, Opening},
    },
    profile::{Locations, Profiles},
    supervisor::restrict,
};

use crate::world::{World, in_world, text};

/// The hidden argument that runs a captured supervisor.
pub const ROLE: &str = "__captured";

/// What it must not get at, in the test's own namespaces.
const SECRET: &str = "/run/secret";
const SERVICE: &str = "/run/service";

/// Restricts this process as the supervisor of the profile, and prints what it could do then.
pub fn main() {
    let profiles =
        Profiles::from_text(Path::new(World::CONFIG), &fs::read_to_string(World::CONFIG).unwrap(), true);
    let profile = profiles.get("vpn").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap();
    let locations = Locations::find(Some(Path::new(World::CONFIG))).unwrap();
    let sandbox = restrict(profile, &locations).unwrap().sandbox.unwrap();
    println!("restricted: {sandbox}");
    let children = fs::read_to_string("/proc/thread-self/children").unwrap();
    let launcher: i32 = children.trim().parse().unwrap();
    let attempt = |what: &str, outcome: io::Result<()>| match outcome {
        Ok(()) => println!("DONE {what}"),
        Err(error) => println!("refused {what}: {error}"),
    };
    let opened = |file: io::Result<File>| file.map(drop);
    attempt("read a secret", opened(File::open(SECRET)));
    attempt("read the shadow file", opened(File::open("/etc/shadow")));
    attempt("write to the secret", opened(OpenOptions::new().append(true).open(SECRET)));
    attempt("create in /run", opened(File::create("/run/new")));
    attempt("create in /etc", opened(File::create("/etc/new")));
    attempt("create in the state directory", opened(File::create("/var/lib/pptpctl/other.ledger")));
    attempt("remove a file", fs::remove_file(SECRET));
    attempt("rename a file", fs::rename(SECRET, "/run/renamed"));
    attempt("make a directory", fs::create_dir("/run/directory"));
    attempt("make a link", symlink("/bin/sh", "/run/link"));
    attempt("change a mode", fs::set_permissions(SECRET, Permissions::from_mode(0o644)));
    attempt("write a sysctl", opened(OpenOptions::new().write(true).open("/proc/sys/kernel/core_pattern")));
    attempt("read memory of its launcher", opened(File::open(format!("/proc/{launcher}/mem"))));
    attempt("connect to a service", UnixStream::connect(SERVICE).map(drop));
    attempt("serve", UnixListener::bind("/run/new.sock").map(drop));
    attempt("connect by TCP", TcpStream::connect(port).map(drop));
    attempt("start a program", Command::new("/bin/true").status().map(drop));
    attempt("signal its launcher", kill(Pid::from_raw(launcher), None).map_err(io::Error::from));
    attempt("signal process 1", kill(Pid::from_raw(1), None).map_err(io::Error::from));
    attempt("change its user", setuid(Uid::from_raw(12_345)).map_err(io::Error::from));

    attempt("have a secret read", opened(files::open(Path::new(SECRET), Opening::Read)));
    attempt("have a secret read by a link", files::read_to_string(Path::new(SECRET)).map(drop));
    attempt(
        "have another ledger written",
        opened(files::open(Path::new("/var/lib/pptpctl/x.ledger"), Opening::New)),
    );
    attempt(
        "have a file renamed",
        files::rename(Path::new(SECRET), Path::new("/var/lib/pptpctl/vpn.ledger")),
    );
    attempt("have a secret removed", files::remove(Path::new(SECRET)));
    attempt("have a mode changed", files::set_mode(Path::new(SECRET), 0o640));
    attempt("have a socket made", files::listen(Path::new("/run/other.sock"), None).map(drop));

    let program = |what: &str, start: Start| {
        let (output, theirs) = io::pipe().unwrap();
        let outcome = start.spawn([None, Some(theirs.into()), None]).map(drop);
        let _none = io::read_to_string(output);
        attempt(what, outcome);
    };
    let start = |path: &str, arguments: &[&str]| Start {
        program: ProgramFile::At(path.into()),
        title: None,
        arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
        environment: Vec::new(),
        umask: None,
        separate_group: true,
        ends_with_parent: true,
    };
    let own = |arguments: &[&str]| Start { program: ProgramFile::Own, ..start("", arguments) };
    let variable = |name: &str| vec![(name.to_owned(), "/var/lib/pptpctl/vpn.ledger".to_owned())];
    program("have a shell started", start("/bin/sh", &["-c", "id"]));
    program("have nft read a file", start("/usr/sbin/nft", &["-f", "/etc/shadow"]));
    program("have the hook started with another argument", start("/bin/true", &["-x"]));
    let preloaded = Start { environment: variable("LD_PRELOAD"), ..start("/bin/true", &["up"]) };
    program("have code loaded into the hook", preloaded);
    program("have another launcher started", own(&["__launcher"]));
    program("have another tunnel brought up", own(&["up", "other"]));
    let preloaded = Start { environment: variable("LD_PRELOAD"), ..own(&["__resolve", "1"]) };
    program("have code loaded into the resolver", preloaded);

    // What it needs is left.
    program("NEEDED the hook", start("/bin/true", &["up"]));
    attempt("NEEDED its ledger", {
        let ledger = Path::new("/var/lib/pptpctl/vpn.ledger");
        files::open(ledger, Opening::New)
            .and_then(|mut file| file.write_all(b"x"))
            .and_then(|()| files::rename(ledger, Path::new("/var/lib/pptpctl/vpn.ledger.new")))
            .and_then(|()| files::remove(Path::new("/var/lib/pptpctl/vpn.ledger.new")))
    });
    attempt(
        "NEEDED the resolvers",
        files::open(Path::new("/etc/resolv.conf"), Opening::Read)
            .and_then(|mut file| file.read_to_string(&mut String::new()).map(drop)),
    );
    attempt("NEEDED a tun device", opened(OpenOptions::new().read(true).write(true).open("/dev/net/tun")));
    attempt("NEEDED a pid file", {
        let path = Path::new("/run/tun7.pid");
        files::open(path, Opening::New).and_then(|_| files::remove(path))
    });
    attempt("NEEDED its socket", {
        let path = Path::new("/run/pptpctl/vpn.sock");
        files::listen(path, None)
            .and_then(|_| files::set_mode(path, 0o600))
            .and_then(|()| files::remove(path))
    });
}

/// Every attempt is refused, and what a supervisor needs is not.
pub fn captured_supervisor() {
    let this = env::current_exe().unwrap();
    in_world(pptpctl::testing::demo::config::ServerConfig::default(), move |world| {
        world.profile("hooks.up = [\"/bin/true\", \"up\"]");
        world.shell(&format!(
            "mkdir -p /run/pptpctl /var/lib/pptpctl; echo text >{SECRET}; chmod 600 {SECRET}; [ -e /etc/resolv.conf ]"
        ));
        let _service = UnixListener::bind(SERVICE).unwrap();
        let output = Command::new(this).arg(ROLE).output().unwrap();
        let (seen, errors) = (text(&output.stdout), text(&output.stderr));
        println!("{seen}{errors}");
        assert!(output.status.success(), "{seen}{errors}");
        // Without Landlock in the kernel the other restrictions do not refuse all of it.
        if !seen.lines().next().unwrap().contains("files by Landlock") {
            return;
        }
        let done: Vec<_> = seen.lines().filter_map(|line| line.strip_prefix("DONE ")).collect();
        let needed = ["the hook", "its ledger", "the resolvers", "a tun device", "a pid file", "its socket"];
        assert_eq!(done, needed.map(|what| format!("NEEDED {what}")));
        assert_eq!(seen.lines().filter(|line| line.starts_with("refused ")).count(), 34);
        assert_eq!(fs::read_to_string(SECRET).unwrap(), "text\n");
        world.shell(&format!("rm -r /run/pptpctl /var/lib/pptpctl {SECRET} {SERVICE}"));
    });
}
