//! Something is missing that nobody thinks of: a descriptor, room on a disk, someone who reads. What is said must be
//! true, the exit status too, and nothing may stay behind.

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
    sound,
    world::{PASSWORD, World, in_world, text},
};

/// Its number may be that of a file of ours by now: the lock of this very profile would be read as the password.
#[test]
fn a_descriptor_that_nobody_passed_on_holds_no_password() {
    in_world(sound(), |world| {
        let up = format!("{} --config {} up vpn", World::PROGRAM, World::CONFIG);
        for (fd, redirection) in
            [(3, "3<&-"), (4, "4<&-"), (7, "7<&-"), (1, ">/run/said"), (5, "5>/run/said"), (2, "2>/run/said")]
        {
            from_descriptor(world, fd);
            let before = world.state();
            let output = shell(&format!("{up} {redirection}"));
            let said = text(&output.stderr) + &fs::read_to_string("/run/said").unwrap_or_default();
            let _none = fs::remove_file("/run/said");
            assert_eq!(output.status.code(), Some(3), "{redirection}: {said}");
            assert!(
                said.contains(&format!("descriptor {fd} is not open for reading")),
                "{redirection}: {said}"
            );
            world.assert_state(&before);
        }
    });
}

/// Root of a container that was given little.
#[test]
fn what_root_lacks_is_named_before_anything_is_done() {
    in_world(sound(), |world| {
        world.profile("");
        let before = world.state();
        let set = "--bounding-set=-setuid,-sys_chroot";
        let words = [set, World::PROGRAM, "--config", World::CONFIG, "up", "vpn"];
        let output = Command::new("setpriv").args(words).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{said}");
        assert!(said.contains("here: CAP_SETUID, CAP_SYS_CHROOT (cap"), "{said}");
        world.assert_state(&before);
    });
}

#[test]
fn a_descriptor_may_be_a_file_a_pipe_or_a_socket() {
    in_world(sound(), |world| {
        let before = world.state();
        let up = format!("{} --config {} up vpn", World::PROGRAM, World::CONFIG);
        for line in [
            format!("{up} 3</run/test.password"),
            format!("cat /run/test.password | {{ {up} 3<&0; }}"),
            format!("{up} 3<>/run/test.password"),
        ] {
            from_descriptor(world, 3);
            let output = shell(&line);
            assert!(output.status.success(), "{line}: {}", text(&output.stderr));
            assert!(world.run(&["down", "vpn"]).status.success());
        }
        from_descriptor(world, 0);
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        writeln!(ours, "{PASSWORD}").unwrap();
        let output =
            world.command(&["up", "vpn"]).stdin(Stdio::from(OwnedFd::from(theirs))).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        fs::remove_file(World::CONFIG).unwrap();
        world.down(&before);
    });
}

