//! The server's receive window, obeyed: packets wait for its acknowledgements, and all of them pass.

use std::net::{Ipv4Addr, UdpSocket};

use crate::{
    LITERAL,
    witness::Pings,
    world::{OFFICE, in_world, thread_on_laptop},
};

#[test]
fn packets_wait_while_the_window_is_full() {
    in_world(|world| {
        world.plug(1, 100);
        world.profile(LITERAL, "transmit-window = true\nroutes = [\"192.168.77.0/24\"]");
        world.up();
        let sent = thread_on_laptop(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.connect((Ipv4Addr::from(OFFICE), 9)).unwrap();
            // No service there; the ICMP errors are returned by send(2).
            (0..3000).filter(|_| socket.send(&[0x5a; 1000]).is_ok()).count()
        });
        assert!(sent.recv().unwrap() > 1000);
        let pings = Pings::start();
        pings.time_to_answer(std::time::Instant::now(), || world.log());
        drop(pings);
        let status = world.status();
        let full = status["counters"]["gre.tx_window_full"].as_u64().unwrap_or_else(|| panic!("{status}"));
        assert!(full > 0, "the window of 64 packets was never full: {status}");
        world.down();
    });
}
