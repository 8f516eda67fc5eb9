//! Messages between supervisor and engine, and how strictly the supervisor validates them.
//!
//! The engine parses everything that comes from the wire, so the supervisor treats its messages as untrusted
//! input: bounded sizes, known fields only, valid addresses, texts without control characters. A message that
//! breaks a rule ends the engine.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

pub use crate::net::sanitize::plain;
use crate::net::sanitize::{is_host, is_plain, visible};

use super::spec::Spec;
use crate::failure::{Failure, Phase};

/// Maximum number of routes that a server may offer.
pub const MAX_ROUTES: usize = 64;

/// A message from the supervisor to the engine.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ToEngine {
    /// Start. The message carries the descriptors of TCP, GRE and tun; the password follows in a message that
    /// is not JSON.
    Start(Box<Spec>),
    /// Shut down gracefully, then send [`FromEngine::Down`].
    Stop,
    /// Answer with [`FromEngine::Statistics`].
    Query,
    /// Answer with [`FromEngine::Alive`].
    Alive,
    /// Write what passes to the socket that the message carries, for `pptpctl capture`; before [`ToEngine::Start`], or
    /// later.
    Capture {
        /// Whether IP packets of the tunnel are captured, too.
        inner: bool,
    },
    /// The answer to [`FromEngine::Attach`]: the channel has the call, and the unit has the channel.
    Attached,
    /// The network under the tunnel may have changed: check at once whether the server still answers, and end
    /// if it does not.
    Probe,
}

/// A message from the engine to the supervisor.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum FromEngine {
    /// A phase has begun.
    Phase {
        /// The phase that begins.
        phase: Phase,
        /// How the previous phase ended, for the user; may be empty.
        detail: String,
    },
    /// What the server has offered so far; sent again whenever that changes.
    Offers(Offers),
    /// The call is up: the kernel can begin its part, with the server's call id.
    Attach(u16),
    /// The link is up; it carries packets once this host is configured for it.
    Up(LinkUp),
    /// What the path carries was found to differ from what was assumed.
    PathMtu(PathMtu),
    /// A search of the path's MTU has ended; the size came before, if it was not the one that was assumed.
    PathSearched(PathSearchEnd),
    /// The answer to [`ToEngine::Query`].
    Statistics(Statistics),
    /// The answer to [`ToEngine::Alive`].
    Alive,
    /// The engine runs without a filter of system calls, for this reason.
    Unfiltered(String),
    /// The session has ended; the last message.
    Down(Failure),
}

/// The negotiated parameters of a link: everything that the steps on this host need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkUp {
    /// Our address (RFC 1332 §3.3).
    pub local: Ipv4Addr,
    /// The peer's address; 0.0.0.0 if it sent none.
    pub peer: Ipv4Addr,
    /// Resolvers that the peer sent (RFC 1877), at most two.
    pub dns: Vec<Ipv4Addr>,
    /// WINS servers that the peer sent, at most two.
    pub wins: Vec<Ipv4Addr>,
    /// Our IPv6 interface identifier and the peer's (RFC 5072), when IPV6CP opened.
    pub ipv6: Option<(u64, u64)>,
    /// The largest IP packet, in bytes, that may enter the tunnel.
    pub mtu: u16,
    /// Our MRU, to which the peer has agreed; 1500 without the option, in bytes. `None` of an external PPP.
    pub mru: Option<u16>,
    /// `MPPE 128-bit stateless`, or `none`.
    pub encryption: String,
    /// `MS-CHAPv2`, or `none`.
    pub authentication: String,
    /// Routes that the server offers (RFC 3442); `None` if it was not asked or did not answer.
    pub routes: Option<Vec<Ipv4Net>>,
}

/// The size of packets that the path to the server carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathMtu {
    /// The MTU for the tunnel device, in bytes.
    pub mtu: u16,
    /// A sentence for log and status; empty if the path carries all that the link does.
    pub warning: String,
}

/// How a search of the path's MTU ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathSearchEnd {
    /// The server has received packets of the full size.
    Full,
    /// Longer packets are lost.
    Limited,
    /// The server does not answer echoes above a size, and nothing shows whether they are lost.
    Unanswered,
    /// The server answered no echo that tells anything about sizes.
    Unknown,
}

/// What a server has offered in the negotiation, accepted or not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offers {
    /// Authentication protocols, at most 8, in the order in which they were proposed.
    pub auth: Vec<String>,
    /// Strengths of MPPE; `None` if CCP has not begun or has no such option.
    pub mppe: Option<String>,
}

