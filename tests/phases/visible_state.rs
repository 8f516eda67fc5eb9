//! Output and access: the dry run, the followed log, notifications to systemd, nothing for unprivileged
//! users. Also checks that a failing test in a world is reported.

use std::{
    fs,
    io::{BufRead, BufReader, ErrorKind},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixDatagram, UnixStream},
        process::CommandExt,
    },
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::unistd::{Uid, setfsuid};
use pptpctl::testing::{
    apply::{Directories, ledger::Ledger},
    demo::config::{CLIENT_DEVICE, ServerConfig},
    plan::{MtuStep, Step},
    platform::Platform,
    supervisor::log::LARGEST,
};

use super::{
    no_mppe, working_server,
    world::{LIMIT, World, download, in_world, new_world, text},
};

const NOBODY: u32 = 65_534;
const SOCKET: &str = "/run/pptpctl/vpn.sock";
const LOG: &str = "/var/log/pptpctl/vpn.log";

/// Of this kernel: CI's has no PPTP sockets. `tests/kernel_lab` has the other case.
#[test]
fn data_path_falls_back_to_the_engine_and_says_why() {
    in_world(ServerConfig { mppe: no_mppe(), ..working_server() }, |world| {
        // Up to the kernel's modules.
        if std::path::Path::new("/sys/module/pptp").exists() {
            return;
        }
        let expected = "userland (this kernel has no PPTP sockets (module pptp), or the systemd unit refuses them (kernel-path.conf))";
        for (profile, path) in [
            (
                "mppe = \"allow\"",
                "userland (auto: the kernel cannot tell forged MPPE packets from good ones)",
            ),
            ("mppe = \"off\"", expected),
            ("mppe = \"off\"\ndata-path = \"userland\"", "userland (as data-path says)"),
        ] {
            world.profile(profile);
            let before = world.state();
            world.up();
            let shown = text(&world.run(&["status", "vpn"]).stdout);
            assert!(shown.contains(&format!("  data path    {path}\n")), "{shown}");
            world.down(&before);
        }
        world.profile("mppe = \"off\"\ndata-path = \"kernel\"");
        world.assert_up_fails(
            22,
            "connect",
            &["data-path = \"kernel\": this kernel has no PPTP sockets"],
            60.0,
        );
    });
}

#[test]
fn unprivileged_user_gets_no_status() {
    in_world(working_server(), |world| {
        world.profile("");
        let before = world.state();
        world.up();
        let during = world.state();
        let as_nobody =
            |arguments: &[&str]| world.command(arguments).uid(NOBODY).gid(NOBODY).output().unwrap();
        for arguments in
            [&["status", "vpn"][..], &["status", "vpn", "--json"], &["down", "vpn"], &["logs", "vpn"]]
        {
            let output = as_nobody(arguments);
            let printed = text(&output.stdout) + &text(&output.stderr);
            assert_eq!(output.status.code(), Some(4), "{arguments:?}: {printed}");
            assert!(
                !printed.contains("up on") && !printed.contains("10.77.0.100"),
                "{arguments:?}: {printed}"
            );
        }
        // File access is checked against the file-system user id, which is per thread.
        setfsuid(Uid::from_raw(NOBODY));
        let direct = UnixStream::connect(SOCKET).map_err(|error| error.kind());
        setfsuid(Uid::from_raw(0));
        assert!(matches!(direct, Err(ErrorKind::PermissionDenied)), "{direct:?}");
        // With an open socket mode the supervisor still refuses the peer by its credentials.
        fs::set_permissions(SOCKET, fs::Permissions::from_mode(0o666)).unwrap();
        for arguments in [["status", "vpn"], ["down", "vpn"]] {
            let output = as_nobody(&arguments);
            let printed = text(&output.stdout) + &text(&output.stderr);
            assert!(!output.status.success() && !printed.contains("up on"), "{arguments:?}: {printed}");
        }
        fs::set_permissions(SOCKET, fs::Permissions::from_mode(0o600)).unwrap();
        let log = fs::read_to_string(LOG).unwrap();
        assert!(log.contains("control socket: refused"), "{log}");
        world.assert_state(&during);
        world.down(&before);
    });
}

