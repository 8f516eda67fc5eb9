//! One PPP link, both roles: the phases of RFC 1661 §3 around LCP, authentication, CCP with MPPE, IPCP and IPV6CP.
//!
//! ```text
//!  Idle ─open─► Establish ─LCP up─► Authenticate ─accepted─► Network ─┐ CCP and addresses, data last
//!                  ▲  ▲──────────────────┴──the peer starts over──────┤
//!                  │                                                  ▼
//!               Terminate ◄──────────── any failure, close ───────────┘  ──► Dead (one `Down`)
//! ```
//!
//! Owns the order of the phases, their timers, Echo, and the rules for sending: with encryption required, no
//! IP packet is ever sent or accepted in clear, and no address takes effect before MPPE is open. Does not own sockets, clocks or the GRE tunnel below. The frames of one link can be fed
//! directly to another.
//!
//! MTU: an Ethernet path carries 1500 − 20 (IP) − 16 (GRE with acknowledgement) − 4 (`FF 03` and protocol) =
//! 1460 bytes of information field (`MTU_LIMIT`), or less if the peer's MRU is smaller; MPPE takes 4 more
//! (its header, and the inner protocol number). [`Link::mtu`] assumes the worst case, whether or not the
//! header is compressed.

mod addresses;
mod config;
mod confirmation;
mod counters;
mod data;
mod ending;
mod establish;
mod event;
#[cfg(any(feature = "fuzzing", test))]
pub mod fuzz;
mod kernel_data;
mod network;
mod path_echo;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    fmt,
    time::{Duration, Instant},
};

pub use config::{Echo, LinkConfig, MPPE_OVERHEAD, Random, Role};
pub use counters::{LinkCounters, LinkDrop};
pub use event::{DownReason, InterfaceIds, LinkEvent, LinkUp, Mppe};
pub use kernel_data::{MppeStart, Unit};

use crate::deadline::{Deadline, earliest};
use crate::ppp::{
    auth::{self, AuthFailure, AuthProtocol},
    automaton::Automaton,
    ccp::{self, Ccp, MppeRefusal},
    ipcp::Ipcp,
    ipv6cp::Ipv6cp,
    lcp::{AuthStance, Lcp, MagicSource, RequestStyle},
    mppe::{Demand, Keys},
    wire::{self, FrameHeader, protocol},
};
use addresses::{Addressing, EarlyRequests};
use confirmation::Confirmation;
use data::Cipher;

/// Limit of each queue. The owner fetches after every call, so it is not reached.
const QUEUE_MAX: usize = 64;

/// The phases of RFC 1661 §3.2, and one for a link that has not been opened yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Created, not opened.
    Idle,
    /// LCP is being negotiated.
    Establish,
    /// One side authenticates itself.
    Authenticate,
    /// Encryption and addresses are being negotiated, or are agreed.
    Network,
    /// Our Terminate-Request has been sent.
    Terminate,
    /// The link has ended.
    Dead,
}

/// Result of handling a received frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// An IP packet, version 4 or 6, for the tunnel device.
    Ip(&'a [u8]),
    /// A control frame, handled by the link; fetch output and events.
    Control,
    /// Dropped and counted.
    Dropped(LinkDrop),
}

