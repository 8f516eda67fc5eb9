//! PPP of a call in an external daemon: pppd(8) or ppp(8) at the other end of a pty.
//!
//! Owns the [`PppStream`] to the daemon (RFC 1662 §4), the [`Watch`] that follows the negotiation, and the
//! time limit of each phase. Has the same interface as [`Link`](crate::ppp::link::Link), so that the session
//! handles both alike. No I/O: the engine process reads and writes the pty.

use std::{collections::VecDeque, time::Instant};

use super::spec::Limits;
use crate::deadline::Deadline;
use crate::ppp::{
    auth::{AuthFailure, AuthProtocol, FailureKind},
    hdlc::{encode, encoded_max},
    link::{DownReason, LinkEvent},
    stream::{PppCounters, PppStream},
    watch::{Sender, Watch},
};

/// Longest frame from the daemon, in bytes; fits in an engine buffer behind a GRE header.
pub const LONGEST: usize = 2000;

/// In a build without external PPP it has no value, so that a type with such a field has none either, and the compiler leaves
/// out the code for it.
#[cfg(feature = "pppd")]
pub struct InBuild;
/// As above.
#[cfg(not(feature = "pppd"))]
pub enum InBuild {}

/// The value, if there is one.
#[cfg(feature = "pppd")]
pub const IN_BUILD: Option<InBuild> = Some(InBuild);
/// The value, if there is one.
#[cfg(not(feature = "pppd"))]
pub const IN_BUILD: Option<InBuild> = None;

/// The daemon's side of a call.
pub struct Bridge {
    _in_build: InBuild,
    watch: Watch,
    /// The stream to the daemon, whose output the owner writes to the pty.
    pub stream: PppStream,
    counters: PppCounters,
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
    pub fn new(in_build: InBuild, limits: Limits, mtu_limit: u16, now: Instant) -> Self {
        Self {
            _in_build: in_build,
            watch: Watch::new(mtu_limit),
            stream: PppStream::new(LONGEST),
            counters: PppCounters::default(),
            phase_end: Some(now + limits.lcp),
            limits,
            auth_protocol: None,
            stage: Stage::Lcp,
            ended: false,
            events: VecDeque::new(),
        }
    }

    /// Queues a frame of the peer for the daemon, or drops and counts it.
    pub fn take_from_peer(&mut self, now: Instant, frame: &[u8]) {
        self.watch.frame(Sender::Peer, frame);
        self.handle_watch_events(now);
        let Self { stream, counters, watch, .. } = self;
        stream.push(encoded_max(frame.len()), counters, |out| {
            encode(frame, watch.accm_for(frame), out);
        });
    }

    /// Processes bytes read from the pty; passes each valid frame for the peer to `deliver`.
    pub fn take_from_daemon(&mut self, now: Instant, bytes: &[u8], mut deliver: impl FnMut(&[u8])) {
        let Self { stream, counters, watch, .. } = self;
        stream.read(bytes, counters, |frame| {
            watch.frame(Sender::Daemon, frame);
            deliver(frame);
        });
        self.handle_watch_events(now);
    }

    /// Returns the next event, as an event of a link.
    pub fn poll_event(&mut self) -> Option<LinkEvent> {
        self.events.pop_front()
    }

    /// Ends the link at once; the supervisor stops the daemon.
    pub fn close(&mut self, reason: DownReason) {
        if !std::mem::replace(&mut self.ended, true) {
            self.phase_end = None;
            self.events.push_back(LinkEvent::Down(reason));
        }
    }

    /// Reports that the peer answers: the daemon itself checks that the peer has opened IPCP.
    pub fn probe(&mut self) {
        self.events.push_back(LinkEvent::PeerAnswered);
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Deadline> {
        self.phase_end.map(|at| (at, "phase limit"))
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
        self.close(reason);
    }

    /// Returns whether LCP is open and the authentication has not ended.
    #[must_use]
    pub const fn is_authenticating(&self) -> bool {
        matches!(self.stage, Stage::Authentication)
    }

    /// Returns how many LCP Configure-Requests of the peer, and replies to the daemon's, have passed.
    #[must_use]
    pub const fn lcp_received(&self) -> (u64, u64) {
        self.watch.lcp_received()
    }

    /// Returns the authentication protocols that the peer has demanded.
    #[must_use]
    pub fn offered_auth(&self) -> &[String] {
        self.watch.offered_auth()
    }

    /// Returns the counters.
    #[must_use]
    pub const fn counters(&self) -> &PppCounters {
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
                | LinkEvent::Confirmed
                | LinkEvent::Ipv6Up(_)
                | LinkEvent::PathAnswered(_)
                | LinkEvent::Ipv6Down => {}
            }
            self.events.push_back(event);
        }
    }

    const fn enter(&mut self, stage: Stage, end: Option<Instant>) {
        self.stage = stage;
        self.phase_end = end;
    }
}

#[cfg(all(test, feature = "pppd"))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ppp::{
        hdlc::{Accm, HdlcDrop},
        stream::MAX_QUEUED,
    };

    const FRAME: [u8; 8] = [0xff, 0x03, 0x80, 0x21, 1, 1, 0, 4];

    fn bridge(now: Instant) -> Bridge {
        let second = Duration::from_secs(1);
        let limits = Limits {
            connect: second,
            control: second,
            call: second,
            gre: second,
            lcp: second,
            auth: 2 * second,
            network: 3 * second,
            stop: second,
        };
        Bridge::new(InBuild, limits, 1460, now)
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
            sender.take_from_peer(now, &FRAME);
        }
        let mut bytes = sender.stream.to_write().to_vec();
        let damaged = bytes.len() - 4;
        bytes[damaged] ^= 1;
        let mut got = Vec::new();
        for piece in bytes.chunks(3) {
            receiver.take_from_daemon(now, piece, |frame| got.push(frame.to_vec()));
            sender.stream.written(piece.len());
        }
        assert_eq!(got, [FRAME, FRAME]);
        assert!(sender.stream.to_write().is_empty());
        assert_eq!((sender.counters().to_ppp, receiver.counters().from_ppp), (3, 2));
        assert_eq!(receiver.counters().hdlc[HdlcDrop::BadFcs as usize], 1);
    }

    #[test]
    fn memory_is_bounded_if_the_daemon_does_not_read() {
        let now = Instant::now();
        let mut bridge = bridge(now);
        for round in 0..20_000 {
            bridge.take_from_peer(now, &[0x21; 1400]);
            if round % 3 == 0 {
                bridge.stream.written(1000);
            }
            assert!(bridge.stream.buffered() <= 2 * MAX_QUEUED);
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
        stalled.take_from_peer(now, &request);
        let mut bytes = Vec::new();
        encode(&ack, Accm::ALL, &mut bytes);
        stalled.take_from_daemon(now, &bytes, |_| {});
        stalled.take_from_peer(now, &[0xff, 0x03, 0xc0, 0x21, 2, 1, 0, 4]);
        assert!(matches!(
            stalled.poll_event(),
            Some(LinkEvent::LcpUp { auth: Some(AuthProtocol::MsChapV2), .. })
        ));
        assert_eq!(stalled.next_timeout(), Some((now + Duration::from_secs(2), "phase limit")));
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