#[test]
fn followed_log_continues_after_rotation() {
    in_world(working_server(), |world| {
        world.profile("");
        let before = world.state();
        // So large that the first line of `up` rotates it.
        let old = "an older line of this log\n".repeat(usize::try_from(LARGEST).unwrap() / 26 + 1);
        fs::create_dir("/var/log/pptpctl").unwrap();
        fs::write(LOG, &old).unwrap();
        let mut follow = world.spawn(world.command(&["logs", "vpn", "--follow"]).stdout(Stdio::piped()));
        let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines().map(Result::unwrap);
        let shown_before =
            lines.by_ref().take(old.lines().count()).all(|line| line == "an older line of this log");
        assert!(shown_before);
        world.up();
        world.down(&before);
        assert_eq!(
            fs::read_to_string(format!("{LOG}.1")).unwrap().len(),
            old.len(),
            "the log was not rotated"
        );
        let new = fs::read_to_string(LOG).unwrap();
        let shown: Vec<String> = lines.take(new.lines().count()).collect();
        assert_eq!(shown, new.lines().collect::<Vec<_>>());
        assert!(new.contains("vpn: connect"), "{new}");
    });
}

#[test]
fn up_performs_the_steps_of_dry_run() {
    let cases = [
        ("halves", "", ""),
        ("replace", "ip route add default via 192.0.2.200", ""),
        (
            "policy",
            "ip route add default via 192.0.2.200",
            "leak = \"block\"\nexclude = [\"198.51.100.0/24\"]",
        ),
    ];
    for (default, gateway, extra) in cases {
        in_world(working_server(), move |world| {
            if !gateway.is_empty() {
                world.shell(gateway);
            }
            world.profile(&format!(
                "default = {{ mode = \"{default}\" }}\nroutes = [\"192.168.77.0/24\", \"10.42.0.0/16\"]\n{extra}"
            ));
            let before = world.state();
            let shown = world.run(&["up", "--dry-run", "vpn"]);
            assert!(shown.status.success(), "{}", text(&shown.stderr));
            world.assert_state(&before);
            world.up();
            let performed = performed();
            let filled = |line: &str| fill(line, &performed, world.pid("supervisor_pid"));
            let mut shown_up: Vec<String> = text(&shown.stdout).lines().map(filled).collect();
            let down = shown_up.iter().position(|line| line == "# down").expect("no section `# down`");
            let mut shown_down = shown_up.split_off(down);
            for lines in [&mut shown_up, &mut shown_down] {
                lines.retain(|line| !line.starts_with('#'));
            }
            let host = Platform::host();
            let up: Vec<String> = performed.iter().map(|step| step.line(host)).collect();
            assert_eq!(shown_up, up);
            let undone: Vec<String> =
                performed.iter().rev().filter_map(|step| step.undo_line(host)).collect();
            assert_eq!(shown_down, undone);
            assert!(
                up.len() >= 9 && up.iter().any(|line| line.contains("0.0.0.0/1") || line.contains("default"))
            );
            world.down(&before);
        });
    }
}

