//! Events of a link: milestones, and the one reason for its end.

use std::{fmt, net::Ipv4Addr, time::Duration};

use super::LinkDrop;
use crate::ppp::{
    auth::{AuthFailure, AuthProtocol},
    mppe::{MppeDrop, Strength},
};

/// A milestone. The order is `LcpUp`, `Authenticated`, `Encryption`, `Up`; any of them again after
/// `Renegotiating`; `Down` once, last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// LCP is open.
    LcpUp {
        /// The largest information field that the peer receives, in bytes.
        peer_mru: u16,
        /// Protocol of the authentication that follows; `None` if neither side demands one.
        auth: Option<AuthProtocol>,
    },
    /// The authentication succeeded, in both directions if the protocol is mutual.
    Authenticated {
        /// Protocol that was used.
        protocol: AuthProtocol,
        /// The peer's name (server: the user's name). Printable.
        peer_name: String,
        /// The server's message, if any. Printable.
        message: Option<String>,
    },
    /// Encryption was decided, or has changed: `None` for a link in clear. [`Link::mtu`](super::Link::mtu)
    /// may have changed with it.
    Encryption(Option<Mppe>),
    /// IP packets may pass. Repeated, perhaps with other values, after a renegotiation.
    Up(LinkUp),
    /// The answer to [`Link::probe`](super::Link::probe).
    PeerAnswered,
    /// The answer to [`Link::path_echo`](super::Link::path_echo) with this identifier.
    PathAnswered(u8),
    /// The peer has processed our last Configure-Ack, after `Up` ([`Link::is_confirmed`](super::Link::is_confirmed)).
    Confirmed,
    /// IPv6 packets may pass as well.
    Ipv6Up(InterfaceIds),
    /// IPv6 packets may no longer pass.
    Ipv6Down,
    /// The peer restarted a layer. No packets pass until the next `Up`.
    Renegotiating,
    /// The link has ended. No event follows.
    Down(DownReason),
}

/// Encryption of a link.
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
    /// Our identifier.
    pub local: [u8; 8],
    /// The peer's identifier.
    pub peer: [u8; 8],
}

/// Parameters of a link that is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkUp {
    /// Our address.
    pub local: Ipv4Addr,
    /// The peer's address; unspecified (0.0.0.0) if the peer sent none.
    pub peer: Ipv4Addr,
    /// Name servers, without duplicates, in the peer's order.
    pub dns: Vec<Ipv4Addr>,
    /// NBNS servers, likewise.
    pub wins: Vec<Ipv4Addr>,
    /// Set if IPV6CP opened first; otherwise [`LinkEvent::Ipv6Up`] may follow.
    pub ipv6: Option<InterfaceIds>,
    /// MTU for the tunnel device, in bytes.
    pub mtu: u16,
    /// Encryption, `None` for a link in clear.
    pub mppe: Option<Mppe>,
    /// Authentication protocol; `None` if neither side demanded one.
    pub auth: Option<AuthProtocol>,
}

/// Why a link ended. `Display` is a sentence for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DownReason {
    /// The peer did not agree on a link within the limit.
    LcpTimeout {
        /// Whether any frame arrived from the peer. If not, GRE is filtered somewhere.
        heard_anything: bool,
    },
    /// The two ends cannot agree on LCP; the text gives the cause.
    LcpRefused(String),
    /// The authentication failed.
    AuthFailed(AuthFailure),
    /// There is no authentication protocol that both sides accept.
    NoCommonAuth {
        /// What the peer offered, as text for the user.
        offered: String,
    },
    /// The peer demands no authentication, and the configuration does.
    NotAuthenticated,
    /// The peer gave up its demand, or the link, when we asked for a stronger protocol.
    WeakerAuthOnly {
        /// What it had demanded, which is acceptable.
        demanded: AuthProtocol,
        /// What we asked for.
        asked: AuthProtocol,
    },
    /// Required encryption is not available; the text gives the cause.
    EncryptionRefused(String),
    /// The peer did not agree on required encryption within the limit.
    EncryptionTimeout,
    /// The peer ended the negotiation of required encryption, and has refused nothing; the text is its message, if
    /// any. Printable.
    EncryptionEnded(String),
    /// The encryption of the link ended; a link that was encrypted does not go on in clear.
    EncryptionLost,
    /// The peer rejects the protocol of our data packets, and sends none itself.
    DataRejected,
    /// Data packets of the peer arrive, but none of them could be read.
    DataUnreadable {
        /// Number of packets.
        packets: u32,
        /// Time from the first of them to the last.
        lasted: Duration,
        /// Why the last one was dropped.
        last: LinkDrop,
    },
    /// No usable address; the text gives the cause.
    NoAddress(String),
    /// The peer ended the link; the text is its message, if any. Printable.
    PeerTerminated(String),
    /// The peer no longer answers Echo-Requests.
    EchoTimeout,
    /// The link is looped back: we receive our own packets.
    Looped,
    /// The tunnel below is gone.
    LowerLayerDown,
    /// The owner closed the link.
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
            Self::NotAuthenticated => f.write_str("the peer asks for no authentication"),
            Self::WeakerAuthOnly { demanded, asked } => {
                write!(
                    f,
                    "the peer asked for {demanded}, and for nothing when it was asked for {asked} instead"
                )
            }
            Self::EncryptionRefused(words) => write!(f, "no encryption: {words}"),
            Self::DataRejected => f.write_str("the peer rejects the packets in the tunnel (Protocol-Reject)"),
            Self::DataUnreadable { packets, lasted, last } => {
                let seconds = lasted.as_secs_f32();
                match last {
                    LinkDrop::ClearRefused => write!(
                        f,
                        "all {packets} packets of the last {seconds:.1} s came unencrypted, which this profile does not accept"
                    ),
                    LinkDrop::EncryptedUnexpected => write!(
                        f,
                        "all {packets} packets of the last {seconds:.1} s came encrypted, although no encryption was agreed on"
                    ),
                    LinkDrop::Mppe(MppeDrop::AwaitingReset) => write!(
                        f,
                        "{packets} packets came within {seconds:.1} s, and none of them could be decrypted: packets were lost, and the peer does not answer our CCP Reset-Requests"
                    ),
                    other => write!(
                        f,
                        "{packets} packets came within {seconds:.1} s, and none of them could be decrypted (the last: {other}); probably the two ends no longer have the same key"
                    ),
                }
            }
            Self::EncryptionTimeout => f.write_str("the peer did not agree on encryption in time"),
            Self::EncryptionEnded(words) if words.is_empty() => {
                f.write_str("the peer ended the negotiation of encryption")
            }
            Self::EncryptionEnded(words) => {
                write!(f, "the peer ended the negotiation of encryption: {words}")
            }
            Self::EncryptionLost => {
                f.write_str("the encryption ended, and unencrypted packets are not allowed")
            }
            Self::NoAddress(words) => write!(f, "no address: {words}"),
            Self::PeerTerminated(words) if words.is_empty() => f.write_str("the peer ended the link"),
            Self::PeerTerminated(words) => write!(f, "the peer ended the link: {words}"),
            Self::EchoTimeout => f.write_str("the peer does not answer any more"),
            Self::Looped => f.write_str("the link is looped back: we receive our own packets"),
            Self::LowerLayerDown => f.write_str("the connection below the link ended"),
            Self::Closed => f.write_str("closed"),
        }
    }
}

impl std::error::Error for DownReason {}
