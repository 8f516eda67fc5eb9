//! Follows the negotiation of two other PPP ends by inspecting their frames (RFC 1661, 1332, 1877, 2759,
//! 3078, 5072).
//!
//! Used for a call whose PPP runs in pppd(8) or ppp(8): reports the same events as [`link`](super::link), and
//! never changes a frame. An agreement counts when its Configure-Ack has passed in both directions.
//! Negotiation is not encrypted (RFC 3078 §2.2: only protocols below 0x00fb are), so all of it can be seen.
//! Owns no timers.

use std::{collections::VecDeque, net::Ipv4Addr};

use super::{
    auth::{AuthFailure, AuthProtocol, printable},
    hdlc::Accm,
    ipcp, ipv6cp, lcp,
    link::{DownReason, InterfaceIds, LinkEvent, LinkUp, MPPE_OVERHEAD, Mppe},
    mppe::{self, Strength},
    wire::{ADDRESS_CONTROL, Options, Packet, code, protocol},
};

/// Codes of CHAP's Challenge, Success and Failure (RFC 1994 §4), of PAP's Ack and Nak (RFC 1334 §2.2).
const CHALLENGE: u8 = 1;
const SUCCESS: u8 = 3;
const FAILURE: u8 = 4;
const PAP_ACK: u8 = 2;
const PAP_NAK: u8 = 3;

/// Start of the Terminate-Request of a daemon that may not continue in clear, for pppd and ppp.
const NO_ENCRYPTION: &[u8] = b"MPPE required";

/// Most authentication demands of one peer that are stored.
const OFFERS_MAX: usize = 8;

/// Most events that wait to be fetched. More are dropped, because the peer can cause them at will.
const EVENTS_MAX: usize = 64;

/// Sender of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The PPP daemon on this host.
    Daemon,
    /// The other end of the tunnel.
    Peer,
}

/// Observer of one link.
#[derive(Debug, Default)]
pub struct Watch {
    lcp: Agreement<Lcp>,
    ccp: Agreement<u32>,
    ipcp: Agreement<Addresses>,
    ipv6cp: Agreement<[u8; 8]>,
    /// Progress of the link as reported.
    stage: Stage,
    authenticated: Option<AuthProtocol>,
    /// The peer's name in its CHAP Challenge.
    peer_name: String,
    /// Authentication protocols that the peer demanded; `auth_refused` is set if the daemon refused one.
    offered: Vec<String>,
    auth_refused: bool,
    mtu_limit: u16,
    received_from_peer: bool,
    /// LCP Configure-Requests and replies to them, from the peer.
    lcp_received: (u64, u64),
    events: VecDeque<LinkEvent>,
}

/// Options that each side requested and the other acknowledged.
#[derive(Debug)]
struct Agreement<T> {
    /// The daemon's request, acknowledged by the peer.
    daemon: Option<T>,
    /// The peer's request, acknowledged by the daemon.
    peer: Option<T>,
}

impl<T> Default for Agreement<T> {
    fn default() -> Self {
        Self { daemon: None, peer: None }
    }
}

#[derive(Clone, Copy, Debug)]
struct Lcp {
    mru: u16,
    accm: Accm,
    auth: Option<AuthProtocol>,
}

#[derive(Clone, Debug)]
struct Addresses {
    own: Ipv4Addr,
    dns: Vec<Ipv4Addr>,
    wins: Vec<Ipv4Addr>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    #[default]
    Lcp,
    Authentication,
    Encryption,
    Addresses,
    Up,
    Over,
}

impl Watch {
    /// Creates an observer of a new link. `mtu_limit` is the largest information field of the path, in bytes.
    #[must_use]
    pub fn new(mtu_limit: u16) -> Self {
        Self { mtu_limit, ..Self::default() }
    }

    /// Inspects a frame, in the form in which GRE carries it. For data only the first bytes are read.
    pub fn frame(&mut self, from: Sender, frame: &[u8]) {
        self.received_from_peer |= from == Sender::Peer;
        let rest = without_address(frame);
        let [high, low, body @ ..] = rest else { return };
        let number = u16::from_be_bytes([*high, *low]);
        // Data protocols have numbers below 0x8000 in one or two bytes, control protocols always two bytes
        // (RFC 1661 §6.5).
        if number < 0x8000 || self.stage == Stage::Over {
            return;
        }
        let Some(packet) = Packet::parse(body) else { return };
        match number {
            protocol::LCP => self.lcp(from, packet),
            protocol::PAP | protocol::CHAP if from == Sender::Peer => self.auth(number, packet),
            protocol::CCP => self.ccp(from, packet),
            protocol::IPCP => self.ipcp(from, packet),
            protocol::IPV6CP => self.ipv6cp(from, packet),
            _ => {}
        }
    }

