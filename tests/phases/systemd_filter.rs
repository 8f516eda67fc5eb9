//! The programs under what the units of `contrib/systemd` leave them: their system calls and capabilities. A call that
//! the units do not list kills here, instead of failing with EPERM, so that nothing goes unnoticed. And what
//! systemd-analyze(1) thinks of the units and their drop-in files.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output, Stdio},
};

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use super::{
    working_server,
    world::{World, in_world, text, timeouts},
};

const UNIT: &str = include_str!("../../contrib/systemd/pptpctl@.service");
const AUTOSTART: &str = include_str!("../../contrib/systemd/pptpctl-autostart.service");
const DROP_INS: [(&str, &str); 3] = [
    ("netns.conf", include_str!("../../contrib/systemd/netns.conf")),
    ("hooks.conf", include_str!("../../contrib/systemd/hooks.conf")),
    ("kernel-path.conf", include_str!("../../contrib/systemd/kernel-path.conf")),
];
/// The numbers of the system calls; of Debian's linux-libc-dev, on which libc6-dev depends.
const NUMBERS: &str = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h";

/// The compiled filter.
const FILTER: &str = "/run/pptpctl-filter";
/// Runs a program under the filter in a file: prctl(2) with PR_SET_NO_NEW_PRIVS and PR_SET_SECCOMP.
const CONFINE: &str = "open F, '<:raw', shift or die; local $/; my $f = <F>; my $p = pack('Sx6P', length($f) / 8, $f); \
    !syscall(157, 38, 1, 0, 0, 0) and !syscall(157, 22, 2, $p) or die $!; exec @ARGV; die $!";

/// Returns the values of a key in the unit.
fn unit(key: &str) -> Vec<&'static str> {
    let values = UNIT.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    values.flat_map(str::split_whitespace).collect()
}

/// Returns the system calls of a set, which may have others in it.
fn members(set: &str, calls: &mut BTreeSet<String>) {
    let output = Command::new("/usr/bin/systemd-analyze")
        .args(["syscall-filter", "--no-pager", set])
        .output()
        .unwrap();
    assert!(output.status.success(), "{set}: {}", text(&output.stderr));
    for word in text(&output.stdout).lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        if word.starts_with('@') && word != set {
            members(word, calls);
        } else if !word.starts_with('@') && !word.is_empty() {
            calls.insert(word.to_owned());
        }
    }
}

fn filter() -> BpfProgram {
    let mut calls = BTreeSet::new();
    // A line that begins with a tilde takes calls away from those before it.
    for line in UNIT.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")) {
        let mut named = BTreeSet::new();
        for word in line.trim_start_matches('~').split_whitespace() {
            if word.starts_with('@') {
                members(word, &mut named);
            } else {
                named.insert(word.to_owned());
            }
        }
        if line.starts_with('~') {
            calls.retain(|call| !named.contains(call));
        } else {
            calls.extend(named);
        }
    }
    // systemd adds this set to every list.
    members("@default", &mut calls);
    assert!(calls.contains("prlimit64") && !calls.contains("setpriority") && !calls.contains("mount"));
    let header = fs::read_to_string(NUMBERS).unwrap();
    let numbers: BTreeMap<&str, i64> = header
        .lines()
        .filter_map(|line| line.strip_prefix("#define __NR_")?.split_once(' '))
        .filter_map(|(name, number)| Some((name, number.trim().parse().ok()?)))
        .collect();
    let rules = calls.iter().filter_map(|call| Some((*numbers.get(call.as_str())?, Vec::new()))).collect();
    let arch = std::env::consts::ARCH.try_into().unwrap();
    SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, arch)
        .unwrap()
        .try_into()
        .unwrap()
}

/// Makes all read-only but the paths that follow, up to `--`, as `ProtectSystem=strict`, and runs the rest.
const READ_ONLY: &str = "while [ $1 != -- ]; do mount --rbind ${1#-} ${1#-}; shift; done; shift; mount -o remount,bind,ro /; \
    ! touch /root/x /etc/x 2>/dev/null && exec \"$@\"";

/// Runs the program as the unit does.
fn under_the_unit(world: &World, arguments: &[&str]) -> Output {
    let plain = world.command(arguments);
    let kept: String = unit("CapabilityBoundingSet")
        .iter()
        .map(|name| format!(",+{}", &name["CAP_".len()..].to_lowercase()))
        .collect();
    let mut command = Command::new("unshare");
    assert_eq!(unit("ProtectSystem"), ["strict"]);
    command.args(["--mount", "sh", "-ec", READ_ONLY, "sh"]).args(unit("ReadWritePaths"));
    command
        .args(["--", "perl", "-e", CONFINE, FILTER, "setpriv", "--no-new-privs"])
        .arg(format!("--bounding-set=-all{kept}"));
    command.arg(plain.get_program()).args(plain.get_args()).stdin(Stdio::null()).output().unwrap()
}

