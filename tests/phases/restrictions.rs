//! What a running supervisor is restricted to, as /proc has it, and that its launcher has the rights that programs need.

use std::{collections::BTreeMap, fs};

use crate::{
    working_server,
    world::{in_world, text, timeouts},
};

const SEEN: &str = "/run/restrictions.seen";

/// Returns the fields of proc_pid_status(5).
fn fields(pid: &str) -> BTreeMap<String, String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    parse(&status)
}

fn parse(status: &str) -> BTreeMap<String, String> {
    let pairs = status.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

/// Returns the pid of the launcher: the only child of the supervisor.
fn launcher(supervisor: u64) -> String {
    let children = fs::read_to_string(format!("/proc/{supervisor}/task/{supervisor}/children")).unwrap();
    let launcher = children.trim().to_owned();
    assert_eq!(fields(&launcher).get("Name").map(String::as_str), Some("pptpctl-launch"), "{children}");
    launcher
}

/// Returns the set of capabilities with these numbers, as /proc has it.
fn set(numbers: &[u32]) -> String {
    format!("{:016x}", numbers.iter().fold(0_u64, |set, number| set | 1 << number))
}

const CHOWN: u32 = 0;
const DAC_OVERRIDE: u32 = 1;
const FOWNER: u32 = 3;
const SETGID: u32 = 6;
const NET_ADMIN: u32 = 12;
const NET_RAW: u32 = 13;
const SYS_ADMIN: u32 = 21;

#[test]
fn supervisor_keeps_the_capabilities_of_its_profile() {
    for (keys, others) in [
        ("default = true\nleak = \"block\"", &[][..]),
        ("control.group = \"daemon\"", &[SETGID]),
        ("dns = { servers = \"peer\", backend = \"file\" }\ndefault = true", &[CHOWN, DAC_OVERRIDE, FOWNER]),
        ("link.netns = \"inner\"", &[SYS_ADMIN]),
    ] {
        in_world(working_server(), move |world| {
            world.shell("ip netns add inner");
            world.profile(keys);
            let before = world.state();
            world.up();
            let supervisor = world.pid("supervisor_pid");
            let found = fields(&supervisor.to_string());
            let expected = set(&[others, &[NET_ADMIN, NET_RAW]].concat());
            for name in ["CapEff", "CapPrm", "CapBnd"] {
                assert_eq!(found[name], expected, "{keys}: {name}");
            }
            assert_eq!((&*found["CapInh"], &*found["CapAmb"]), (&*set(&[]), &*set(&[])), "{keys}");
            assert_eq!(found["NoNewPrivs"], "1", "{keys}");
            // A filter: on x86-64 and aarch64.
            assert_eq!(found["Seccomp"], if cfg!(target_pointer_width = "64") { "2" } else { "0" }, "{keys}");
            let status = world.status_with_counters();
            assert_eq!(status["sandbox"]["seccomp"], found["Seccomp"] == "2", "{keys}: {status}");
            let names = status["sandbox"]["capabilities"].as_array().unwrap();
            assert_eq!(names.len(), others.len() + 2, "{keys}: {status}");
            assert!(names.contains(&"CAP_NET_ADMIN".into()) && names.contains(&"CAP_NET_RAW".into()));
            let shown = text(&world.run(&["status", "vpn"]).stdout);
            assert!(
                shown.contains("\n  supervisor   capabilities ") && shown.contains(" net_admin net_raw"),
                "{shown}"
            );
            world.down(&before);
        });
    }
}

/// A hook has what it had without a launcher: root's rights, and this environment.
#[test]
fn hook_is_not_restricted() {
    in_world(working_server(), |world| {
        let script = format!("cat /proc/self/status >{SEEN}; env | grep -v ^PPTPCTL >>{SEEN}");
        world.profile(&format!("hooks.up = [\"/bin/sh\", \"-c\", \"{script}\"]"));
        let before = world.state();
        world.up();
        let seen = fs::read_to_string(SEEN).unwrap();
        let (hook, ours) = (parse(&seen), parse(&world.shell("cat /proc/self/status")));
        for name in ["CapEff", "CapPrm", "CapBnd", "CapInh", "NoNewPrivs", "Seccomp", "SigBlk"] {
            assert_eq!(hook[name], ours[name], "{name}");
        }
        assert_eq!(hook["Umask"], "0022");
        assert!(seen.contains("\nIFNAME=tun0\n") && !seen.contains("HOME="), "{seen}");
        // Nothing of the supervisor is open in the launcher but the channel.
        let launcher = launcher(world.pid("supervisor_pid"));
        let open = world.shell(&format!("ls -l /proc/{launcher}/fd"));
        assert!(!open.contains("tun") && !open.contains("/run/pptpctl") && !open.contains("/var"), "{open}");
        fs::remove_file(SEEN).unwrap();
        world.down(&before);
    });
}

/// Without its launcher a supervisor can start no engine and undo no step of a program: it ends, and says why.
#[test]
fn supervisor_ends_without_its_launcher() {
    in_world(working_server(), |world| {
        world.profile("default = true\nleak = \"block\"");
        let before = world.state();
        world.up();
        let supervisor = world.pid("supervisor_pid");
        let launcher = launcher(supervisor);
        // A request to end is the supervisor's: the tunnel is shut down first.
        world.shell(&format!("kill -TERM {launcher}"));
        assert_eq!(world.status_with_counters()["state"], "up");
        world.shell(&format!("kill -KILL {launcher}"));
        world.wait_for(|| world.run(&["status", "vpn"]).status.code() == Some(6));
        let log = fs::read_to_string("/var/log/pptpctl/vpn.log").unwrap();
        assert!(log.contains("the launcher, which starts programs, has ended"), "{log}");
        world.wait_for(|| !fs::exists(format!("/proc/{supervisor}")).unwrap());
        // The kill switch stays, as after every end that the user did not ask for.
        assert!(world.shell("ip -4 route show table all").contains("unreachable"));
        assert!(world.run(&["recover"]).status.success());
        world.assert_state(&before);
        world.up();
        world.down(&before);
    });
}

/// The launcher and the engine, which it started, end with a supervisor that is killed.
#[test]
fn launcher_ends_with_its_supervisor() {
    in_world(working_server(), |world| {
        world.profile("");
        world.up();
        let (supervisor, engine) = (world.pid("supervisor_pid"), world.pid("engine_pid"));
        let launcher = launcher(supervisor);
        assert_eq!(fields(&engine.to_string())["PPid"], launcher);
        world.shell(&format!("kill -KILL {supervisor}"));
        let runs = |pid: &str| {
            fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|s| !s.contains("State:\tZ"))
        };
        world.wait_for(|| !runs(&launcher) && !runs(&engine.to_string()));
        assert!(world.run(&["recover"]).status.success());
    });
}

