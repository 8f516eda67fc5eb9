//! Peers with faults that a real pptpd does not have: a thread on the wire with its own implementation of RFC
//! 2637, so that no code under test is on both sides.

use std::{
    fs::File,
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::sched::{CloneFlags, setns};
use socket2::{Domain, Protocol, Socket, Type};

use crate::runner::note;

/// The address of peers; the wire has all of 203.0.113.0/24.
pub const ADDRESS: &str = "203.0.113.10";

const COOKIE: [u8; 4] = [0x1a, 0x2b, 0x3c, 0x4d];
const SCCRQ: u8 = 1;
const STOP_REQUEST: u8 = 3;
const ECHO_REQUEST: u8 = 5;
const OCRQ: u8 = 7;
const CALL_CLEAR: u8 = 12;

/// How a peer misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerFault {
    /// Accepts TCP and reads, but never sends.
    Silent,
    /// Closes the connection when it receives the SCCRQ.
    HangsUp,
    /// Is an HTTP server.
    SpeaksHttp,
    /// Is a TLS server: sends the alert "protocol version" (RFC 5246 §7.2).
    SpeaksTls,
    /// Sends a Start-Control-Connection-Reply with this result code (RFC 2637 §2.2).
    RefusesControl(u8),
    /// Sends an Outgoing-Call-Reply with these result, error and cause codes (RFC 2637 §2.8).
    RefusesCall(u8, u8, u16),
    /// Never answers the Outgoing-Call-Request.
    IgnoresCall,
    /// Connects the call but sends no GRE.
    NoGre,
    /// Connects the call, sends LCP Configure-Requests and acknowledges GRE packets, but answers no LCP packet.
    NeverAgrees,
    /// Connects the call and sends LCP Configure-Requests, as if no GRE packet of the client arrived.
    NeverHears,
}

/// A running peer; dropping it stops it.
pub struct Peer {
    stop: Arc<AtomicBool>,
    received: Arc<Mutex<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Peer {
    /// Starts a peer on [`ADDRESS`] and waits until it listens.
    pub fn start(fault: PeerFault) -> Self {
        note(format_args!("peer on {ADDRESS}: {fault:?}"));
        let (stop, received) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (ready, listening) = mpsc::channel();
        let (thread_stop, thread_received) = (Arc::clone(&stop), Arc::clone(&received));
        let thread = thread::spawn(move || {
            // The network namespace is per thread: this thread moves to the wire and stays there.
            setns(File::open("/run/netns/wire").unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
            let listener = TcpListener::bind((ADDRESS, 1723)).unwrap();
            listener.set_nonblocking(true).unwrap();
            ready.send(()).unwrap();
            while !thread_stop.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, from)) => drop(serve(fault, stream, from, &thread_stop, &thread_received)),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        thread::sleep(Duration::from_millis(5))
                    }
                    Err(error) => panic!("accept: {error}"),
                }
            }
        });
        listening.recv().unwrap();
        Self { stop, received, thread: Some(thread) }
    }

    /// Returns the types of the control messages received, in order.
    pub fn received_types(&self) -> Vec<u8> {
        self.received.lock().unwrap().clone()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Err(error)) = self.thread.take().map(JoinHandle::join) {
            eprintln!("the peer of this case panicked: {error:?}");
        }
    }
}

fn serve(
    fault: PeerFault,
    mut stream: TcpStream,
    from: SocketAddr,
    stop: &AtomicBool,
    received: &Mutex<Vec<u8>>,
) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_millis(50)))?;
    let mut gre = matches!(fault, PeerFault::NeverAgrees | PeerFault::NeverHears)
        .then(|| LcpSender::new(from, fault == PeerFault::NeverAgrees));
    let mut pending = Vec::new();
    let mut buffer = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => pending.extend_from_slice(&buffer[..length]),
            // A receive with SO_RCVTIMEO is not restarted after a signal or a stop (signal(7)).
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(error),
        }
        while let Some(message) = next_message(&mut pending) {
            received.lock().unwrap().push(message[9]);
            if fault == PeerFault::HangsUp {
                return Ok(());
            }
            if let Some(gre) = gre.as_mut().filter(|_| message[9] == OCRQ) {
                gre.call = Some([message[12], message[13]]);
            }
            stream.write_all(&answer(fault, &message))?;
        }
        gre.iter_mut().for_each(LcpSender::send_if_due);
    }
    Ok(())
}