#[cfg(target_arch = "x86_64")]
#[test]
fn systemd_unit_permits_what_the_programs_do() {
    in_world(working_server(), |world| {
        let filter = filter().into_iter().flat_map(|step| {
            [&step.code.to_ne_bytes()[..], &[step.jt, step.jf], &step.k.to_ne_bytes()].concat()
        });
        fs::write(FILTER, filter.collect::<Vec<u8>>()).unwrap();
        world.profile("default = true\nleak = \"block\"\nconntrack = \"helper\"");
        let before = world.state();
        let ok = |arguments: &[&str]| {
            let output = under_the_unit(world, arguments);
            let shown = format!("{}{}", text(&output.stdout), text(&output.stderr));
            assert!(output.status.success(), "{arguments:?}: {:?}\n{shown}", output.status);
            shown
        };
        ok(&["up", "vpn"]);
        crate::download(world.server_config.office, 10_000);
        ok(&["status", "vpn"]);
        ok(&["doctor", "vpn"]);
        ok(&["down", "vpn"]);
        world.assert_state(&before);
        // As pptpctl-autostart.service.
        world.profile("default = true\nautostart = true");
        let before = world.state();
        ok(&["up", "--autostart", "--from-start"]);
        ok(&["up", "--wait", "vpn"]);
        ok(&["down", "--autostart"]);
        world.assert_state(&before);
        ok(&["doctor", "--dial", "vpn"]);
        // A dial that stalls: the rules of the firewall, and the programs of the control group.
        world.profile(&timeouts(&[("gre", "2s")]));
        world.shell(
            "nft 'table inet host {\n chain out {\n type filter hook output priority 0\n ip protocol gre counter drop\n }\n}'",
        );
        let output = under_the_unit(world, &["up", "vpn"]);
        let shown = text(&output.stderr);
        assert_eq!(output.status.code(), Some(17), "{:?}\n{shown}", output.status);
        assert!(shown.contains("dropped by table inet host, chain out, rule"), "{shown}");
    });
}

/// Returns the lines of a unit that restrict its processes.
fn restrictions(unit: &str) -> Vec<&str> {
    let from = unit.find("CapabilityBoundingSet=").unwrap();
    unit[from..unit.find("[Install]").unwrap()]
        .lines()
        .filter(|line| line.contains('=') && !line.starts_with('#'))
        .collect()
}

#[test]
fn units_of_systemd_have_the_same_restrictions() {
    assert_eq!(restrictions(UNIT), restrictions(AUTOSTART));
    let lifted: BTreeSet<&str> =
        DROP_INS[1].1.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    // Neither takes anything away from a hook.
    let kept = ["DeviceAllow", "SystemCallArchitectures", "SystemCallErrorNumber", "ReadWritePaths"];
    for line in restrictions(UNIT) {
        let key = line.split_once('=').unwrap().0;
        assert!(lifted.contains(key) || kept.contains(&key), "hooks.conf leaves {line}");
    }
}

/// Runs `systemd-analyze` with units in a directory, and returns all that it prints.
fn analyze(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("/usr/bin/systemd-analyze")
        .args(arguments)
        .env("SYSTEMD_UNIT_PATH", format!("{}:", directory.display()))
        .output()
        .unwrap();
    let shown = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {:?}\n{shown}", output.status);
    shown
}

#[test]
fn units_of_systemd_are_valid_and_restricted() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("pptpctl");
    symlink(env!("CARGO_BIN_EXE_pptpctl"), &program).unwrap();
    for (name, unit) in [("pptpctl@.service", UNIT), ("pptpctl-autostart.service", AUTOSTART)] {
        let path = directory.path().join(name);
        fs::write(&path, unit.replace("/usr/local/bin/pptpctl", program.to_str().unwrap())).unwrap();
        let path = path.to_str().unwrap();
        assert_eq!(analyze(directory.path(), &["verify", "--man=no", path]), "");
        let rated = analyze(directory.path(), &["security", "--offline=true", "--no-pager", path]);
        let last = rated.lines().last().unwrap();
        let exposure: f64 = last.split_whitespace().find_map(|word| word.parse().ok()).unwrap();
        assert!(exposure < 3.0, "{last}");
        for (drop_in, text) in DROP_INS {
            let place = directory.path().join(format!("{name}.d"));
            fs::create_dir(&place).unwrap();
            fs::write(place.join(drop_in), text).unwrap();
            assert_eq!(analyze(directory.path(), &["verify", "--man=no", path]), "", "{drop_in}");
            fs::remove_dir_all(place).unwrap();
        }
    }
}
