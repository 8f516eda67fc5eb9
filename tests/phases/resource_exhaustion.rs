//! A missing resource: a descriptor, a capability, disk space, a reader of the output. The message and the
//! exit status must be correct, and nothing may be left behind.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream, process::ExitStatusExt},
    },
    process::{Command, Output, Stdio},
};

use nix::mount::{MsFlags, mount, umount};

use super::{
    working_server,
    world::{PASSWORD, World, in_world, text},
};

/// A closed descriptor's number may have been reused by pptpctl: it must not read, say, its own lock file as
/// the password.
#[test]
fn password_fd_must_be_inherited() {
    in_world(working_server(), |world| {
        let up = format!("{} --config {} up vpn", World::PROGRAM, World::CONFIG);
        for (fd, redirection) in [
            (3, "3<&-"),
            (4, "4<&-"),
            (7, "7<&-"),
            (1, ">/run/redirected"),
            (5, "5>/run/redirected"),
            (2, "2>/run/redirected"),
        ] {
            write_profile_with_fd(world, fd);
            let before = world.state();
            let output = shell(&format!("{up} {redirection}"));
            let printed = text(&output.stderr) + &fs::read_to_string("/run/redirected").unwrap_or_default();
            let _none = fs::remove_file("/run/redirected");
            assert_eq!(output.status.code(), Some(3), "{redirection}: {printed}");
            assert!(
                printed.contains(&format!("descriptor {fd} is not open for reading")),
                "{redirection}: {printed}"
            );
            world.assert_state(&before);
        }
    });
}

/// Root in a container that has only some capabilities.
#[test]
fn missing_capability_is_named_before_any_change() {
    in_world(working_server(), |world| {
        world.profile("");
        let before = world.state();
        let set = "--bounding-set=-setuid,-sys_chroot";
        let words = [set, World::PROGRAM, "--config", World::CONFIG, "up", "vpn"];
        let output = Command::new("setpriv").args(words).output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{stderr}");
        assert!(stderr.contains("here: CAP_SETUID, CAP_SYS_CHROOT (cap"), "{stderr}");
        world.assert_state(&before);
    });
}

#[test]
fn password_fd_accepts_file_pipe_and_socket() {
    in_world(working_server(), |world| {
        let before = world.state();
        let up = format!("{} --config {} up vpn", World::PROGRAM, World::CONFIG);
        for line in [
            format!("{up} 3</run/test.password"),
            format!("cat /run/test.password | {{ {up} 3<&0; }}"),
            format!("{up} 3<>/run/test.password"),
        ] {
            write_profile_with_fd(world, 3);
            let output = shell(&line);
            assert!(output.status.success(), "{line}: {}", text(&output.stderr));
            assert!(world.run(&["down", "vpn"]).status.success());
        }
        write_profile_with_fd(world, 0);
        let (mut writer, reader) = UnixStream::pair().unwrap();
        writeln!(writer, "{PASSWORD}").unwrap();
        let output =
            world.command(&["up", "vpn"]).stdin(Stdio::from(OwnedFd::from(reader))).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        fs::remove_file(World::CONFIG).unwrap();
        world.down(&before);
    });
}

/// Only the supervisors close inherited descriptors: the next profile may need them, and a number closed in
/// the command is reused.
#[test]
fn autostart_passes_each_profile_its_own_fd() {
    in_world(working_server(), |world| {
        let before = world.state();
        write_profile_with_fd(world, 3);
        let one = fs::read_to_string(World::CONFIG).unwrap() + "autostart = true\n";
        let two = one.replace("[profile.vpn]", "[profile.two]").replace("192.168.77.0", "192.168.78.0");
        fs::write(World::CONFIG, one + &two.replace("password.fd = 3", "password.fd = 4")).unwrap();
        let output = shell(&format!(
            "{} --config {} up --autostart 3</run/test.password 4</run/test.password",
            World::PROGRAM,
            World::CONFIG
        ));
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
        let held = world.shell(&format!("ls -l /proc/{}/fd", world.pid("supervisor_pid")));
        assert!(!held.contains("test.password"), "{held}");
        assert!(world.run(&["down", "--autostart"]).status.success());
        fs::remove_file(World::CONFIG).unwrap();
        world.assert_state(&before);
    });
}