/// Removes one complete control message from the front of the received bytes.
fn next_message(pending: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = usize::from(u16::from_be_bytes([*pending.first()?, *pending.get(1)?]));
    (length >= 12 && pending.len() >= length).then(|| pending.drain(..length).collect())
}

/// Returns the reply of this kind of peer; empty for none.
fn answer(fault: PeerFault, message: &[u8]) -> Vec<u8> {
    match (fault, message[9]) {
        (PeerFault::Silent | PeerFault::HangsUp, _) => Vec::new(),
        (PeerFault::SpeaksHttp, _) => b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n".to_vec(),
        (PeerFault::SpeaksTls, _) => vec![0x15, 3, 1, 0, 2, 2, 70],
        (PeerFault::RefusesControl(result), SCCRQ) => sccrp(result),
        (_, SCCRQ) => sccrp(1),
        (PeerFault::IgnoresCall, OCRQ) => Vec::new(),
        (PeerFault::RefusesCall(result, error, cause), OCRQ) => ocrp(message, result, error, cause),
        (_, OCRQ) => ocrp(message, 1, 0, 0),
        // Call-Disconnect-Notify: result 4, because it was requested (RFC 2637 §2.13).
        (_, CALL_CLEAR) => control(13, &[&[0x12, 0x34, 4, 0][..], &[0; 132]].concat()),
        // Result 1: closed as asked.
        (_, STOP_REQUEST) => control(4, &[1, 0, 0, 0]),
        (_, ECHO_REQUEST) => control(6, &[&message[12..16], &[1, 0, 0, 0]].concat()),
        _ => Vec::new(),
    }
}

fn control(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(12 + body.len()).unwrap().to_be_bytes();
    [&length[..], &[0, 1], &COOKIE, &[0, kind, 0, 0], body].concat()
}

/// Builds a Start-Control-Connection-Reply (RFC 2637 §2.2): version 1.0, result, error, framing and bearer
/// capabilities, channels, firmware, host name, vendor.
fn sccrp(result: u8) -> Vec<u8> {
    let mut body = vec![1, 0, result, 0, 0, 0, 0, 3, 0, 0, 0, 3, 0, 1, 0, 1];
    body.resize(16 + 64 + 64, 0);
    body[16..20].copy_from_slice(b"fake");
    control(2, &body)
}

/// Builds an Outgoing-Call-Reply (RFC 2637 §2.8): call id, peer's call id, result, error, cause, connect
/// speed, window, delay, channel.
fn ocrp(request: &[u8], result: u8, error: u8, cause: u16) -> Vec<u8> {
    let mut body = vec![0x12, 0x34, request[12], request[13], result, error];
    body.extend_from_slice(&cause.to_be_bytes());
    body.extend_from_slice(&[0, 1, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0]);
    control(8, &body)
}

/// Sends an LCP Configure-Request in GRE every 300 ms.
struct LcpSender {
    socket: Socket,
    to: SocketAddr,
    call: Option<[u8; 2]>,
    sequence: u32,
    due: Instant,
    /// Whether it acknowledges the client's first packet, from its own second one on.
    acknowledges: bool,
}

impl LcpSender {
    fn new(client: SocketAddr, acknowledges: bool) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(47))).unwrap();
        let address: Ipv4Addr = ADDRESS.parse().unwrap();
        socket.bind(&SocketAddr::from((address, 0)).into()).unwrap();
        let IpAddr::V4(to) = client.ip() else { panic!("{client} is not IPv4") };
        Self {
            socket,
            to: SocketAddr::from((to, 0)),
            call: None,
            sequence: 0,
            due: Instant::now(),
            acknowledges,
        }
    }

    fn send_if_due(&mut self) {
        let Some(call) = self.call.filter(|_| Instant::now() >= self.due) else { return };
        self.due = Instant::now() + Duration::from_millis(300);
        self.sequence += 1;
        // FF 03 C021, Configure-Request with a magic number only.
        let lcp = [0xff, 3, 0xc0, 0x21, 1, self.sequence as u8, 0, 10, 5, 6, 0xde, 0xad, 0xbe, 0xef];
        let (flags, ack): (_, &[u8]) =
            if self.acknowledges && self.sequence > 1 { (0x81, &[0, 0, 0, 1]) } else { (0x01, &[]) };
        let header = [0x30, flags, 0x88, 0x0b, 0, lcp.len() as u8, call[0], call[1]];
        let packet = [&header[..], &self.sequence.to_be_bytes(), ack, &lcp].concat();
        let _gone = self.socket.send_to(&packet, &self.to.into());
    }
}
