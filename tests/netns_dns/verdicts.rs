//! Names that cannot be resolved, and networks in which PPTP cannot work: the message names the nameserver, its
//! interface and what it said.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::{
    resolver_world::{ResolverWorld, in_resolver_world},
    world::{text, timeouts},
};

/// Tells libc not to wait longer than the test.
const OPTIONS: &str = "options timeout:1 attempts:1\n";

fn assert_verdict(net: &ResolverWorld<'_>, name: &str, nameserver: &str, words: &[&str]) {
    fs::write("/etc/resolv.conf", format!("{nameserver}\n{OPTIONS}")).unwrap();
    net.world.profile(&format!("server = \"{name}\"\n{}", timeouts(&[("resolve", "5s")])));
    let all: Vec<&str> = ["the server's name could not be resolved"].iter().chain(words).copied().collect();
    net.world.assert_up_fails(10, "resolve", &all, 20.0);
}

#[test]
fn nameserver_and_its_answer_are_named() {
    in_resolver_world(|net| {
        let near = "nameserver 192.0.2.2";
        let on_wire = "nameserver 192.0.2.2 over ";
        for (name, nameserver, words) in [
            ("nowhere.example", near, &[on_wire, "no such name (NXDOMAIN)", "is the name right"][..]),
            ("servfail.example", near, &["could not find out (SERVFAIL)", "has this network an uplink"]),
            ("six.example", near, &["IPv6 addresses only (2001:db8::6)", "PPTP exists over IPv4 only"]),
            (
                "blocked.example",
                near,
                &["0.0.0.0, which no host can have", "says 0.0.0.0, which is no server's"],
            ),
            ("silent.example", near, &[on_wire, "does not answer", "drops DNS"]),
            (
                "vpn.example",
                "nameserver 192.0.2.1",
                &["nameserver 192.0.2.1 over eth0 refuses", "no DNS server runs there"],
            ),
            (
                "vpn.example",
                "nameserver 127.0.0.53",
                &["127.0.0.53 (systemd-resolved) over lo refuses", "does the resolver of this host run?"],
            ),
            (
                "vpn.example",
                "nameserver 203.0.113.9",
                &["nameserver 203.0.113.9 cannot be reached", "is a network connected?"],
            ),
            ("vpn.example", "# none", &["/etc/resolv.conf names no nameserver", "is a network connected?"]),
        ] {
            assert_verdict(net, name, nameserver, words);
        }
        let silent = "nameserver 192.0.2.1\nnameserver 192.0.2.2";
        assert_verdict(net, "nowhere.example", silent, &["192.0.2.1 over eth0 ", "(NXDOMAIN)"]);
    });
}

#[test]
fn lookup_that_takes_too_long_is_explained() {
    in_resolver_world(|net| {
        // libc waits longer than the profile.
        fs::write("/etc/resolv.conf", "nameserver 192.0.2.2\noptions timeout:10 attempts:2\n").unwrap();
        net.world.profile(&format!("server = \"silent.example\"\n{}", timeouts(&[("resolve", "1s")])));
        let words =
            ["no answer from the resolver within 1 s", "nameserver 192.0.2.2 over ", "does not answer"];
        net.world.assert_up_fails(10, "resolve", &words, 6.0);
    });
}

#[test]
fn files_that_only_root_may_read_are_named() {
    in_resolver_world(|net| {
        net.world.profile("server = \"vpn.example\"");
        let before = net.world.state();
        fs::set_permissions("/etc/hosts", fs::Permissions::from_mode(0o600)).unwrap();
        let up = net.world.run(&["up", "vpn"]);
        let printed = text(&up.stdout) + &text(&up.stderr);
        assert!(up.status.success(), "{printed}");
        assert!(printed.contains("may not read /etc/hosts: it has mode 0600"), "{printed}");
        assert!(printed.contains("chmod o+r /etc/hosts"), "{printed}");
        net.world.down(&before);
        fs::set_permissions("/etc/hosts", fs::Permissions::from_mode(0o644)).unwrap();

        // The nameservers behind a directory of root's.
        fs::create_dir("/etc/private").unwrap();
        fs::rename("/etc/resolv.conf", "/etc/private/resolv.conf").unwrap();
        std::os::unix::fs::symlink("private/resolv.conf", "/etc/resolv.conf").unwrap();
        fs::set_permissions("/etc/private", fs::Permissions::from_mode(0o700)).unwrap();
        let words = [
            "the resolver process may not read /etc/resolv.conf",
            "may not read /etc/resolv.conf: /etc/private has mode 0700",
            "chmod o+x /etc/private",
        ];
        net.world.assert_up_fails(10, "resolve", &words, 20.0);
    });
}

#[test]
fn name_of_this_host_and_network_without_ipv4_are_told() {
    in_resolver_world(|net| {
        net.world.profile("server = \"loop.example\"");
        let words = ["the name was resolved to 127.0.0.9, this host itself", "loop.example is blocked"];
        net.world.assert_up_fails(11, "connect", &words, 5.0);

        net.world.profile("server = \"192.0.2.1\"");
        net.world.shell(
            "ip -4 address flush dev eth0; ip -6 address add 2001:db8::2/64 dev eth0 nodad; \
             ip -6 route add default via 2001:db8::1 dev eth0",
        );
        let words = ["this network has IPv6 only", "a default route of IPv6, and no IPv4 address"];
        net.world.assert_up_fails(25, "connect", &words, 5.0);
    });
}

/// A network with IPv6 and NAT64 only, whose resolver makes IPv6 addresses of IPv4 ones.
#[test]
fn network_with_nat64_only_is_told() {
    in_resolver_world(|net| {
        // The resolver of the test has an IPv4 address; the network has none.
        net.world.shell(
            "ip -4 address flush dev eth0; ip address add 192.0.2.2/32 dev lo; \
             ip -6 address add 2001:db8::2/64 dev eth0 nodad; ip -6 route add default via 2001:db8::1 dev eth0",
        );
        let words = [
            "IPv6 addresses only (64:ff9b::c633:6409)",
            "PPTP exists over IPv4 only",
            "this network has NAT64",
            "NAT64 does not carry GRE",
        ];
        assert_verdict(net, "dns64.example", "nameserver 192.0.2.2", &words);
    });
}
