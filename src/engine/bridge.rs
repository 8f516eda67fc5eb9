//! PPP of a call in an external daemon: pppd(8) or ppp(8) at the other end of a pty.
//!
//! Owns the asynchronous framing towards the daemon (RFC 1662 §4), a bounded output buffer, the [`Watch`]
//! that follows the negotiation, and the time limit of each phase. Has the same interface as
//! [`Link`](crate::ppp::link::Link), so that the session handles both alike. No I/O: the engine process reads
//! and writes the pty.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::ppp::{
    auth::{AuthFailure, AuthProtocol, FailureKind},
    hdlc::{Decoder, Encoder, HdlcDrop, encoded_max},
    link::{DownReason, LinkEvent},
    watch::{Sender, Watch},
};

/// Longest frame from the daemon, in bytes; fits in an engine buffer behind a GRE header.
pub const LONGEST: usize = 2000;

/// Maximum number of bytes that wait for the daemon; further frames are dropped and counted.
const BOUND: usize = 256 * 1024;

/// Time limit of each phase.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// LCP.
    pub lcp: Duration,
    /// Authentication.
    pub auth: Duration,
    /// Encryption and addresses together.
    pub network: Duration,
}

/// Counters since the call came up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BridgeCounters {
    /// Frames from the daemon.
    pub from_ppp: u64,
    /// Frames for the daemon, accepted.
    pub to_ppp: u64,
    /// Frames for the daemon, dropped because it does not read.
    pub ppp_full: u64,
    /// Frames from the daemon, dropped; in the order of [`HdlcDrop::ALL`].
    pub hdlc: [u64; 5],
}

/// The daemon's side of a call.
pub struct Bridge {
    watch: Watch,
    decoder: Decoder,
    encoder: Encoder,
    /// Bytes for the daemon; those from `sent` on are not written yet.
    waiting: Vec<u8>,
    sent: usize,
    counters: BridgeCounters,
    limits: Limits,
    phase_end: Option<Instant>,
    auth_protocol: Option<AuthProtocol>,
    stage: Stage,
    ended: bool,
    events: VecDeque<LinkEvent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Lcp,
    Authentication,
    Network,
    Up,
}

impl Bridge {
    /// Creates the bridge of a new call. `mtu_limit` is the largest PPP information field that the path
    /// carries, in bytes.
    #[must_use]
    pub fn new(limits: Limits, mtu_limit: u16, now: Instant) -> Self {
        Self {
            watch: Watch::new(mtu_limit),
            decoder: Decoder::new(LONGEST),
            encoder: Encoder::default(),
            waiting: Vec::new(),
            sent: 0,
            counters: BridgeCounters::default(),
            phase_end: Some(now + limits.lcp),
            limits,
            auth_protocol: None,
            stage: Stage::Lcp,
            ended: false,
            events: VecDeque::new(),
        }
    }

    /// Queues a frame of the peer for the daemon, or drops and counts it.
    pub fn from_peer(&mut self, now: Instant, frame: &[u8]) {
        self.watch.frame(Sender::Peer, frame);
        self.handle_watch_events(now);
        if self.waiting.len() - self.sent + encoded_max(frame.len()) > BOUND {
            self.counters.ppp_full += 1;
            return;
        }
        self.counters.to_ppp += 1;
        // Move the rest to the front once that is cheap, so that memory stays within twice the bound.
        if self.sent > BOUND / 2 {
            self.waiting.drain(..self.sent);
            self.sent = 0;
        }
        self.encoder.set_accm(self.watch.accm_for(frame));
        self.encoder.encode(frame, &mut self.waiting);
    }

    /// Processes bytes read from the pty; passes each valid frame for the peer to `deliver`.
    pub fn from_daemon(&mut self, now: Instant, bytes: &[u8], mut deliver: impl FnMut(&[u8])) {
        let Self { watch, decoder, counters, .. } = self;
        decoder.feed(bytes, |frame| {
            counters.from_ppp += 1;
            watch.frame(Sender::Daemon, frame);
            deliver(frame);
        });
        self.counters.hdlc = self.decoder.counters().drops;
        self.handle_watch_events(now);
    }

