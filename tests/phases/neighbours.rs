//! Neighbours in the local network reach the tunnel's address by another device (CVE-2019-14899), unless the rule of
//! SECURITY.md is in the tunnel's table.

use std::fs;

use crate::{in_world, working_server, world::World};

/// Returns whether a neighbour in the client's network gets an answer from the tunnel's address.
fn is_answered(world: &World) -> bool {
    // Over the wire, whatever routes the server has to its client.
    let script = "nsenter -t 1 -n sh -c '
        dev=$(ip -o route show 192.0.2.0/24 | sed \"s/.* dev \\([^ ]*\\).*/\\1/\")
        ip route replace 10.77.0.100 via 192.0.2.2 dev $dev table 77
        ip rule add to 10.77.0.100 iif lo ipproto icmp lookup 77
        ping -n -c 2 -W 3 10.77.0.100; ip rule del to 10.77.0.100 iif lo ipproto icmp lookup 77' || true";
    world.shell(script).contains("bytes from")
}

#[test]
fn rule_of_the_document_drops_packets_of_neighbours() {
    in_world(working_server(), |world| {
        let document = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/SECURITY.md")).unwrap();
        let rule = document.lines().find(|line| line.starts_with("chain neighbours")).unwrap();
        world.shell("sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0");
        world.profile("");
        let before = world.state();
        world.up();
        assert!(is_answered(world), "without the rule");
        world.down(&before);
        fs::write("/etc/pptpctl.nft", format!("{rule}\n")).unwrap();
        world.profile("nftables.file = \"/etc/pptpctl.nft\"");
        let before = world.state();
        world.up();
        assert!(!is_answered(world), "with the rule");
        crate::download(world.server_config.office, 10_000);
        world.down(&before);
    });
}
