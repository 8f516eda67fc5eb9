//! `password.run-as = "invoker"`: the command runs with the rights of the user behind sudo(8), at a terminal that is not
//! the caller's.

use std::{
    fs,
    io::{Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::chown,
    },
    path::Path,
    process::Stdio,
};

use nix::{
    mount::{MsFlags, mount},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    pty::openpty,
    sys::{
        signal::{Signal, kill},
        termios::{LocalFlags, Termios, tcgetattr},
    },
    unistd::{Gid, Pid, Uid, ttyname},
};

use crate::{
    working_server,
    world::{PASSWORD, Running, World, in_world, text},
};

const UID: u32 = 42_421;
const GID: u32 = 42_422;
const GROUP: u32 = 42_423;
/// Where no other test or program writes; /run may be mounted `noexec`.
const HOME: &str = "/mnt";

/// Asks for the password at the terminal and reports in which surroundings it runs. It then tries to push characters into
/// both terminals, and leaves a process behind.
const ASK: &str = r#"#!/bin/sh
echo "ids $(id -u) $(id -g) $(id -G)" > report
echo "home $HOME $PWD" >> report
read -r pid name state parent group session rest < /proc/$$/stat
[ "$session" = "$$" ] && echo "own session" >> report
echo "tty $(tty)" >> report
echo "descriptors $(ls /proc/self/fd | tr '\n' ' ')" >> report
env | cut -d= -f1 | sort | tr '\n' ' ' > environment
grep Cap /proc/$$/status > capabilities
printf 'PIN? ' > /dev/tty
read -r answer < /dev/tty
perl -e 'open(F, "+<", $ARGV[0]) or die "$!\n"; my $c = "x"; ioctl(F, 0x5412, $c) or die "refused: $!\n"' "$(cat caller)" 2>> report
perl -e 'open(F, "+<", "/dev/tty"); for my $c (split(//, "reboot\n")) { ioctl(F, 0x5412, $c) }' 2> /dev/null
sh -c 'trap "echo > /mnt/hung-up; exit" HUP; while :; do sleep 0.05; done' > /dev/null &
sleep 0.2
echo "$answer"
"#;

/// Adds the user, in this mount namespace only, with a home directory that has `script` as `ask`.
fn add_alice(script: &str) {
    let user = format!("alice:x:{UID}:{GID}::{HOME}:/bin/sh\n");
    let group = format!("alice:x:{GID}:\nkeys:x:{GROUP}:alice\n");
    let none: Option<&str> = None;
    mount(Some("tmpfs"), HOME, Some("tmpfs"), MsFlags::empty(), none).unwrap();
    for (name, line) in [("passwd", user), ("group", group)] {
        let (own, hosts) = (format!("/run/{name}"), format!("/etc/{name}"));
        fs::write(&own, fs::read_to_string(&hosts).unwrap() + &line).unwrap();
        mount(Some(own.as_str()), hosts.as_str(), none, MsFlags::MS_BIND, none).unwrap();
    }
    crate::script::script(&format!("{HOME}/ask"), script);
    for path in [HOME.to_owned(), format!("{HOME}/ask")] {
        chown(path, Some(UID), Some(GID)).unwrap();
    }
}

fn profile(world: &World) {
    world.profile("password.run-as = \"invoker\"");
    let text = fs::read_to_string(World::CONFIG).unwrap();
    let command = format!("password.run-as = \"invoker\"\npassword.command = [\"{HOME}/ask\"]");
    fs::write(World::CONFIG, text.replace("password.run-as = \"invoker\"", &command)).unwrap();
}

/// `up` in the foreground of a terminal of the user's, when the command has asked.
struct AtTerminal {
    up: Running,
    screen: fs::File,
    slave: OwnedFd,
    settings: Termios,
}

