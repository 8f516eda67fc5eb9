//! The whole program with its tunnel in a named network namespace: nothing of it outside, everything through it inside.

use crate::town::{Town, in_town};

#[test]
fn a_tunnel_that_lives_in_a_namespace() {
    in_town(|town| {
        town.world.shell("ip netns add inner");
        town.world.profile("link.netns = \"inner\"\ndefault = true\nnat = true\n");
        let (before, outside, inside) = (town.world.state(), links(town, ""), links(town, "-n inner"));
        for killed in [true, false] {
            town.world.up();
            assert_eq!(links(town, ""), outside, "nothing has changed outside");
            assert!(links(town, "-n inner").contains("default dev tun0"));
            assert!(town.world.shell("ip netns exec inner nft list ruleset").contains("masquerade"));
            let ask = "exec 3<>/dev/tcp/192.168.77.1/80; printf \"GET / HTTP/1.0\\r\\n\\r\\n\" >&3; cat <&3";
            let said = town.world.shell(&format!("ip netns exec inner timeout 60 bash -c '{ask}'"));
            assert!(said.contains("10.77.0.100"), "{said}");
            if killed {
                town.kill_both();
                assert!(town.world.run(&["recover"]).status.success());
            } else {
                assert!(town.world.run(&["down", "vpn"]).status.success());
            }
            town.world.assert_state(&before);
            assert_eq!(links(town, "-n inner"), inside, "killed {killed}");
        }
        // A name that is not there, in words, and nothing is left of the attempt.
        town.world.profile("link.netns = \"outer\"\n");
        let before = town.world.state();
        let output = town.world.run(&["up", "vpn"]);
        let said = crate::world::text(&output.stderr);
        assert!(!output.status.success() && said.contains("`ip netns add outer` makes it"), "{said}");
        town.world.assert_state(&before);
    });
}

/// `ip netns add` makes no directory for it in /etc.
#[test]
fn its_resolvers_are_its_own() {
    in_town(|town| {
        town.world.shell("ip netns add inner");
        let files = |town: &Town<'_>| {
            town.world.shell("test ! -e /etc/netns || find /etc/netns -printf '%p %m %U %y\\n' | sort")
        };
        for made in
            ["", "mkdir /etc/netns", "mkdir /etc/netns/inner", "echo '# mine' >/etc/netns/inner/resolv.conf"]
        {
            town.world.shell(if made.is_empty() { "true" } else { made });
            town.world.profile("link.netns = \"inner\"\ndefault = true\ndns = \"peer\"\n");
            let (before, listed) = (town.world.state(), files(town));
            for killed in [true, false] {
                town.world.up();
                let inside = town.world.shell("ip netns exec inner cat /etc/resolv.conf");
                assert!(inside.contains("nameserver 192.168.77.1"), "{made}: {inside}");
                assert!(!town.world.shell("cat /etc/resolv.conf").contains("192.168.77.1"));
                if killed {
                    town.kill_both();
                    assert!(town.world.run(&["recover"]).status.success());
                } else {
                    assert!(town.world.run(&["down", "vpn"]).status.success());
                }
                town.world.assert_state(&before);
                assert_eq!(files(town), listed, "{made}, killed {killed}");
            }
        }
        // What someone else has put beside it stays, and so does the directory that it is in.
        town.world.shell("rm -r /etc/netns");
        town.world.up();
        town.world.shell("echo 192.0.2.9 there >/etc/netns/inner/hosts");
        assert!(town.world.run(&["down", "vpn"]).status.success());
        assert_eq!(town.world.shell("cd /etc/netns; find"), ".\n./inner\n./inner/hosts\n");
    });
}

fn links(town: &Town<'_>, place: &str) -> String {
    town.world.shell(&format!(
        "for what in link addr 'route show table all' '-6 route show table all' rule; do ip {place} $what; done"
    ))
}
