//! One PPP link, both roles: the phases of RFC 1661 §3 around LCP, authentication, CCP with MPPE, IPCP and IPV6CP.
//!
//! ```text
//!  Idle ─open─► Establish ─LCP up─► Authenticate ─accepted─► Network ─┐ CCP first, addresses then, data last
//!                  ▲  ▲──────────────────┴──the peer starts over──────┤
//!                  │                                                  ▼
//!               Terminate ◄──────────── any failure, close ───────────┘  ──► Dead (one `Down`)
//! ```
//!
//! Owns the order of things, the timers of the phases, Echo, and what leaves when: with encryption required, no IP
//! packet leaves or is accepted in clear, at any time, and no address is negotiated before MPPE is open (as pppd and
//! Windows do). Does not own sockets, clocks or the GRE below. Frames may be fed from one link straight to another.
//!
//! MTU: an Ethernet path carries 1500 − 20 (IP) − 16 (GRE with acknowledgement) − 4 (`FF 03` and protocol) = 1460
//! bytes of information field ([`MTU_LIMIT`]), or less if the peer's MRU says so; MPPE takes 4 more (its header,
//! and the inner protocol number). [`Link::mtu`] counts the worst case, whether or not the header is compressed.

mod config;
mod counters;
mod data;
mod ending;
mod establish;
mod event;
#[doc(hidden)]
pub mod fuzz;
mod network;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    fmt,
    time::{Duration, Instant},
};

pub use config::{Client, Echo, LinkConfig, MPPE_OVERHEAD, MTU_LIMIT, Random, Role, Server, Timing};
pub use counters::{LinkCounters, LinkDrop};
pub use event::{DownReason, InterfaceIds, LinkEvent, LinkUp, Mppe};

use crate::ppp::{
    auth::{self, AuthProtocol},
    automaton::Automaton,
    ccp::Ccp,
    ipcp::Ipcp,
    ipv6cp::Ipv6cp,
    lcp::{AuthStance, Lcp, MagicSource},
    mppe::{Demand, Keys},
    wire::{self, FrameHeader, protocol},
};
use data::Cipher;
use network::EarlyRequests;

/// Control frames and events that wait to be fetched. The owner fetches after every call, so this is not reached.
const QUEUE_MAX: usize = 64;

/// Why a link wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Timer {
    /// A Configure- or Terminate-Request of LCP is due again.
    Lcp,
    /// The authentication repeats itself or gives up.
    Auth,
    /// A Configure-Request of CCP is due again.
    Ccp,
    /// A Configure-Request of IPCP is due again.
    Ipcp,
    /// A Configure-Request of IPV6CP is due again.
    Ipv6cp,
    /// The present phase has reached its limit.
    Phase,
    /// The peer has not reacted to CCP, and encryption is not required.
    CcpPatience,
    /// Time to look whether the peer is alive.
    Echo,
}

/// The phases of RFC 1661 §3.2, and one for a link that was not opened yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Made, not opened.
    Idle,
    /// LCP is being negotiated.
    Establish,
    /// One side proves itself.
    Authenticate,
    /// Encryption and addresses are negotiated, or agreed.
    Network,
    /// Our Terminate-Request is out.
    Terminate,
    /// Over.
    Dead,
}

/// What became of a received frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// An IP packet, version 4 or 6, for the tunnel device.
    Ip(&'a [u8]),
    /// Handled in here; look for output and events.
    Control,
    /// Not handled, and counted.
    Dropped(LinkDrop),
}

