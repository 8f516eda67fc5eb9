//! A router on the path drops long GRE packets without an ICMP error: the tunnel's MTU follows, and rises again on
//! another path.

use std::fs;

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, setsockopt, socket, sockopt};

use crate::{
    LITERAL, default_route,
    world::{World, in_world, thread_on_laptop, write_private},
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

/// Counts the packets on the first uplink that are fragments, in both directions.
struct Fragments {
    socket: std::os::fd::OwnedFd,
}

impl Fragments {
    fn capture() -> Self {
        let socket = thread_on_laptop(|| {
            let socket = socket(
                AddressFamily::Packet,
                SockType::Datagram,
                SockFlag::SOCK_NONBLOCK,
                SockProtocol::EthAll,
            );
            let socket = socket.unwrap();
            setsockopt(&socket, sockopt::RcvBuf, &(4 << 20)).unwrap();
            socket
        });
        Self { socket: socket.recv().unwrap() }
    }

    /// Returns the GRE packets since the last call that are fragments, and those that are not; and the longest.
    fn count(&self) -> (usize, usize, usize) {
        let (mut fragments, mut whole, mut longest, mut packet) = (0, 0, 0, [0; 2048]);
        while let Ok(size) = nix::unistd::read(&self.socket, &mut packet) {
            // IPv4 with protocol 47.
            if size < 20 || packet[0] >> 4 != 4 || packet[9] != 47 {
                continue;
            }
            // More fragments, or an offset.
            let is_fragment = u16::from_be_bytes([packet[6], packet[7]]) & 0x3fff != 0;
            fragments += usize::from(is_fragment);
            whole += usize::from(!is_fragment);
            longest = longest.max(size);
        }
        (fragments, whole, longest)
    }
}

/// The largest packet that the device takes passes in both directions, and no packet is sent in fragments; also after
/// the path's MTU has become smaller, of which a router informs this host with an ICMP error.
#[test]
fn mtu_follows_icmp_errors_and_no_packet_is_fragmented() {
    in_world(|world| {
        world.plug(1, 100);
        world.profile(LITERAL, "routes = [\"192.168.77.0/24\"]");
        world.up();
        let capture = Fragments::capture();
        let check = |mtu: u64, outer: usize| {
            assert_eq!(device_mtu(world), mtu, "{}", world.log());
            assert!(answers(world, mtu), "{}", world.log());
            let refused =
                world.laptop(&format!("ping -M do -c 1 -W 1 -s {} 192.168.77.1 2>&1 || true", mtu - 27));
            assert!(refused.contains("essage too long"), "{refused}");
            let (fragments, whole, longest) = capture.count();
            assert_eq!(fragments, 0, "of {whole} packets are fragments");
            assert!(whole > 0 && longest <= outer, "{longest}");
        };
        check(1456, 1500);
        for (limit, mtu) in [(1400, 1356), (1200, 1156)] {
            // Both ends of the link between router and core.
            world.shell(&format!(
                "nsenter --net=/run/netns/r1 ip link set wan mtu {limit}; ip link set c1 mtu {limit}"
            ));
            // Nothing informs this host but the error for a packet that is too long; that one is lost.
            world.wait_for("a smaller MTU", || {
                let size = device_mtu(world) - 28;
                world.laptop(&format!("ping -M do -c 1 -W 1 -s {size} 192.168.77.1 >&2 || true"));
                device_mtu(world) == mtu
            });
            assert!(
                warnings(world).contains(&format!("at most {limit} bytes (ICMP)")),
                "{}",
                warnings(world)
            );
            let (fragments, _, _) = capture.count();
            assert_eq!(fragments, 0, "on a path of {limit} bytes");
            check(mtu, limit);
        }
        world.down();
    });
}
