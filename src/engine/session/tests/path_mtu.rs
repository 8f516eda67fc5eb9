//! The search for the size of packets that the path carries, over paths and servers of several kinds.

use super::*;
use crate::engine::session::path_mtu::IPV6_MTU;

/// What path and server do to GRE packets and Echo-Replies. The default changes nothing.
#[derive(Default)]
pub(super) struct LinkPath {
    /// GRE packets to the server that are longer, with their IP header, are lost.
    pub to_server: Option<usize>,
    /// Likewise to the client.
    pub to_client: Option<usize>,
    /// Packets lost in each direction, per 1000.
    pub loss: u32,
    pub seed: u32,
    /// The server acknowledges nothing.
    pub no_acks: bool,
    pub replies: Replies,
    pub server_mru: Option<u16>,
    /// The longest GRE packet that the client has sent, with its IP header, and their number.
    pub longest: usize,
    pub sent: usize,
    /// Long packets of the client, which are padded echoes unless the test sends data.
    pub padded: usize,
}

#[derive(Default)]
pub(super) enum Replies {
    #[default]
    Whole,
    /// Without the data of the request.
    Shortened,
    /// None to requests longer than this many bytes.
    UpTo(usize),
}

impl LinkPath {
    pub fn carries(&mut self, what: &mut Wire) -> bool {
        let (packet, limit) = match what {
            Wire::GreToServer(packet) => {
                self.longest = self.longest.max(20 + packet.len());
                self.sent += 1;
                self.padded += usize::from(packet.len() > 500);
                (packet, self.to_server)
            }
            Wire::GreToClient(packet) => {
                // The acknowledgement flag, and the number behind the sequence number.
                if self.no_acks && packet[1] & 0x80 != 0 && packet[0] & 0x10 != 0 {
                    packet[1] &= 0x7f;
                    packet.drain(12..16);
                } else if self.no_acks && packet[1] & 0x80 != 0 {
                    return false;
                }
                (packet, self.to_client)
            }
            _ => return true,
        };
        self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        limit.is_none_or(|limit| 20 + packet.len() <= limit) && (self.seed >> 8) % 1000 >= self.loss
    }

    pub fn reply(&self, mut frame: Vec<u8>, is_reply: bool) -> Option<Vec<u8>> {
        match self.replies {
            Replies::UpTo(longest) if is_reply && frame.len() > longest => None,
            Replies::Shortened if is_reply => {
                // FF 03 C0 21, code, identifier, length, magic number.
                frame.truncate(12);
                frame[6..8].copy_from_slice(&8_u16.to_be_bytes());
                Some(frame)
            }
            _ => Some(frame),
        }
    }
}

fn after(path: LinkPath, spec: Spec, seconds: u64) -> World {
    let mut world = World::new(ServerFault::None, spec, "right");
    world.path = path;
    world.run(Duration::from_secs(seconds));
    assert!(world.client.is_up(), "{:?}", world.down);
    world
}

/// Returns what was found, which must be one report, within seconds of the link.
fn only_report(world: &World) -> &PathMtu {
    let [(at, found)] = &world.found[..] else { panic!("not one report: {:?}", world.found) };
    let up = world.up.as_ref().unwrap().0;
    assert!(*at - up < Duration::from_secs(10), "{at:?}, up since {up:?}");
    found
}

fn limit_of(world: &World) -> (u16, u16) {
    // 20 (IP), 16 (GRE), 4 (PPP), 4 (MPPE).
    let [small, large] = [world.path.to_server, world.path.to_client].map(|limit| limit.unwrap_or(1500));
    let fits = u16::try_from(small.min(large) - 44).unwrap();
    (fits - 12, fits)
}

#[test]
fn path_without_limit_is_tested_with_one_long_echo() {
    let world = after(LinkPath::default(), spec(), 60);
    assert!(world.found.is_empty(), "{:?}", world.found);
    assert_eq!((world.path.longest, world.path.padded), (1500, 1));
    assert!(
        matches!(world.searched[..], [(at, PathSearchEnd::Full)] if at < Duration::from_secs(3)),
        "{:?}",
        world.searched
    );
}

