//! What the caller or the administrator left behind: set-user-ID bits, limits, directories that others can write.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
};

use crate::{
    in_world, working_server,
    world::{World, text},
};

#[test]
fn setuid_programs_refuse_to_run() {
    in_world(working_server(), |world| {
        world.profile("");
        // Other mounts of this world may be nosuid.
        world.shell("mkdir /run/setuid && mount -t tmpfs -o suid tmpfs /run/setuid");
        for (mode, bit) in [(0o4755, "user"), (0o2755, "group")] {
            for (from, program) in [(World::PROGRAM, "pptpctl"), (env!("CARGO_BIN_EXE_pptp"), "pptp")] {
                let copy = format!("/run/setuid/{program}");
                // By another process: a child that another test starts meanwhile would inherit a descriptor that is
                // open for writing, and until it closes it execve(2) fails with ETXTBSY.
                world.shell(&format!("cp {from} {copy}"));
                fs::set_permissions(&copy, fs::Permissions::from_mode(mode)).unwrap();
                let output = Command::new("setpriv")
                    .args(["--reuid=65534", "--regid=65534", "--clear-groups", &copy, "--version"])
                    .output()
                    .unwrap();
                let words = text(&output.stderr);
                assert!(!output.status.success(), "{program}, {bit}: {}", text(&output.stdout));
                assert!(words.contains("must not be set-user-ID"), "{program}, {bit}: {words}");
                assert_eq!(text(&output.stdout), "");
            }
        }
        world.shell("umount /run/setuid; rmdir /run/setuid");
    });
}

/// `ulimit -f` ends a process that ignores nothing at its first write beyond it: the ledger's.
#[test]
fn limit_of_file_sizes_does_not_kill_a_supervisor() {
    in_world(working_server(), |world| {
        world.profile("");
        let before = world.state();
        let script = format!("ulimit -f 1; {} --config {} up vpn", World::PROGRAM, World::CONFIG);
        let output = Command::new("bash").args(["-c", &script]).stdin(Stdio::null()).output().unwrap();
        let words = text(&output.stderr);
        println!("{}{words}", text(&output.stdout));
        assert!(output.status.code().is_some_and(|code| code < 128), "{:?} {words}", output.status);
        // It is up without its log, or has failed and says so.
        if output.status.success() {
            world.down(&before);
        } else {
            assert!(words.contains("File too large"), "{words}");
            world.assert_state(&before);
        }
    });
}

/// Programs of the user have the default action of SIGXFSZ: number 25, bit 24 of the mask (proc(5)).
#[test]
fn hook_does_not_inherit_the_handling_of_file_size_limits() {
    in_world(working_server(), |world| {
        world.profile(r#"hooks.up = ["/bin/sh", "-c", "grep SigIgn /proc/self/status >/run/ignored"]"#);
        let before = world.state();
        world.up();
        let line = std::fs::read_to_string("/run/ignored").unwrap();
        let mask = line.trim_start_matches("SigIgn:").trim();
        assert_eq!(u64::from_str_radix(mask, 16).unwrap() >> 24 & 1, 0, "{line}");
        std::fs::remove_file("/run/ignored").unwrap();
        world.down(&before);
    });
}

/// The ledger of a killed supervisor is lost, with the kill switch on: `recover` lifts it.
#[test]
fn kill_switch_without_a_ledger_is_lifted() {
    for keys in [
        "default = true",
        "default = { mode = \"halves\" }",
        "default = { mode = \"replace\" }\nretry.max = \"2s\"",
        "routes = [\"192.168.77.0/24\"]",
    ] {
        in_world(working_server(), move |world| {
            world.shell("ip route add default via 192.0.2.200 proto dhcp metric 100");
            world.profile(&format!("{keys}\nleak = \"block\""));
            let before = world.state();
            world.up();
            let supervisor = world.pid("supervisor_pid");
            world.shell(&format!("kill -9 {supervisor}; rm /var/lib/pptpctl/vpn.ledger"));
            world.wait_for(|| world.shell("ip link").matches("tun0").count() == 0);
            assert!(world.shell("ip -4 route show table all; ip rule").contains("unreachable"), "{keys}");
            world.wait_for(|| {
                let recovered = world.run(&["recover"]);
                text(&recovered.stdout).contains("lifted the kill switch of a tunnel whose ledger is lost")
            });
            let left =
                world.shell("ip -4 route show table all; ip -6 route show table all; ip rule; ip -6 rule");
            assert!(!left.contains("unreachable") && !left.contains("lookup 3"), "{keys}: {left}");
            assert_eq!(text(&world.run(&["recover"]).stdout), "nothing to undo\n");
            if !keys.contains("replace") {
                world.shell("ip route flush proto 112; rm -f /run/tun0.pid");
                world.assert_state(&before);
            }
        });
    }
}

/// A running tunnel whose ledger is lost keeps its kill switch.
#[test]
fn kill_switch_of_a_running_tunnel_is_not_lifted() {
    in_world(working_server(), |world| {
        world.profile("default = true\nleak = \"block\"");
        world.up();
        let rules = || world.shell("ip rule; ip route show table all type unreachable");
        let before = rules();
        world.shell("rm /var/lib/pptpctl/vpn.ledger");
        assert_eq!(text(&world.run(&["recover"]).stdout), "nothing to undo\n");
        assert_eq!(rules(), before);
        world.run(&["down", "vpn"]);
    });
}

/// Has the kernel refuse seccomp(2) with this error, for this thread and the programs that it runs. Returns whether the
/// programs have a filter on this processor.
fn refuse_filters(errno: i32) -> bool {
    use seccompiler::{SeccompAction, SeccompFilter, TargetArch, apply_filter};
    let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) else { return false };
    let refused = SeccompAction::Errno(errno.unsigned_abs());
    let rules = [(libc::SYS_seccomp, Vec::new())].into_iter().collect();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, arch).unwrap();
    let program: seccompiler::BpfProgram = filter.try_into().unwrap();
    apply_filter(&program).unwrap();
    true
}