    /// Returns the bytes to write to the pty.
    #[must_use]
    pub fn to_write(&self) -> &[u8] {
        self.waiting.get(self.sent..).unwrap_or_default()
    }

    /// Removes `count` written bytes.
    pub fn written(&mut self, count: usize) {
        self.sent = (self.sent + count).min(self.waiting.len());
        if self.sent == self.waiting.len() {
            self.waiting.clear();
            self.sent = 0;
        }
    }

    /// Returns the next event, as an event of a link.
    pub fn poll_event(&mut self) -> Option<LinkEvent> {
        self.events.pop_front()
    }

    /// Ends the link at once; the supervisor stops the daemon.
    pub fn close(&mut self, reason: DownReason) {
        self.end(reason);
    }

    /// Reports that the peer answers: the daemon itself checks that the peer has opened IPCP.
    pub fn probe(&mut self) {
        self.events.push_back(LinkEvent::PeerAnswered);
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub const fn next_timeout(&self) -> Option<Instant> {
        self.phase_end
    }

    /// Ends the link if the phase has exceeded its time limit.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.phase_end.is_none_or(|end| end > now) {
            return;
        }
        let reason = match self.stage {
            Stage::Lcp => DownReason::LcpTimeout { heard_anything: self.watch.received_from_peer() },
            Stage::Authentication => {
                let protocol = self.auth_protocol.unwrap_or(AuthProtocol::MsChapV2);
                DownReason::AuthFailed(AuthFailure::new(FailureKind::Timeout, protocol))
            }
            Stage::Network | Stage::Up => {
                DownReason::NoAddress("encryption and addresses took too long".to_owned())
            }
        };
        self.end(reason);
    }

    /// Returns the counters.
    #[must_use]
    pub const fn counters(&self) -> &BridgeCounters {
        &self.counters
    }

    fn handle_watch_events(&mut self, now: Instant) {
        while let Some(event) = self.watch.poll_event() {
            if self.ended {
                continue;
            }
            match &event {
                LinkEvent::LcpUp { auth, .. } => {
                    self.auth_protocol = *auth;
                    match auth {
                        Some(_) => self.enter(Stage::Authentication, Some(now + self.limits.auth)),
                        None => self.enter(Stage::Network, Some(now + self.limits.network)),
                    }
                }
                LinkEvent::Authenticated { .. } => {
                    self.enter(Stage::Network, Some(now + self.limits.network))
                }
                LinkEvent::Up(_) => self.enter(Stage::Up, None),
                LinkEvent::Renegotiating => self.enter(Stage::Lcp, Some(now + self.limits.lcp)),
                LinkEvent::Down(_) => {
                    self.ended = true;
                    self.phase_end = None;
                }
                LinkEvent::Encryption(_)
                | LinkEvent::PeerAnswered
                | LinkEvent::Ipv6Up(_)
                | LinkEvent::Ipv6Down => {}
            }
            self.events.push_back(event);
        }
    }

    const fn enter(&mut self, stage: Stage, end: Option<Instant>) {
        self.stage = stage;
        self.phase_end = end;
    }

    fn end(&mut self, reason: DownReason) {
        if !std::mem::replace(&mut self.ended, true) {
            self.phase_end = None;
            self.events.push_back(LinkEvent::Down(reason));
        }
    }
}

