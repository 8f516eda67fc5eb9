//! The options of the IPv6 Control Protocol (RFC 5072): the interface identifier, for either role.
//!
//! Addresses beyond the link-local ones are assigned by other protocols (RFC 4862, RFC 8415). IPv6
//! compression (option 2) is rejected.

use crate::ppp::{
    automaton::{OptionSet, Reply},
    wire::{Options, push},
};

/// Interface-Identifier (RFC 5072 §4.1).
pub const INTERFACE_ID: u8 = 1;

const NONE: [u8; 8] = [0; 8];

/// IPV6CP's options.
#[derive(Debug)]
pub struct Ipv6cp {
    local: [u8; 8],
    /// Identifier for a peer that has none, or ours.
    suggestion: [u8; 8],
    peer: [u8; 8],
    requests_id: bool,
}

impl Ipv6cp {
    /// Creates the options. `random` becomes our identifier and, if the peer needs one, the peer's.
    #[must_use]
    pub fn new(random: [[u8; 8]; 2]) -> Self {
        let [local, mut spare] = random.map(local_scope);
        if spare == local
            && let Some(last) = spare.last_mut()
        {
            *last ^= 2;
        }
        Self { local, suggestion: spare, peer: NONE, requests_id: true }
    }

    /// Returns our identifier.
    #[must_use]
    pub fn local(&self) -> [u8; 8] {
        self.local
    }

    /// Returns the peer's identifier, valid while IPV6CP is up; zero if the peer sent none.
    #[must_use]
    pub fn peer(&self) -> [u8; 8] {
        self.peer
    }
}

impl OptionSet for Ipv6cp {
    const NAME: &'static str = "IPV6CP";

    fn restart(&mut self) {
        self.peer = NONE;
        self.requests_id = true;
    }

    fn request(&self, out: &mut Vec<u8>) {
        if self.requests_id {
            push(out, INTERFACE_ID, &self.local);
        }
    }

    fn acked(&mut self) {}

    fn nakked(&mut self, options: Options<'_>, insists: bool) {
        if let Some(wish) = options.find(INTERFACE_ID).and_then(|wish| wish.array())
            && wish != NONE
        {
            self.local = wish;
            self.requests_id = !insists;
        }
    }

    fn rejected(&mut self, options: Options<'_>) {
        if options.find(INTERFACE_ID).is_some() {
            self.requests_id = false;
        }
    }

    fn judge(&mut self, options: Options<'_>, reply: &mut Reply) {
        for option in options {
            if option.kind != INTERFACE_ID {
                reply.reject(option);
            } else if option.array().is_none_or(|asked| asked == NONE || asked == self.local) {
                reply.nak(option, &self.suggestion);
            }
        }
    }

    fn accept(&mut self, options: Options<'_>) {
        self.peer = options.find(INTERFACE_ID).and_then(|option| option.array()).unwrap_or(NONE);
    }
}

/// Turns random bytes into an identifier. It is not globally unique, so the u bit is cleared (RFC 5072 §4.1).
/// Never zero.
fn local_scope(mut random: [u8; 8]) -> [u8; 8] {
    let [first, .., last] = &mut random;
    *first &= !0x02;
    *last |= 0x01;
    random
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ppp::automaton::Verdict;

    #[test]
    fn identifiers_are_distinct_local_and_nonzero() {
        for random in [[[0; 8]; 2], [[0xFF; 8]; 2], [[1; 8], [2; 8]]] {
            let set = Ipv6cp::new(random);
            assert!(set.local != set.suggestion && set.local != NONE && set.suggestion != NONE);
            assert_eq!((set.local[0] & 2, set.suggestion[0] & 2), (0, 0));
        }
    }

    #[test]
    fn zero_or_duplicate_identifier_is_nakked() {
        let mut set = Ipv6cp::new([[5; 8], [9; 8]]);
        for bad in [set.local, NONE] {
            let mut list = Vec::new();
            push(&mut list, INTERFACE_ID, &bad);
            let mut reply = Reply::new(true);
            set.judge(Options::parse(&list).unwrap(), &mut reply);
            let mut better = Vec::new();
            push(&mut better, INTERFACE_ID, &set.suggestion);
            assert_eq!(reply.verdict(), Verdict::Nak(better));
        }
        let mut reply = Reply::new(true);
        set.judge(Options::parse(&[2, 4, 0, 0x4F]).unwrap(), &mut reply);
        assert_eq!(reply.verdict(), Verdict::Reject(vec![2, 4, 0, 0x4F]));
    }
}
