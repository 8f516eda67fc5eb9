//! The programs under what `contrib/systemd/pptpctl@.service` leaves them: its system calls and its capabilities. A
//! call that the unit does not list kills here, instead of failing with EPERM, so that nothing goes unnoticed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::{Command, Output, Stdio},
};

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use super::{
    working_server,
    world::{World, in_world, text, timeouts},
};

const UNIT: &str = include_str!("../../contrib/systemd/pptpctl@.service");
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
    // systemd adds this set to every list.
    for word in unit("SystemCallFilter").into_iter().chain(["@default"]) {
        if word.starts_with('@') {
            members(word, &mut calls);
        } else {
            calls.insert(word.to_owned());
        }
    }
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

/// Runs the program as the unit does.
fn under_the_unit(world: &World, arguments: &[&str]) -> Output {
    let plain = world.command(arguments);
    let kept: String = unit("CapabilityBoundingSet")
        .iter()
        .map(|name| format!(",+{}", &name["CAP_".len()..].to_lowercase()))
        .collect();
    let mut command = Command::new("perl");
    command
        .args(["-e", CONFINE, FILTER, "setpriv", "--no-new-privs"])
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