/// What has come along is closed in the daemons alone: the next profile may need it, and a number that was closed
/// would be given to something else.
#[test]
fn each_profile_of_an_autostart_gets_its_own_descriptor() {
    in_world(sound(), |world| {
        let before = world.state();
        from_descriptor(world, 3);
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
fn a_full_disk_leaves_no_ledger_that_speaks_of_a_dead_supervisor() {
    in_world(sound(), |world| {
        world.profile("");
        let before = world.state();
        on_a_full_disk("/var/lib/pptpctl", || {
            let output = world.run(&["up", "vpn"]);
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(23), "{said}");
            assert_eq!(said.matches("/var/lib/pptpctl/vpn.ledger").count(), 1, "{said}");
            let status = world.run(&["status", "vpn"]);
            assert_eq!((status.status.code(), text(&status.stdout)), (Some(6), "vpn: down\n".to_owned()));
        });
        on_a_full_disk("/run/pptpctl", || {
            let output = world.run(&["up", "vpn"]);
            assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
            assert!(text(&output.stderr).contains("/run/pptpctl/vpn.lock: No space left on device"));
            assert!(!fs::exists("/run/pptpctl/vpn.lock").unwrap());
        });
        world.assert_state(&before);
        // Where the rest goes, nobody needs to look for: it is named.
        fs::create_dir_all("/var/log/pptpctl").unwrap();
        let none: Option<&str> = None;
        mount(Some("tmpfs"), "/var/log/pptpctl", Some("tmpfs"), MsFlags::MS_RDONLY, none).unwrap();
        let output = world.run(&["up", "vpn"]);
        assert_eq!(output.status.code(), Some(1));
        let said = text(&output.stderr);
        assert!(said.contains("/var/log/pptpctl/vpn.log: Read-only file system"), "{said}");
        world.assert_state(&before);
    });
}

#[test]
fn a_full_standard_output_fails_no_tunnel() {
    in_world(sound(), |world| {
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
            let said = text(&output.stderr);
            assert_eq!(
                said, "pptpctl: standard output: No space left on device (os error 28)\n",
                "{shows:?}"
            );
        }
        assert_eq!(full(&["down", "vpn"]).status.code(), Some(0));
        world.assert_state(&before);
    });
}

/// `pptpctl logs --follow vpn | head -1`: no other line may come for days.
#[test]
fn who_has_seen_enough_of_a_log_ends_it() {
    in_world(sound(), |world| {
        fs::create_dir("/var/log/pptpctl").unwrap();
        fs::write("/var/log/pptpctl/vpn.log", "a line\n").unwrap();
        let mut logs = world.spawn(world.command(&["logs", "--follow", "vpn"]).stdout(Stdio::piped()));
        let mut out = BufReader::new(logs.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert_eq!(line, "a line\n");
        assert!(logs.try_wait().unwrap().is_none(), "it ended while someone read");
        drop(out);
        world.wait_for(|| logs.try_wait().unwrap().is_some());
        assert_eq!(logs.wait().unwrap().code(), Some(0));
    });
}

/// A supervisor that is stopped in a debugger, or by a full machine: that is what is said, and not errno.
#[test]
fn a_supervisor_that_is_stopped_is_told_by_name() {
    in_world(sound(), |world| {
        world.profile("");
        let before = world.state();
        world.up();
        let supervisor = world.pid("supervisor_pid");
        world.shell(&format!("kill -STOP {supervisor}"));
        let output = world.run(&["status", "vpn"]);
        assert_eq!(output.status.code(), Some(1));
        let said = text(&output.stderr);
        assert_eq!(said, "pptpctl: vpn: the supervisor does not answer: no word within 5 s\n");
        world.shell(&format!("kill -CONT {supervisor}"));
        world.down(&before);
    });
}

/// Someone clears /run under a live tunnel: it is not taken for dead, and its routes are not pulled from under it.
#[test]
fn a_tunnel_without_its_lock_is_still_alive() {
    in_world(sound(), |world| {
        world.profile("");
        let before = world.state();
        world.up();
        let supervisor = world.pid("supervisor_pid");
        let during = world.shell("ip route; ip -br address");
        fs::remove_file("/run/pptpctl/vpn.lock").unwrap();
        let recover = world.run(&["recover"]);
        let said = text(&recover.stdout);
        assert!(recover.status.success() && said.contains("vpn: alive, left alone"), "{said}");
        // Its name can't be had twice either, though the lock was there to be taken.
        fs::remove_dir_all("/run/pptpctl").unwrap();
        let up = world.run(&["up", "vpn"]);
        assert_eq!(up.status.code(), Some(23), "{}", text(&up.stderr));
        assert!(text(&up.stderr).contains("there is a ledger already"), "{}", text(&up.stderr));
        assert_eq!(world.shell("ip route; ip -br address"), during);
        world.shell(&format!("kill {supervisor}"));
        world.wait_for(|| !fs::exists("/var/lib/pptpctl/vpn.ledger").unwrap());
        world.wait_for(|| world.state() == before);
    });
}

#[test]
fn while_a_password_is_waited_for_that_is_the_state() {
    in_world(sound(), |world| {
        from_descriptor(world, 0);
        let before = world.state();
        let mut up = world.spawn(world.command(&["up", "vpn"]).stdin(Stdio::piped()).stdout(Stdio::null()));
        world.wait_for(|| fs::metadata("/run/pptpctl/vpn.lock").is_ok_and(|lock| lock.len() > 0));
        let status = world.run(&["status", "vpn"]);
        let said = text(&status.stdout);
        assert_eq!(status.status.code(), Some(6), "{said}");
        assert!(
            said.contains("is about to bring it up") && said.contains("waits for the password"),
            "{said}"
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

/// It has the password in its memory for as long as it lives.
#[test]
fn a_supervisor_that_crashes_writes_no_core_file() {
    in_world(sound(), |world| {
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
        let (_, most) = getrlimit(Resource::RLIMIT_CORE).unwrap();
        setrlimit(Resource::RLIMIT_CORE, most, most).unwrap();
        // Elsewhere in this process nobody is told to abort; and here cores are written, if they are at all.
        println!("sleep, aborted: {:?}", abort(Command::new("sleep").arg("60")));
        assert_eq!(abort(&mut world.command(&["up", "--foreground", "vpn"])), (Some(6), false));
        assert!(world.run(&["recover"]).status.success());
    });
}

/// The profile `vpn`, with its password from a descriptor.
fn from_descriptor(world: &World, fd: i32) {
    world.profile("");
    let text = fs::read_to_string(World::CONFIG).unwrap();
    let with = text.replace("password.file = \"/run/test.password\"", &format!("password.fd = {fd}"));
    fs::write(World::CONFIG, with).unwrap();
}

fn shell(line: &str) -> Output {
    Command::new("sh").args(["-c", line]).output().unwrap()
}

/// Does something while this directory is a disk without room for a byte.
fn on_a_full_disk(place: &str, deed: impl FnOnce()) {
    fs::create_dir_all(place).unwrap();
    let options = Some("size=4k,mode=0755");
    mount(Some("tmpfs"), place, Some("tmpfs"), MsFlags::empty(), options).unwrap();
    fs::write(format!("{place}/filler"), [0; 4096]).unwrap();
    deed();
    umount(place).unwrap();
    // Where it is empty it is as it was.
    let _not_empty = fs::remove_dir(place);
}
