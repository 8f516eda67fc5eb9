//! The options of the Link Control Protocol (RFC 1661 §6, RFC 1662 §7.1 for the ACCM), for a link without
//! HDLC.
//!
//! Owns the contents of our requests, the judgement of the peer's, and the magic number with its loop
//! detection (RFC 1661 §6.4). Does not own Echo, Protocol-Reject and the actions once LCP is up, which belong
//! to the link. Multilink, callback, link quality and all other options are rejected.

mod magic;
mod request;
#[cfg(test)]
mod tests;

pub use magic::MagicSource;
use request::LocalOptions;
pub use request::RequestStyle;

use crate::ppp::{
    auth::AuthProtocol,
    automaton::{OptionSet, Reply},
    wire::{Options, RawOption, code},
};

/// Option types (RFC 1661 §6; IANA "PPP LCP Configuration Options").
pub mod option {
    /// Maximum-Receive-Unit.
    pub const MRU: u8 = 1;
    /// Async-Control-Character-Map; without effect where there is no HDLC, but every peer sends it.
    pub const ACCM: u8 = 2;
    /// Authentication-Protocol.
    pub const AUTH: u8 = 3;
    /// Magic-Number.
    pub const MAGIC: u8 = 5;
    /// Protocol-Field-Compression.
    pub const PFC: u8 = 7;
    /// Address-and-Control-Field-Compression.
    pub const ACFC: u8 = 8;
}

/// MRU of a peer that requests none (RFC 1661 §6.1).
pub const DEFAULT_MRU: u16 = 1500;

/// Smallest MRU that is accepted, as in pppd.
const MIN_MRU: u16 = 128;

/// Signs of a loop that end the negotiation.
const LOOPS_MAX: u32 = 5;

/// Unacceptable proposals that are nakked, beyond one for each acceptable protocol.
const EXTRA_NAKS: usize = 3;

/// Our side of the authentication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthStance {
    /// We authenticate ourselves, if asked, with one of these.
    Prove(Vec<AuthProtocol>),
    /// The peer must authenticate itself with one of these, in the order of demand; not at all if empty.
    Demand(Vec<AuthProtocol>),
}

/// The peer's acknowledged options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerOptions {
    /// The largest information field that the peer receives, in bytes.
    pub mru: u16,
    /// Protocol with which we must authenticate ourselves.
    pub auth: Option<AuthProtocol>,
    /// The peer's magic number.
    pub magic: Option<u32>,
    /// Whether the peer accepts compressed protocol fields.
    pub pfc: bool,
    /// Whether the peer accepts frames without address and control bytes.
    pub acfc: bool,
}

/// Why the negotiation cannot succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LcpDeadlock {
    /// No proposal of the peer is acceptable, or the peer accepts none of our demands.
    NoCommonAuth,
    /// We receive our own packets.
    Looped,
}

/// LCP's options.
#[derive(Debug)]
pub struct Lcp {
    mru: u16,
    style: RequestStyle,
    /// The peer has answered a request of ours: what it requests changes ours no more.
    is_answered: bool,
    stance: AuthStance,
    source: MagicSource,
    ours: LocalOptions,
    peer: PeerOptions,
    offered: Vec<String>,
    /// Every authentication protocol that the peer has proposed on this link, acceptable or not.
    proposed: Vec<String>,
    proposals: usize,
    /// Whether the first proposal of an acceptable protocol is nakked if we accept a stronger one.
    prefers_stronger: bool,
    /// Whether a protocol that the peer has nakked is demanded again if there is no other.
    insists: bool,
    /// The proposal that was nakked only because we accept a stronger one, and the identifier of that request.
    held_back: Option<(AuthProtocol, u8)>,
    suggested_magic: Option<u32>,
    loops: u32,
    deadlock: Option<LcpDeadlock>,
}