/// One link. Feed it frames and time; fetch output and events after every call.
pub struct Link {
    config: LinkConfig,
    phase: Phase,
    lcp: Automaton<Lcp>,
    auth: Option<Authenticator>,
    authenticated: Option<AuthProtocol>,
    keys: Option<Keys>,
    /// Nothing if CCP is not spoken: it is answered with Protocol-Reject then.
    ccp: Option<Automaton<Ccp>>,
    ipcp: Automaton<Ipcp>,
    ipv6cp: Option<Automaton<Ipv6cp>>,
    /// Whether IPCP and IPV6CP have been let loose.
    addressing: bool,
    held: EarlyRequests,
    cipher: Cipher,
    /// Encryption as it was last reported.
    reported: Option<Option<Mppe>>,
    /// How often CCP has come up with the present keys.
    ccp_openings: u32,
    up: bool,
    /// How the peer lets us shorten data frames.
    header: FrameHeader,
    phase_end: Option<Instant>,
    ccp_patience_end: Option<Instant>,
    echo: EchoState,
    heard_anything: bool,
    /// Whether the peer has asked to configure LCP, so that a Terminate-Request is not a leftover of its last session.
    peer_began: bool,
    /// Renegotiations since the link was last up.
    restarts: u32,
    /// Why we are in Terminate.
    ending: Option<DownReason>,
    reset_sent: Option<Instant>,
    counters: LinkCounters,
    output: VecDeque<Vec<u8>>,
    events: VecDeque<LinkEvent>,
}

enum Authenticator {
    Client(auth::Client),
    Server(auth::Server),
}

#[derive(Debug, Default)]
struct EchoState {
    next: Option<Instant>,
    unanswered: u32,
    /// Whether anything came since the last look.
    heard: bool,
    /// Whether the owner waits for [`LinkEvent::PeerAnswered`].
    probing: bool,
}

impl Link {
    /// Bytes that a frame is longer than its IP packet at most: address and control (2), protocol (2), MPPE (4).
    pub const FRAME_OVERHEAD: usize = 8;

    /// A link whose lower layer is still down.
    #[must_use]
    pub fn new(mut config: LinkConfig, _now: Instant) -> Self {
        let stance = Self::auth_stance(&config);
        let source = MagicSource::new(draw(&mut config.random));
        let negotiation = config.timing.negotiation;
        let ids = [draw(&mut config.random), draw(&mut config.random)];
        let ipcp = match &config.role {
            Role::Client(client) => Ipcp::client(client.address, client.dns, client.wins),
            Role::Server(server) => Ipcp::server(server.local, server.peer, &server.dns, &server.wins),
        };
        Self {
            phase: Phase::Idle,
            lcp: Automaton::new(Lcp::new(config.mru, stance, source), negotiation.lasting(config.timing.lcp)),
            auth: None,
            authenticated: None,
            keys: None,
            ccp: None,
            ipcp: Automaton::new(ipcp, negotiation.lasting(config.timing.network)),
            ipv6cp: config.ipv6.then(|| Automaton::new(Ipv6cp::new(ids), negotiation)),
            addressing: false,
            held: EarlyRequests::default(),
            cipher: Cipher::Undecided,
            reported: None,
            ccp_openings: 0,
            up: false,
            header: FrameHeader::default(),
            phase_end: None,
            ccp_patience_end: None,
            echo: EchoState::default(),
            heard_anything: false,
            peer_began: false,
            restarts: 0,
            ending: None,
            reset_sent: None,
            counters: LinkCounters::default(),
            output: VecDeque::new(),
            events: VecDeque::new(),
            config,
        }
    }

    /// The lower layer is up: the first Configure-Request goes out at once. Once per link.
    pub fn open(&mut self, now: Instant) {
        if self.phase == Phase::Idle {
            self.phase = Phase::Establish;
            self.phase_end = now.checked_add(self.config.timing.lcp);
            self.lcp.open(now);
            self.lcp.lower_up(now);
            self.pump(now);
        }
    }