/// A program in place of pppd(8), which this kernel may lack: it shows what it is given and runs with, and when it is ended.
const PPPD: &str = r#"#!/bin/sh
trap 'echo ended >>/run/pppd.seen; exit 0' TERM
{ echo "$*"; cat /proc/self/status; } >/run/pppd.seen
cat /proc/self/fd/0 >/run/pppd.options
while :; do sleep 0.1; done
"#;

/// pppd runs with root's rights and gets its options in a pipe; it is ended with its attempt.
#[test]
fn ppp_daemon_starts_through_the_launcher() {
    in_world(working_server(), |world| {
        // Added to the world's own view of /usr and /dev.
        fs::write("/run/pppd", PPPD).unwrap();
        world.shell(
            "set -e; mkdir /run/added; mount -t tmpfs -o exec tmpfs /run/added; mkdir -p /run/added/usr/sbin /run/added/dev
             mkdir /run/added/pts; : >/run/added/dev/ppp; install -m 755 /run/pppd /run/added/usr/sbin; rm /run/pppd
             mount -t overlay overlay -o lowerdir=/run/added/usr:/usr /usr; mount --bind /dev/pts /run/added/pts
             mount -t overlay overlay -o lowerdir=/run/added/dev:/dev /dev; mount --move /run/added/pts /dev/pts",
        );
        world.profile(&format!("ppp.backend = \"pppd\"\n{}", timeouts(&[("lcp", "2s")])));
        let before = world.state();
        let output = world.run(&["up", "vpn"]);
        let words = text(&output.stderr);
        assert!(!output.status.success(), "{words}");
        let seen = fs::read_to_string("/run/pppd.seen").unwrap_or_else(|error| panic!("{error}: {words}"));
        assert!(seen.contains("nodetach file /proc/self/fd/0\n") && seen.ends_with("ended\n"), "{seen}");
        let ours = parse(&world.shell("cat /proc/self/status"));
        assert_eq!(
            (&parse(&seen)["CapEff"], &parse(&seen)["NoNewPrivs"]),
            (&ours["CapEff"], &ours["NoNewPrivs"])
        );
        let options = fs::read_to_string("/run/pppd.options").unwrap();
        assert!(options.contains("\npassword "), "the options have no password");
        fs::remove_file("/run/pppd.seen").unwrap();
        fs::remove_file("/run/pppd.options").unwrap();
        world.assert_state(&before);
    });
}