impl Lcp {
    /// Creates the options. `mru` is in bytes.
    #[must_use]
    pub fn new(mru: u16, mut stance: AuthStance, source: MagicSource) -> Self {
        if let AuthStance::Prove(list) = &mut stance {
            list.sort_unstable_by(|a, b| b.cmp(a));
        }
        Self {
            mru,
            style: RequestStyle::Full,
            is_answered: false,
            stance,
            source,
            ours: LocalOptions::default(),
            peer: PeerOptions::DEFAULT,
            offered: Vec::new(),
            proposed: Vec::new(),
            proposals: 0,
            prefers_stronger: false,
            insists: false,
            held_back: None,
            suggested_magic: None,
            loops: 0,
            deadlock: None,
        }
    }

    /// Sets whether the first proposal of an acceptable protocol is nakked if we accept a stronger one.
    #[must_use]
    pub fn preferring_stronger(self, prefers_stronger: bool) -> Self {
        Self { prefers_stronger, ..self }
    }

    /// Sets which options our requests contain.
    #[must_use]
    pub fn requesting(self, style: RequestStyle) -> Self {
        Self { style, ..self }
    }

    /// Sets whether a protocol that the peer has nakked is demanded again if there is no other.
    #[must_use]
    pub fn insisting(self, insists: bool) -> Self {
        Self { insists, ..self }
    }

    /// Removes the protocols weaker than `least` from those with which we authenticate ourselves.
    pub fn accept_at_least(&mut self, least: AuthProtocol) {
        if let AuthStance::Prove(list) = &mut self.stance {
            list.retain(|one| *one >= least);
        }
    }

    /// Returns the protocol that the peer has proposed, and that was nakked only because we accept a stronger one,
    /// with the strongest one. `None` once the peer has agreed on any protocol.
    #[must_use]
    pub fn held_back(&self) -> Option<(AuthProtocol, AuthProtocol)> {
        match (&self.stance, self.held_back) {
            (AuthStance::Prove(list), Some((held_back, _))) => Some((held_back, *list.first()?)),
            _ => None,
        }
    }

    /// Returns the MRU of our request, or the default that applies without one; in bytes, valid while LCP is up.
    #[must_use]
    pub fn mru(&self) -> u16 {
        self.ours.mru.unwrap_or(DEFAULT_MRU)
    }

    /// Returns the peer's acknowledged options, valid while LCP is up.
    #[must_use]
    pub fn peer(&self) -> PeerOptions {
        self.peer
    }

    /// Returns our magic number as it goes into Echo packets (RFC 1661 §5.8); 0 if there is none.
    #[must_use]
    pub fn magic(&self) -> u32 {
        self.ours.magic.unwrap_or(0)
    }

    /// Returns the protocol with which the peer must authenticate itself.
    #[must_use]
    pub fn demanded(&self) -> Option<AuthProtocol> {
        self.ours.auth
    }

    /// Returns the authentication protocols that the peer proposed and that were not acceptable.
    #[must_use]
    pub fn offered(&self) -> &[String] {
        &self.offered
    }

    /// Returns every authentication protocol that the peer has proposed on this link, acceptable or not.
    #[must_use]
    pub fn proposed(&self) -> &[String] {
        &self.proposed
    }

    /// Returns why the negotiation cannot succeed, once that is certain.
    #[must_use]
    pub fn deadlock(&self) -> Option<LcpDeadlock> {
        self.deadlock
    }

    /// Judges an Authentication-Protocol option. `postponed`: other options are rejected, which leaves no
    /// room for a Nak (RFC 1661 §5.4).
    fn judge_auth(&mut self, option: RawOption<'_>, postponed: bool, reply: &mut Reply) {
        let AuthStance::Prove(acceptable) = &self.stance else { return reply.reject(option) };
        note(&mut self.proposed, option.data);
        let known = AuthProtocol::from_lcp_option(option.data).filter(|one| acceptable.contains(one));
        let strongest = acceptable.first().copied().filter(|best| known.is_some_and(|one| one < *best));
        if let (Some(known), Some(strongest), true) = (known, strongest, self.prefers_stronger) {
            // A copy of that request does not mean that the peer insists.
            let request = (known, reply.identifier());
            if self.proposals == 0 || self.held_back == Some(request) {
                self.held_back = Some(request);
                self.proposals = self.proposals.max(1);
                return reply.nak(option, strongest.lcp_option());
            }
        }
        if known.is_some() {
            return;
        }
        if postponed {
            // The next request contains this option again, so the attempt is not counted.
            return;
        }
        let limit = acceptable.len() + EXTRA_NAKS;
        // The strongest first, then the others in turn: a peer may implement only one of them.
        let better = acceptable.get(self.proposals % acceptable.len().max(1)).map(|one| one.lcp_option());
        self.note_offer(option.data);
        self.proposals = self.proposals.saturating_add(1);
        match better {
            Some(better) if self.proposals <= limit => reply.nak(option, better),
            _ => {
                self.deadlock.get_or_insert(LcpDeadlock::NoCommonAuth);
                reply.reject(option);
            }
        }
    }

