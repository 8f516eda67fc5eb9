//! The options of the Internet Protocol Control Protocol (RFC 1332), with name servers (RFC 1877).
//!
//! Owns the negotiation of addresses for both roles. Van Jacobson compression (option 2), the deprecated
//! IP-Addresses (option 1) and all unknown options are rejected. Addresses that no host can have are accepted
//! from neither side.

use std::net::Ipv4Addr;

use crate::ppp::{
    automaton::{OptionSet, Reply},
    wire::{Options, RawOption, push},
};

/// Option types (RFC 1332 §3, RFC 1877 §1).
pub mod option {
    /// IP-Address.
    pub const ADDRESS: u8 = 3;
    /// Primary and secondary DNS server, in the order of the requests.
    pub const DNS: [u8; 2] = [129, 131];
    /// Primary and secondary NBNS server.
    pub const WINS: [u8; 2] = [130, 132];
}

/// One of the four servers that a client can request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    kind: u8,
    /// Client: the address in our request, `None` once the peer has none. Server: the address that we assign.
    address: Option<Ipv4Addr>,
    /// Client: the peer has rejected the option.
    is_rejected: bool,
}

/// What a peer has given before: requested first, and forgotten once the peer refuses any of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// Our address.
    pub address: Ipv4Addr,
    /// Name servers, at most two; without any, none are requested.
    pub dns: Vec<Ipv4Addr>,
}

/// Our role.
#[derive(Clone, Debug)]
enum Side {
    Client { wanted: Ipv4Addr, dns: bool, wins: bool },
    Server { gives: Ipv4Addr },
}

/// IPCP's options.
#[derive(Debug)]
pub struct Ipcp {
    side: Side,
    given_before: Option<Given>,
    address: Ipv4Addr,
    /// Whether our request contains the address; the peer may reject a server's without harm.
    requests_address: bool,
    slots: [Slot; 4],
    peer: Option<Ipv4Addr>,
    refusal: Option<String>,
}

impl Ipcp {
    /// Creates the options of a client that requests `wanted` (unspecified: any address) and name servers.
    #[must_use]
    pub fn client(wanted: Ipv4Addr, dns: bool, wins: bool) -> Self {
        Self::new(Side::Client { wanted, dns, wins }, wanted, [&[], &[]])
    }

    /// Sets what the peer has given before.
    #[must_use]
    pub fn given_before(self, given_before: Option<Given>) -> Self {
        Self { given_before, ..self }
    }

    /// Creates the options of a server at `local` that assigns the client the address `gives` and these name
    /// servers (at most two of each).
    #[must_use]
    pub fn server(local: Ipv4Addr, gives: Ipv4Addr, dns: &[Ipv4Addr], wins: &[Ipv4Addr]) -> Self {
        Self::new(Side::Server { gives }, local, [dns, wins])
    }

    fn new(side: Side, address: Ipv4Addr, [dns, wins]: [&[Ipv4Addr]; 2]) -> Self {
        let [dns_first, dns_second] = option::DNS;
        let [wins_first, wins_second] = option::WINS;
        let slot =
            |kind, list: &[Ipv4Addr], at| Slot { kind, address: list.get(at).copied(), is_rejected: false };
        let slots = [
            slot(dns_first, dns, 0),
            slot(wins_first, wins, 0),
            slot(dns_second, dns, 1),
            slot(wins_second, wins, 1),
        ];
        Self { side, given_before: None, address, requests_address: true, slots, peer: None, refusal: None }
    }

    /// Returns our address, valid while IPCP is up.
    #[must_use]
    pub fn local(&self) -> Ipv4Addr {
        self.address
    }

    /// Returns the peer's address, if the peer sent one.
    #[must_use]
    pub fn peer(&self) -> Option<Ipv4Addr> {
        self.peer
    }

    /// Returns the usable name servers that the peer sent, without duplicates.
    #[must_use]
    pub fn dns(&self) -> Vec<Ipv4Addr> {
        self.usable_servers(option::DNS)
    }

    /// Returns the usable NBNS servers that the peer sent, without duplicates.
    #[must_use]
    pub fn wins(&self) -> Vec<Ipv4Addr> {
        self.usable_servers(option::WINS)
    }

    /// Returns why we get no address, once that is certain.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// Returns whether our request asks for what the peer has given before, and the peer has refused none of it.
    #[must_use]
    pub fn is_from_memory(&self) -> bool {
        self.given_before.is_some()
    }

