//! The options of the Compression Control Protocol (RFC 1962), of which only MPPE is supported (RFC 3078 §2).
//!
//! Owns the negotiation of option 18 under a [`Policy`]. Does not own keys and packets ([`crate::ppp::mppe`])
//! or the consequences of a refusal (the link). Every real compression is rejected; MPPC, which shares the
//! option, is nakked.
//!
//! A Configure-Request states what its sender can *receive* (RFC 1962 §4): our acknowledged request describes
//! incoming packets, the peer's acknowledged request outgoing ones.

use crate::ppp::{
    automaton::{OptionSet, Reply},
    mppe::{Demand, Policy, Strength, option},
    wire::{Options, RawOption, code, push},
};

/// Parameters agreed for one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Key length.
    pub strength: Strength,
    /// Whether the key changes only every 256 packets.
    pub stateful: bool,
}

/// What a peer has refused of MPPE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MppeRefusal {
    /// CCP as a whole, by an LCP Protocol-Reject.
    Protocol,
    /// The MPPE option, by a Configure-Reject.
    Option,
    /// What our policy allows, by a Configure-Nak with these option bits instead.
    Bits(u32),
}

/// CCP's options.
#[derive(Debug)]
pub struct Ccp {
    policy: Policy,
    /// Strengths that the policy allows and for which there are keys, as option bits.
    allowed: u32,
    /// Option bits of our next request; `None` once the peer has refused.
    requested: Option<u32>,
    receive: Option<Agreed>,
    send: Option<Agreed>,
    refusal: Option<String>,
    refused: Option<MppeRefusal>,
    /// The option bits of the peer's requests and Naks, together.
    offered: u32,
}

impl Ccp {
    /// Creates the options. `available` are the strengths for which the authentication gave keys
    /// ([`Keys::supported_bits`](crate::ppp::mppe::Keys::supported_bits)).
    #[must_use]
    pub fn new(policy: Policy, available: u32) -> Self {
        let allowed = Strength::ALL
            .into_iter()
            .filter(|one| (policy.min..=policy.max).contains(one))
            .fold(0, |bits, one| bits | one.bit() & available);
        Self {
            policy,
            allowed,
            requested: None,
            receive: None,
            send: None,
            refusal: None,
            refused: None,
            offered: 0,
        }
    }

    /// Returns whether policy and keys have any strength in common.
    #[must_use]
    pub fn possible(&self) -> bool {
        self.policy.demand != Demand::Off && self.allowed != 0
    }

    /// Returns the parameters of packets that we receive, valid while CCP is up.
    #[must_use]
    pub fn receive(&self) -> Option<Agreed> {
        self.receive
    }

    /// Returns the parameters of packets that we send, valid while CCP is up.
    #[must_use]
    pub fn send(&self) -> Option<Agreed> {
        self.send
    }

    /// Returns why the peer does not encrypt towards us, once it has refused.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// Returns the option bits of the peer's requests and Naks, together; 0 if it has sent none.
    #[must_use]
    pub fn offered(&self) -> u32 {
        self.offered
    }

    /// Returns what the peer has refused, once it has.
    #[must_use]
    pub fn refused(&self) -> Option<MppeRefusal> {
        self.refused
    }

    fn refuse(&mut self, what: MppeRefusal, words: String) {
        self.requested = None;
        self.refused.get_or_insert(what);
        self.refusal.get_or_insert(words);
    }

    /// Returns the strongest of these bits that the policy allows.
    fn strongest(&self, bits: u32) -> Option<Strength> {
        Strength::strongest(bits & self.allowed, self.policy.min, self.policy.max)
    }

    /// Returns the acceptable option bits closest to `bits`: `bits` itself if it is acceptable.
    fn preferred_bits(&self, bits: u32) -> u32 {
        let strength = self.strongest(bits).or_else(|| self.strongest(self.allowed)).map_or(0, Strength::bit);
        let stateless = if self.policy.stateful { bits & option::STATELESS } else { option::STATELESS };
        strength | stateless
    }

    fn note_offer(&mut self, options: Options<'_>) {
        let bits = options.find(option::TYPE).and_then(|offer| offer.array()).map(u32::from_be_bytes);
        self.offered |= bits.unwrap_or(0);
    }