    fn judge_magic(&mut self, option: RawOption<'_>, reply: &mut Reply) {
        let theirs = option.array().map(u32::from_be_bytes);
        if theirs.is_some_and(|magic| magic != 0 && Some(magic) != self.ours.magic) {
            return;
        }
        if theirs.is_some() && theirs == self.ours.magic {
            self.note_loop();
        }
        let better = self.source.draw();
        self.suggested_magic = Some(better);
        reply.nak(option, &better.to_be_bytes());
    }

    fn note_loop(&mut self) {
        self.loops = self.loops.saturating_add(1);
        if self.loops >= LOOPS_MAX {
            self.deadlock.get_or_insert(LcpDeadlock::Looped);
        }
    }

    fn note_offer(&mut self, value: &[u8]) {
        note(&mut self.offered, value);
    }

    /// Switches to the next authentication that both sides accept, after a refusal of the current one; insists on
    /// the current one if there is none.
    fn demand_other(&mut self, wish: Option<&[u8]>) {
        let AuthStance::Demand(list) = &self.stance else { return };
        let Some(current) = self.ours.auth else { return };
        let wished =
            wish.and_then(AuthProtocol::from_lcp_option).filter(|one| list.contains(one) && *one != current);
        let following = list.iter().copied().skip_while(|one| *one != current).nth(1);
        let again = Some(current).filter(|_| self.insists);
        if let Some(wish) = wish {
            self.note_offer(wish);
        }
        self.proposals = self.proposals.saturating_add(1);
        match wished.or(following).or(again) {
            Some(next) if self.proposals <= EXTRA_NAKS * 2 => self.ours.auth = Some(next),
            _ => {
                if !self.insists {
                    // The next request may leave before the link ends.
                    self.ours.auth = None;
                }
                self.deadlock.get_or_insert(LcpDeadlock::NoCommonAuth);
            }
        }
    }
}

impl PeerOptions {
    const DEFAULT: Self = Self { mru: DEFAULT_MRU, auth: None, magic: None, pfc: false, acfc: false };
}

impl OptionSet for Lcp {
    const NAME: &'static str = "LCP";

    fn restart(&mut self) {
        let demand = match &self.stance {
            AuthStance::Demand(list) => list.first().copied(),
            AuthStance::Prove(_) => None,
        };
        self.ours = LocalOptions::initial(self.style, self.mru, demand, self.source.draw());
        self.is_answered = false;
        self.peer = PeerOptions::DEFAULT;
        self.offered.clear();
        self.proposals = 0;
        self.loops = 0;
        self.suggested_magic = None;
        self.deadlock = None;
    }

    fn follow(&mut self, options: Options<'_>) -> bool {
        let RequestStyle::Short { follow_mru } = self.style else { return false };
        !self.is_answered && self.ours.follow(options, follow_mru)
    }

    fn request(&self, out: &mut Vec<u8>) {
        self.ours.write(out);
    }

    fn acked(&mut self) {
        self.is_answered = true;
    }