#[test]
fn limit_of_the_path_is_found_in_either_direction() {
    for limit in [1499, 1492, 1450, 1400, 1337, 1200, 900, 640] {
        for inbound in [false, true] {
            // An answer without an acknowledgement is 1496 bytes long.
            if inbound && limit > 1495 {
                continue;
            }
            let limit = Some(limit);
            let path = if inbound {
                LinkPath { to_client: limit, ..LinkPath::default() }
            } else {
                LinkPath { to_server: limit, ..LinkPath::default() }
            };
            let world = after(path, spec(), 60);
            let found = only_report(&world);
            let (low, high) = limit_of(&world);
            assert!((low..=high).contains(&found.mtu), "{limit:?} {inbound}: {found:?}");
            assert!(found.warning.contains(&format!("GRE packets of {} bytes pass", found.mtu + 44)));
            assert_eq!(found.warning.contains("answers to longer ones are lost"), inbound, "{found:?}");
            assert!(world.path.padded <= 12, "{} padded echoes", world.path.padded);
            assert!(
                matches!(world.searched[..], [(at, PathSearchEnd::Limited)] if at < Duration::from_secs(16)),
                "{:?}",
                world.searched
            );
        }
    }
}

#[test]
fn mss_follows_the_path() {
    let world = after(LinkPath { to_server: Some(1400), ..LinkPath::default() }, spec(), 60);
    let found = only_report(&world).mtu;
    let builder =
        etherparse::PacketBuilder::ipv4([10, 0, 0, 2], [10, 0, 0, 1], 64).tcp(4000, 80, 1, 65_535).syn();
    let builder = builder.options_raw(&[2, 4, 0x05, 0xb4]).unwrap();
    let mut packet = Vec::new();
    builder.write(&mut packet, b"").unwrap();
    let mut world = world;
    let passed = world.client.mss.pass(crate::ppp::mss::Direction::Out, &packet);
    assert_eq!(passed[42..44], (found - 40).to_be_bytes());
}

#[test]
fn shortened_reply_is_a_reply() {
    let path = |limit| LinkPath { replies: Replies::Shortened, to_server: limit, ..LinkPath::default() };
    let world = after(path(None), spec(), 60);
    assert!(world.found.is_empty() && world.path.padded == 1, "{:?}", world.found);
    let world = after(path(Some(1400)), spec(), 60);
    let (low, high) = limit_of(&world);
    assert!((low..=high).contains(&only_report(&world).mtu), "{:?}", world.found);
}

/// A server that answers no long echo acknowledges it: nothing is lowered.
#[test]
fn server_without_long_replies_lowers_nothing() {
    for longest in [12, 100, 1000, 1400] {
        let world = after(LinkPath { replies: Replies::UpTo(longest), ..LinkPath::default() }, spec(), 120);
        assert!(world.found.is_empty(), "replies up to {longest}: {:?}", world.found);
    }
}

/// Neither replies nor acknowledgements: the cause is not known, and no losses support it.
#[test]
fn silence_without_acknowledgements_lowers_nothing() {
    for longest in [12, 1000] {
        let path = LinkPath { replies: Replies::UpTo(longest), no_acks: true, ..LinkPath::default() };
        let world = after(path, spec(), 120);
        assert!(world.found.is_empty(), "replies up to {longest}: {:?}", world.found);
        assert!(world.path.padded <= 12);
    }
}

/// The same server, and losses afterwards: a warning, and nothing is lowered.
#[test]
fn silence_and_losses_give_a_warning() {
    let path = LinkPath { replies: Replies::UpTo(1000), no_acks: true, ..LinkPath::default() };
    let mut world = after(path, spec(), 15);
    assert!(world.found.is_empty(), "{:?}", world.found);
    for lost in [9_u32, 0] {
        // Numbers of the server that never arrive.
        let (flow, link) = world.call.as_mut().unwrap();
        let mut out = vec![0; 2048];
        for _ in 0..lost {
            flow.put_header(world.now, 4, &mut out).unwrap();
        }
        let ping = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        let length = link.encapsulate(&ping, &mut out[MAX_HEADER..]).unwrap();
        let range = flow.put_header(world.now, length, &mut out).unwrap();
        world.wire.push_back((world.now, Wire::GreToClient(out[range].to_vec())));
        world.run(Duration::from_secs(60));
    }
    let [(_, found)] = &world.found[..] else { panic!("not one report: {:?}", world.found) };
    assert_eq!(found.mtu, 1456);
    assert!(found.warning.contains("9 of the server's packets are lost"), "{found:?}");
    assert!(found.warning.contains("probably"), "{found:?}");
}