    /// Takes one frame as it came, decrypting it in place.
    pub fn handle_input<'a>(&mut self, now: Instant, frame: &'a mut [u8]) -> Received<'a> {
        match self.phase {
            Phase::Idle => return Received::Dropped(self.counters.drop(LinkDrop::WrongPhase)),
            Phase::Dead => return Received::Dropped(self.counters.drop(LinkDrop::Ended)),
            _ if !self.heard_anything => {
                self.heard_anything = true;
                self.lcp.peer_appeared(now);
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

    /// Does what is due; nothing if nothing is.
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
            self.ccp_silent(now);
        }
        if expired(&mut self.echo.next, now) {
            self.look_for_life(now);
        }
        if expired(&mut self.phase_end, now) {
            self.phase_over(now);
        }
        self.pump(now);
    }

    /// When [`Self::handle_timeout`] has something to do, and what.
    #[must_use]
    pub fn next_timeout(&self) -> Option<(Instant, Timer)> {
        let auth = match &self.auth {
            Some(Authenticator::Client(client)) => client.next_timeout(),
            Some(Authenticator::Server(server)) => server.next_timeout(),
            None => None,
        };
        let all = [
            (self.lcp.next_timeout(), Timer::Lcp),
            (auth.map(|(at, _)| at), Timer::Auth),
            (self.ccp.as_ref().and_then(Automaton::next_timeout), Timer::Ccp),
            (self.ipcp.next_timeout(), Timer::Ipcp),
            (self.ipv6cp.as_ref().and_then(Automaton::next_timeout), Timer::Ipv6cp),
            (self.phase_end, Timer::Phase),
            (self.ccp_patience_end, Timer::CcpPatience),
            (self.echo.next, Timer::Echo),
        ];
        all.into_iter().filter_map(|(at, why)| Some((at?, why))).min_by_key(|(at, _)| *at)
    }

    /// The next control frame to send.
    pub fn poll_output(&mut self) -> Option<Vec<u8>> {
        self.output.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<LinkEvent> {
        self.events.pop_front()
    }

    /// Where the link is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> &LinkCounters {
        &self.counters
    }

    /// The largest IP packet that [`Self::encapsulate`] takes, in bytes; settled once the link is up.
    #[must_use]
    pub fn mtu(&self) -> u16 {
        let peer = if self.lcp.is_opened() { self.lcp.options().peer().mru } else { self.config.mtu_limit };
        let overhead = if self.cipher.may_seal() { MPPE_OVERHEAD } else { 0 };
        peer.min(self.config.mtu_limit).saturating_sub(overhead)
    }

    /// The acceptable protocols; with encryption required, those of them that give keys.
    fn auth_stance(config: &LinkConfig) -> AuthStance {
        let required = config.mppe.demand == Demand::Require;
        let list = config.accept.iter().copied().filter(|one| !required || one.gives_keys()).collect();
        match config.role {
            Role::Client(_) => AuthStance::Prove(list),
            Role::Server(_) => AuthStance::Demand(list),
        }
    }

    /// Moves packets out and signals on, in the order of the layers, until all is quiet.
    fn pump(&mut self, now: Instant) {
        loop {
            let mut busy = self.pump_lcp(now);
            busy |= self.pump_auth(now);
            busy |= self.pump_network(now);
            if !busy {
                return;
            }
        }
    }

    fn send(&mut self, number: u16, packet: &[u8]) {
        if self.output.len() < QUEUE_MAX {
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
    /// With as many transmissions as fit in `limit`, so that the limit is what ends the wait.
    fn lasting(mut self, limit: Duration) -> Self {
        let each = self.cap.max(Duration::from_millis(1)).as_millis();
        let fitting = u32::try_from(limit.as_millis() / each).unwrap_or(u32::MAX).saturating_add(4);
        self.max_configure = self.max_configure.max(fitting);
        self
    }
}

/// Whether the time has come; it comes once.
fn expired(timer: &mut Option<Instant>, now: Instant) -> bool {
    timer.take_if(|at| now >= *at).is_some()
}

fn draw<const N: usize>(random: &mut Random) -> [u8; N] {
    let mut bytes = [0; N];
    random(&mut bytes);
    bytes
}