    fn usable_servers(&self, kinds: [u8; 2]) -> Vec<Ipv4Addr> {
        let mut list = Vec::new();
        for slot in self.slots.iter().filter(|slot| kinds.contains(&slot.kind)) {
            if let Some(address) = slot.address.filter(|one| usable(*one) && !list.contains(one)) {
                list.push(address);
            }
        }
        list
    }

    fn refuse(&mut self, words: &str) {
        self.refusal.get_or_insert_with(|| words.to_owned());
    }

    fn slot(&mut self, kind: u8) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| slot.kind == kind)
    }

    fn nakked_address(&mut self, wish: Option<Ipv4Addr>) {
        let Side::Client { .. } = self.side else { return };
        match wish {
            Some(address) if usable(address) => self.address = address,
            Some(Ipv4Addr::UNSPECIFIED) => {
                self.refuse("the server answered with 0.0.0.0: it has no address to give")
            }
            Some(address) => self.refuse(&format!("the server gave {address}, which no host can have")),
            None => self.refuse("the server's answer was malformed"),
        }
    }

    fn judge_address(&self, option: RawOption<'_>, reply: &mut Reply) {
        let asked = address_in(option);
        match self.side {
            Side::Client { .. } => {
                if !asked.is_some_and(usable) {
                    reply.reject(option);
                }
            }
            Side::Server { gives } => {
                if asked != Some(gives) {
                    reply.nak(option, &gives.octets());
                }
            }
        }
    }

    fn judge_slot(&mut self, option: RawOption<'_>, reply: &mut Reply) {
        let asked = address_in(option);
        let given = match self.side {
            Side::Client { .. } => None,
            Side::Server { .. } => self.slot(option.kind).and_then(|slot| slot.address),
        };
        match given {
            None => reply.reject(option),
            Some(address) if asked == Some(address) => {}
            Some(address) => reply.nak(option, &address.octets()),
        }
    }
}

impl OptionSet for Ipcp {
    const NAME: &'static str = "IPCP";

    fn restart(&mut self) {
        if let Side::Client { wanted, dns, wins } = self.side {
            // After a renegotiation the same address is requested again: the server may still have it.
            if wanted != Ipv4Addr::UNSPECIFIED {
                self.address = wanted;
            }
            for slot in &mut self.slots {
                let ask = if option::DNS.contains(&slot.kind) { dns } else { wins };
                *slot = Slot { address: ask.then_some(Ipv4Addr::UNSPECIFIED), is_rejected: false, ..*slot };
            }
            if let Some(Given { address, dns }) = &self.given_before {
                self.address = *address;
                for (at, kind) in option::DNS.into_iter().enumerate() {
                    let slot = self.slots.iter_mut().find(|slot| slot.kind == kind);
                    if let Some(slot) = slot.filter(|slot| slot.address.is_some()) {
                        slot.address = dns.get(at).copied();
                    }
                }
            }
        }
        self.requests_address = true;
        self.peer = None;
        self.refusal = None;
    }

    fn request(&self, out: &mut Vec<u8>) {
        if self.requests_address {
            push(out, option::ADDRESS, &self.address.octets());
        }
        if let Side::Client { .. } = self.side {
            for slot in &self.slots {
                if let Some(address) = slot.address {
                    push(out, slot.kind, &address.octets());
                }
            }
        }
    }

    fn acked(&mut self) {
        if self.requests_address && !usable(self.address) {
            self.refuse("the server acknowledged 0.0.0.0");
        }
    }

    fn nakked(&mut self, options: Options<'_>, insists: bool) {
        self.given_before = None;
        for wish in options {
            let address = address_in(wish);
            if wish.kind == option::ADDRESS {
                self.nakked_address(address);
            } else if let Side::Client { .. } = self.side
                && let Some(slot) = self.slot(wish.kind)
                && !slot.is_rejected
            {
                // Also one that we have not requested: some peers require it.
                slot.address = address.filter(|one| *one != Ipv4Addr::UNSPECIFIED && !insists);
            }
        }
    }