/// Counters and resource usage of a running engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statistics {
    /// Name and value; the name of a drop counter gives the reason.
    pub counters: Vec<(String, u64)>,
    /// CPU time of the engine in microseconds, user and system.
    pub cpu_micros: (u64, u64),
    /// Voluntary context switches of the engine, a measure of its wake-ups.
    pub sleeps: u64,
    /// Round trip of the last LCP Echo that was timed, in microseconds.
    pub round_trip_micros: Option<u64>,
}

impl LinkUp {
    /// Checks the parameters.
    ///
    /// # Errors
    /// Returns the first rule that is broken.
    pub fn check(&self) -> Result<(), &'static str> {
        if !is_host(self.local) {
            return Err("our address is not valid for a host");
        }
        // Some servers send no address of their own; a point-to-point device works without one.
        if !is_host(self.peer) && !self.peer.is_unspecified() {
            return Err("the peer's address is not valid for a host");
        }
        if self.dns.len() > 2 || self.wins.len() > 2 {
            return Err("too many name servers");
        }
        if !self.dns.iter().chain(&self.wins).all(|address| is_host(*address)) {
            return Err("a name server's address is not valid for a host");
        }
        if !(68..=1500).contains(&self.mtu) {
            return Err("an MTU outside 68 to 1500");
        }
        if !is_plain(&self.encryption) || !is_plain(&self.authentication) {
            return Err("a text with control characters");
        }
        let routes = self.routes.as_deref().unwrap_or_default();
        if routes.len() > MAX_ROUTES || !routes.iter().all(|route| is_acceptable_route(*route)) {
            return Err("routes that no server may offer, or too many");
        }
        Ok(())
    }
}

/// Returns whether a server may offer this route: to a network or a host, but not the default route (the
/// profile's `default` is for that) nor an address that is never routed beyond the host or its link.
#[must_use]
pub fn is_acceptable_route(route: Ipv4Net) -> bool {
    let address = route.network();
    route == route.trunc()
        && route.prefix_len() >= 8
        && !address.is_loopback()
        && !address.is_link_local()
        && (1..224).contains(&address.octets()[0])
}

impl FromEngine {
    /// Replaces characters of its texts that are invisible or change the order of others: servers write some of them.
    fn make_visible(&mut self) {
        let texts: Vec<&mut String> = match self {
            Self::Phase { detail, .. } => vec![detail],
            Self::Offers(offers) => offers.auth.iter_mut().chain(&mut offers.mppe).collect(),
            Self::Up(link) => vec![&mut link.encryption, &mut link.authentication],
            Self::PathMtu(path) => vec![&mut path.warning],
            Self::Unfiltered(why) => vec![why],
            Self::Down(failure) => std::iter::once(&mut failure.detail).chain(&mut failure.hints).collect(),
            Self::Statistics(_) | Self::PathSearched(_) | Self::Attach(_) | Self::Alive => Vec::new(),
        };
        for text in texts {
            *text = visible(text);
        }
    }

    /// Parses and checks one message from the engine.
    ///
    /// # Errors
    /// Returns the broken rule; the caller must then end the engine.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut message: Self = serde_json::from_slice(bytes).map_err(|error| plain(&error.to_string()))?;
        message.make_visible();
        let sound = match &message {
            Self::Phase { detail, .. } => is_plain(detail),
            Self::Offers(offers) => {
                offers.auth.len() <= 8 && offers.auth.iter().chain(&offers.mppe).all(|words| is_plain(words))
            }
            Self::Up(link) => return link.check().map(|()| message).map_err(str::to_owned),
            Self::PathSearched(_) | Self::Attach(_) | Self::Alive => true,
            Self::Unfiltered(why) => is_plain(why),
            Self::PathMtu(PathMtu { mtu, warning }) => (68..=1500).contains(mtu) && is_plain(warning),
            Self::Statistics(statistics) => {
                statistics.counters.len() <= 256
                    && statistics.counters.iter().all(|(name, _)| is_plain(name) && name.len() <= 64)
            }
            Self::Down(failure) => {
                is_plain(&failure.detail)
                    && failure.hints.len() <= 8
                    && failure.hints.iter().all(|h| is_plain(h))
            }
        };
        if sound { Ok(message) } else { Err("a text that is too long or has control characters".to_owned()) }
    }
}

#[cfg(any(feature = "fuzzing", test))]
pub mod fuzz;
#[cfg(test)]
mod properties;

