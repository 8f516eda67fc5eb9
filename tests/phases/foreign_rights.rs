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
                fs::copy(from, &copy).unwrap();
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
