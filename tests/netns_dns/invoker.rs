//! `password.run-as = "invoker"` behind the real sudo(8) and doas(1) of Debian's packages.

use std::{
    fs,
    os::unix::fs::chown,
    process::{Command, Output, Stdio},
};

use crate::{
    resolver_world::{ResolverWorld, in_resolver_world, install, script},
    world::{PASSWORD, World, text},
};

const UID: u32 = 42_421;
const GID: u32 = 42_422;
const GROUP: u32 = 42_423;
const HOME: &str = "/mnt/alice";
const REPORT: &str = "/mnt/alice/report";

/// Adds the user to the world's own /etc, and a profile whose password a program in the user's home directory prints.
fn add_alice(net: &ResolverWorld<'_>) {
    net.world.shell(&format!(
        "mount -t tmpfs tmpfs /mnt; mkdir {HOME}; echo 'alice:x:{UID}:{GID}::{HOME}:/bin/sh' >>/etc/passwd
         echo 'alice:*:1::::::' >>/etc/shadow; printf 'alice:x:{GID}:\\nkeys:x:{GROUP}:alice\\n' >>/etc/group"
    ));
    let ask = format!("{HOME}/ask");
    script(
        &ask,
        &format!(
            "#!/bin/sh\necho \"$(id -u) $(id -g) $(id -G) $HOME $PWD $USER\" >{REPORT}\nenv | cut -d= -f1 >>{REPORT}\n\
             echo '{PASSWORD}'\n"
        ),
    );
    for path in [HOME, &ask] {
        chown(path, Some(UID), Some(GID)).unwrap();
    }
    net.world.profile("");
    let text = fs::read_to_string(World::CONFIG).unwrap();
    let command = format!("password.run-as = \"invoker\"\npassword.command = [\"{ask}\"]");
    fs::write(World::CONFIG, text.replace("password.file = \"/run/test.password\"", &command)).unwrap();
}

/// Runs a command as the user, with an environment of the user's.
fn as_alice(command: &[&str]) -> Output {
    let mut program = Command::new("setpriv");
    program.args([format!("--reuid={UID}"), format!("--regid={GID}"), "--init-groups".to_owned()]);
    program.args(command).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", HOME).env("USERS_OWN", "x");
    program.current_dir("/").stdin(Stdio::null()).output().unwrap()
}

fn brings_tunnel_up(
    package: &'static str,
    become_root: &'static [&'static str],
    rules: (&'static str, &'static str),
) {
    in_resolver_world(move |net| {
        install(&[package]);
        add_alice(net);
        fs::write(rules.0, rules.1).unwrap();
        net.world.shell(&format!("chmod 0440 {}", rules.0));
        let before = net.world.state();
        let up = [become_root, &[World::PROGRAM, "--config", World::CONFIG, "up", "vpn"]].concat();
        let output = as_alice(&up);
        assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
        let report = fs::read_to_string(REPORT).unwrap();
        let (ids, environment) = report.split_once('\n').unwrap();
        assert_eq!(ids, format!("{UID} {GID} {GID} {GROUP} {HOME} {HOME} alice"));
        assert!(!environment.contains("SUDO") && !environment.contains("DOAS"), "{environment}");
        assert_eq!(fs::metadata(REPORT).map(|file| std::os::unix::fs::MetadataExt::uid(&file)).unwrap(), UID);
        net.world.down(&before);
    });
}

#[test]
fn command_runs_as_the_user_behind_sudo() {
    let rules = ("/etc/sudoers.d/alice", "alice ALL=(root) NOPASSWD: ALL\n");
    brings_tunnel_up("sudo", &["/usr/bin/sudo", "-n"], rules);
}

#[test]
fn command_runs_as_the_user_behind_doas() {
    brings_tunnel_up(
        "opendoas",
        &["/usr/bin/doas", "-n"],
        ("/etc/doas.conf", "permit nopass alice as root\n"),
    );
}