    /// Returns the map with which to escape a frame for the daemon (RFC 1662 §7.1): all control characters in
    /// negotiation, and until the peer has acknowledged the daemon's map.
    #[must_use]
    pub fn accm_for(&self, frame: &[u8]) -> Accm {
        match &self.lcp.daemon {
            Some(lcp) if is_data(frame) => lcp.accm,
            _ => Accm::ALL,
        }
    }

    /// Returns the next event.
    pub fn poll_event(&mut self) -> Option<LinkEvent> {
        self.events.pop_front()
    }

    /// Returns whether any frame of the peer has passed.
    #[must_use]
    pub const fn received_from_peer(&self) -> bool {
        self.received_from_peer
    }

    /// Returns how many LCP Configure-Requests of the peer, and replies to the daemon's, have passed.
    #[must_use]
    pub const fn lcp_received(&self) -> (u64, u64) {
        self.lcp_received
    }

    /// Returns the authentication protocols that the peer has demanded.
    #[must_use]
    pub fn offered_auth(&self) -> &[String] {
        &self.offered
    }

    /// Returns the authentication protocol that the peer demands, once that is agreed.
    #[must_use]
    pub fn demanded(&self) -> Option<AuthProtocol> {
        self.lcp.peer.as_ref().and_then(|lcp| lcp.auth)
    }

    fn lcp(&mut self, from: Sender, packet: Packet<'_>) {
        let (requests, replies) = &mut self.lcp_received;
        match packet.code {
            _ if from == Sender::Daemon => {}
            code::CONFIGURE_REQUEST => *requests = requests.saturating_add(1),
            code::CONFIGURE_ACK | code::CONFIGURE_NAK | code::CONFIGURE_REJECT => {
                *replies = replies.saturating_add(1);
            }
            _ => {}
        }
        match packet.code {
            code::CONFIGURE_REQUEST => self.lcp_request(from, packet),
            code::CONFIGURE_ACK => {
                let Some(options) = Options::parse(packet.data) else { return };
                let agreed = read_lcp(options);
                *self.lcp.acknowledged_by(from) = Some(agreed);
                if let (Stage::Lcp, Some(_), Some(peer)) = (self.stage, &self.lcp.daemon, &self.lcp.peer) {
                    let (peer_mru, auth) = (peer.mru, peer.auth);
                    self.stage = if auth.is_some() { Stage::Authentication } else { Stage::Encryption };
                    self.push_event(LinkEvent::LcpUp { peer_mru, auth });
                }
            }
            code::CONFIGURE_NAK | code::CONFIGURE_REJECT if from == Sender::Daemon => {
                let options = Options::parse(packet.data);
                self.auth_refused |= options.is_some_and(|options| options.find(lcp::option::AUTH).is_some());
            }
            code::TERMINATE_REQUEST => self.terminate(from, packet.data),
            _ => {}
        }
    }

    /// Handles a Configure-Request, which revokes its sender's agreement, and restarts the negotiation of an
    /// open link (RFC 1661 §4.1, Opened and RCR).
    fn lcp_request(&mut self, from: Sender, packet: Packet<'_>) {
        if self.stage > Stage::Lcp {
            if self.stage == Stage::Up {
                self.push_event(LinkEvent::Renegotiating);
            }
            self.stage = Stage::Lcp;
            self.authenticated = None;
            self.lcp = Agreement::default();
            self.ccp = Agreement::default();
            self.ipcp = Agreement::default();
            self.ipv6cp = Agreement::default();
        }
        *self.lcp.asked_by(from) = None;
        if from == Sender::Peer
            && let Some(option) = Options::parse(packet.data).and_then(|all| all.find(lcp::option::AUTH))
        {
            let name = AuthProtocol::from_lcp_option(option.data).map_or_else(
                || match option.data {
                    [high, low, ..] => format!("protocol 0x{high:02x}{low:02x}"),
                    _ => "an unknown protocol".to_owned(),
                },
                |protocol| protocol.to_string(),
            );
            if !self.offered.contains(&name) && self.offered.len() < OFFERS_MAX {
                self.offered.push(name);
            }
        }
    }