impl AtTerminal {
    fn start(world: &World) -> Self {
        let pty = openpty(None, None).unwrap();
        nix::unistd::fchown(&pty.slave, Some(Uid::from_raw(UID)), None::<Gid>).unwrap();
        fs::write(format!("{HOME}/caller"), ttyname(&pty.slave).unwrap().to_str().unwrap()).unwrap();
        let settings = tcgetattr(&pty.slave).unwrap();
        // An inherited descriptor, and a variable of root's.
        let mut up = std::process::Command::new("sh");
        up.args(["-c", "exec 7< /etc/passwd; exec setsid -c -w \"$@\"", "sh", World::PROGRAM])
            .args(["--config", World::CONFIG, "up", "vpn"])
            .env("SUDO_UID", UID.to_string())
            .env("TERM", "xterm")
            .env("ROOTS_SECRET", "x")
            .stdin(pty.slave.try_clone().unwrap())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let up = world.spawn(&mut up);
        let mut screen = fs::File::from(pty.master);
        let mut shown = String::new();
        while !shown.contains("PIN? ") {
            let mut bytes = [0; 256];
            let size = screen.read(&mut bytes).unwrap();
            shown.push_str(&String::from_utf8_lossy(bytes.get(..size).unwrap()));
        }
        Self { up, screen, slave: pty.slave, settings }
    }
}

/// Returns whether there is a line to read from a terminal.
fn has_input(terminal: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(terminal.as_fd(), PollFlags::POLLIN)];
    poll(&mut polled, PollTimeout::ZERO).unwrap() != 0
}

fn report(file: &str) -> String {
    fs::read_to_string(Path::new(HOME).join(file)).unwrap()
}

#[test]
fn command_of_the_invoker_asks_at_a_terminal_of_its_own() {
    in_world(working_server(), |world| {
        add_alice(ASK);
        profile(world);
        let before = world.state();
        let mut at = AtTerminal::start(world);
        assert!(!tcgetattr(&at.slave).unwrap().local_flags.contains(LocalFlags::ISIG), "raw meanwhile");
        writeln!(at.screen, "{PASSWORD}").unwrap();
        let output = at.up.wait_with_output();
        assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
        assert_eq!(tcgetattr(&at.slave).unwrap(), at.settings, "restored");
        assert!(!has_input(&at.slave), "nothing reached the caller's terminal");
        drop(at.screen);

        let told = report("report");
        let line = |start: &str| told.lines().find_map(|line| line.strip_prefix(start)).unwrap_or_default();
        assert_eq!(line("ids "), format!("{UID} {GID} {GID} {GROUP}"), "{told}");
        assert_eq!(line("home "), format!("{HOME} {HOME}"));
        assert!(told.contains("own session"), "{told}");
        assert!(line("tty ").starts_with("/dev/pts/") && line("tty ") != report("caller"), "{told}");
        assert_eq!(line("descriptors "), "0 1 2 3 ", "the last one is that of ls(1)");
        assert!(told.contains("refused: "), "TIOCSTI at the caller's terminal: {told}");
        let names = "GPG_TTY HOME LOGNAME PATH PWD SHELL TERM USER ";
        assert_eq!(report("environment"), names);
        for set in ["CapPrm", "CapEff", "CapAmb"] {
            assert!(report("capabilities").contains(&format!("{set}:\t0000000000000000")), "{set}");
        }
        world.wait_for(|| Path::new(HOME).join("hung-up").exists());
        world.down(&before);
    });
}