/// One link. Feed it frames and time; fetch output and events after every call.
pub struct Link {
    config: LinkConfig,
    phase: Phase,
    lcp: Automaton<Lcp>,
    auth: Option<Authenticator>,
    authenticated: Option<AuthProtocol>,
    /// Whether our credentials were sent and the peer has not accepted them yet.
    login_pending: bool,
    keys: Option<Keys>,
    /// `None` if CCP is not used: it is answered with Protocol-Reject then.
    ccp: Option<Automaton<Ccp>>,
    ipcp: Automaton<Ipcp>,
    ipv6cp: Option<Automaton<Ipv6cp>>,
    addressing: Addressing,
    confirmation: Confirmation,
    early_requests: EarlyRequests,
    cipher: Cipher,
    /// Encryption as it was last reported; the outer `None` before the first report.
    reported: Option<Option<Mppe>>,
    /// The MPPE option bits that the peer has offered; 0 before its first CCP option.
    mppe_offered: u32,
    /// Whether both directions have been encrypted. From then on this link neither sends nor accepts clear packets.
    was_encrypted: bool,
    /// How often CCP has opened with the present keys.
    ccp_openings: u32,
    up: bool,
    /// Header compressions that the peer accepts for data frames.
    header: FrameHeader,
    phase_end: Option<Instant>,
    ccp_patience_end: Option<Instant>,
    echo: EchoState,
    received_anything: bool,
    /// Whether the peer has sent an LCP Configure-Request. Until then, a Terminate-Request is left over from
    /// an earlier link.
    peer_sent_request: bool,
    /// Renegotiations since the link was last up.
    restarts: u32,
    /// Reason for the Terminate phase.
    ending: Option<DownReason>,
    reset_sent: Option<Instant>,
    /// What the peer has refused of MPPE.
    mppe_refusal: Option<MppeRefusal>,
    /// Frames of the peer that the layer below has lost, at least and at most.
    lost: (u64, u64),
    /// Data packets that could not be read, since the last one that could.
    unreadable: Option<data::Unreadable>,
    /// When the peer first and last rejected the protocol of our data packets, since the last data packet from it.
    rejected: Option<(Instant, Instant)>,
    counters: LinkCounters,
    output: VecDeque<Vec<u8>>,
    events: VecDeque<LinkEvent>,
}

enum Authenticator {
    Client(Box<auth::Client>),
    Server(Box<auth::Server>),
}

#[derive(Debug, Default)]
struct EchoState {
    next: Option<Instant>,
    unanswered: u32,
    /// Whether a valid frame has arrived since the last check.
    received: bool,
    /// Whether the owner waits for [`LinkEvent::PeerAnswered`].
    probing: bool,
    /// Identifiers of the requests of [`Link::path_echo`] that have no answer yet.
    path: VecDeque<u8>,
    /// The last request that is as short as an ordinary one, and when it was sent.
    timed: Option<(u8, Instant)>,
}

impl Link {
    /// Most bytes by which a frame is longer than its IP packet: address and control (2), protocol (2), MPPE
    /// (4).
    pub const FRAME_OVERHEAD: usize = 8;

    /// Creates a link whose lower layer is still down.
    #[must_use]
    pub fn new(mut config: LinkConfig, _now: Instant) -> Self {
        let stance = Self::auth_stance(&config);
        let source = MagicSource::new(random_bytes(&mut config.random));
        let negotiation = config.timing.negotiation;
        let requests = match &config.role {
            Role::Client(client) => RequestStyle::Short { follow_mru: client.follow_mru },
            Role::Server(_) => RequestStyle::Full,
        };
        let ids = [random_bytes(&mut config.random), random_bytes(&mut config.random)];
        let ipcp = match &config.role {
            Role::Client(client) => Ipcp::client(client.address, client.dns, client.wins)
                .given_before(client.given_before.clone()),
            Role::Server(server) => Ipcp::server(server.local, server.peer, &server.dns, &server.wins),
        };
        Self {
            phase: Phase::Idle,
            lcp: Automaton::new(
                Lcp::new(config.mru, stance, source)
                    .requesting(requests)
                    .preferring_stronger(config.prefer_stronger)
                    .insisting(matches!(&config.role, Role::Server(server) if server.insists)),
                negotiation.with_retries_for(config.timing.lcp),
            ),
            auth: None,
            authenticated: None,
            login_pending: false,
            keys: None,
            ccp: None,
            ipcp: Automaton::new(ipcp, negotiation.with_retries_for(config.timing.network)),
            ipv6cp: config.ipv6.then(|| Automaton::new(Ipv6cp::new(ids), negotiation)),
            addressing: Addressing::default(),
            confirmation: Confirmation::default(),
            early_requests: EarlyRequests::default(),
            cipher: Cipher::Undecided,
            reported: None,
            mppe_offered: 0,
            was_encrypted: false,
            ccp_openings: 0,
            up: false,
            header: FrameHeader::default(),
            phase_end: None,
            ccp_patience_end: None,
            echo: EchoState::default(),
            received_anything: false,
            peer_sent_request: false,
            restarts: 0,
            ending: None,
            reset_sent: None,
            mppe_refusal: None,
            lost: (0, 0),
            unreadable: None,
            rejected: None,
            counters: LinkCounters::default(),
            output: VecDeque::new(),
            events: VecDeque::new(),
            config,
        }
    }