    /// Handles a Terminate-Request. The daemon's exit status gives its reason, except where only the text
    /// does.
    fn terminate(&mut self, from: Sender, words: &[u8]) {
        let reason = match from {
            // A server that demands authentication may first agree to none, and then terminate.
            _ if self.auth_refused && self.demanded().is_none() && self.stage <= Stage::Encryption => {
                DownReason::NoCommonAuth { offered: self.offered.join(", ") }
            }
            Sender::Peer => DownReason::PeerTerminated(printable(words)),
            Sender::Daemon if words.starts_with(NO_ENCRYPTION) => {
                DownReason::EncryptionRefused(printable(words))
            }
            Sender::Daemon => return,
        };
        self.over(reason);
    }

    fn auth(&mut self, number: u16, packet: Packet<'_>) {
        let Some(spoken) = self.demanded().filter(|spoken| spoken.ppp_protocol() == number) else { return };
        if self.stage != Stage::Authentication {
            return;
        }
        match (number, packet.code) {
            (protocol::CHAP, CHALLENGE) => {
                let name = packet.data.split_first().and_then(|(size, rest)| rest.get(usize::from(*size)..));
                self.peer_name = name.map(printable).unwrap_or_default();
            }
            (protocol::CHAP, SUCCESS) => self.accepted(spoken, packet.data),
            (protocol::PAP, PAP_ACK) => self.accepted(spoken, packet.data.get(1..).unwrap_or_default()),
            (protocol::CHAP, FAILURE) => self.refused(spoken, packet.data),
            (protocol::PAP, PAP_NAK) => self.refused(spoken, packet.data.get(1..).unwrap_or_default()),
            _ => {}
        }
    }

    fn accepted(&mut self, protocol: AuthProtocol, message: &[u8]) {
        self.stage = Stage::Encryption;
        self.authenticated = Some(protocol);
        // MS-CHAPv2 puts its authenticator response before the text (RFC 2759 §5).
        let words = match protocol {
            AuthProtocol::MsChapV2 => {
                let at = message.windows(2).position(|pair| pair == b"M=");
                at.and_then(|at| message.get(at + 2..)).unwrap_or_default()
            }
            _ => message,
        };
        let message = Some(printable(words)).filter(|words| !words.is_empty());
        self.push_event(LinkEvent::Authenticated { protocol, peer_name: self.peer_name.clone(), message });
    }

    fn refused(&mut self, protocol: AuthProtocol, message: &[u8]) {
        let failure = AuthFailure::from_message(protocol, message);
        self.over(DownReason::AuthFailed(AuthFailure { peer_name: self.peer_name.clone(), ..failure }));
    }

    fn ccp(&mut self, from: Sender, packet: Packet<'_>) {
        match packet.code {
            code::CONFIGURE_REQUEST => *self.ccp.asked_by(from) = None,
            code::CONFIGURE_ACK => {
                let bits = Options::parse(packet.data)
                    .and_then(|options| options.find(mppe::option::TYPE))
                    .and_then(|option| option.array())
                    .map(u32::from_be_bytes);
                *self.ccp.acknowledged_by(from) = bits;
                if let (Stage::Encryption, Some(mppe)) = (self.stage, self.mppe()) {
                    self.stage = Stage::Addresses;
                    self.push_event(LinkEvent::Encryption(Some(mppe)));
                }
            }
            _ => {}
        }
    }

    /// Returns the weaker encryption of the two directions.
    fn mppe(&self) -> Option<Mppe> {
        let (daemon, peer) = (self.ccp.daemon?, self.ccp.peer?);
        let strength = |bits| Strength::strongest(bits, Strength::Bits40, Strength::Bits128);
        let strength = strength(daemon)?.min(strength(peer)?);
        Some(Mppe { strength, stateful: daemon & peer & mppe::option::STATELESS == 0 })
    }

    fn ipcp(&mut self, from: Sender, packet: Packet<'_>) {
        match packet.code {
            code::CONFIGURE_REQUEST => *self.ipcp.asked_by(from) = None,
            code::CONFIGURE_ACK => {
                let Some(options) = Options::parse(packet.data) else { return };
                *self.ipcp.acknowledged_by(from) = Some(read_ipcp(options));
                self.addressed();
            }
            _ => {}
        }
    }