#[test]
fn full_disk_leaves_no_stale_ledger() {
    in_world(working_server(), |world| {
        world.profile("");
        let before = world.state();
        on_full_disk("/var/lib/pptpctl", || {
            let output = world.run(&["up", "vpn"]);
            let stderr = text(&output.stderr);
            assert_eq!(output.status.code(), Some(31), "{stderr}");
            assert!(stderr.contains("`df /var/lib/pptpctl`"), "{stderr}");
            assert_eq!(stderr.matches("/var/lib/pptpctl/vpn.ledger").count(), 1, "{stderr}");
            let status = world.run(&["status", "vpn"]);
            assert_eq!((status.status.code(), text(&status.stdout)), (Some(6), "vpn: down\n".to_owned()));
        });
        on_full_disk("/run/pptpctl", || {
            let output = world.run(&["up", "vpn"]);
            assert_eq!(output.status.code(), Some(31), "{}", text(&output.stderr));
            assert!(text(&output.stderr).contains("/run/pptpctl/vpn.lock: No space left on device"));
            assert!(!fs::exists("/run/pptpctl/vpn.lock").unwrap());
        });
        world.assert_state(&before);
        // A log file that cannot be written is named, and the tunnel comes up without it.
        fs::create_dir_all("/var/log/pptpctl").unwrap();
        let mode = Some("mode=0755");
        mount(Some("tmpfs"), "/var/log/pptpctl", Some("tmpfs"), MsFlags::MS_RDONLY, mode).unwrap();
        let output = world.run(&["up", "vpn"]);
        let printed = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{printed}");
        assert!(printed.contains("/var/log/pptpctl/vpn.log: Read-only file system"), "{printed}");
        world.down(&before);
    });
}