    fn judge_mppe(&self, asked: RawOption<'_>, reply: &mut Reply) {
        if !self.possible() {
            return reply.reject(asked);
        }
        let bits = asked.array().map(u32::from_be_bytes);
        let better = self.preferred_bits(bits.unwrap_or(option::STATELESS));
        if bits != Some(better) {
            reply.nak(asked, &better.to_be_bytes());
        }
    }
}

impl OptionSet for Ccp {
    const NAME: &'static str = "CCP";

    fn restart(&mut self) {
        // Stateless mode is requested first: it recovers from a lost packet without a round trip.
        self.requested = self.possible().then_some(self.allowed | option::STATELESS);
        self.receive = None;
        self.send = None;
        self.refusal = None;
        self.refused = None;
    }

    fn request(&self, out: &mut Vec<u8>) {
        if let Some(bits) = self.requested {
            push(out, option::TYPE, &bits.to_be_bytes());
        }
    }

    fn acked(&mut self) {
        self.receive = self.requested.and_then(|bits| Agreed::from_bits(bits, self.policy));
    }

    fn nakked(&mut self, options: Options<'_>, insists: bool) {
        self.note_offer(options);
        let Some(asking) = self.requested else { return };
        let Some(bits) = options.find(option::TYPE).and_then(|wish| wish.array()).map(u32::from_be_bytes)
        else {
            return;
        };
        let Some(strength) = self.strongest(bits) else {
            let allowed = if self.policy.min == self.policy.max {
                format!("not the required {}", self.policy.min)
            } else {
                format!("which is not among the allowed {} to {}", self.policy.min, self.policy.max)
            };
            let words = format!("the peer offers {}, {allowed}", describe_bits(bits));
            return self.refuse(MppeRefusal::Bits(bits), words);
        };
        let stateless = if self.policy.stateful { bits & option::STATELESS } else { option::STATELESS };
        let next = strength.bit() | stateless;
        if insists && next == asking {
            let what = if bits & option::STATELESS == 0 { "stateful MPPE" } else { "other MPPE options" };
            return self.refuse(MppeRefusal::Bits(bits), format!("the peer insists on {what}"));
        }
        self.requested = Some(next);
    }

    fn rejected(&mut self, options: Options<'_>) {
        if options.find(option::TYPE).is_some() {
            let asked = describe_bits(self.requested.unwrap_or(self.allowed));
            let words = format!("the peer has CCP, but refuses its MPPE option ({asked}, Configure-Reject)");
            self.refuse(MppeRefusal::Option, words);
        }
    }

    fn judge(&mut self, options: Options<'_>, reply: &mut Reply) {
        self.note_offer(options);
        for asked in options {
            match asked.kind {
                option::TYPE => self.judge_mppe(asked, reply),
                _ => reply.reject(asked),
            }
        }
        // Only if encryption is required: pppd without MPPE ignores the hint, which would stall the
        // negotiation.
        if self.policy.demand == Demand::Require && options.find(option::TYPE).is_none() {
            reply.suggest(option::TYPE, &self.preferred_bits(option::STATELESS).to_be_bytes());
        }
    }

    fn accept(&mut self, options: Options<'_>) {
        let bits = options.find(option::TYPE).and_then(|asked| asked.array()).map(u32::from_be_bytes);
        self.send = bits.and_then(|bits| Agreed::from_bits(bits, self.policy));
    }

    fn knows_code(&self, code: u8) -> bool {
        matches!(code, code::RESET_REQUEST | code::RESET_ACK)
    }
}

impl Agreed {
    fn from_bits(bits: u32, policy: Policy) -> Option<Self> {
        let strength = Strength::strongest(bits, policy.min, policy.max)?;
        Some(Self { strength, stateful: bits & option::STATELESS == 0 })
    }
}

