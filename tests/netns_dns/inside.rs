//! The whole program with its tunnel in a named network namespace: all traffic inside goes through the
//! tunnel, and nothing changes outside.

use crate::resolver_world::{ResolverWorld, in_resolver_world};

#[test]
fn tunnel_runs_in_netns() {
    in_resolver_world(|net| {
        net.world.shell("ip netns add inner");
        net.world.profile("link.netns = \"inner\"\ndefault = true\nnat = true\n");
        let (before, outside, inside) = (net.world.state(), links(net, ""), links(net, "-n inner"));
        for killed in [true, false] {
            net.world.up();
            assert_eq!(links(net, ""), outside, "nothing has changed outside");
            assert!(links(net, "-n inner").contains("default dev tun0"));
            assert!(net.world.shell("ip netns exec inner nft list ruleset").contains("masquerade"));
            let request =
                "exec 3<>/dev/tcp/192.168.77.1/80; printf \"GET / HTTP/1.0\\r\\n\\r\\n\" >&3; cat <&3";
            let response = net.world.shell(&format!("ip netns exec inner timeout 60 bash -c '{request}'"));
            assert!(response.contains("10.77.0.100"), "{response}");
            if killed {
                net.kill_both();
                assert!(net.world.run(&["recover"]).status.success());
            } else {
                assert!(net.world.run(&["down", "vpn"]).status.success());
            }
            net.world.assert_state(&before);
            assert_eq!(links(net, "-n inner"), inside, "killed {killed}");
        }
        // A missing namespace is named in the error, and nothing is left behind.
        net.world.profile("link.netns = \"outer\"\n");
        let before = net.world.state();
        let output = net.world.run(&["up", "vpn"]);
        let stderr = crate::world::text(&output.stderr);
        assert!(!output.status.success() && stderr.contains("`ip netns add outer` creates it"), "{stderr}");
        net.world.assert_state(&before);
    });
}

/// `ip netns add` does not create /etc/netns/NAME, so `up` creates and removes it.
#[test]
fn netns_has_its_own_resolvers() {
    in_resolver_world(|net| {
        net.world.shell("ip netns add inner");
        let files = |net: &ResolverWorld<'_>| {
            net.world.shell("test ! -e /etc/netns || find /etc/netns -printf '%p %m %U %y\\n' | sort")
        };
        for setup in
            ["", "mkdir /etc/netns", "mkdir /etc/netns/inner", "echo '# mine' >/etc/netns/inner/resolv.conf"]
        {
            net.world.shell(if setup.is_empty() { "true" } else { setup });
            net.world.profile("link.netns = \"inner\"\ndefault = true\ndns = \"peer\"\n");
            let (before, listed) = (net.world.state(), files(net));
            for killed in [true, false] {
                net.world.up();
                let inside = net.world.shell("ip netns exec inner cat /etc/resolv.conf");
                assert!(inside.contains("nameserver 192.168.77.1"), "{setup}: {inside}");
                assert!(!net.world.shell("cat /etc/resolv.conf").contains("192.168.77.1"));
                if killed {
                    net.kill_both();
                    assert!(net.world.run(&["recover"]).status.success());
                } else {
                    assert!(net.world.run(&["down", "vpn"]).status.success());
                }
                net.world.assert_state(&before);
                assert_eq!(files(net), listed, "{setup}, killed {killed}");
            }
        }
        // A file that another program added to the directory stays, and so does the directory.
        net.world.shell("rm -r /etc/netns");
        net.world.up();
        net.world.shell("echo 192.0.2.9 there >/etc/netns/inner/hosts");
        assert!(net.world.run(&["down", "vpn"]).status.success());
        assert_eq!(net.world.shell("cd /etc/netns; find"), ".\n./inner\n./inner/hosts\n");
    });
}

fn links(net: &ResolverWorld<'_>, options: &str) -> String {
    net.world.shell(&format!(
        "for what in link addr 'route show table all' '-6 route show table all' rule; do ip {options} $what; done"
    ))
}