    fn rejected(&mut self, options: Options<'_>) {
        let given_before = self.given_before.take();
        for option in options {
            if option.kind == option::ADDRESS && given_before.is_some() {
                // Only that address, perhaps: any other is requested once.
                self.address = match self.side {
                    Side::Client { wanted, .. } => wanted,
                    Side::Server { .. } => self.address,
                };
            } else if option.kind == option::ADDRESS {
                self.requests_address = false;
                if let Side::Client { .. } = self.side {
                    self.refuse("the server refuses to give an address");
                }
            } else if let Side::Client { .. } = self.side
                && let Some(slot) = self.slot(option.kind)
            {
                (slot.address, slot.is_rejected) = (None, true);
            }
        }
    }

    fn judge(&mut self, options: Options<'_>, reply: &mut Reply) {
        for option in options {
            match option.kind {
                option::ADDRESS => self.judge_address(option, reply),
                129..=132 => self.judge_slot(option, reply),
                _ => reply.reject(option),
            }
        }
        if let Side::Server { gives } = self.side
            && options.find(option::ADDRESS).is_none()
        {
            reply.suggest(option::ADDRESS, &gives.octets());
        }
    }

    fn accept(&mut self, options: Options<'_>) {
        self.peer = options.find(option::ADDRESS).and_then(address_in);
    }
}

/// Returns whether a host can have this address.
#[must_use]
pub fn usable(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    first != 0 && first < 224 && !address.is_loopback()
}

