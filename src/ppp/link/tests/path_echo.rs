//! Echo-Requests and Discard-Requests that test the path.

use std::time::Duration;

use super::pair::{Pair, Side, client_config, server_config};
use crate::ppp::{
    link::{LinkConfig, LinkDrop, LinkEvent},
    wire::{HEADER_LEN, code, control_frame, protocol},
};

fn pair() -> Pair {
    Pair::new(client_config(), server_config())
}

/// Returns the code, the identifier and the length field of an LCP packet in a frame with the protocol's full header.
fn header_of(frame: &[u8]) -> (u8, u8, usize) {
    let [0xff, 0x03, high, low, code, id, upper, lower, ..] = *frame else { panic!("{frame:02x?}") };
    assert_eq!(u16::from_be_bytes([high, low]), protocol::LCP);
    (code, id, usize::from(u16::from_be_bytes([upper, lower])))
}

#[test]
fn path_echo_is_answered_under_its_own_identifier() {
    let mut pair = pair().up();
    let (long, frame) = pair.client.path_echo(Some(1000)).unwrap();
    // The frame of a data packet of this size has the same length.
    assert_eq!(frame.len(), pair.client.data_frame_length(1000));
    assert_eq!(header_of(&frame), (code::ECHO_REQUEST, long, frame.len() - 4));
    pair.transmit(Side::Client, frame);
    let (short, frame) = pair.client.path_echo(None).unwrap();
    assert_eq!(header_of(&frame), (code::ECHO_REQUEST, short, HEADER_LEN + 4), "the magic number alone");
    pair.transmit(Side::Client, frame);
    assert_ne!(long, short);

    pair.client_events.clear();
    pair.run(Duration::from_millis(50));
    assert_eq!(pair.client_events, [LinkEvent::PathAnswered(long), LinkEvent::PathAnswered(short)]);
    let counters = pair.client.counters();
    assert_eq!((counters.echoes_sent, counters.echoes_answered), (2, 2));
}

/// The answers may come in another order, or not at all, and each counts once.
#[test]
fn path_echo_is_found_among_others() {
    let mut pair = pair().up();
    let ids: Vec<u8> = (0..3).map(|_| pair.client.path_echo(None).unwrap().0).collect();
    pair.client_events.clear();
    for id in [ids[2], ids[2], ids[0]] {
        pair.deliver(Side::Client, control_frame(protocol::LCP, &[code::ECHO_REPLY, id, 0, 8, 1, 2, 3, 4]));
    }
    pair.collect();
    assert_eq!(pair.client_events, [LinkEvent::PathAnswered(ids[2]), LinkEvent::PathAnswered(ids[0])]);
}

#[test]
fn path_discard_is_a_frame_without_an_answer() {
    let mut pair = pair().up();
    let (id, frame) = pair.client.path_discard().unwrap();
    assert_eq!(header_of(&frame), (code::DISCARD_REQUEST, id, HEADER_LEN + 4));
    let sent = pair.tap.len();
    pair.transmit(Side::Client, frame);
    pair.run(Duration::from_millis(50));
    assert_eq!(pair.tap.len(), sent + 1, "{:?}", pair.tap.last());
}

#[test]
fn path_is_not_tested_before_lcp_is_open() {
    let mut pair = pair().open();
    assert_eq!(pair.client.path_echo(None), None);
    assert_eq!(pair.client.path_discard(), None);
}

#[test]
fn timed_echo_measures_the_round_trip() {
    let mut pair = pair().up();
    let frame = pair.client.timed_echo(pair.now).unwrap();
    assert_eq!(header_of(&frame).0, code::ECHO_REQUEST);
    assert_eq!(pair.client.counters().round_trip, None);
    pair.transmit(Side::Client, frame);
    pair.run(Duration::from_millis(50));
    assert_eq!(pair.client.counters().round_trip, Some(2 * pair.path.latency));
    let mut silent = Pair::new(LinkConfig { echo: None, ..client_config() }, server_config()).up();
    assert_eq!(silent.client.timed_echo(silent.now), None);
}

#[test]
fn echo_request_before_lcp_is_open_is_dropped() {
    let mut pair = pair().open();
    pair.deliver(Side::Client, control_frame(protocol::LCP, &[code::ECHO_REQUEST, 1, 0, 8, 1, 2, 3, 4]));
    assert_eq!(pair.client.counters().dropped(LinkDrop::WrongPhase), 1);
}
