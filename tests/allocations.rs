//! The data path allocates nothing per packet: two ends, in memory, with a counting allocator.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unsafe_code,
    reason = "a test; the allocator counts and calls the system's"
)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    net::Ipv4Addr,
    time::Instant,
};

use pptpctl::testing::{
    net::offload::{Coalescer, Offloads, VirtioHeader, split},
    ppp::{
        auth::{Credentials, Users},
        link::{Link, LinkConfig, LinkEvent, Received},
        mppe::{Demand, Policy},
    },
    pptp::{
        flow::{Flow, FlowConfig},
        gre::MAX_HEADER,
    },
    secret::Secret,
};

thread_local! {
    /// Allocations of this thread.
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is passed to the system's allocator; the counter neither allocates nor panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _gone = COUNT.try_with(|count| count.set(count.get() + 1));
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Returns a client and a server whose link is up.
fn links(mppe: Demand) -> (Link, Link) {
    let random = || Box::new(|bytes: &mut [u8]| getrandom::fill(bytes).unwrap());
    let users = Users::table(vec![("user".to_owned(), Secret::from("password"))]);
    let addresses = [Ipv4Addr::new(10, 9, 0, 1), Ipv4Addr::new(10, 9, 0, 2)];
    let credentials =
        Credentials { user: "user".to_owned(), domain: None, password: Secret::from("password") };
    let mut configs = [
        LinkConfig::client(credentials, random()),
        LinkConfig::server("server", users, addresses[0], addresses[1], random()),
    ];
    configs.iter_mut().for_each(|config| config.mppe = Policy { demand: mppe, ..Policy::default() });
    let now = Instant::now();
    let [mut client, mut server] = configs.map(|config| Link::new(config, now));
    client.open(now);
    server.open(now);
    let (mut up, mut rounds) = (0, 0);
    while up < 2 {
        while let Some(mut frame) = client.poll_output() {
            server.handle_input(now, &mut frame);
        }
        while let Some(mut frame) = server.poll_output() {
            client.handle_input(now, &mut frame);
        }
        for link in [&mut client, &mut server] {
            while let Some(event) = link.poll_event() {
                up += u32::from(matches!(event, LinkEvent::Up(_)));
            }
        }
        rounds += 1;
        assert!(rounds < 100, "the link does not come up");
    }
    (client, server)
}

/// Returns a packet of the device with 40 segments, as the kernel passes it.
fn super_packet() -> (VirtioHeader, Vec<u8>) {
    let mut coalescer = Coalescer::new(Offloads { tcp: true, udp: true });
    for number in 0..40_u32 {
        let builder = etherparse::PacketBuilder::ipv4([10, 9, 0, 2], [10, 9, 0, 1], 64)
            .tcp(4000, 80, 1300 * number, 500)
            .ack(1);
        let mut packet = Vec::new();
        builder.write(&mut packet, &[7; 1300]).unwrap();
        // DF: without it the identification would have to count.
        packet[6] |= 0x40;
        let header = etherparse::Ipv4Header::from_slice(&packet).unwrap().0;
        packet[10..12].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
        coalescer.push(&packet, &mut |_, _| panic!("not combined"));
    }
    let mut written = Vec::new();
    coalescer.flush(&mut |header, packet| written.push((*header, packet.to_vec())));
    assert_eq!(written.len(), 1);
    written.remove(0)
}

#[test]
fn data_path_allocates_nothing_per_packet() {
    for demand in [Demand::Off, Demand::Require] {
        let (mut client, mut server) = links(demand);
        let now = Instant::now();
        let mut flows = [(1, 2), (2, 1)].map(|(own, peer)| Flow::new(FlowConfig::new(own, peer), now));
        let mut coalescer = Coalescer::new(Offloads { tcp: true, udp: true });
        let (header, original) = super_packet();
        let (mut buffer, mut out) = (original.clone(), [0; 2048]);
        let (mut written, mut before) = (0_u64, 0);
        for round in 0..100 {
            if round == 10 {
                // Buffers that are allocated once exist by now.
                before = COUNT.get();
            }
            buffer.copy_from_slice(&original);
            let mut segments = split(&header, &mut buffer).unwrap();
            client.expect_packets(segments.lengths());
            server.expect_frames(std::iter::repeat_n(&[0xfd; 1344][..], 40));
            while let Some(packet) = segments.next_packet() {
                let length = client.encapsulate(packet, &mut out[MAX_HEADER..]).unwrap();
                let range = flows[0].put_header(now, length, &mut out).unwrap();
                let received = flows[1].receive(now, &mut out[range], &mut |frame| {
                    let Received::Ip(packet) = server.handle_input(now, frame) else {
                        panic!("not an IP packet")
                    };
                    coalescer.push(packet, &mut |_, _| panic!("not combined"));
                });
                received.unwrap();
            }
            coalescer.flush(&mut |written_header, packet| {
                assert_eq!((*written_header, &*packet), (header, &original[..]));
                written += 1;
            });
        }
        assert_eq!(COUNT.get() - before, 0, "{demand:?}");
        assert_eq!(written, 100);
    }
}