#[test]
fn server_without_echo_replies_is_left_alone() {
    let mut world = run_with(ServerFault::NoEchoReply);
    world.run(Duration::from_secs(60));
    assert!(world.found.is_empty() && world.path.padded <= 12, "{:?}", world.found);
}

/// No echo is longer than the server's MRU allows.
#[test]
fn small_mru_of_the_server_is_respected() {
    for mru in [1400, 1000, 576] {
        let world = after(LinkPath { server_mru: Some(mru), ..LinkPath::default() }, spec(), 60);
        assert!(world.found.is_empty(), "MRU {mru}: {:?}", world.found);
        assert_eq!(world.path.longest, usize::from(mru) + 40, "MRU {mru}");
    }
    let path = LinkPath { server_mru: Some(1400), to_server: Some(1300), ..LinkPath::default() };
    let world = after(path, spec(), 60);
    let (low, high) = limit_of(&world);
    assert!((low..=high).contains(&only_report(&world).mtu), "{:?}", world.found);
}

#[test]
fn random_losses_do_not_lower_the_mtu_much() {
    for seed in 1..=60 {
        let mut world = World::new(ServerFault::None, spec(), "right");
        world.run(Duration::from_millis(150));
        world.path = LinkPath { loss: 100, seed, ..LinkPath::default() };
        world.run(Duration::from_secs(60));
        let lowest = world.found.iter().map(|(_, found)| found.mtu).min().unwrap_or(1456);
        assert!(lowest >= 1440, "seed {seed}: {:?}", world.found);
        assert!(world.path.padded <= 12, "seed {seed}");
    }
}

#[test]
fn limit_is_found_despite_losses() {
    let mut found = 0;
    for seed in 1..=40 {
        let path = LinkPath { loss: 30, seed, to_server: Some(1400), ..LinkPath::default() };
        let mut world = World::new(ServerFault::None, spec(), "right");
        world.path = path;
        world.run(Duration::from_secs(60));
        for (_, report) in &world.found {
            assert!(report.mtu <= 1356, "seed {seed}: {report:?} does not pass");
            found += usize::from(report.mtu >= 1300);
        }
    }
    assert!(found >= 34, "found in {found} of 40 cases");
}

#[test]
fn fixed_mtu_gives_a_warning_only() {
    let fixed = Spec { follow_path: false, ..spec() };
    let world = after(LinkPath { to_server: Some(1400), ..LinkPath::default() }, fixed, 60);
    let found = only_report(&world);
    assert_eq!(found.mtu, 1456);
    assert!(found.warning.contains("set mtu = \"auto\" or mtu = 13"), "{found:?}");
}

#[test]
fn ipv6_keeps_its_minimum() {
    let off = Policy { demand: Demand::Off, ..spec().mppe };
    let mut world = World::new(ServerFault::Ipv6After(0), Spec { ipv6: true, mppe: off, ..spec() }, "right");
    world.server_policy = off;
    world.path.to_server = Some(1000);
    world.run(Duration::from_secs(30));
    assert!(world.up.as_ref().unwrap().1.ipv6.is_some());
    assert_eq!(only_report(&world).mtu, IPV6_MTU);
}

