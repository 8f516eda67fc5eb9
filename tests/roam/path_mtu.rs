//! A router on the path drops long GRE packets without an ICMP error: the tunnel's MTU follows, and rises again on
//! another path.

use std::fs;

use crate::{
    LITERAL, default_route,
    world::{World, in_world, write_private},
};

/// Makes the router of an uplink drop GRE packets of more than `limit` bytes, in both directions.
pub fn drop_long_gre(world: &World, uplink: u8, limit: u16) {
    world.shell(&format!(
        "nsenter --net=/run/netns/r{uplink} nft '
             table ip hole {{
                 chain forward {{
                     type filter hook forward priority filter
                     ip protocol gre meta length > {limit} counter drop
                 }}
             }}'"
    ));
}

pub fn device_mtu(world: &World) -> u64 {
    let links: serde_json::Value = serde_json::from_str(&world.laptop("ip -j link show tun0")).unwrap();
    links[0]["mtu"].as_u64().unwrap()
}

/// Returns whether the office answers a ping whose packets have this size.
fn answers(world: &World, size: u64) -> bool {
    let data = size - 28;
    world
        .laptop(&format!("ping -M do -c 3 -i 0.2 -W 2 -s {data} 192.168.77.1 || true"))
        .contains("bytes from")
}

fn warnings(world: &World) -> String {
    world.status()["warnings"].to_string()
}

#[test]
fn mtu_follows_a_path_that_drops_long_packets() {
    in_world(|world| {
        world.plug(1, 100);
        drop_long_gre(world, 1, 1400);
        write_private(
            "/run/hook",
            "#!/bin/sh\necho \"$PPTPCTL_ACTION $PPTPCTL_MTU\" >>/run/hook.log\n",
            0o700,
        );
        let hook = "hooks.up = [\"/bin/sh\", \"/run/hook\"]";
        world.profile(LITERAL, &format!("{}\n{hook}", default_route("halves")));
        world.up();
        world.wait_for("a warning about the path", || warnings(world).contains("GRE packets of"));
        let mtu = device_mtu(world);
        // 1400 less 20 (IP), 16 (GRE), 4 (PPP), 4 (MPPE).
        assert!((1344..=1356).contains(&mtu), "{mtu}\n{}", world.log());
        assert_eq!(world.status()["mtu"], mtu);
        assert!(warnings(world).contains(&format!("the tunnel's MTU is {mtu} now")), "{}", warnings(world));
        assert!(answers(world, mtu), "{}", world.log());
        assert_eq!(fs::read_to_string("/run/hook.log").unwrap(), "up 1456\n", "the hook was run again");

        // The other path has no limit.
        world.plug(2, 50);
        world.wait_for("another connection", || {
            world.status()["reconnects"] == 1 && world.status()["state"] == "up"
        });
        world.wait_for("the full MTU", || device_mtu(world) == 1456);
        assert!(answers(world, 1456), "{}", world.log());
        assert!(!warnings(world).contains("GRE packets"), "{}", warnings(world));

        // The same connection through another gateway.
        drop_long_gre(world, 2, 1300);
        world.shell("nsenter --net=/run/netns/r2 ip addr add 10.2.0.2/24 dev lan");
        let via = |gateway: u8| {
            world.laptop(&format!("ip route replace default via 10.2.0.{gateway} dev up2 metric 50"));
        };
        via(2);
        world.wait_for("a smaller MTU", || (1244..=1256).contains(&device_mtu(world)));
        assert_eq!(world.status()["reconnects"], 1, "{}", world.log());
        world.shell("nsenter --net=/run/netns/r2 nft delete table ip hole");
        via(1);
        world.wait_for("the full MTU again", || device_mtu(world) == 1456);
        assert_eq!(world.status()["reconnects"], 1, "{}", world.log());
        world.wait_for("no warning", || !warnings(world).contains("GRE packets"));
        world.down();
    });
}

#[test]
fn fixed_mtu_stays_with_a_warning() {
    in_world(|world| {
        world.plug(1, 100);
        drop_long_gre(world, 1, 1400);
        world.profile(LITERAL, "mtu = 1450\nroutes = [\"192.168.77.0/24\"]");
        world.up();
        world.wait_for("a warning about the path", || warnings(world).contains("set mtu = "));
        assert_eq!(device_mtu(world), 1450);
        assert!(!answers(world, 1450));
        world.down();
    });
}
