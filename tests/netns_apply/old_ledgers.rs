//! Ledgers that version 0.1.0 wrote, undone by this version.
//!
//! `ledgers/NAME.ledger` is what 0.1.0 (commit f20ddc9) had written when a tunnel to a real pptpd was up, with the boot, the
//! namespace and the directories of that host replaced. `ledgers/NAME.left` has the routes and rules that were left in the
//! kernel after its supervisor was killed, as commands of ip(8).

use std::fs;

use pptpctl::testing::apply::{Host, ledger::Header, recover};

use crate::{
    namespace::{Lab, assert_none, ip_lines, nft},
    shown::ip_batch,
};

/// The content of resolv.conf before the tunnels.
const RESOLV_CONF: &str = "nameserver 192.0.2.1\n";

#[test]
fn policy_rules_of_0_1_0_are_undone() {
    undo("office", include_str!("ledgers/office.ledger"), include_str!("ledgers/office.left"), 25);
}

#[test]
fn halves_of_0_1_0_are_undone() {
    undo("halves", include_str!("ledgers/halves.ledger"), include_str!("ledgers/halves.left"), 22);
}

#[test]
fn replaced_default_route_of_0_1_0_is_restored() {
    undo("replace", include_str!("ledgers/replace.ledger"), include_str!("ledgers/replace.left"), 9);
}

/// Makes the host that the killed supervisor left, recovers it, and compares with the host before.
fn undo(name: &str, ledger: &str, left: &str, steps: usize) {
    Lab::run(|lab| {
        ip_lines(
            "link add eth0 type veth peer name far\nlink set far up\nlink set eth0 up\naddr add 192.0.2.2/24 dev eth0\n\
             route add default via 192.0.2.1 dev eth0\n",
        );
        let resolv_conf = lab.directories.run.join("resolv.conf");
        fs::write(&resolv_conf, RESOLV_CONF).unwrap();
        let before = lab.state();

        let (here, run) = (Header::of_this_process(name), lab.directories.run.display().to_string());
        let text = ledger
            .replace("@BOOT@", &here.boot)
            .replace("@NETNS@", &here.netns.to_string())
            .replace("@COOKIE@", &here.netns_cookie.to_string())
            .replace("@RUN@", &run);
        fs::create_dir_all(&lab.directories.state).unwrap();
        fs::write(lab.directories.ledger(name), text).unwrap();
        if name == "replace" {
            ip_lines("route del default\n");
        }
        let (ipv6, ipv4): (Vec<&str>, Vec<&str>) = left.lines().partition(|line| line.starts_with("-6 "));
        ip_batch(&[], &(ipv4.join("\n") + "\n"));
        ip_batch(&["-6"], &(ipv6.join("\n") + "\n").replace("-6 ", ""));
        if name == "office" {
            nft(&["add", "table", "inet", "pptpctl_office"]);
        }
        fs::write(
            &resolv_conf,
            format!(
                "# BEGIN pptpctl {name}: only while this tunnel is up; `pptpctl down {name}` puts back what was here\n\
                 nameserver 10.99.0.53\n# END pptpctl {name}\n# pptpctl {name} keeps: nameserver 192.0.2.1\n"
            ),
        )
        .unwrap();
        assert_ne!(lab.state(), before, "nothing is left to undo");

        let recovery = recover(&lab.directories, &mut Host::system().unwrap(), &|_| false);
        assert_none(recovery.errors);
        assert_eq!(recovery.recovered.iter().map(|item| item.steps).sum::<usize>(), steps);
        lab.assert_state(&before, name);
        assert!(!lab.directories.ledger(name).exists());
    });
}
