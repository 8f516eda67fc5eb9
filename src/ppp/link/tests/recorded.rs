//! Whole negotiations against the exact frames that Debian's pppd 2.4.9 and Windows send.

use std::time::{Duration, Instant};

use super::pair::{client_config, ip, only, policy, random};
use crate::{
    ppp::{
        auth::{self, AuthProtocol, Credentials, Users},
        link::{DownReason, Link, LinkConfig, LinkEvent, LinkUp, Received, Role},
        mppe::{Demand, Strength},
        wire::{Packet, control_frame, protocol},
    },
    secret::Secret,
};

/// Passes a frame written in hexadecimal to the link.
fn feed(link: &mut Link, now: Instant, hex: &str) {
    let mut frame = bytes(hex);
    let received = link.handle_input(now, &mut frame);
    assert_eq!(received, Received::Control, "{hex}");
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        hex.chars().filter_map(|c| c.to_digit(16)).map(|d| u8::try_from(d).unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Asserts that the next frame sent equals `hex`; dots stand for bytes that we choose (a magic number).
fn expect(link: &mut Link, hex: &str) -> Vec<u8> {
    let frame = link.poll_output().unwrap_or_else(|| panic!("no frame was sent, expected {hex}"));
    let shown: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    let wanted: String = hex.chars().filter(|c| !c.is_whitespace()).collect();
    let same =
        shown.len() == wanted.len() && shown.chars().zip(wanted.chars()).all(|(a, b)| b == '.' || a == b);
    assert!(same, "sent {shown}, expected {wanted}");
    frame
}

fn open(config: LinkConfig) -> (Link, Instant) {
    let now = Instant::now();
    let mut link = Link::new(config, now);
    link.open(now);
    (link, now)
}

fn up(link: &mut Link) -> LinkUp {
    std::iter::from_fn(|| link.poll_event())
        .find_map(|event| if let LinkEvent::Up(up) = event { Some(up) } else { None })
        .unwrap()
}

fn down(link: &mut Link) -> Option<DownReason> {
    std::iter::from_fn(|| link.poll_event())
        .find_map(|event| if let LinkEvent::Down(reason) = event { Some(reason) } else { None })
}

const OUR_LCP: &str = "ff03 c021 01 01 000a 0506 ........";

/// Our request in its place, once pppd has sent one with MRU 1400, ACCM and both header compressions.
const OUR_LCP_FOLLOWING: &str = "ff03 c021 01 02 0018 0104 0578 0206 00000000 0506 ........ 0702 0802";

#[test]
fn link_comes_up_with_pppd_using_pap_and_no_ccp() {
    let (mut link, now) = open(LinkConfig { accept: vec![AuthProtocol::Pap], ..client_config() });
    expect(&mut link, OUR_LCP);
    // [LCP ConfReq id=0x1 <mru 1400> <asyncmap 0x0> <auth pap> <magic 0x3d9ae13c> <pcomp> <accomp>]
    feed(&mut link, now, "ff03 c021 01 01 001c 0104 0578 0206 00000000 0304 c023 0506 3d9ae13c 0702 0802");
    let request = expect(&mut link, OUR_LCP_FOLLOWING);
    expect(&mut link, "ff03 c021 02 01 001c 0104 0578 0206 00000000 0304 c023 0506 3d9ae13c 0702 0802");
    // [LCP ConfAck id=0x1 …]
    let mut ack = request;
    ack[4] = 2;
    assert_eq!(link.handle_input(now, &mut ack), Received::Control);
    expect(&mut link, "ff03 c023 01 01 0016 05 616c696365 0b 6f70656e20736573616d65");
    // [LCP EchoReq id=0x0 magic=0x3d9ae13c]
    feed(&mut link, now, "ff03 c021 09 00 0008 3d9ae13c");
    expect(&mut link, "ff03 c021 0a 00 0008 ........");
    // [PAP AuthAck id=0x1 "Login ok"]
    feed(&mut link, now, "c023 02 01 000d 08 4c6f67696e206f6b");
    expect(&mut link, "ff03 8021 01 01 0016 0306 00000000 8106 00000000 8306 00000000");
    // [IPCP ConfReq id=0x1 <compress VJ 0f 01> <addr 192.168.0.1>]
    feed(&mut link, now, "8021 01 01 0010 0206 002d 0f01 0306 c0a80001");
    expect(&mut link, "ff03 8021 04 01 000a 0206 002d 0f01");
    // [IPCP ConfNak id=0x1 <addr 192.168.0.100> <ms-dns1 8.8.8.8> <ms-dns2 8.8.8.8>]
    feed(&mut link, now, "8021 03 01 0016 0306 c0a80064 8106 08080808 8306 08080808");
    expect(&mut link, "ff03 8021 01 02 0016 0306 c0a80064 8106 08080808 8306 08080808");
    // [IPCP ConfReq id=0x2 <addr 192.168.0.1>]
    feed(&mut link, now, "8021 01 02 000a 0306 c0a80001");
    expect(&mut link, "ff03 8021 02 02 000a 0306 c0a80001");
    feed(&mut link, now, "8021 02 02 0016 0306 c0a80064 8106 08080808 8306 08080808");
    let up = up(&mut link);
    assert_eq!((up.local.to_string(), up.peer.to_string()), ("192.168.0.100".into(), "192.168.0.1".into()));
    assert_eq!((up.dns, up.mtu, up.mppe), (vec!["8.8.8.8".parse().unwrap()], 1400, None));
    let mut out = [0; 100];
    assert_eq!(link.encapsulate(&ip(40, 1), &mut out), Ok(41));
    assert_eq!(out[..2], [0x21, 0x45]);
    // [LCP TermReq id=0x2 "User request"]
    feed(&mut link, now, "ff03 c021 05 02 0010 557365722072657175657374");
    expect(&mut link, "ff03 c021 06 02 0004");
    assert_eq!(down(&mut link), Some(DownReason::PeerTerminated("User request".to_owned())));
}

/// Performs LCP and MS-CHAPv2 as pppd does; the response is computed, because the client's challenge is
/// random.
fn authenticated(config: LinkConfig) -> (Link, Instant) {
    let (mut link, now) = open(config);
    let mut replaced = expect(&mut link, OUR_LCP);
    // [LCP ConfReq id=0x1 <mru 1400> <asyncmap 0x0> <auth chap MS-v2> <magic 0x57d0a1c2> <pcomp> <accomp>]
    feed(&mut link, now, "ff03 c021 01 01 001d 0104 0578 0206 00000000 0305 c223 81 0506 57d0a1c2 0702 0802");
    let mut ack = expect(&mut link, OUR_LCP_FOLLOWING);
    expect(&mut link, "ff03 c021 02 01 001d 0104 0578 0206 00000000 0305 c223 81 0506 57d0a1c2 0702 0802");
    // The answer to the request that was replaced changes nothing.
    replaced[4] = 2;
    assert_eq!(link.handle_input(now, &mut replaced), Received::Control);
    assert!(link.poll_output().is_none());
    ack[4] = 2;
    link.handle_input(now, &mut ack);
    let users = Users::table(vec![("alice".to_owned(), Secret::from("open sesame"))]);
    let timing = auth::Timing::default();
    let mut server = auth::Server::new(AuthProtocol::MsChapV2, "pptpd", users, [0x5B; 16], now, timing);
    while let Some((number, packet)) = server.poll_output() {
        link.handle_input(now, &mut control_frame(number, &packet));
        if server.poll_event().is_none() {
            let frame = link.poll_output().unwrap();
            assert_eq!(frame[..4], [0xFF, 0x03, 0xC2, 0x23]);
            server.handle_input(now, protocol::CHAP, &frame[4..]).unwrap();
        }
    }
    (link, now)
}

#[test]
fn link_comes_up_with_pppd_requiring_mppe_128() {
    let (mut link, now) = authenticated(LinkConfig { mppe: policy(Demand::Require), ..client_config() });
    // Our request was sent at once, with everything that the policy allows: stateless, 128, 56 and 40 bits.
    expect(&mut link, "ff03 80fd 01 01 000a 1206 010000e0");
    // [CCP ConfReq id=0x1 <mppe +H -M +S -L -D -C>]
    feed(&mut link, now, "80fd 01 01 000a 1206 01000040");
    expect(&mut link, "ff03 80fd 02 01 000a 1206 01000040");
    // If pppd had agreed to our request as well, it would open IPCP now.
    expect(&mut link, "ff03 8021 01 01 0016 0306 00000000 8106 00000000 8306 00000000");
    // [CCP ConfNak id=0x1 <mppe +H -M +S -L -D -C>]
    feed(&mut link, now, "80fd 03 01 000a 1206 01000040");
    expect(&mut link, "ff03 80fd 01 02 000a 1206 01000040");
    // [IPCP TermAck id=0x1]
    feed(&mut link, now, "8021 06 01 0004");
    assert!(link.poll_output().is_none(), "IPCP is not repeated before MPPE is open");
    feed(&mut link, now, "80fd 02 02 000a 1206 01000040");
    expect(&mut link, "ff03 8021 01 01 0016 0306 00000000 8106 00000000 8306 00000000");
    // [IPCP ConfReq id=0x1 <addr 10.9.0.1>], [IPCP ConfRej id=0x1 <ms-dns1 0.0.0.0> <ms-dns2 0.0.0.0>]
    feed(&mut link, now, "8021 01 01 000a 0306 0a090001");
    expect(&mut link, "ff03 8021 02 01 000a 0306 0a090001");
    feed(&mut link, now, "8021 04 01 0010 8106 00000000 8306 00000000");
    expect(&mut link, "ff03 8021 01 02 000a 0306 00000000");
    // [IPCP ConfNak id=0x2 <addr 10.9.0.77>]
    feed(&mut link, now, "8021 03 02 000a 0306 0a09004d");
    expect(&mut link, "ff03 8021 01 03 000a 0306 0a09004d");
    feed(&mut link, now, "8021 02 03 000a 0306 0a09004d");
    let up = up(&mut link);
    assert_eq!((up.mtu, up.dns.len()), (1396, 0));
    assert_eq!(up.mppe.unwrap().strength, Strength::Bits128);
    let mut out = [0; 100];
    let length = link.encapsulate(&ip(40, 1), &mut out).unwrap();
    // FD, then D and A bits with coherency count 0.
    assert_eq!((length, &out[..3]), (45, &[0xFD, 0x90, 0x00][..]));
}

#[test]
fn pppd_with_ccp_but_no_mppe_is_refused_or_used_in_clear() {
    for demand in [Demand::Require, Demand::Allow] {
        let (mut link, now) = authenticated(LinkConfig { mppe: policy(demand), ..client_config() });
        expect(&mut link, "ff03 80fd 01 01 000a 1206 010000e0");
        // [CCP ConfReq id=0x1 <deflate 15> <deflate(old#) 15> <bsd v1 15>]
        feed(&mut link, now, "80fd 01 01 000f 1a04 7800 1804 7800 1503 2f");
        expect(&mut link, "ff03 80fd 04 01 000f 1a04 7800 1804 7800 1503 2f");
        // [CCP ConfRej id=0x1 <mppe +H +M +S +L -D -C>]
        feed(&mut link, now, "80fd 04 01 000a 1206 010000e0");
        if demand == Demand::Require {
            let terminate = link.poll_output().unwrap();
            assert_eq!(terminate[..6], [0xFF, 0x03, 0xC0, 0x21, 5, 3]);
            feed(&mut link, now, "ff03 c021 06 03 0004");
            let Some(DownReason::EncryptionRefused(words)) = down(&mut link) else { panic!() };
            assert!(words.contains("refuses"), "{words}");
        } else {
            expect(&mut link, "ff03 80fd 01 02 0004");
            expect(&mut link, "ff03 8021 01 01 0016 0306 00000000 8106 00000000 8306 00000000");
            // The peer's empty request, our Ack, and the end of its CCP: [CCP TermReq id=0x3 "No compression
            // negotiated"]
            feed(&mut link, now, "80fd 01 02 0004");
            expect(&mut link, "ff03 80fd 02 02 0004");
            feed(&mut link, now, "80fd 02 02 0004");
            feed(&mut link, now, "80fd 05 03 001d 4e6f20636f6d7072657373696f6e206e65676f746961746564");
            expect(&mut link, "ff03 80fd 06 03 0004");
            assert_eq!(down(&mut link), None);
        }
    }
}

#[test]
fn pppd_with_noccp_is_refused_or_used_in_clear() {
    // [LCP ProtRej id=0x2 80 fd 01 01 00 0a 12 06 01 00 00 40]
    let reject = "ff03 c021 08 02 0010 80fd 0101000a 1206 01000040";
    let (mut link, now) = authenticated(LinkConfig { mppe: only(Strength::Bits128), ..client_config() });
    expect(&mut link, "ff03 80fd 01 01 000a 1206 01000040");
    feed(&mut link, now, reject);
    feed(&mut link, now, "ff03 c021 06 02 0004");
    let Some(DownReason::EncryptionRefused(words)) = down(&mut link) else { panic!() };
    assert!(words.contains("rejects CCP"), "{words}");

    let (mut link, now) = authenticated(LinkConfig { mppe: policy(Demand::Allow), ..client_config() });
    expect(&mut link, "ff03 80fd 01 01 000a 1206 010000e0");
    feed(&mut link, now, reject);
    expect(&mut link, "ff03 8021 01 01 0016 0306 00000000 8106 00000000 8306 00000000");
}

/// Like pppd with require-pap: after our Nak it drops the demand, opens LCP, and then ends the link.
#[test]
fn refusal_of_pppds_only_auth_is_explained() {
    use AuthProtocol::{MsChapV2, Pap};
    for (accept, demand, refused) in [
        (vec![MsChapV2], Demand::Allow, "in common: the peer offered PAP"),
        (vec![MsChapV2], Demand::Require, "in common: the peer offered PAP"),
        (vec![MsChapV2, Pap], Demand::Require, "from MS-CHAP, and the peer wants PAP"),
    ] {
        let (mut link, now) = open(LinkConfig { accept, mppe: policy(demand), ..client_config() });
        expect(&mut link, OUR_LCP);
        feed(
            &mut link,
            now,
            "ff03 c021 01 01 001c 0104 0578 0206 00000000 0304 c023 0506 3d9ae13c 0702 0802",
        );
        let mut ack = expect(&mut link, OUR_LCP_FOLLOWING);
        expect(&mut link, "ff03 c021 03 01 0009 0305 c223 81");
        feed(&mut link, now, "ff03 c021 01 02 0018 0104 0578 0206 00000000 0506 3d9ae13c 0702 0802");
        ack[4] = 2;
        link.handle_input(now, &mut ack);
        // [LCP TermReq id=0x3 "peer refused to authenticate"]
        let words = b"peer refused to authenticate";
        let packet = Packet { code: 5, id: 3, data: words }.to_vec();
        link.handle_input(now, &mut control_frame(protocol::LCP, &packet));
        let reason = down(&mut link).unwrap().to_string();
        assert!(reason.contains(refused), "{reason}");
    }
}

#[test]
fn windows_server_options_are_negotiated() {
    let (mut link, now) = open(client_config());
    expect(&mut link, OUR_LCP);
    // [LCP ConfReq id=0x0 <mru 1400> <auth eap> <magic 0x2b1cf207> <pcomp> <accomp> <callback CBCP> <mrru 1614> <endpoint>]
    feed(
        &mut link,
        now,
        "ff03 c021 01 00 0026 0104 0578 0304 c227 0506 2b1cf207 0702 0802 0d03 06 1104 064e 1309 01 aabbccddeeff",
    );
    expect(&mut link, "ff03 c021 01 02 0012 0104 0578 0506 ........ 0702 0802");
    expect(&mut link, "ff03 c021 04 00 0014 0d03 06 1104 064e 1309 01 aabbccddeeff");
    feed(&mut link, now, "ff03 c021 01 01 0016 0104 0578 0304 c227 0506 2b1cf207 0702 0802");
    expect(&mut link, "ff03 c021 03 01 0009 0305 c223 81");
    feed(&mut link, now, "ff03 c021 01 02 0017 0104 0578 0305 c223 81 0506 2b1cf207 0702 0802");
    expect(&mut link, "ff03 c021 02 02 0017 0104 0578 0305 c223 81 0506 2b1cf207 0702 0802");
    // Identification "MSRASV5.20" needs no answer, and arrives too early besides.
    let mut identification = bytes("ff03 c021 0c 03 0012 2b1cf207 4d53524153 56352e3230");
    link.handle_input(now, &mut identification);
    assert!(link.poll_output().is_none());
}

#[test]
fn first_retransmission_is_sent_after_one_second() {
    let (mut link, now) = open(client_config());
    let first = expect(&mut link, OUR_LCP);
    assert_eq!(link.next_timeout().map(|(at, _)| at - now), Some(Duration::from_secs(1)));
    link.handle_timeout(now + Duration::from_secs(1));
    assert_eq!(expect(&mut link, OUR_LCP), first, "the same identifier and magic number");
}

#[test]
fn domain_is_part_of_the_pap_name() {
    let mut config = LinkConfig { accept: vec![AuthProtocol::Pap], ..client_config() };
    if let Role::Client(client) = &mut config.role {
        client.credentials = Credentials {
            user: "bob".to_owned(),
            domain: Some("CORP".to_owned()),
            password: Secret::from("x"),
        };
    }
    config.random = random(5);
    let (mut link, now) = open(config);
    let mut ack = expect(&mut link, OUR_LCP);
    feed(&mut link, now, "c021 01 01 0008 0304 c023");
    link.poll_output();
    ack[4] = 2;
    link.handle_input(now, &mut ack);
    expect(&mut link, "ff03 c023 01 01 000f 08 434f52505c626f62 01 78");
}
