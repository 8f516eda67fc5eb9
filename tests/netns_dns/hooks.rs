//! The user's hooks, run by a supervisor.

use std::fs;

use crate::resolver_world::{in_resolver_world, script};

const HOOK: &str = "/etc/pptpctl/hook";
/// The file to which each run of a hook appends a line.
const TRACE: &str = "/run/trace";

/// A hook that records its arguments, environment, descriptors and standard input.
const RECORDING_HOOK: &str = "#!/bin/sh\necho \"$# $* $(id -u) $(pwd) $(umask)\" >>/run/trace\n\
    env | sort >/run/env.$PPTPCTL_ACTION\nls -l /proc/self/fd | grep -v /proc | grep -c -e tun -e socket >/run/fds\n\
    ip -o address show $IFNAME >/run/addresses.$PPTPCTL_ACTION\ncat >/run/input\necho said; echo complained >&2\n";

#[test]
fn hooks_get_complete_environment() {
    in_resolver_world(|net| {
        script(HOOK, RECORDING_HOOK);
        net.world.profile(&format!(
            "hooks = {{ up = [\"{HOOK}\", \"a b\", \"$HOME\"], down = [\"{HOOK}\", \"bye\"] }}"
        ));
        let before = net.world.state();
        net.world.up();
        assert_eq!(trace(), "2 a b $HOME 0 / 0022\n");
        let environment = fs::read_to_string("/run/env.up").unwrap();
        for line in [
            "DNS1=192.168.77.1",
            "IFNAME=tun0",
            "IPLOCAL=10.77.0.100",
            "IPREMOTE=10.77.0.1",
            "LANG=C",
            "PEERNAME=192.0.2.1",
            "PPP_IFACE=tun0",
            "PPTPCTL_ACTION=up",
            "PPTPCTL_PROFILE=vpn",
            "PPTPCTL_SERVER=192.0.2.1",
            "script_type=up",
        ] {
            assert!(environment.lines().any(|other| other == line), "{line} is not in\n{environment}");
        }
        // Nothing of the caller's environment is passed on.
        assert!(!environment.contains("HOME=") && !environment.contains("CARGO"), "{environment}");
        assert_eq!(fs::read_to_string("/run/fds").unwrap(), "0\n");
        assert_eq!(fs::read_to_string("/run/input").unwrap(), "");
        assert!(net.log().contains("vpn: up hook: said") && net.log().contains("vpn: up hook: complained"));
        assert!(net.world.run(&["down", "vpn"]).status.success());
        assert_eq!(trace(), "2 a b $HOME 0 / 0022\n1 bye 0 / 0022\n");
        // The tunnel was still up when the down hook ran.
        let at_down = fs::read_to_string("/run/addresses.down").unwrap();
        assert!(at_down.contains("10.77.0.100"), "{at_down}");
        remove_hook_files();
        net.world.assert_state(&before);
    });
}

#[test]
fn failing_up_hook_fails_up_and_undoes_everything() {
    in_resolver_world(|net| {
        script(
            HOOK,
            "#!/bin/sh\necho $1 >>/run/trace\n[ $1 = down ] || { echo 'no such share' >&2; exit 7; }\n",
        );
        net.world.profile(&format!(
            "dns = \"peer\"\nhooks = {{ up = [\"{HOOK}\", \"up\"], down = [\"{HOOK}\", \"down\"] }}"
        ));
        let before = net.world.state();
        let output = net.world.run(&["up", "vpn"]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(23), "{stderr}");
        assert!(stderr.contains("hook: failed (exit status 7): no such share"), "{stderr}");
        assert_eq!(trace(), "up\ndown\n");
        remove_hook_files();
        net.world.assert_state(&before);
        // A failing down hook is reported and does not prevent the next `up`.
        script(HOOK, "#!/bin/sh\n[ $1 = up ] || { echo 'not mounted' >&2; exit 8; }\n");
        for _ in 0..2 {
            net.world.up();
            let output = net.world.run(&["down", "vpn"]);
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(23), "{stderr}");
            assert!(stderr.contains("exit status 8") && stderr.contains("not mounted"), "{stderr}");
            net.world.assert_state(&before);
        }
    });
}

#[test]
fn hanging_hook_is_killed() {
    in_resolver_world(|net| {
        script(HOOK, "#!/bin/sh\necho begun; sleep 1000\n");
        net.world.profile(&format!("hooks = {{ up = [\"{HOOK}\"], timeout = \"1s\" }}"));
        let before = net.world.state();
        let output = net.world.run(&["up", "vpn"]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(23), "{stderr}");
        assert!(stderr.contains("not done after 1s"), "{stderr}");
        net.world.assert_state(&before);
    });
}