/// The kernel refuses seccomp(2), as one without it does.
#[test]
fn missing_filter_of_system_calls_is_shown() {
    in_world(working_server(), |world| {
        world.profile("");
        let before = world.state();
        world.up();
        let status = |world: &World| text(&world.run(&["status", "vpn", "--json"]).stdout);
        assert!(!status(world).contains("filter of system calls"), "{}", status(world));
        world.down(&before);
        if !refuse_filters(libc::ENOSYS) {
            return;
        }
        world.up();
        let shown = status(world);
        for process in ["engine", "supervisor"] {
            assert!(
                shown.contains(&format!("the {process} runs without its filter of system calls")),
                "{shown}"
            );
        }
        assert!(shown.contains("refuses seccomp(2)"), "{shown}");
        world.down(&before);
    });
}

/// One that has seccomp(2) and refuses a filter, as under the filter of a container.
#[test]
fn refused_filter_of_system_calls_ends_up_unless_the_profile_does_without() {
    in_world(working_server(), |world| {
        if !refuse_filters(libc::EPERM) {
            return;
        }
        world.profile("");
        let words =
            ["the kernel refuses the supervisor's filter of system calls", "sandbox = \"best-effort\""];
        world.assert_up_fails(1, "connect", &words, 10.0);
        world.profile("sandbox = \"best-effort\"");
        let before = world.state();
        world.up();
        let shown = text(&world.run(&["status", "vpn"]).stdout);
        assert!(shown.contains("the engine runs without its filter of system calls"), "{shown}");
        assert!(shown.contains("the supervisor runs without its filter of system calls"), "{shown}");
        assert!(shown.contains("; no filter of system calls"), "{shown}");
        world.down(&before);
    });
}

#[test]
fn log_directory_that_others_can_write_is_refused() {
    in_world(working_server(), |world| {
        world.profile("");
        fs::create_dir_all("/var/log/pptpctl").unwrap();
        fs::set_permissions("/var/log/pptpctl", fs::Permissions::from_mode(0o777)).unwrap();
        let before = world.state();
        let output = world.run(&["up", "vpn"]);
        let words = text(&output.stdout) + &text(&output.stderr);
        assert!(output.status.success(), "{words}");
        assert!(
            words.contains("can be written by others (mode 0777): chmod 700 /var/log/pptpctl"),
            "{words}"
        );
        assert!(words.contains("the log goes to syslog"), "{words}");
        assert!(!fs::exists("/var/log/pptpctl/vpn.log").unwrap());
        world.down(&before);
    });
}