#[cfg(test)]
impl LinkUp {
    /// Returns a link with TEST-NET addresses.
    pub fn example() -> Self {
        Self {
            local: Ipv4Addr::new(192, 0, 2, 10),
            peer: Ipv4Addr::new(192, 0, 2, 1),
            dns: vec![Ipv4Addr::new(192, 0, 2, 53)],
            wins: Vec::new(),
            ipv6: None,
            mtu: 1396,
            mru: None,
            encryption: "MPPE 128-bit stateless".into(),
            authentication: "MS-CHAPv2".into(),
            routes: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{failure::FailureKind, net::sanitize::MAX_TEXT_LENGTH};

    fn round_trip(message: &FromEngine) -> Result<FromEngine, String> {
        FromEngine::parse(&serde_json::to_vec(message).unwrap())
    }

    #[test]
    fn valid_link_is_accepted() {
        assert!(
            matches!(round_trip(&FromEngine::Up(LinkUp::example())), Ok(FromEngine::Up(link)) if link == LinkUp::example())
        );
    }

    #[test]
    fn invalid_link_parameters_are_refused() {
        let example = LinkUp::example();
        for address in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "0.1.2.3"] {
            let local = address.parse().unwrap();
            assert!(round_trip(&FromEngine::Up(LinkUp { local, ..example.clone() })).is_err(), "{address}");
            assert!(round_trip(&FromEngine::Up(LinkUp { dns: vec![local], ..example.clone() })).is_err());
        }
        for mtu in [0, 67, 1501, u16::MAX] {
            assert!(round_trip(&FromEngine::Up(LinkUp { mtu, ..example.clone() })).is_err(), "{mtu}");
        }
        let many = vec![example.local; 3];
        assert!(round_trip(&FromEngine::Up(LinkUp { dns: many, ..example.clone() })).is_err());
        assert!(round_trip(&FromEngine::Up(LinkUp { encryption: "\x1b[2J".into(), ..example })).is_err());
    }

    #[test]
    fn disallowed_routes_are_refused() {
        let up = |routes: Vec<Ipv4Net>| {
            round_trip(&FromEngine::Up(LinkUp { routes: Some(routes), ..LinkUp::example() }))
        };
        for route in [
            "0.0.0.0/0",
            "0.0.0.0/8",
            "10.0.0.0/7",
            "10.0.0.1/8",
            "127.0.0.0/8",
            "127.0.0.53/32",
            "169.254.7.0/24",
            "224.0.0.0/8",
            "255.255.255.255/32",
        ] {
            assert!(up(vec![route.parse().unwrap()]).is_err(), "{route}");
        }
        let hosts =
            |count: u8| (0..count).map(|n| Ipv4Net::from(Ipv4Addr::new(10, 0, 0, n))).collect::<Vec<_>>();
        assert!(up(hosts(64)).is_ok() && up(hosts(65)).is_err() && up(Vec::new()).is_ok());
    }

    #[test]
    fn control_characters_and_long_texts_are_refused() {
        for text in ["a\nb".to_owned(), "\x07".to_owned(), "x".repeat(MAX_TEXT_LENGTH + 1)] {
            let down = FromEngine::Down(Failure::new(Phase::Lcp, FailureKind::LcpFailed, text.clone()));
            assert!(round_trip(&down).is_err());
            assert!(round_trip(&FromEngine::Phase { phase: Phase::Lcp, detail: text.clone() }).is_err());
            assert!(round_trip(&FromEngine::Phase { phase: Phase::Lcp, detail: plain(&text) }).is_ok());
        }
    }

    #[test]
    fn unknown_messages_and_fields_are_refused() {
        assert!(FromEngine::parse(br#"{"run":"sh"}"#).is_err());
        assert!(FromEngine::parse(br#"{"phase":{"phase":"lcp","detail":"","more":1}}"#).is_err());
        assert!(FromEngine::parse(b"").is_err());
    }

    #[test]
    fn refusal_reason_is_plain_text() {
        let long = format!("{{\"{}\":1}}", "x".repeat(10_000));
        for message in [r#"{"\u001b]0;owned\u0007":1}"#, long.as_str()] {
            let reason = FromEngine::parse(message.as_bytes()).unwrap_err();
            assert!(is_plain(&reason), "{reason:?}");
        }
    }

    #[test]
    fn plain_truncates_between_characters() {
        let cut = plain(&"ü".repeat(MAX_TEXT_LENGTH));
        assert!(cut.len() <= MAX_TEXT_LENGTH && cut.chars().all(|c| c == 'ü'));
    }
}
