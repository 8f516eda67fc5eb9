//! Segmentation offload of the tun device: two hosts whose devices are joined packet by packet.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, channel},
    },
    thread,
    time::Duration,
};

use nix::sched::{CloneFlags, unshare};
use pptpctl::testing::{
    net::{packets::PacketIo, tun},
    os::wait::{self, Interest},
};

use crate::namespace::ip;

/// Longest packet on the way, as in a tunnel.
const MTU: usize = 1400;
/// Bytes of the stream.
const STREAM: usize = 8 << 20;
/// Payload of each datagram.
const DATAGRAM: usize = 1200;
const DATAGRAMS: u8 = 30;

/// Runs `host` in a new network namespace with a device, until the end. Returns the device, and where the result
/// arrives.
fn host<T: Send + 'static>(
    own: &'static str,
    peer: &'static str,
    end: &Arc<Barrier>,
    host: impl FnOnce() -> T + Send + 'static,
) -> (OwnedFd, Receiver<T>) {
    let (sender, receiver) = channel();
    let (result, results) = channel();
    let end = end.clone();
    thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let device = tun::open(Some(5)).unwrap();
        ip(&["addr", "add", own, "peer", peer, "dev", "tun5"]);
        ip(&["link", "set", "tun5", "mtu", &MTU.to_string(), "up"]);
        sender.send(device.fd).unwrap();
        result.send(host()).unwrap();
        // The namespace and the device end with the thread.
        end.wait();
    });
    (receiver.recv().unwrap(), results)
}

/// Returns the packets that a host has received, as the kernel counts them.
fn received() -> u64 {
    let table = fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let line = table.lines().find_map(|line| line.trim().strip_prefix("tun5:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// What passed from one device to the other.
#[derive(Debug, Default)]
struct Passed {
    reads: u64,
    packets: u64,
}

/// Moves packets from one device to the other, and checks them on the way.
fn forward(from: &OwnedFd, to: &OwnedFd, end: &AtomicBool) -> Passed {
    let (mut source, mut sink) = (PacketIo::new(from), PacketIo::new(to));
    let mut passed = Passed::default();
    while !end.load(Ordering::Relaxed) {
        wait::until([Some((from.as_fd(), Interest::Readable))], Some(std::time::Instant::now() + POLL))
            .unwrap();
        while let Some(mut read) = source.receive(from).unwrap() {
            passed.reads += 1;
            while let Some(packet) = read.next_packet() {
                passed.packets += 1;
                assert!(packet.len() <= MTU);
                sink.send(to, packet);
            }
            sink.flush(to);
        }
    }
    assert_eq!(sink.refused(), 0);
    passed
}

const POLL: Duration = Duration::from_millis(20);

fn content(at: usize) -> u8 {
    (at % 251).to_le_bytes()[0]
}

/// A stream and datagrams arrive as they were sent, in fewer reads and writes than packets.
#[test]
fn combined_packets_pass_through_the_kernel() {
    let hosts_end = Arc::new(Barrier::new(3));
    let (near, sender) = host("10.1.0.1", "10.1.0.2", &hosts_end, || {
        let mut stream = loop {
            match TcpStream::connect("10.1.0.2:7000") {
                Ok(stream) => break stream,
                Err(_) => thread::sleep(POLL),
            }
        };
        let bytes: Vec<u8> = (0..STREAM).map(content).collect();
        stream.write_all(&bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();

        let socket = UdpSocket::bind("10.1.0.1:0").unwrap();
        let payload: Vec<u8> = (0..DATAGRAMS).flat_map(|number| [number; DATAGRAM]).collect();
        let size = libc::c_int::try_from(DATAGRAM).unwrap();
        // The kernel divides it, as for QUIC. Where it cannot, the datagrams are sent one by one.
        let combined = nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::UdpGsoSegment, &size);
        if combined.is_ok() {
            socket.send_to(&payload, "10.1.0.2:7001").unwrap();
        } else {
            payload
                .chunks(DATAGRAM)
                .for_each(|one| assert_eq!(socket.send_to(one, "10.1.0.2:7001").unwrap(), DATAGRAM));
        }
        answer
    });
    let (far, receiver) = host("10.1.0.2", "10.1.0.1", &hosts_end, || {
        let listener = TcpListener::bind("10.1.0.2:7000").unwrap();
        let datagrams = UdpSocket::bind("10.1.0.2:7001").unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len(), STREAM);
        assert!(bytes.iter().enumerate().all(|(at, byte)| *byte == content(at)), "the stream is damaged");
        let received = received();
        stream.write_all(b"whole").unwrap();
        drop(stream);
        datagrams.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        for number in 0..DATAGRAMS {
            let mut bytes = [0; 2 * DATAGRAM];
            assert_eq!(datagrams.recv(&mut bytes).unwrap(), DATAGRAM);
            assert_eq!(bytes[..DATAGRAM], [number; DATAGRAM]);
        }
        received
    });
    let (near, far) = (Arc::new(near), Arc::new(far));
    let (end, there) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Passed::default())));
    let forwarders: Vec<_> = [(near.clone(), far.clone(), true), (far, near, false)]
        .into_iter()
        .map(|(from, to, outward)| {
            let (end, there) = (end.clone(), there.clone());
            thread::spawn(move || {
                let passed = forward(&from, &to, &end);
                if outward {
                    *there.lock().unwrap() = passed;
                }
            })
        })
        .collect();
    assert_eq!(sender.recv().unwrap(), "whole");
    let received = receiver.recv().unwrap();
    end.store(true, Ordering::Relaxed);
    forwarders.into_iter().for_each(|thread| thread.join().unwrap());
    hosts_end.wait();
    let passed = there.lock().unwrap();
    let fewest = u64::try_from(STREAM / MTU).unwrap();
    assert!(passed.packets > fewest, "{passed:?}");
    assert!(passed.reads * 2 < passed.packets, "packets were not read combined: {passed:?}");
    assert!(received * 2 < passed.packets, "packets were not written combined: {received} of {passed:?}");
}
