//! One PPP link, both roles: the phases of RFC 1661 §3 around LCP, authentication, CCP with MPPE, IPCP and IPV6CP.
mod config;
mod counters;
mod event;

pub use config::{Client, Config, Echo, MPPE_OVERHEAD, MTU_LIMIT, Random, Role, Server, Timing};
pub use counters::{Counters, LinkDrop};
pub use event::{DownReason, Event, InterfaceIds, LinkUp, Mppe};

use std::{collections::VecDeque, time::Instant};

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
    config: Config,
    counters: Counters,
    output: VecDeque<Vec<u8>>,
    events: VecDeque<Event>,
}

impl Link {
    /// A link whose lower layer is still down.
    #[must_use]
    pub fn new(config: Config, _now: Instant) -> Self {
        Self { config, counters: Counters::default(), output: VecDeque::new(), events: VecDeque::new() }
    }

    /// The lower layer is up: the first Configure-Request goes out at once.
    pub fn open(&mut self, _now: Instant) {}

    /// Takes one frame as it came, decrypting it in place.
    pub fn handle_input<'a>(&mut self, _now: Instant, _frame: &'a mut [u8]) -> Received<'a> {
        Received::Control
    }

    /// Frames an IP packet (either version), encrypting it where that was agreed; gives the frame's length. `out` needs
    /// the packet's length and [`Self::FRAME_OVERHEAD`].
    ///
    /// # Errors
    /// Why the packet may not leave.
    pub fn encapsulate(&mut self, _ip: &[u8], _out: &mut [u8]) -> Result<usize, LinkDrop> {
        Err(self.counters.drop(LinkDrop::NotUp))
    }

    /// Ends the link politely: Terminate-Request, and `Down(reason)` once it is answered or its limit is over.
    pub fn close(&mut self, _now: Instant, _reason: DownReason) {}

    /// The tunnel below went away: ends the link at once.
    pub fn lower_down(&mut self, _now: Instant) {}

    /// The next control frame to send.
    pub fn poll_output(&mut self) -> Option<Vec<u8>> {
        self.output.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Does what is due; nothing if nothing is.
    pub fn handle_timeout(&mut self, _now: Instant) {}

    /// When [`Self::handle_timeout`] has something to do, and what.
    #[must_use]
    pub fn next_timeout(&self) -> Option<(Instant, Timer)> {
        None
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The largest IP packet that [`Self::encapsulate`] takes now, in bytes.
    #[must_use]
    pub fn mtu(&self) -> u16 {
        self.config.mtu_limit
    }

    /// Bytes that a frame is longer than its IP packet at most: address and control (2), protocol (2), MPPE (4).
    pub const FRAME_OVERHEAD: usize = 8;
}
