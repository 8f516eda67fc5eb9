//! Routes without a gateway on other interfaces: no route into the tunnel takes their place, whichever program added
//! them.

use crate::namespace::{Lab, assert_none, ip, profile, split};

#[test]
fn connected_networks_keep_their_routes() {
    Lab::run(|lab| {
        lab.two_uplinks();
        // As the kernel, NetworkManager, dhcpcd and a router advertisement add them.
        ip(&["addr", "add", "198.18.5.2/24", "dev", "up0", "noprefixroute"]);
        ip(&[
            "route",
            "add",
            "198.18.5.0/24",
            "dev",
            "up0",
            "proto",
            "static",
            "scope",
            "link",
            "metric",
            "600",
        ]);
        ip(&[
            "route",
            "add",
            "198.18.6.0/24",
            "dev",
            "up2",
            "proto",
            "dhcp",
            "scope",
            "link",
            "metric",
            "1003",
        ]);
        ip(&["-6", "route", "add", "2001:db8:7::/64", "dev", "up0", "proto", "ra", "metric", "2048"]);
        let before = lab.state();
        let mut profile = profile();
        profile.ppp.ipv6 = true;
        profile.routes =
            ["192.0.2.0/24", "198.18.5.0/24", "198.18.6.0/24", "2001:db8:7::/64", "10.42.0.0/16"]
                .map(split)
                .to_vec();
        for crash in [false, true] {
            let mut session = lab.session("vpn");
            // Without the comparison that the supervisor makes before.
            lab.bring_up(&mut session, &profile).unwrap();
            for (host, device) in [
                ("192.0.2.77", "up0"),
                ("198.18.5.77", "up0"),
                ("198.18.6.77", "up2"),
                ("2001:db8:7::77", "up0"),
                ("10.42.0.1", "tun0"),
            ] {
                let way = ip(&["route", "get", host]);
                assert!(way.contains(&format!("dev {device} ")), "{way}");
            }
            let (restored, outcome) = session.renew_routes();
            assert!(restored == 0 && outcome.is_ok(), "{restored} {outcome:?}");
            if crash {
                drop(session);
                lab.recover();
            } else {
                assert_none(session.undo_all_and_close());
            }
            lab.assert_state(&before, "at the end");
        }
    });
}
