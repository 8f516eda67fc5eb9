//! `--test-type` of the classic program and of ours as senders, against both of our receivers: of the packets
//! that reached the receiver's socket, none may be lost, duplicated or out of order. Which packets reached it
//! is taken from tcpdump(8), or from the relay that passed them on, as the classic program's type 3 loses
//! some.
//!
//! A receiver waits 30 ms for a late packet. A packet that arrived later, because a busy machine did not run
//! the sender, may be missing; such packets are counted and must be the exception.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    net::UdpSocket,
    process::{Child, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use nix::{
    sched::{CloneFlags, setns},
    sys::signal::Signal,
};

use crate::{peer::*, world::*};

/// Payloads in one stream.
const COUNT: u32 = 600;
/// Packets between two reorderings: more than the link needs to come up.
const RATE: u32 = 50;
/// Packets that must arrive: all but those still held back, or lost by the classic program's type 3.
const MIN_ARRIVED: usize = (COUNT - 12 - COUNT / RATE) as usize;
/// A little less than a receiver waits.
const REORDER_WAIT: Duration = Duration::from_millis(25);

/// Numbers in order of arrival, and when each arrived.
type Arrivals = Vec<(u32, Duration)>;

/// Checks what was delivered and counts the packets that were too late; `Err` while some may be in transit.
fn check(arrived: &Arrivals, delivered: &[u32]) -> Result<usize, String> {
    assert!(delivered.windows(2).all(|pair| pair[0] < pair[1]), "out of order or double: {delivered:?}");
    let first: BTreeMap<u32, Duration> = arrived.iter().rev().copied().collect();
    if let Some(unknown) = delivered.iter().find(|number| !first.contains_key(number)) {
        return Err(format!("{unknown} was delivered, but not captured"));
    }
    let mut too_late = 0;
    for (number, at) in &first {
        if delivered.binary_search(number).is_ok() {
            continue;
        }
        let overtaken = first.range(number + 1..).map(|(_, at)| *at).min();
        match overtaken {
            Some(other) if at.saturating_sub(other) >= REORDER_WAIT => too_late += 1,
            _ => return Err(format!("{number} arrived at {at:?} and is lost; overtaken at {overtaken:?}")),
        }
    }
    Ok(too_late)
}

fn is_disordered(arrived: &Arrivals) -> bool {
    arrived.windows(2).any(|pair| pair[0].0 > pair[1].0)
}

fn line(kind: u8) -> String {
    format!("--loglevel 0 --test-type {kind} --test-rate {RATE}")
}

#[test]
fn server_loses_no_arrived_packet() {
    in_world("reordering::server_loses_no_arrived_packet", || {
        let _log = Syslog::start();
        let clear = r#","mppe":{"demand":"Off","min":"Bits128","max":"Bits128","stateful":false}"#;
        let server = Server::start(clear);
        let delivered = listen(&server);
        for program in programs() {
            for kind in 1..=3 {
                delivered.lock().unwrap().clear();
                let capture = Capture::start(&server);
                let line = format!("192.0.2.1 --nolaunchpppd {}", line(kind));
                let mut pptp = Pptp::start(program, &line, Pipe::Socket);
                let mut daemon = Daemon::new(false, false);
                daemon.run(&pptp.ppp, |daemon| daemon.up.is_some());
                let local = daemon.up.as_ref().unwrap().local.octets();
                for number in 0..COUNT {
                    daemon.send(&datagram(local, number));
                }
                daemon.write(&pptp.ppp);
                let mut arrived = Arrivals::new();
                let mut found = Err("no packet yet".to_owned());
                let end = Instant::now() + LIMIT;
                while (found.is_err() || arrived.len() < MIN_ARRIVED) && Instant::now() < end {
                    std::thread::sleep(Duration::from_millis(50));
                    // tcpdump(8) may lag behind; then check again.
                    let delivered = delivered.lock().unwrap().clone();
                    arrived = capture.read();
                    found = check(&arrived, &delivered);
                }
                drop(capture);
                report(program, kind, &arrived, found);
                pptp.end();
                no_manager();
            }
        }
    });
}

#[test]
fn pptp_loses_no_arrived_packet() {
    in_world("reordering::pptp_loses_no_arrived_packet", || {
        let _log = Syslog::start();
        for program in programs() {
            for kind in 1..=3 {
                let mut receiver = Peer::at(10).call(OURS, "--loglevel 0", Pipe::Socket);
                let sender = Peer::at(9).call(program, &line(kind), Pipe::Socket);
                let start = Instant::now();
                let (mut arrived, mut delivered) = (Arrivals::new(), Vec::new());
                let mut written = 0;
                // Relay until the sender is silent; on a busy machine it may pause before it has read
                // everything.
                loop {
                    while written < COUNT && usize::try_from(written).unwrap() < arrived.len() + 40 {
                        sender.write_frame(&numbered(written, 60));
                        written += 1;
                    }
                    let limit = if arrived.len() < MIN_ARRIVED { LIMIT } else { Duration::from_millis(300) };
                    let Some(packet) = sender.receive(limit) else { break };
                    let Some(seq) = packet.seq else { continue };
                    receiver.send(seq, &packet.payload);
                    arrived.push((number(&packet.payload), start.elapsed()));
                }
                let mut found = Err("no packet yet".to_owned());
                let end = Instant::now() + LIMIT;
                while found.is_err() && Instant::now() < end {
                    let known = delivered.len();
                    let more = receiver
                        .frames(Duration::from_millis(100), |frames| known + frames.len() >= arrived.len());
                    delivered.extend(numbers(&more));
                    found = check(&arrived, &delivered);
                }
                report(program, kind, &arrived, found);
                sender.pptp.signal(Signal::SIGTERM);
                receiver.pptp.signal(Signal::SIGTERM);
                drop((sender, receiver));
                no_manager();
            }
        }
    });
}

#[track_caller]
fn report(program: &str, kind: u8, arrived: &Arrivals, found: Result<usize, String>) {
    let too_late = found.unwrap_or_else(|error| panic!("{program} --test-type {kind}: {error}"));
    println!("{program} --test-type {kind}: {} arrived, {too_late} of them too late", arrived.len());
    assert!(arrived.len() >= MIN_ARRIVED, "{} arrived", arrived.len());
    assert!(is_disordered(arrived), "the sender did not reorder packets");
    assert!(too_late <= arrived.len() / 10, "{too_late} too late");
}

fn programs() -> Vec<&'static str> {
    if is_classic_installed() { vec![OURS, CLASSIC] } else { vec![OURS] }
}