#[test]
fn hook_writable_by_others_is_refused() {
    in_resolver_world(|net| {
        script(HOOK, RECORDING_HOOK);
        net.world.shell(&format!("chmod o+w {HOOK}"));
        net.world.profile(&format!("hooks.up = [\"{HOOK}\"]"));
        net.world.assert_up_fails(23, "routes", &["can be written by others than root", "chmod go-w"], 3.0);
        assert!(!fs::exists(TRACE).unwrap());
        net.world.profile("hooks.up = [\"/etc/pptpctl/nothing\"]");
        net.world.assert_up_fails(
            23,
            "routes",
            &["hooks.up is not run: /etc/pptpctl/nothing: No such file"],
            3.0,
        );
    });
}

#[test]
fn recover_runs_down_hook() {
    in_resolver_world(|net| {
        script(HOOK, "#!/bin/sh\necho $PPTPCTL_ACTION $IFNAME $IPLOCAL >>/run/trace\n");
        net.world.profile(&format!("hooks = {{ up = [\"{HOOK}\"], down = [\"{HOOK}\"] }}"));
        let before = net.world.state();
        net.world.up();
        net.kill_both();
        fs::remove_file("/run/test.toml").unwrap();
        assert!(net.world.run(&["recover"]).status.success());
        assert_eq!(trace(), "up tun0 10.77.0.100\ndown tun0 10.77.0.100\n");
        net.world.profile(&format!("hooks = {{ up = [\"{HOOK}\"], down = [\"{HOOK}\"] }}"));
        remove_hook_files();
        net.world.assert_state(&before);
    });
}

/// A hook must not outlive its supervisor and run beside the down hook that `recover` runs.
#[test]
fn hook_is_killed_with_supervisor() {
    in_resolver_world(|net| {
        // The shell itself blocks in `read`, so that the hook has no child process.
        script(
            HOOK,
            "#!/bin/sh\n[ $1 = up ] || { echo down >>/run/trace; exit; }\n\
             echo $$ >>/run/trace; read word </run/fifo; echo went on >>/run/trace\n",
        );
        net.world.profile(&format!("hooks = {{ up = [\"{HOOK}\", \"up\"], down = [\"{HOOK}\", \"down\"] }}"));
        let before = net.world.state();
        net.world.shell("mkfifo /run/fifo");
        let mut up = net.spawn(&mut net.world.command(&["up", "vpn"]));
        net.world.wait_for(|| trace().ends_with('\n'));
        let hook = trace().trim().to_owned();
        let proc_field = |pid: &str, what: &str| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let value = status.lines().find_map(|line| line.strip_prefix(what)?.split_whitespace().next());
            value.map(str::to_owned)
        };
        // The supervisor starts hooks through its launcher.
        let launcher = proc_field(&hook, "PPid:").unwrap();
        assert_eq!(proc_field(&launcher, "Name:").unwrap(), "pptpctl-launch");
        let supervisor = proc_field(&launcher, "PPid:").unwrap();
        assert!(proc_field(&supervisor, "Name:").unwrap().starts_with("pptpctl-under"), "{supervisor}");
        net.world.shell(&format!("kill -9 {supervisor}"));
        net.world.wait_for(|| proc_field(&hook, "State:").is_none_or(|state| state == "Z"));
        assert!(!up.wait().unwrap().success());
        let recover = net.world.run(&["recover"]);
        assert!(recover.status.success(), "{}", String::from_utf8_lossy(&recover.stderr));
        assert_eq!(trace(), format!("{hook}\ndown\n"));
        fs::remove_file("/run/fifo").unwrap();
        remove_hook_files();
        net.world.assert_state(&before);
    });
}

#[test]
fn reconnect_does_not_repeat_hook() {
    in_resolver_world(|net| {
        script(HOOK, "#!/bin/sh\necho $PPTPCTL_ACTION >>/run/trace\n");
        net.world.profile(&format!(
            "retry = {{ first = \"100ms\" }}\nhooks = {{ up = [\"{HOOK}\"], down = [\"{HOOK}\"] }}"
        ));
        net.world.up();
        let local = net.status()["local"].clone();
        net.world.shell(&format!("kill -9 {}", net.pid("engine_pid")));
        net.world.wait_for(|| net.status()["reconnects"] == 1);
        let runs = if net.status()["local"] == local { "up\n" } else { "up\nup\n" };
        assert_eq!(trace(), runs);
        assert!(net.world.run(&["down", "vpn"]).status.success());
        assert_eq!(trace(), format!("{runs}down\n"));
    });
}

fn trace() -> String {
    fs::read_to_string(TRACE).unwrap_or_default()
}

/// Removes the files that the hooks have written.
fn remove_hook_files() {
    for name in ["trace", "env.up", "env.down", "fds", "input", "addresses.up", "addresses.down"] {
        let _none = fs::remove_file(format!("/run/{name}"));
    }
}