impl BridgeCounters {
    /// Returns every counter with its label.
    #[must_use]
    pub fn named(&self) -> Vec<(&'static str, u64)> {
        let mut named =
            vec![("from_ppp", self.from_ppp), ("to_ppp", self.to_ppp), ("ppp_full", self.ppp_full)];
        named.extend(HdlcDrop::ALL.map(HdlcDrop::label).into_iter().zip(self.hdlc));
        named
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: [u8; 8] = [0xff, 0x03, 0x80, 0x21, 1, 1, 0, 4];

    fn bridge(now: Instant) -> Bridge {
        let second = Duration::from_secs(1);
        Bridge::new(Limits { lcp: second, auth: 2 * second, network: 3 * second }, 1460, now)
    }

    fn ended(bridge: &mut Bridge) -> Option<DownReason> {
        std::iter::from_fn(|| bridge.poll_event())
            .find_map(|event| if let LinkEvent::Down(reason) = event { Some(reason) } else { None })
    }

    #[test]
    fn frames_pass_and_damaged_ones_are_counted() {
        let now = Instant::now();
        let (mut sender, mut receiver) = (bridge(now), bridge(now));
        for _ in 0..3 {
            sender.from_peer(now, &FRAME);
        }
        let mut bytes = sender.to_write().to_vec();
        let damaged = bytes.len() - 4;
        bytes[damaged] ^= 1;
        let mut got = Vec::new();
        for piece in bytes.chunks(3) {
            receiver.from_daemon(now, piece, |frame| got.push(frame.to_vec()));
            sender.written(piece.len());
        }
        assert_eq!(got, [FRAME, FRAME]);
        assert!(sender.to_write().is_empty());
        assert_eq!((sender.counters().to_ppp, receiver.counters().from_ppp), (3, 2));
        assert_eq!(receiver.counters().hdlc[HdlcDrop::BadFcs as usize], 1);
    }

    #[test]
    fn memory_is_bounded_if_the_daemon_does_not_read() {
        let now = Instant::now();
        let mut bridge = bridge(now);
        for round in 0..20_000 {
            bridge.from_peer(now, &[0x21; 1400]);
            if round % 3 == 0 {
                bridge.written(1000);
            }
            assert!(bridge.waiting.len() <= 2 * BOUND);
        }
        let counters = bridge.counters();
        assert!(counters.ppp_full > 0 && counters.to_ppp + counters.ppp_full == 20_000);
    }

    #[test]
    fn each_phase_times_out_with_its_own_reason() {
        let now = Instant::now();
        let mut silent = bridge(now);
        silent.handle_timeout(now);
        assert_eq!(ended(&mut silent), None, "nothing is due");
        silent.handle_timeout(now + Duration::from_secs(1));
        assert_eq!(ended(&mut silent), Some(DownReason::LcpTimeout { heard_anything: false }));
        assert_eq!(silent.next_timeout(), None);
        let mut stalled = bridge(now);
        // Both ends agree on MS-CHAPv2, then nothing follows.
        let request = [0xff, 0x03, 0xc0, 0x21, 1, 1, 0, 9, 3, 5, 0xc2, 0x23, 0x81];
        let mut ack = request;
        ack[4] = 2;
        stalled.from_peer(now, &request);
        let mut bytes = Vec::new();
        Encoder::default().encode(&ack, &mut bytes);
        stalled.from_daemon(now, &bytes, |_| {});
        stalled.from_peer(now, &[0xff, 0x03, 0xc0, 0x21, 2, 1, 0, 4]);
        assert!(matches!(
            stalled.poll_event(),
            Some(LinkEvent::LcpUp { auth: Some(AuthProtocol::MsChapV2), .. })
        ));
        assert_eq!(stalled.next_timeout(), Some(now + Duration::from_secs(2)));
        stalled.handle_timeout(now + Duration::from_secs(2));
        assert!(
            matches!(ended(&mut stalled), Some(DownReason::AuthFailed(failure)) if failure.kind == FailureKind::Timeout)
        );
    }

    #[test]
    fn end_is_reported_once() {
        let now = Instant::now();
        let mut bridge = bridge(now);
        bridge.close(DownReason::Closed);
        bridge.close(DownReason::LowerLayerDown);
        assert_eq!(ended(&mut bridge), Some(DownReason::Closed));
        assert_eq!(ended(&mut bridge), None);
    }
}