    fn nakked(&mut self, options: Options<'_>, insists: bool) {
        self.is_answered = true;
        for wish in options {
            match wish.kind {
                option::MRU => {
                    let smaller =
                        wish.array().map(u16::from_be_bytes).filter(|mru| (MIN_MRU..self.mru).contains(mru));
                    self.ours.mru = smaller.filter(|_| !insists);
                }
                option::ACCM => {
                    let more = wish.array().map_or(0, u32::from_be_bytes);
                    self.ours.accm = Some(self.ours.accm.unwrap_or(0) | more).filter(|_| !insists);
                }
                option::AUTH => self.demand_other(Some(wish.data)),
                option::MAGIC => {
                    // Our own Nak was sent back (RFC 1661 §6.4).
                    if self.suggested_magic.is_some()
                        && wish.array().map(u32::from_be_bytes) == self.suggested_magic
                    {
                        self.note_loop();
                    }
                    self.ours.magic = Some(self.source.draw());
                }
                option::PFC => self.ours.pfc = !insists,
                option::ACFC => self.ours.acfc = !insists,
                // Options that the peer suggests we request.
                _ => {}
            }
        }
    }

    fn rejected(&mut self, options: Options<'_>) {
        self.is_answered = true;
        for option in options {
            match option.kind {
                option::MRU => self.ours.mru = None,
                option::ACCM => self.ours.accm = None,
                option::AUTH => {
                    self.deadlock.get_or_insert(LcpDeadlock::NoCommonAuth);
                }
                option::MAGIC => self.ours.magic = None,
                option::PFC => self.ours.pfc = false,
                option::ACFC => self.ours.acfc = false,
                _ => {}
            }
        }
    }

    fn judge(&mut self, options: Options<'_>, reply: &mut Reply) {
        // In the order of the request: an answer must keep it (RFC 1661 §5.3, §5.4), and peers discard one
        // that does not.
        let some_unknown = options.iter().any(is_unknown);
        for option in options {
            match option.kind {
                _ if is_unknown(option) => reply.reject(option),
                option::AUTH => self.judge_auth(option, some_unknown, reply),
                option::MRU if option.array().map(u16::from_be_bytes).is_some_and(|mru| mru >= MIN_MRU) => {}
                option::MRU => reply.nak(option, &DEFAULT_MRU.to_be_bytes()),
                option::ACCM if option.data.len() == 4 => {}
                option::ACCM => reply.nak(option, &[0; 4]),
                option::MAGIC => self.judge_magic(option, reply),
                _ => {}
            }
        }
    }

    fn accept(&mut self, options: Options<'_>) {
        let value = |kind| options.find(kind);
        self.peer = PeerOptions {
            mru: value(option::MRU).and_then(|mru| mru.array()).map_or(DEFAULT_MRU, u16::from_be_bytes),
            auth: value(option::AUTH).and_then(|auth| AuthProtocol::from_lcp_option(auth.data)),
            magic: value(option::MAGIC).and_then(|magic| magic.array()).map(u32::from_be_bytes),
            pfc: value(option::PFC).is_some(),
            acfc: value(option::ACFC).is_some(),
        };
        if self.peer.auth.is_some() {
            self.held_back = None;
        }
    }

    fn knows_code(&self, code: u8) -> bool {
        (code::PROTOCOL_REJECT..=code::TIME_REMAINING).contains(&code)
    }
}

/// Returns whether an option is not supported, or has a value where none is allowed.
fn is_unknown(option: RawOption<'_>) -> bool {
    match option.kind {
        option::MRU | option::ACCM | option::AUTH | option::MAGIC => false,
        option::PFC | option::ACFC => !option.data.is_empty(),
        _ => true,
    }
}

/// Adds the name of an Authentication-Protocol option to a list of at most 8 different names.
fn note(list: &mut Vec<String>, value: &[u8]) {
    let words = auth_words(value);
    if !list.contains(&words) && list.len() < 8 {
        list.push(words);
    }
}

/// Returns a name for the value of an Authentication-Protocol option.
fn auth_words(value: &[u8]) -> String {
    if let Some(known) = AuthProtocol::from_lcp_option(value) {
        return known.to_string();
    }
    match value {
        [0xC2, 0x27, ..] => "EAP".to_owned(),
        [0xC0, 0x27, ..] => "SPAP".to_owned(),
        [0xC2, 0x23, algorithm, ..] => format!("CHAP with algorithm {algorithm}"),
        [high, low, ..] => format!("protocol {:04X}", u16::from_be_bytes([*high, *low])),
        _ => "a malformed option".to_owned(),
    }
}
