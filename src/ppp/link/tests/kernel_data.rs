//! Links whose data packets the kernel moves: what its unit is to do, the keys that it gets, and what comes back from it.

use std::time::Duration;

use super::pair::{Pair, Side, client_config, ip, policy, server_config};
use crate::ppp::{
    link::{DownReason, Link, LinkConfig, LinkDrop, MppeStart, Received, Unit},
    mppe::{Demand, MppeDrop, Policy, option},
    wire::{Packet, code, control_frame, protocol},
};

const LONG: Duration = Duration::from_secs(60);

fn pair(mppe: Policy) -> Pair {
    let client = LinkConfig { mppe, kernel_data: true, ipv6: true, ..client_config() };
    Pair::new(client, LinkConfig { mppe, ..server_config() })
}

fn ccp(code: u8, data: &[u8]) -> Vec<u8> {
    control_frame(protocol::CCP, &Packet { code, id: 9, data }.to_vec())
}

#[test]
fn unit_passes_packets_only_while_they_may_flow() {
    let mut clear = pair(policy(Demand::Off)).open();
    assert_eq!(clear.client.unit(), Unit::default());
    clear.run(LONG);
    // The server has no IPV6CP.
    assert_eq!(clear.client.unit(), Unit { ipv4: true, ..Unit::default() });
    let now = clear.now;
    clear.server.restart_lcp(now);
    clear.collect();
    clear.run(Duration::from_millis(12));
    assert_eq!(clear.client.unit(), Unit::default(), "the server renegotiates");
}

#[test]
fn unit_of_an_encrypted_link_waits_for_encryption() {
    let mut pair = pair(policy(Demand::Require)).open();
    let mut began = None;
    for _ in 0..400 {
        let unit = pair.client.unit();
        assert!(unit.must_encrypt);
        assert!(!unit.ipv4 || unit.ccp && unit.ccp_up, "{unit:?}");
        began = began.or(unit.ccp.then_some(unit));
        pair.run(Duration::from_millis(1));
    }
    assert!(began.is_some_and(|unit| !unit.ccp_up && !unit.ipv4), "CCP is open before MPPE is up");
    let up = Unit { ipv4: true, ccp: true, ccp_up: true, must_encrypt: true, ..Unit::default() };
    assert_eq!(pair.client.unit(), up);
    // The server begins CCP anew: nothing may pass until it is complete.
    let mut frame = ccp(code::CONFIGURE_REQUEST, &[18, 6, 1, 0, 0, 0x40]);
    pair.client.handle_input(pair.now, &mut frame);
    let unit = pair.client.unit();
    assert!(!unit.ipv4 && !unit.ccp_up && unit.ccp, "{unit:?}");
}

/// Returns the parameters of the last frame of this code.
fn start(link: &Link, code: u8, bits: u32) -> Option<MppeStart> {
    let [a, b, c, d] = bits.to_be_bytes();
    link.mppe_start(&ccp(code, &[option::TYPE, 6, a, b, c, d]))
}

#[test]
fn keys_of_both_ends_agree() {
    const BITS: u32 = option::STATELESS | option::BITS_128;
    let pair = pair(policy(Demand::Require)).up();
    let ours = start(&pair.client, code::CONFIGURE_ACK, BITS).unwrap();
    let theirs = start(&pair.server, code::CONFIGURE_REQUEST, BITS).unwrap();
    assert!(ours.transmit && !theirs.transmit && ours.key == theirs.key);
    assert_eq!(ours.option, [18, 6, 1, 0, 0, 0x40]);
    let back = start(&pair.client, code::CONFIGURE_REQUEST, BITS).unwrap();
    assert!(back.key != ours.key, "MS-CHAPv2 has a key for each direction");
    // A shorter key is the beginning of the long one, with zeros behind it.
    let short = start(&pair.client, code::CONFIGURE_ACK, option::STATELESS | option::BITS_40).unwrap();
    assert_eq!((&short.key[..8], &short.key[8..]), (&ours.key[..8], &[0; 8][..]));
    for code in [code::CONFIGURE_NAK, code::RESET_REQUEST] {
        assert!(start(&pair.client, code, BITS).is_none());
    }
    assert!(start(&pair.client, code::CONFIGURE_ACK, option::STATELESS).is_none(), "no strength");
}

#[test]
fn kernel_has_no_56_bit_keys() {
    let pair = pair(policy(Demand::Require)).up();
    let requests = pair.of_protocol(&[protocol::CCP]);
    let request = requests
        .iter()
        .find(|(from, frame)| *from == Side::Client && frame[4] == code::CONFIGURE_REQUEST)
        .unwrap();
    assert_eq!(request.1[8..], [18, 6, 1, 0, 0, 0x60], "40 and 128 bits");
}

#[test]
fn undecrypted_packets_are_answered_with_reset_requests_and_end_the_link() {
    let mut pair = pair(policy(Demand::Require)).up();
    let mut damaged = control_frame(protocol::COMPRESSED, &ip(60, 1));
    let dropped = Received::Dropped(LinkDrop::Mppe(MppeDrop::AwaitingReset));
    for _ in 0..4 {
        assert_eq!(pair.client.handle_input(pair.now, &mut damaged), dropped);
    }
    let requests =
        std::iter::from_fn(|| pair.client.poll_output()).filter(|frame| frame[4] == code::RESET_REQUEST);
    assert_eq!(requests.count(), 1, "one in a second");
    // The Reset-Ack makes the kernel go on.
    pair.client.handle_input(pair.now, &mut ccp(code::RESET_ACK, &[]));
    for _ in 0..20 {
        pair.now += Duration::from_millis(500);
        pair.client.handle_input(pair.now, &mut damaged);
    }
    pair.run(LONG);
    assert!(
        matches!(pair.client_down(), Some(DownReason::DataUnreadable { .. })),
        "{:?}",
        pair.client_events
    );
}

#[test]
fn frames_that_stop_the_kernels_encryption_are_known() {
    for code in [code::CONFIGURE_REQUEST, code::TERMINATE_REQUEST, code::TERMINATE_ACK] {
        let frame = ccp(code, &[]);
        assert!(Link::stops_mppe(&frame) && Link::stops_mppe(&frame[2..]), "{code}");
    }
    assert!(!Link::stops_mppe(&ccp(code::CONFIGURE_ACK, &[])));
    assert!(!Link::stops_mppe(&control_frame(protocol::LCP, &[1, 1, 0, 4])));
}

#[test]
fn data_that_only_the_kernel_sees_keeps_the_link_up() {
    let mut quiet = pair(policy(Demand::Off)).up();
    quiet.cut = [true; 2];
    for _ in 0..20 {
        quiet.client.note_data();
        quiet.run(Duration::from_secs(20));
    }
    assert_eq!(quiet.client_down(), None);
    quiet.run(10 * LONG);
    assert_eq!(quiet.client_down(), Some(&DownReason::EchoTimeout));
}