    /// Reports that the lower layer is up, and sends the first Configure-Request. Takes effect once per link.
    pub fn open(&mut self, now: Instant) {
        if self.phase == Phase::Idle {
            self.phase = Phase::Establish;
            self.phase_end = now.checked_add(self.config.timing.lcp);
            self.lcp.open(now);
            self.lcp.lower_up(now);
            self.pump(now);
        }
    }

    /// Handles one frame as received, and decrypts it in place.
    pub fn handle_input<'a>(&mut self, now: Instant, frame: &'a mut [u8]) -> Received<'a> {
        match self.phase {
            Phase::Idle => return Received::Dropped(self.counters.drop(LinkDrop::WrongPhase)),
            Phase::Dead => return Received::Dropped(self.counters.drop(LinkDrop::Ended)),
            _ if !self.received_anything => {
                self.received_anything = true;
                self.lcp.first_frame_received(now);
            }
            _ => {}
        }
        let (number, information) = match wire::split(frame) {
            Ok(parts) => parts,
            Err(error) => return Received::Dropped(self.counters.drop(error.into())),
        };
        match number {
            protocol::IPV4 | protocol::IPV6 | protocol::COMPRESSED => {
                self.receive_data(now, number, information)
            }
            _ => self.receive_control(now, number, information),
        }
    }

    /// Reports how many frames of the peer the layer below has lost in total, before those that follow: at
    /// least and at most, since it may still wait for some. `u64::MAX` if unknown.
    pub fn set_lost(&mut self, least: u64, most: u64) {
        self.lost = (least, most);
    }

    fn receive_control<'a>(&mut self, now: Instant, number: u16, information: &[u8]) -> Received<'a> {
        let handled = match number {
            protocol::LCP => self.receive_lcp(now, information),
            protocol::PAP | protocol::CHAP => self.receive_auth(now, number, information),
            protocol::CCP => self.receive_ccp(now, information),
            protocol::IPCP => self.receive_ipcp(now, information),
            protocol::IPV6CP => self.receive_ipv6cp(now, information),
            _ => self.reject_protocol(number, information),
        };
        self.pump(now);
        match handled {
            Ok(()) => {
                self.counters.received_control = self.counters.received_control.saturating_add(1);
                Received::Control
            }
            Err(reason) => Received::Dropped(self.counters.drop(reason)),
        }
    }

    /// Handles every timer that has expired.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.lcp.handle_timeout(now);
        match &mut self.auth {
            Some(Authenticator::Client(client)) => client.handle_timeout(now),
            Some(Authenticator::Server(server)) => server.handle_timeout(now),
            None => {}
        }
        if let Some(ccp) = &mut self.ccp {
            ccp.handle_timeout(now);
        }
        self.ipcp.handle_timeout(now);
        if let Some(ipv6cp) = &mut self.ipv6cp {
            ipv6cp.handle_timeout(now);
        }
        self.pump(now);
        if expired(&mut self.ccp_patience_end, now) {
            self.ccp_timed_out(now);
        }
        if expired(&mut self.echo.next, now) {
            self.check_echo(now);
        }
        if expired(&mut self.phase_end, now) {
            self.phase_timed_out(now);
        }
        self.pump(now);
    }

    /// Returns when [`Self::handle_timeout`] must be called next, and why.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Deadline> {
        earliest([
            self.lcp.next_timeout(),
            match &self.auth {
                Some(Authenticator::Client(client)) => client.next_timeout(),
                Some(Authenticator::Server(server)) => server.next_timeout(),
                None => None,
            },
            self.ccp.as_ref().and_then(Automaton::next_timeout),
            self.ipcp.next_timeout(),
            self.ipv6cp.as_ref().and_then(Automaton::next_timeout),
            self.phase_end.map(|at| (at, "phase limit")),
            self.ccp_patience_end.map(|at| (at, "CCP patience")),
            self.echo.next.map(|at| (at, "LCP echo")),
        ])
    }

    /// Returns the next control frame to send.
    pub fn poll_output(&mut self) -> Option<Vec<u8>> {
        self.output.pop_front()
    }

    /// Returns the next event.
    pub fn poll_event(&mut self) -> Option<LinkEvent> {
        self.events.pop_front()
    }

    /// Returns the present phase.
    #[cfg(any(feature = "fuzzing", test))]
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Returns the peer's refusal of our credentials, while it is not confirmed.
    fn refusal(&self) -> Option<&AuthFailure> {
        match &self.auth {
            Some(Authenticator::Client(client)) => client.refusal(),
            _ => None,
        }
    }

    /// Returns whether our credentials were sent and the peer has not accepted them.
    #[must_use]
    pub fn is_login_pending(&self) -> bool {
        self.login_pending
    }

    /// Returns the authentication protocols that the peer proposed and that were not acceptable.
    #[must_use]
    pub fn offered_auth(&self) -> &[String] {
        self.lcp.options().offered()
    }

    /// Returns what the peer has refused of MPPE, if it has.
    #[must_use]
    pub fn mppe_refusal(&self) -> Option<MppeRefusal> {
        self.mppe_refusal
    }

    /// Returns the authentication protocols that the peer has proposed, acceptable or not, and the MPPE strengths
    /// that it has offered, as text; `None` before its first offer.
    #[must_use]
    pub fn offers(&self) -> (&[String], Option<String>) {
        let mppe = (self.mppe_offered != 0).then(|| ccp::describe_bits(self.mppe_offered));
        (self.lcp.options().proposed(), mppe)
    }

    /// Returns the counters.
    #[must_use]
    pub fn counters(&self) -> &LinkCounters {
        &self.counters
    }

    /// Returns the MRU of our last Configure-Request, 1500 if it had none; in bytes.
    #[must_use]
    pub fn requested_mru(&self) -> u16 {
        self.lcp.options().mru()
    }

    /// Returns the largest IP packet for [`Self::encapsulate`], in bytes. Not final before the link is up.
    #[must_use]
    pub fn mtu(&self) -> u16 {
        let peer = if self.lcp.is_opened() { self.lcp.options().peer().mru } else { self.config.mtu_limit };
        let overhead = if self.cipher.may_seal() { MPPE_OVERHEAD } else { 0 };
        peer.min(self.config.mtu_limit).saturating_sub(overhead)
    }

    /// Returns the acceptable protocols; with encryption required, only those that give keys.
    fn auth_stance(config: &LinkConfig) -> AuthStance {
        let required = config.mppe.demand == Demand::Require;
        let list = config.accept.iter().copied().filter(|one| !required || one.gives_keys()).collect();
        match config.role {
            Role::Client(_) => AuthStance::Prove(list),
            Role::Server(_) => AuthStance::Demand(list),
        }
    }

    /// Passes packets and signals between the layers, lowest first, until none is left.
    fn pump(&mut self, now: Instant) {
        loop {
            let mut busy = self.pump_lcp(now);
            busy |= self.pump_auth(now);
            busy |= self.pump_network(now);
            if !busy {
                return self.confirm_early();
            }
        }
    }

    fn send(&mut self, number: u16, packet: &[u8]) {
        if self.output.len() < QUEUE_MAX {
            self.confirmation.sent(number, packet);
            self.output.push_back(wire::control_frame(number, packet));
            self.counters.sent_control = self.counters.sent_control.saturating_add(1);
        } else {
            self.counters.drop(LinkDrop::QueueFull);
        }
    }

    fn event(&mut self, event: LinkEvent) {
        if self.events.len() < QUEUE_MAX {
            self.events.push_back(event);
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("phase", &self.phase)
            .field("lcp", &self.lcp.state())
            .field("ccp", &self.ccp.as_ref().map(Automaton::state))
            .field("ipcp", &self.ipcp.state())
            .field("cipher", &self.cipher)
            .field("up", &self.up)
            .finish_non_exhaustive()
    }
}

impl crate::ppp::automaton::Timing {
    /// Allows as many transmissions as fit in `limit`, so that the limit ends the wait.
    fn with_retries_for(mut self, limit: Duration) -> Self {
        let each = self.cap.max(Duration::from_millis(1)).as_millis();
        let fitting = u32::try_from(limit.as_millis() / each).unwrap_or(u32::MAX).saturating_add(4);
        self.max_configure = self.max_configure.max(fitting);
        self
    }
}

/// Returns whether the timer has expired, and clears it if so.
fn expired(timer: &mut Option<Instant>, now: Instant) -> bool {
    timer.take_if(|at| now >= *at).is_some()
}

fn random_bytes<const N: usize>(random: &mut Random) -> [u8; N] {
    let mut bytes = [0; N];
    random(&mut bytes);
    bytes
}