fn address_in(option: RawOption<'_>) -> Option<Ipv4Addr> {
    option.array::<4>().map(Ipv4Addr::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ppp::automaton::Verdict;

    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    fn client() -> Ipcp {
        let mut ipcp = Ipcp::client(Ipv4Addr::UNSPECIFIED, true, true);
        ipcp.restart();
        ipcp
    }

    fn list(options: &[(u8, [u8; 4])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (kind, address) in options {
            push(&mut out, *kind, address);
        }
        out
    }

    fn verdict(ipcp: &mut Ipcp, list: &[u8]) -> Verdict {
        let mut reply = Reply::new(true);
        ipcp.judge(Options::parse(list).unwrap(), &mut reply);
        reply.verdict()
    }

    #[test]
    fn client_takes_address_and_servers_from_nak() {
        let mut ipcp = client();
        let given = list(&[
            (3, CLIENT.octets()),
            (129, [8, 8, 8, 8]),
            (130, [10, 0, 0, 5]),
            (131, [8, 8, 8, 8]),
            (132, [0, 0, 0, 0]),
        ]);
        ipcp.nakked(Options::parse(&given).unwrap(), false);
        let mut out = Vec::new();
        ipcp.request(&mut out);
        assert_eq!(out, given[..24]);
        ipcp.acked();
        assert_eq!(ipcp.local(), CLIENT);
        assert_eq!(ipcp.dns(), [Ipv4Addr::new(8, 8, 8, 8)], "each once");
        assert_eq!(ipcp.wins(), [Ipv4Addr::new(10, 0, 0, 5)]);
        assert_eq!(ipcp.refusal(), None);
    }

    #[test]
    fn unusable_addresses_are_refused() {
        for address in [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 1], [255, 255, 255, 255], [0, 1, 2, 3]] {
            let mut ipcp = client();
            ipcp.nakked(Options::parse(&list(&[(3, address)])).unwrap(), false);
            assert!(ipcp.refusal().is_some(), "{address:?}");
            let mut ipcp = client();
            let requested = list(&[(3, address)]);
            assert_eq!(verdict(&mut ipcp, &requested), Verdict::Reject(requested.clone()));
        }
        // An unusable name server is left out, without harm.
        let mut ipcp = client();
        ipcp.nakked(Options::parse(&list(&[(129, [127, 0, 0, 1])])).unwrap(), false);
        assert!(ipcp.dns().is_empty() && ipcp.refusal().is_none());
    }

    #[test]
    fn client_explains_missing_address() {
        let mut ipcp = client();
        ipcp.rejected(Options::parse(&list(&[(3, [0; 4])])).unwrap());
        assert!(ipcp.refusal().unwrap().contains("refuses"));
        let mut ipcp = client();
        ipcp.acked();
        assert!(ipcp.refusal().unwrap().contains("acknowledged 0.0.0.0"));
        let mut ipcp = client();
        ipcp.rejected(
            Options::parse(&list(&[(129, [0; 4]), (130, [0; 4]), (131, [0; 4]), (132, [0; 4])])).unwrap(),
        );
        let mut out = Vec::new();
        ipcp.request(&mut out);
        assert_eq!(out, [3, 6, 0, 0, 0, 0], "name servers are optional");
        assert_eq!(ipcp.refusal(), None);
    }

    #[test]
    fn header_compression_and_old_options_are_rejected() {
        let vj = [2, 6, 0, 0x2D, 0x0F, 1];
        let old = [1, 10, 10, 0, 0, 1, 0, 0, 0, 0];
        let dns = [129, 6, 0, 0, 0, 0];
        for requested in [&vj[..], &old, &dns, &[4, 6, 1, 2, 3, 4], &[3, 5, 1, 2, 3]] {
            assert_eq!(verdict(&mut client(), requested), Verdict::Reject(requested.to_vec()));
        }
    }

    #[test]
    fn server_naks_other_addresses_than_its_own_choice() {
        let mut ipcp = Ipcp::server(SERVER, CLIENT, &[SERVER], &[]);
        ipcp.restart();
        assert_eq!(verdict(&mut ipcp, &[]), Verdict::Nak(list(&[(3, CLIENT.octets())])));
        assert_eq!(verdict(&mut ipcp, &list(&[(3, [0; 4])])), Verdict::Nak(list(&[(3, CLIENT.octets())])));
        assert_eq!(verdict(&mut ipcp, &list(&[(3, CLIENT.octets())])), Verdict::Ack);
        let two = list(&[(3, CLIENT.octets()), (129, [0; 4]), (131, [0; 4])]);
        assert_eq!(verdict(&mut ipcp, &two), Verdict::Reject(list(&[(131, [0; 4])])));
        let one = list(&[(3, CLIENT.octets()), (129, [0; 4])]);
        assert_eq!(verdict(&mut ipcp, &one), Verdict::Nak(list(&[(129, SERVER.octets())])));
        ipcp.rejected(Options::parse(&list(&[(3, SERVER.octets())])).unwrap());
        assert_eq!(ipcp.refusal(), None, "a client need not know our address");
    }
    #[test]
    fn what_was_given_before_is_requested_until_it_is_refused() {
        let before = Given { address: CLIENT, dns: vec![SERVER] };
        let again = || {
            let mut ipcp =
                Ipcp::client(Ipv4Addr::UNSPECIFIED, true, false).given_before(Some(before.clone()));
            ipcp.restart();
            ipcp
        };
        let written = |ipcp: &Ipcp| {
            let mut out = Vec::new();
            ipcp.request(&mut out);
            out
        };
        let all = list(&[(3, CLIENT.octets()), (129, SERVER.octets())]);
        let mut ipcp = again();
        assert_eq!(written(&ipcp), all);
        ipcp.acked();
        assert!(ipcp.is_from_memory() && ipcp.refusal().is_none());
        let mut ipcp = again();
        ipcp.nakked(Options::parse(&list(&[(3, [10, 0, 0, 9])])).unwrap(), false);
        assert_eq!(written(&ipcp)[..6], list(&[(3, [10, 0, 0, 9])]));
        assert!(!ipcp.is_from_memory());
        ipcp.restart();
        assert_eq!(written(&ipcp), list(&[(3, [10, 0, 0, 9]), (129, [0; 4]), (131, [0; 4])]), "forgotten");
        // A server that rejects this address may give another.
        let mut ipcp = again();
        ipcp.rejected(Options::parse(&all).unwrap());
        assert_eq!((written(&ipcp), ipcp.refusal()), (list(&[(3, [0; 4])]), None));
        ipcp.rejected(Options::parse(&list(&[(3, [0; 4])])).unwrap());
        assert!(ipcp.refusal().unwrap().contains("refuses"));
    }

    #[test]
    fn options_that_the_peer_requires_are_requested() {
        let mut ipcp = Ipcp::client(Ipv4Addr::UNSPECIFIED, true, false);
        ipcp.restart();
        ipcp.nakked(Options::parse(&list(&[(3, CLIENT.octets()), (130, [10, 0, 0, 5])])).unwrap(), false);
        let mut out = Vec::new();
        ipcp.request(&mut out);
        assert!(out.windows(6).any(|option| option == list(&[(130, [10, 0, 0, 5])])), "{out:?}");
        ipcp.rejected(Options::parse(&list(&[(130, [10, 0, 0, 5])])).unwrap());
        ipcp.nakked(Options::parse(&list(&[(130, [10, 0, 0, 5])])).unwrap(), false);
        assert!(ipcp.wins().is_empty(), "rejected once, it is not requested again");
    }
}