/// As an ordinary user too, who may enter no namespace and read no ledger.
#[test]
fn dry_run_shows_this_host_to_a_user() {
    in_world(working_server(), |world| {
        world.shell("ip route add default via 192.0.2.200 && ip route add 198.51.100.0/24 via 192.0.2.201");
        let shown = |extra: &str| {
            let profile = format!("[profile.vpn]\nuser = 'u'\npassword.fd = 3\n{extra}");
            fs::write("/run/user.toml", profile).unwrap();
            let mut command = std::process::Command::new(World::PROGRAM);
            command.args(["--config", "/run/user.toml", "up", "--dry-run", "vpn"]).uid(65_534).gid(65_534);
            let output = command.output().unwrap();
            assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
            text(&output.stdout)
        };
        let on_link = shown("server = '192.0.2.1'\nroutes = ['192.0.0.0/16']");
        assert!(on_link.contains("ip route add 192.0.2.1 dev eth0\n"), "{on_link}");
        let routed =
            shown("server = '198.51.100.9'\nroutes = ['198.51.0.0/16']\nexclude = ['198.51.99.0/24']");
        assert!(routed.contains("ip route add 198.51.100.9 via 192.0.2.201 dev eth0\n"), "{routed}");
        assert!(routed.contains("ip route add 198.51.99.0/24 via 192.0.2.200 dev eth0\n"), "{routed}");
        let guarded = shown("server = '192.0.2.1'\ndefault = true\nleak = 'block'");
        assert!(guarded.contains(" to 192.0.2.0/24 lookup main"), "{guarded}");
        assert!(guarded.contains("not fwmark 38"), "the number of the table: {guarded}");
        for open in ["<gateway>", "<table>", "<connected>", "<public>"] {
            assert!(![&on_link, &routed, &guarded].iter().any(|all| all.contains(open)), "{open}: {guarded}");
        }
        // What cannot be known is said.
        let unnamed = shown("server = 'vpn.invalid'\nroutes = ['172.16.0.0/12']");
        assert!(unnamed.contains("ip route add <server> via <gateway>"), "{unnamed}");
        assert!(unnamed.contains("# not known now: <server> and the way to it"), "{unnamed}");
        world.shell("ip route del default");
        let unreachable = shown("server = '203.0.113.9'\nroutes = ['203.0.0.0/16']");
        assert!(unreachable.contains("ip route add 203.0.113.9 via <gateway>"), "{unreachable}");
        assert!(unreachable.contains("# not known now: <gateway> ("), "{unreachable}");
    });
}

/// Returns the steps that the live tunnel has in force, in order.
fn performed() -> Vec<Step> {
    let ledger =
        Ledger::open(&Directories::system(Platform::host()).ledger("vpn")).unwrap().expect("no ledger");
    let record = ledger.record();
    assert_eq!(record.garbled, [0; 0]);
    record.entries.iter().map(|entry| entry.step.clone()).collect()
}

/// Fills in a line of the dry run with the values that became known during `up`, from the ledger.
fn fill(line: &str, performed: &[Step], pid: u64) -> String {
    let mut line = line
        .replace("<pid>", &pid.to_string())
        .replace("<local>", "10.77.0.100")
        .replace("<peer>", "10.77.0.1");
    for step in performed {
        if let Step::Mtu(MtuStep { mtu, .. }) = step {
            assert!((1_300..=1_500).contains(mtu.known().unwrap()), "{mtu}");
            line = line.replace("<mtu>", &mtu.to_string());
        }
    }
    // Lines that refer to the device before it is chosen keep the name tunX.
    if line.contains("(tunX)") || line == "close tunX" { line } else { line.replace("tunX", "tun0") }
}

/// `Type=notify`: READY=1 comes when packets flow, and not before; STOPPING=1 on the way down.
#[test]
fn systemd_is_notified() {
    in_world(working_server(), |world| {
        world.profile("");
        let before = world.state();
        let systemd = UnixDatagram::bind("/run/notify.sock").unwrap();
        systemd.set_read_timeout(Some(LIMIT)).unwrap();
        let mut up = world.command(&["up", "--foreground", "vpn"]);
        let mut up = world.spawn(up.env("NOTIFY_SOCKET", "/run/notify.sock").stderr(Stdio::null()));
        let receive = || {
            let mut bytes = [0; 512];
            loop {
                match systemd.recv(&mut bytes) {
                    Ok(size) => break text(&bytes[..size]),
                    // A socket with a timeout is not resumed after a signal, whatever its handler asked for
                    // (signal(7)).
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => panic!("no further notification of systemd: {error}"),
                }
            }
        };
        let mut notifications = vec![receive()];
        while !notifications.last().unwrap().contains("READY=1") {
            notifications.push(receive());
        }
        assert_eq!(notifications.pop().unwrap(), "READY=1\nSTATUS=up on tun0");
        assert_eq!(notifications.first().unwrap(), "STATUS=connect");
        assert_eq!(notifications.last().unwrap(), "STATUS=routes");
        download(world.server_config.office, 10_000);
        assert!(world.run(&["down", "vpn"]).status.success());
        assert_eq!(receive(), "STOPPING=1");
        assert!(up.wait().unwrap().success());
        drop(systemd);
        fs::remove_file("/run/notify.sock").unwrap();
        world.assert_state(&before);
    });
}

