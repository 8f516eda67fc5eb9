//! Long losses of GRE packets on a link with MPPE, and data paths that no packet gets through any more.

use super::*;
use crate::ppp::{link::LinkDrop, mppe::MppeDrop};

/// An IPv4 packet whose header agrees with its length, with `n` in its identification.
fn numbered(n: u16) -> Vec<u8> {
    let [high, low] = n.to_be_bytes();
    let mut packet = vec![0x45, 0, 0, 40, high, low, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    packet.resize(40, 0);
    packet
}

impl World {
    /// Seals a packet on the server and puts a GRE header before it.
    fn server_packet(&mut self, n: u16) -> Vec<u8> {
        let mut out = vec![0; 2048];
        let (flow, link) = self.call.as_mut().expect("no call");
        let length = link.encapsulate(&numbered(n), &mut out[MAX_HEADER..]).unwrap();
        let range = flow.put_header(self.now, length, &mut out).unwrap();
        out[range].to_vec()
    }

    /// Delivers a GRE packet to the client, and waits until no packet is held back any more.
    fn deliver_now(&mut self, mut packet: Vec<u8>) -> Vec<Vec<u8>> {
        let mut received = Vec::new();
        self.client.gre_input(self.now, &mut packet, &mut |ip| received.push(ip.to_vec()));
        self.now += Duration::from_millis(400);
        self.client.handle_timeout(self.now, &mut |ip| received.push(ip.to_vec()));
        self.exchange();
        received
    }

    fn up() -> Self {
        let mut world = Self::new(ServerFault::None, spec(), "right");
        world.run(Duration::from_secs(5));
        assert!(world.up.is_some());
        let first = world.server_packet(0);
        assert_eq!(world.deliver_now(first), [numbered(0)]);
        world
    }
}

#[test]
fn packets_pass_after_any_loss_that_the_coherency_count_can_express() {
    for lost in [1, 255, 512, 3583, 3700, 4000, 4094] {
        let mut world = World::up();
        for n in 0..lost {
            world.server_packet(n);
        }
        for n in 0..5 {
            let packet = world.server_packet(n);
            assert_eq!(world.deliver_now(packet), [numbered(n)], "{lost} lost");
        }
        assert!(world.down.is_none());
    }
}

#[test]
fn losses_in_several_gaps_add_up() {
    let mut world = World::up();
    // What arrives in between does not decrypt, and is no evidence of the count.
    for _ in 0..4 {
        for n in 0..990 {
            world.server_packet(n);
        }
        let mut damaged = world.server_packet(0);
        damaged.iter_mut().skip(16).for_each(|byte| *byte ^= 0x55);
        world.deliver_now(damaged);
    }
    let packet = world.server_packet(7);
    assert_eq!(world.deliver_now(packet), [numbered(7)]);
}

#[test]
fn loss_beyond_the_coherency_count_ends_the_link_soon() {
    let mut world = World::up();
    for n in 0..4500 {
        world.server_packet(n);
    }
    for n in 0..40 {
        let packet = world.server_packet(n);
        world.deliver_now(packet);
    }
    world.run(Duration::from_secs(5));
    let failure = world.failure().1;
    assert!(failure.detail.contains("none of them could be decrypted"), "{failure}");
    assert_eq!((failure.phase, failure.remedy()), (Phase::Up, Remedy::AnotherServer), "{failure}");
}

/// The server drops packets between MPPE and GRE, as pptpd's pty does: GRE does not show the loss, and the next
/// 396 packets look late.
#[test]
fn loss_that_gre_does_not_show_is_noticed_within_seconds() {
    let mut world = World::up();
    let mut out = vec![0; 2048];
    for n in 0..3700 {
        let (_, link) = world.call.as_mut().unwrap();
        link.encapsulate(&numbered(n), &mut out).unwrap();
    }
    let began = world.now;
    for n in 0..100 {
        let packet = world.server_packet(n);
        assert_eq!(world.deliver_now(packet), Vec::<Vec<u8>>::new());
        if world.client.ending.is_some() {
            break;
        }
    }
    assert!(world.now - began < Duration::from_secs(7), "{:?}", world.now - began);
    world.run(Duration::from_secs(5));
    let failure = world.failure().1;
    assert!(failure.detail.contains("none of them could be decrypted (the last: mppe_late)"), "{failure}");
    assert_ne!(failure.remedy(), Remedy::Nothing, "the tunnel is redialled");
}

#[test]
fn unencrypted_packets_alone_end_the_link_but_not_beside_good_ones() {
    for good_ones in [false, true] {
        let mut world = World::up();
        for n in 0..40 {
            let mut out = vec![0; 2048];
            let mut clear = vec![0xff, 0x03, 0x00, 0x21];
            clear.extend(numbered(n));
            out[MAX_HEADER..MAX_HEADER + clear.len()].copy_from_slice(&clear);
            let (flow, _) = world.call.as_mut().unwrap();
            let range = flow.put_header(world.now, clear.len(), &mut out).unwrap();
            assert_eq!(world.deliver_now(out[range].to_vec()), Vec::<Vec<u8>>::new());
            if good_ones && n % 5 == 0 {
                let packet = world.server_packet(n);
                assert_eq!(world.deliver_now(packet), [numbered(n)]);
            }
        }
        world.run(Duration::from_secs(5));
        let words = world.down.as_ref().map(|(_, failure)| failure.detail.clone());
        assert_eq!(words.is_none(), good_ones, "{words:?}");
        assert!(words.is_none_or(|words| words.contains("came unencrypted")));
    }
}

#[test]
fn few_or_rare_unreadable_packets_do_not_end_the_link() {
    for (packets, apart) in [(7, 2), (40, 11)] {
        let mut world = World::up();
        for _ in 0..packets {
            let mut damaged = world.server_packet(1);
            // The D bit of the MPPE header is cleared.
            let at = damaged.len() - 40 - 4;
            damaged[at] &= !0x10;
            world.deliver_now(damaged);
            world.run(Duration::from_secs(apart));
            if packets > 7 {
                // Keeps the score of the opener low.
                let good = world.server_packet(2);
                world.deliver_now(good);
            }
        }
        assert!(world.client.ending.is_none(), "{packets} packets");
    }
    let words = DownReason::DataUnreadable {
        packets: 9,
        lasted: Duration::from_secs(5),
        last: LinkDrop::Mppe(MppeDrop::AwaitingReset),
    };
    assert!(words.to_string().contains("does not answer our CCP Reset-Requests"), "{words}");
}