/// The real pass(1), with a key of the invoker's.
#[test]
fn password_store_of_the_invoker_is_read() {
    in_world(working_server(), |world| {
        add_alice("");
        let script = r#"key() { gpg --list-keys --with-colons | sed -n 's/^fpr:*\([0-9A-F]*\):.*/\1/p'; }
            gpg -q --batch --passphrase '' --quick-gen-key alice ed25519 cert
            gpg -q --batch --passphrase '' --quick-add-key "$(key)" cv25519 encr
            pass init "$(key | head -n 1)" && printf '%s\n' "$PASSWORD" | pass insert -e vpn"#;
        fs::write("/run/store", script).unwrap();
        world.shell(&format!(
            "cd {HOME} && env -i HOME={HOME} PATH=\"$PATH\" PASSWORD='{PASSWORD}' \\
             setpriv --reuid={UID} --regid={GID} --clear-groups sh -e /run/store"
        ));
        world.profile("password.run-as = \"invoker\"\npassword.command = [\"pass\", \"show\", \"vpn\"]");
        let before = world.state();
        let mut up = world.command(&["up", "vpn"]);
        let output = up.env("SUDO_UID", UID.to_string()).output().unwrap();
        // The agent, which would outlive the test.
        world.shell(&format!("pkill -U {UID} || true"));
        assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
        world.down(&before);
    });
}

#[test]
fn without_terminal_or_invoker_the_error_says_why() {
    in_world(working_server(), |world| {
        add_alice(
            "#!/bin/sh\ntty; [ -e /dev/tty ] && (: < /dev/tty) 2> /dev/null && echo 'has a terminal' >&2\necho 'no such entry' >&2\nexit 3\n",
        );
        profile(world);
        let up = |variable: Option<(&str, &str)>| {
            let mut setsid = std::process::Command::new("setsid");
            setsid.args(["-w", World::PROGRAM, "--config", World::CONFIG, "up", "vpn"]).stdin(Stdio::null());
            setsid.env_remove("SUDO_UID").envs(variable);
            let output = setsid.output().unwrap();
            assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
            text(&output.stderr)
        };
        let failed = up(Some(("SUDO_UID", &UID.to_string())));
        assert!(failed.contains("exit status: 3: no such entry") && !failed.contains("has a"), "{failed}");
        let none = up(None);
        assert!(none.contains("none of SUDO_UID, DOAS_USER and PKEXEC_UID is set"), "{none}");
        assert!(up(Some(("SUDO_UID", "0"))).contains("SUDO_UID=0 is root"));
        let check = text(&world.run(&["check"]).stderr);
        assert!(check.contains("`up` would fail from here"), "{check}");
    });
}

#[test]
fn terminal_is_restored_when_up_is_ended_and_ctrl_c_reaches_the_command() {
    in_world(working_server(), |world| {
        add_alice("#!/bin/sh\necho $$ > pid; tty > tty\nprintf 'PIN? ' > /dev/tty\nexec sleep 300\n");
        profile(world);
        let before = world.state();
        // By the number of this namespace.
        let is_gone = || {
            let status = format!("/proc/{}/status", report("pid").trim());
            world.shell(&format!("! grep -q '^State:.[^ZX]' {status} 2> /dev/null && echo gone || true"))
                == "gone\n"
        };
        let at = AtTerminal::start(world);
        assert!(!is_gone());
        // As a shell does that stopped and continued `up`.
        world.shell(&format!("stty -F {} sane cols 97", report("caller")));
        let process = Pid::from_raw(i32::try_from(at.up.id()).unwrap());
        kill(process, Signal::SIGCONT).unwrap();
        let is_raw = || !tcgetattr(&at.slave).unwrap().local_flags.contains(LocalFlags::ISIG);
        world.wait_for(is_raw);
        world.wait_for(|| world.shell(&format!("stty -F {} size", report("tty").trim())).contains(" 97"));
        kill(process, Signal::SIGTERM).unwrap();
        let output = at.up.wait_with_output();
        assert_eq!(output.status.code(), Some(24), "{}", text(&output.stderr));
        assert_eq!(tcgetattr(&at.slave).unwrap(), at.settings);
        world.wait_for(is_gone);

        let mut at = AtTerminal::start(world);
        at.screen.write_all(b"\x1a\x03").unwrap();
        let output = at.up.wait_with_output();
        assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("failed: signal: 2"), "{}", text(&output.stderr));
        assert_eq!(tcgetattr(&at.slave).unwrap(), at.settings);
        assert!(is_gone());
        world.assert_state(&before);
    });
}