#[test]
fn missing_or_read_only_file_system_is_named() {
    in_world(working_server(), |world| {
        world.profile("");
        let before = world.state();
        let refuses = |arguments: &[&str], words: &[&str]| {
            let output = world.run(arguments);
            let stderr = text(&output.stderr);
            assert_eq!(output.status.code(), Some(31), "{stderr}");
            assert!(stderr.contains("a file system of this host cannot be used: "), "{stderr}");
            for word in words {
                assert!(stderr.contains(word), "{word:?} is missing in {stderr}");
            }
        };
        let read_only = |dir: &str, words: &[&str]| {
            fs::create_dir_all(dir).unwrap();
            mount(Some("tmpfs"), dir, Some("tmpfs"), MsFlags::MS_RDONLY, Some("mode=0755")).unwrap();
            refuses(&["up", "vpn"], words);
            umount(dir).unwrap();
            fs::remove_dir(dir).unwrap();
        };
        read_only("/run/pptpctl", &["/run/pptpctl/vpn.lock: Read-only file system", "a writable /run"]);
        read_only(
            "/var/lib/pptpctl",
            &["/var/lib/pptpctl/vpn.ledger: Read-only", "`mount -t tmpfs tmpfs /var/lib/pptpctl`"],
        );
        world.assert_state(&before);

        // With /proc hidden, a live tunnel is neither taken for a dead one nor undone.
        world.up();
        let during = world.shell("ip route; ip -br address");
        mount(Some("tmpfs"), "/proc", Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        let proc = ["/proc is not mounted", "mount -t proc proc /proc"];
        refuses(&["up", "vpn"], &proc);
        refuses(&["recover"], &proc);
        assert!(text(&world.run(&["status", "vpn"]).stdout).contains("up on tun0"));
        umount("/proc").unwrap();
        assert_eq!(world.shell("ip route; ip -br address"), during);
        world.down(&before);
    });
}

#[test]
fn full_stdout_does_not_fail_up() {
    in_world(working_server(), |world| {
        world.profile("");
        let before = world.state();
        let full = |arguments: &[&str]| {
            let out = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
            world.command(arguments).stdout(out).output().unwrap()
        };
        let up = full(&["up", "vpn"]);
        assert_eq!(up.status.code(), Some(0), "{}", text(&up.stderr));
        assert!(text(&up.stderr).contains("standard output: No space left on device"));
        for shows in [&["status", "vpn"][..], &["list"], &["logs", "vpn"]] {
            let output = full(shows);
            assert_eq!(output.status.code(), Some(1), "{shows:?}");
            let stderr = text(&output.stderr);
            assert_eq!(
                stderr, "pptpctl: standard output: No space left on device (os error 28)\n",
                "{shows:?}"
            );
        }
        assert_eq!(full(&["down", "vpn"]).status.code(), Some(0));
        world.assert_state(&before);
    });
}

/// `pptpctl logs --follow vpn | head -1` must end at once, although the next line may be days away.
#[test]
fn logs_stops_at_closed_pipe() {
    in_world(working_server(), |world| {
        fs::create_dir("/var/log/pptpctl").unwrap();
        fs::write("/var/log/pptpctl/vpn.log", "a line\n").unwrap();
        let mut logs = world.spawn(world.command(&["logs", "--follow", "vpn"]).stdout(Stdio::piped()));
        let mut out = BufReader::new(logs.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert_eq!(line, "a line\n");
        assert!(logs.try_wait().unwrap().is_none(), "`logs` exited while its output was read");
        drop(out);
        world.wait_for(|| logs.try_wait().unwrap().is_some());
        assert_eq!(logs.wait().unwrap().code(), Some(0));
    });
}

/// A supervisor that does not run (debugger, overload) is reported as not answering, not by an errno.
#[test]
fn stopped_supervisor_is_named() {
    in_world(working_server(), |world| {
        world.profile("");
        let before = world.state();
        world.up();
        let supervisor = world.pid("supervisor_pid");
        world.shell(&format!("kill -STOP {supervisor}"));
        let output = world.run(&["status", "vpn"]);
        assert_eq!(output.status.code(), Some(1));
        let shown = text(&output.stdout);
        assert!(shown.starts_with("vpn: stuck on tun0\n"), "{shown}");
        assert!(shown.contains(&format!("supervisor {supervisor}, stopped by a signal")), "{shown}");
        let stderr = text(&output.stderr);
        assert_eq!(stderr, "pptpctl: vpn: the supervisor does not answer: no answer within 5 s\n");
        for command in ["list", "status"] {
            let output = text(&world.run(&[command, "--json"]).stdout);
            assert!(output.contains(r#""state":"stuck""#), "{command}: {output}");
        }
        let json = world.run(&["status", "vpn", "--json"]);
        assert_eq!(json.status.code(), Some(1));
        let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
        let known = (&json["state"], &json["tun"], json["supervisor_pid"].as_u64(), &json["stopped"]);
        assert_eq!(known, (&"stuck".into(), &"tun0".into(), Some(supervisor), &true.into()));
        assert!(json["next"].as_str().unwrap().contains("`pptpctl down vpn` lets it run again"), "{json:#}");
        // The command that it names.
        world.down(&before);
    });
}

/// Deleting /run/pptpctl under a live tunnel does not make `recover` undo its changes.
#[test]
fn tunnel_with_deleted_lock_is_not_recovered() {
    in_world(working_server(), |world| {
        world.profile("");
        let before = world.state();
        world.up();
        let supervisor = world.pid("supervisor_pid");
        let during = world.shell("ip route; ip -br address");
        fs::remove_file("/run/pptpctl/vpn.lock").unwrap();
        let recover = world.run(&["recover"]);
        let printed = text(&recover.stdout);
        assert!(recover.status.success() && printed.contains("vpn: running, not changed"), "{printed}");
        // A second tunnel of the same name is refused too, although its lock is free.
        fs::remove_dir_all("/run/pptpctl").unwrap();
        let up = world.run(&["up", "vpn"]);
        assert_eq!(up.status.code(), Some(5), "{}", text(&up.stderr));
        // The supervisor may have put its files back by now.
        let words =
            ["running", "up"].map(|state| format!("vpn is {state} already (supervisor {supervisor})"));
        assert!(words.iter().any(|words| text(&up.stderr).contains(words)), "{}", text(&up.stderr));
        assert_eq!(world.shell("ip route; ip -br address"), during);
        world.shell(&format!("kill {supervisor}"));
        world.wait_for(|| !fs::exists("/var/lib/pptpctl/vpn.ledger").unwrap());
        world.wait_for(|| world.state() == before);
    });
}

#[test]
fn status_shows_wait_for_password() {
    in_world(working_server(), |world| {
        write_profile_with_fd(world, 0);
        let before = world.state();
        let mut up = world.spawn(world.command(&["up", "vpn"]).stdin(Stdio::piped()).stdout(Stdio::null()));
        world.wait_for(|| fs::metadata("/run/pptpctl/vpn.lock").is_ok_and(|lock| lock.len() > 0));
        let status = world.run(&["status", "vpn"]);
        let printed = text(&status.stdout);
        assert_eq!(status.status.code(), Some(6), "{printed}");
        assert!(
            printed.contains("is about to bring it up") && printed.contains("be waiting for the password"),
            "{printed}"
        );
        let status: serde_json::Value =
            serde_json::from_slice(&world.run(&["status", "vpn", "--json"]).stdout).unwrap();
        assert_eq!(status["state"], "starting");
        assert!(text(&world.run(&["list"]).stdout).contains("starting"));
        world.shell(&format!("kill {}", fs::read_to_string("/run/pptpctl/vpn.lock").unwrap().trim()));
        world.wait_for(|| up.try_wait().unwrap().is_some());
        world.assert_state(&before);
    });
}

/// The supervisor keeps the password in memory, which a core file would contain.
#[test]
fn crashed_supervisor_writes_no_core_file() {
    in_world(working_server(), |world| {
        world.profile("");
        let abort = |command: &mut Command| {
            let mut running =
                world.spawn(command.current_dir("/run").stdout(Stdio::null()).stderr(Stdio::null()));
            if command.get_program() == World::PROGRAM {
                world.wait_for(|| text(&world.run(&["status", "vpn"]).stdout).contains("up on"));
            }
            let pid = nix::unistd::Pid::from_raw(i32::try_from(running.id()).unwrap());
            nix::sys::signal::kill(pid, nix::sys::signal::SIGABRT).unwrap();
            let status = running.wait().unwrap();
            (status.signal(), status.core_dumped())
        };
        use nix::sys::resource::{Resource, getrlimit, setrlimit};
        let (_, hard_limit) = getrlimit(Resource::RLIMIT_CORE).unwrap();
        setrlimit(Resource::RLIMIT_CORE, hard_limit, hard_limit).unwrap();
        // A control: shows whether this system writes core files for other programs. No other test aborts.
        println!("sleep, aborted: {:?}", abort(Command::new("sleep").arg("60")));
        assert_eq!(abort(&mut world.command(&["up", "--foreground", "vpn"])), (Some(6), false));
        assert!(world.run(&["recover"]).status.success());
    });
}

/// Writes the profile `vpn` with its password from a descriptor.
fn write_profile_with_fd(world: &World, fd: i32) {
    world.profile("");
    let text = fs::read_to_string(World::CONFIG).unwrap();
    let with = text.replace("password.file = \"/run/test.password\"", &format!("password.fd = {fd}"));
    fs::write(World::CONFIG, with).unwrap();
}

fn shell(line: &str) -> Output {
    Command::new("sh").args(["-c", line]).output().unwrap()
}

/// Runs `action` while a full file system is mounted on this directory.
fn on_full_disk(dir: &str, action: impl FnOnce()) {
    fs::create_dir_all(dir).unwrap();
    let options = Some("size=4k,mode=0755");
    mount(Some("tmpfs"), dir, Some("tmpfs"), MsFlags::empty(), options).unwrap();
    fs::write(format!("{dir}/filler"), [0; 4096]).unwrap();
    action();
    umount(dir).unwrap();
    // Removes the directory if it is empty, as it did not exist before.
    let _not_empty = fs::remove_dir(dir);
}
