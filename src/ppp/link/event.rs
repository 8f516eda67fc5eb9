//! What a link reports: milestones, and the one reason for which it ends.

use std::{fmt, net::Ipv4Addr};

use crate::ppp::{
    auth::{AuthFailure, AuthProtocol},
    mppe::Strength,
};

/// A milestone. In the order in which they come: `LcpUp`, `Authenticated`, `Encryption`, `Up`; then any of them again
/// after `Renegotiating`; `Down` once, last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// LCP is open.
    LcpUp {
        /// The largest information field that the peer receives, in bytes.
        peer_mru: u16,
        /// What the authentication that follows will speak; `None` if nobody asks for one.
        auth: Option<AuthProtocol>,
    },
    /// The authentication went well, for both sides where the protocol has two.
    Authenticated {
        /// What was spoken.
        protocol: AuthProtocol,
        /// What the peer calls itself (server: the user's name). Printable.
        peer_name: String,
        /// What the server said about it. Printable.
        message: Option<String>,
    },
    /// Encryption is decided, or has changed: `None` for a link in clear. [`Link::mtu`](super::Link::mtu) may have
    /// changed with it.
    Encryption(Option<Mppe>),
    /// IP packets may flow. Comes again, maybe with other values, after a renegotiation.
    Up(LinkUp),
    /// The answer to [`Link::probe`](super::Link::probe).
    PeerAnswered,
    /// IPv6 packets may flow as well.
    Ipv6Up(InterfaceIds),
    /// IPv6 packets may not flow any more.
    Ipv6Down,
    /// The peer started a layer over. Nothing flows until the next `Up`.
    Renegotiating,
    /// The end; nothing comes after it.
    Down(DownReason),
}

/// How a link is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mppe {
    /// The weaker of the two directions.
    pub strength: Strength,
    /// Whether either direction is stateful.
    pub stateful: bool,
}

/// Interface identifiers for fe80::/64 (RFC 5072 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceIds {
    /// Ours.
    pub local: [u8; 8],
    /// The peer's.
    pub peer: [u8; 8],
}

/// What a link that is up consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkUp {
    /// Our address.
    pub local: Ipv4Addr,
    /// The peer's address; unspecified (0.0.0.0) when it did not say.
    pub peer: Ipv4Addr,
    /// Name servers, without duplicates, in the peer's order.
    pub dns: Vec<Ipv4Addr>,
    /// NBNS servers, likewise.
    pub wins: Vec<Ipv4Addr>,
    /// Set if IPV6CP has been quicker; otherwise [`LinkEvent::Ipv6Up`] may follow.
    pub ipv6: Option<InterfaceIds>,
    /// For the tunnel device, in bytes.
    pub mtu: u16,
    /// Encryption, `None` for a link in clear.
    pub mppe: Option<Mppe>,
    /// How the authentication was done; `None` if nobody asked.
    pub auth: Option<AuthProtocol>,
}

/// Why a link ended. `Display` is a sentence for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DownReason {
    /// The peer did not agree on a link within the limit.
    LcpTimeout {
        /// Whether any frame at all came from the peer. If not, GRE is filtered somewhere.
        heard_anything: bool,
    },
    /// The two ends cannot agree on LCP.
    LcpRefused(String),
    /// The authentication went wrong.
    AuthFailed(AuthFailure),
    /// No authentication protocol that both sides accept.
    NoCommonAuth {
        /// What the peer offered, for a person.
        offered: String,
    },
    /// The encryption that was asked for cannot be had; the words say why.
    EncryptionRefused(String),
    /// The encryption of a link that was up ended, and going on in clear is out of the question.
    EncryptionLost,
    /// No usable address; the words say why.
    NoAddress(String),
    /// The peer ended the link, maybe saying why. Printable.
    PeerTerminated(String),
    /// The peer does not answer any more.
    EchoTimeout,
    /// We hear ourselves.
    Looped,
    /// The tunnel below went away.
    LowerLayerDown,
    /// We were told to close.
    Closed,
}

impl fmt::Display for Mppe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.strength, if self.stateful { "stateful" } else { "stateless" })
    }
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LcpTimeout { heard_anything: false } => {
                f.write_str("nothing at all came back through the tunnel (is GRE, IP protocol 47, filtered?)")
            }
            Self::LcpTimeout { heard_anything: true } => {
                f.write_str("the peer did not agree on a link in time")
            }
            Self::LcpRefused(words) => write!(f, "no agreement on the link: {words}"),
            Self::AuthFailed(failure) => {
                write!(f, "authentication failed: {failure}")?;
                if failure.message.is_empty() {
                    Ok(())
                } else {
                    write!(f, "; the peer says: {}", failure.message)
                }
            }
            Self::NoCommonAuth { offered } => {
                write!(f, "no authentication protocol in common: the peer offered {offered}")
            }
            Self::EncryptionRefused(words) => write!(f, "no encryption: {words}"),
            Self::EncryptionLost => f.write_str("the encryption ended, and nothing may travel in clear"),
            Self::NoAddress(words) => write!(f, "no address: {words}"),
            Self::PeerTerminated(words) if words.is_empty() => f.write_str("the peer ended the link"),
            Self::PeerTerminated(words) => write!(f, "the peer ended the link: {words}"),
            Self::EchoTimeout => f.write_str("the peer does not answer any more"),
            Self::Looped => f.write_str("the link is looped back: we hear only ourselves"),
            Self::LowerLayerDown => f.write_str("the tunnel below the link went away"),
            Self::Closed => f.write_str("closed"),
        }
    }
}

impl std::error::Error for DownReason {}