/// Formats option bits for the user: "MPPE-128", "MPPE-40/MPPE-128 stateful", "no MPPE".
#[must_use]
pub fn describe_bits(bits: u32) -> String {
    let strengths: Vec<_> =
        Strength::ALL.into_iter().filter(|one| bits & one.bit() != 0).map(|one| one.to_string()).collect();
    match (strengths.is_empty(), bits & option::STATELESS) {
        (true, _) => "no MPPE".to_owned(),
        (false, 0) => format!("{} stateful", strengths.join("/")),
        (false, _) => strengths.join("/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ppp::automaton::Verdict;

    const H: u32 = option::STATELESS;
    const S: u32 = option::BITS_128;
    const M: u32 = option::BITS_56;
    const L: u32 = option::BITS_40;

    fn ccp(demand: Demand, min: Strength, max: Strength, stateful: bool) -> Ccp {
        let mut ccp = Ccp::new(Policy { demand, min, max, stateful }, S | M | L);
        ccp.restart();
        ccp
    }

    fn verdict(ccp: &mut Ccp, list: &[u8]) -> Verdict {
        let mut reply = Reply::new(true);
        ccp.judge(Options::parse(list).unwrap(), &mut reply);
        reply.verdict()
    }

    fn mppe(bits: u32) -> Vec<u8> {
        let mut list = Vec::new();
        push(&mut list, option::TYPE, &bits.to_be_bytes());
        list
    }

    #[test]
    fn policy_decides_between_ack_and_nak() {
        use Strength::{Bits40, Bits128};
        for (min, max, stateful, requested, wanted) in [
            (Bits40, Bits128, false, H | S, None),
            (Bits40, Bits128, false, H | L, None),
            (Bits40, Bits128, false, H | S | M | L, Some(H | S)),
            (Bits40, Bits128, false, S, Some(H | S)),
            (Bits40, Bits128, true, S, None),
            (Bits40, Bits128, true, S | L, Some(S)),
            (Bits40, Bits40, false, H | S | L, Some(H | L)),
            (Bits128, Bits128, false, H | L, Some(H | S)),
            (Bits128, Bits128, false, H, Some(H | S)),
            (Bits40, Bits128, false, H | S | option::COMPRESSION, Some(H | S)),
            (Bits40, Bits128, false, option::COMPRESSION, Some(H | S)),
            (Bits40, Bits128, false, H | S | option::OBSOLETE, Some(H | S)),
        ] {
            let mut ccp = ccp(Demand::Allow, min, max, stateful);
            let expected = wanted.map_or(Verdict::Ack, |bits| Verdict::Nak(mppe(bits)));
            assert_eq!(verdict(&mut ccp, &mppe(requested)), expected, "{requested:#x} under {min}..{max}");
        }
    }

    #[test]
    fn other_compressions_are_rejected_first() {
        let mut ccp = ccp(Demand::Require, Strength::Bits128, Strength::Bits128, false);
        let mut list = vec![21, 3, 0x2F, 26, 4, 0x78, 0];
        list.extend(mppe(H | S | L));
        assert_eq!(verdict(&mut ccp, &list), Verdict::Reject(vec![21, 3, 0x2F, 26, 4, 0x78, 0]));
    }

    #[test]
    fn empty_request_is_acked_unless_mppe_is_required() {
        let mut allow = ccp(Demand::Allow, Strength::Bits40, Strength::Bits128, false);
        assert_eq!(verdict(&mut allow, &[]), Verdict::Ack);
        let mut require = ccp(Demand::Require, Strength::Bits40, Strength::Bits128, false);
        assert_eq!(verdict(&mut require, &[]), Verdict::Nak(mppe(H | S)));
    }

    #[test]
    fn nak_narrows_the_next_request() {
        let mut ccp = ccp(Demand::Require, Strength::Bits40, Strength::Bits128, false);
        let mut out = Vec::new();
        ccp.request(&mut out);
        assert_eq!(out, mppe(H | S | M | L));
        ccp.nakked(Options::parse(&mppe(L)).unwrap(), false);
        out.clear();
        ccp.request(&mut out);
        assert_eq!(out, mppe(H | L), "the policy requires stateless mode");
        ccp.nakked(Options::parse(&mppe(L)).unwrap(), true);
        assert_eq!(ccp.refusal(), Some("the peer insists on stateful MPPE"));
        out.clear();
        ccp.request(&mut out);
        assert!(out.is_empty());
    }

    #[test]
    fn available_keys_limit_the_offer() {
        let policy = Policy { demand: Demand::Require, ..Policy::default() };
        assert!(!Ccp::new(policy, 0).possible());
        let mut ccp = Ccp::new(policy, S);
        ccp.restart();
        let mut out = Vec::new();
        ccp.request(&mut out);
        assert_eq!(out, mppe(H | S));
        assert_eq!(verdict(&mut ccp, &mppe(H | L)), Verdict::Nak(mppe(H | S)));
    }
}