const MARK: &[u8; 8] = b"numbered";

/// Returns a UDP packet from the client to the server's end of the tunnel.
fn datagram(from: [u8; 4], number: u32) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend(from);
    packet.extend([10, 77, 0, 1]);
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum);
    packet.extend([0, 9, 0, 9, 0, 20, 0, 0]);
    packet.extend(MARK);
    packet.extend(number.to_be_bytes());
    packet
}

/// Returns the number at the end of a packet made by `datagram`.
fn marked_number(packet: &[u8]) -> Option<u32> {
    let (front, number) = packet.split_last_chunk()?;
    front.ends_with(MARK).then(|| u32::from_be_bytes(*number))
}

/// Collects the numbers that arrive at the server, in order.
fn listen(server: &Server) -> Arc<Mutex<Vec<u32>>> {
    let namespace = fs::File::open(server.namespace()).unwrap();
    let delivered = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&delivered);
    let (ready, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
        let socket = UdpSocket::bind("0.0.0.0:9").unwrap();
        socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20).unwrap();
        ready.send(()).unwrap();
        let mut bytes = [0; 100];
        while let Ok(size) = socket.recv(&mut bytes) {
            into.lock().unwrap().extend(marked_number(&bytes[..size]));
        }
    });
    wait.recv().unwrap();
    delivered
}

/// tcpdump(8) on the server's end of the veth pair. The short snapshot length saves buffer space.
struct Capture(Child);

const FILE: &str = "/run/hostile.pcap";

impl Capture {
    fn start(server: &Server) -> Self {
        let mut child = server
            .enter("tcpdump")
            .args([
                "-i",
                "wire",
                "-Z",
                "root",
                "-U",
                "--immediate-mode",
                "-s",
                "256",
                "-B",
                "16384",
                "-w",
                FILE,
            ])
            .arg("ip proto 47 and dst host 192.0.2.1")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr_text = String::new();
        let mut stderr = BufReader::new(child.stderr.as_mut().unwrap());
        while !stderr_text.contains("listening on") {
            assert!(stderr.read_line(&mut stderr_text).unwrap() > 0, "{stderr_text}");
        }
        Self(child)
    }

    /// Reads the capture file as it is now (pcap-savefile(5)).
    fn read(&self) -> Arrivals {
        let bytes = fs::read(FILE).unwrap();
        let word = |bytes: &[u8], at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!((word(&bytes, 0), word(&bytes, 20)), (0xa1b2_c3d4, 1), "microseconds, Ethernet");
        let mut rest = &bytes[24..];
        let mut arrived = Arrivals::new();
        while rest.len() >= 16 {
            let at = Duration::new(word(rest, 0).into(), word(rest, 4) * 1000);
            let length = usize::try_from(word(rest, 8)).unwrap();
            let Some(packet) = rest.get(16..16 + length) else { break };
            arrived.extend(marked_number(packet).map(|number| (number, at)));
            rest = &rest[16 + length..];
        }
        arrived
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // Captured packets are already in the file (-U).
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}