/// The kernel destroys a PID namespace only when all its processes have been reaped: one that a failing test
/// leaves running must not block the end of the world, which would hide the failure.
#[test]
fn failure_in_child_process_fails_the_test() {
    let world = new_world(working_server(), |world| {
        let _forgotten = world.spawn(Command::new("sleep").arg("1000"));
        // Not panic!, whose message looks like a real failure.
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    let deadline = Instant::now() + LIMIT;
    while !world.is_finished() {
        assert!(Instant::now() < deadline, "the thread of the world does not end");
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(world.join().unwrap_err().downcast_ref(), Some(&"on purpose"));
}

#[test]
fn ignored_signals_of_the_parent_are_reset() {
    in_world(working_server(), |world| {
        world.profile(
            "hooks.up = [\"/bin/true\"]\nhooks.down = [\"/bin/true\"]\n\
             password.command = [\"/bin/cat\", \"/run/test.password\"]",
        );
        let before = world.state();
        world.shell(&format!(
            "env --ignore-signal=CHLD,PIPE,HUP,TERM,ALRM,USR1 --block-signal=TERM,CHLD,HUP,INT,USR1 {} --config {} up vpn",
            World::PROGRAM,
            World::CONFIG
        ));
        let supervisor = world.pid("supervisor_pid");
        world.shell(&format!("kill -TERM {supervisor}"));
        world.wait_for(|| !std::path::Path::new(SOCKET).exists());
        world.wait_for(|| world.state() == before);
    });
}

#[test]
fn down_ends_a_tunnel_whose_control_directory_was_removed() {
    in_world(working_server(), |world| {
        for removed in [SOCKET, "/run/pptpctl"] {
            world.profile("");
            let before = world.state();
            world.up();
            // Removed where the supervisor cannot put it back.
            world.shell(&format!(
                "rm -r {removed}; mkdir -p /run/pptpctl; mount -t tmpfs -o ro none /run/pptpctl"
            ));
            let status = world.run(&["status", "vpn"]);
            let printed = text(&status.stdout) + &text(&status.stderr);
            assert!(printed.contains("its control socket is gone"), "{printed}");
            assert_eq!(world.run(&["up", "vpn"]).status.code(), Some(5), "it is up already");
            let down = world.run(&["down", "vpn"]);
            assert!(down.status.success(), "{}", text(&down.stderr));
            world.shell("umount /run/pptpctl; rm -r /run/pptpctl");
            world.assert_state(&before);
        }
    });
}

#[test]
fn log_goes_to_syslog_if_its_file_cannot_be_written() {
    in_world(working_server(), |world| {
        world.profile("");
        let before = world.state();
        world.shell("mount -t tmpfs -o ro tmpfs /var/log");
        let output = world.run(&["up", "vpn"]);
        let printed = text(&output.stdout) + &text(&output.stderr);
        assert!(output.status.success(), "{printed}");
        assert!(printed.contains("no log file /var/log/pptpctl/vpn.log: "), "{printed}");
        assert!(printed.contains("the log goes to syslog"), "{printed}");
        world.down(&before);
        world.shell("umount /var/log");
    });
}

#[test]
fn peer_with_address_of_a_neighbour_gets_no_route() {
    let cases = [
        (format!("ip address add 10.77.0.9/24 dev {CLIENT_DEVICE}"), false),
        // No gateway, as with PPPoE: that makes the peer no neighbour.
        (format!("ip route replace default dev {CLIENT_DEVICE}"), true),
    ];
    for (change, has_route) in cases {
        in_world(working_server(), move |world| {
            world.profile("");
            world.shell(&change);
            let before = world.state();
            world.up();
            let routes = world.shell("ip route show dev tun0");
            assert_eq!(routes.contains("10.77.0.1 "), has_route, "{change}: {routes}");
            world.down(&before);
        });
    }
}