    fn addressed(&mut self) {
        let (Some(daemon), Some(peer)) = (&self.ipcp.daemon, &self.ipcp.peer) else { return };
        let (daemon, peer) = (daemon.clone(), peer.own);
        match self.stage {
            Stage::Encryption => self.push_event(LinkEvent::Encryption(self.mppe())),
            Stage::Addresses => {}
            // If the link is up, the daemon applies the changed addresses, and they are reported again.
            Stage::Up => self.push_event(LinkEvent::Renegotiating),
            Stage::Lcp | Stage::Authentication | Stage::Over => return,
        }
        self.stage = Stage::Up;
        let mppe = self.mppe();
        let overhead = if mppe.is_some() { MPPE_OVERHEAD } else { 0 };
        let mru = self.lcp.peer.as_ref().map_or(lcp::DEFAULT_MRU, |lcp| lcp.mru);
        let ids = (self.ipv6cp.daemon, self.ipv6cp.peer);
        self.push_event(LinkEvent::Up(LinkUp {
            local: daemon.own,
            peer,
            dns: daemon.dns,
            wins: daemon.wins,
            ipv6: if let (Some(local), Some(peer)) = ids { Some(InterfaceIds { local, peer }) } else { None },
            mtu: mru.min(self.mtu_limit).saturating_sub(overhead),
            mppe,
            auth: self.authenticated,
        }));
    }

    fn ipv6cp(&mut self, from: Sender, packet: Packet<'_>) {
        match packet.code {
            code::CONFIGURE_REQUEST => *self.ipv6cp.asked_by(from) = None,
            code::CONFIGURE_ACK => {
                let id = Options::parse(packet.data)
                    .and_then(|options| options.find(ipv6cp::INTERFACE_ID))
                    .and_then(|option| option.array());
                *self.ipv6cp.acknowledged_by(from) = id;
                if let (Stage::Up, Some(local), Some(peer)) =
                    (self.stage, self.ipv6cp.daemon, self.ipv6cp.peer)
                {
                    self.push_event(LinkEvent::Ipv6Up(InterfaceIds { local, peer }));
                }
            }
            _ => {}
        }
    }

    fn over(&mut self, reason: DownReason) {
        self.stage = Stage::Over;
        self.push_event(LinkEvent::Down(reason));
    }

    fn push_event(&mut self, event: LinkEvent) {
        if self.events.len() < EVENTS_MAX {
            self.events.push_back(event);
        }
    }
}

impl<T> Agreement<T> {
    /// Returns the agreement on the request of this end.
    const fn asked_by(&mut self, from: Sender) -> &mut Option<T> {
        match from {
            Sender::Daemon => &mut self.daemon,
            Sender::Peer => &mut self.peer,
        }
    }

    /// Returns the agreement that this end acknowledges, which is on the other end's request.
    const fn acknowledged_by(&mut self, from: Sender) -> &mut Option<T> {
        match from {
            Sender::Daemon => &mut self.peer,
            Sender::Peer => &mut self.daemon,
        }
    }
}

fn read_lcp(options: Options<'_>) -> Lcp {
    let find = |kind| options.find(kind);
    let mru = find(lcp::option::MRU).and_then(|option| option.array()).map(u16::from_be_bytes);
    let accm = find(lcp::option::ACCM).and_then(|option| option.array()).map(u32::from_be_bytes);
    Lcp {
        mru: mru.unwrap_or(lcp::DEFAULT_MRU),
        accm: accm.map_or(Accm::ALL, Accm),
        auth: find(lcp::option::AUTH).and_then(|option| AuthProtocol::from_lcp_option(option.data)),
    }
}

fn read_ipcp(options: Options<'_>) -> Addresses {
    let address = |kind: u8| options.find(kind)?.array::<4>().map(Ipv4Addr::from);
    let listed = |kinds: [u8; 2]| {
        let mut found: Vec<Ipv4Addr> = kinds.into_iter().filter_map(address).collect();
        found.dedup();
        found.retain(|address| ipcp::usable(*address));
        found
    };
    Addresses {
        own: address(ipcp::option::ADDRESS).unwrap_or(Ipv4Addr::UNSPECIFIED),
        dns: listed(ipcp::option::DNS),
        wins: listed(ipcp::option::WINS),
    }
}

fn without_address(frame: &[u8]) -> &[u8] {
    frame.strip_prefix(&ADDRESS_CONTROL).unwrap_or(frame)
}

/// Returns whether a frame is data, with an uncompressed or compressed protocol field (RFC 1661 §6.5).
fn is_data(frame: &[u8]) -> bool {
    match without_address(frame) {
        [first, ..] if first & 1 == 1 => true,
        [high, ..] => *high < 0x80,
        [] => false,
    }
}