/// Another path after roaming: the MTU rises again, falls again, and the liveness of the link is not affected.
#[test]
fn search_is_repeated_after_a_change_of_the_network() {
    let echo = link::Echo { interval: Duration::from_secs(5), failures: 2 };
    let spec = Spec { lcp_echo: Some(echo), ..spec() };
    let mut world = after(LinkPath { to_server: Some(1400), ..LinkPath::default() }, spec, 20);
    let mut expected = 1;
    for limit in [None, Some(1300), None, None] {
        expected += usize::from(limit.is_some() || !world.found.last().unwrap().1.warning.is_empty());
        world.path.to_server = limit;
        world.client.probe(world.now);
        world.run(Duration::from_secs(20));
        assert!(world.client.is_up(), "{:?}", world.down);
        assert_eq!(world.found.len(), expected, "{limit:?}: {:?}", world.found);
        let (_, last) = world.found.last().unwrap();
        let (low, high) = limit_of(&world);
        assert!((low..=high).contains(&last.mtu), "{limit:?}: {last:?}");
        assert_eq!((last.warning.is_empty(), last.mtu == 1456), (limit.is_none(), limit.is_none()));
    }
}

/// The link's own echoes still end a dead link in time while a search is going on.
#[test]
fn dead_link_is_noticed_during_a_search() {
    let echo = link::Echo { interval: Duration::from_secs(1), failures: 2 };
    let mut world = World::new(ServerFault::None, Spec { lcp_echo: Some(echo), ..spec() }, "right");
    world.path.to_server = Some(1400);
    world.run(Duration::from_millis(1500));
    let cut = world.now - world.start;
    world.cut = true;
    world.run(Duration::from_secs(60));
    let (at, failure) = world.failure();
    assert_eq!(failure.kind, FailureKind::PeerLost, "{failure}");
    assert!(*at - cut < Duration::from_secs(6), "{at:?}");
}

/// An ICMP error on the path: the kernel reports it on the socket at once.
#[test]
fn mtu_follows_an_icmp_error_and_the_full_size_is_tried_again() {
    let mut world = after(LinkPath::default(), spec(), 60);
    assert!(world.found.is_empty());
    world.path.to_server = Some(1400);
    world.client.path_reported(world.now, 1400);
    world.run(Duration::from_secs(1));
    let reports = |world: &World| world.found.iter().map(|(_, found)| found.mtu).collect::<Vec<_>>();
    assert_eq!(reports(&world), [1356]);
    assert!(world.found[0].1.warning.contains("at most 1400 bytes (ICMP): the tunnel's MTU is 1356 now"));
    // The same again, and a path that carries more than the link sends.
    for size in [1400, 1500, 9000] {
        world.client.path_reported(world.now, size);
    }
    world.run(Duration::from_secs(590));
    assert_eq!(reports(&world), [1356]);
    world.client.path_reported(world.now, 1300);
    world.run(Duration::from_secs(600));
    assert_eq!(reports(&world), [1356, 1256]);
    // The limit is gone.
    world.path.to_server = None;
    world.run(Duration::from_secs(60));
    assert_eq!(reports(&world), [1356, 1256, 1456]);
    assert!(world.found[2].1.warning.is_empty());
    world.client.path_reported(world.now, 40);
    world.run(Duration::from_secs(1));
    assert_eq!(reports(&world).last(), Some(&68), "the smallest MTU of a device");
}

#[test]
fn icmp_error_ends_the_search() {
    let mut world = World::new(ServerFault::None, spec(), "right");
    world.path = LinkPath { to_server: Some(1400), ..LinkPath::default() };
    while world.up.is_none() {
        world.run(Duration::from_millis(1));
    }
    world.client.path_reported(world.now, 1400);
    world.run(Duration::from_secs(30));
    assert_eq!(only_report(&world).mtu, 1356);
    assert!(matches!(world.searched[..], [(_, PathSearchEnd::Limited)]), "{:?}", world.searched);
    assert!(world.path.padded <= 1);
}

#[test]
fn icmp_error_is_reported_beside_a_fixed_mtu() {
    let mut world = after(LinkPath::default(), Spec { follow_path: false, ..spec() }, 60);
    for _ in 0..2 {
        world.client.path_reported(world.now, 1400);
        world.run(Duration::from_secs(1));
    }
    let [(_, found)] = &world.found[..] else { panic!("{:?}", world.found) };
    assert_eq!(found.mtu, 1456);
    assert!(found.warning.contains("set mtu = \"auto\" or mtu = 1356"), "{found:?}");
}
