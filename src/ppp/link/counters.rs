//! Counters of a link: every reason for a drop has a name and a counter.

use std::{fmt, time::Duration};

use crate::ppp::{auth::AuthDrop, automaton::PacketDrop, mppe::MppeDrop, wire::FrameError};

/// Why a frame or a packet was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkDrop {
    /// Received: the frame ends before its protocol number does.
    ShortFrame,
    /// Received: the protocol field is impossible (RFC 1661 §2).
    BadProtocolField,
    /// Received: a control packet with an impossible length.
    MalformedPacket,
    /// Received: an option list that is cut or has an impossible length.
    BadOptions,
    /// Received: a reply to no request of ours, or one that does not match it.
    UnmatchedReply,
    /// Received: a protocol that is not allowed in the present phase (RFC 1661 §3).
    WrongPhase,
    /// Received: a protocol that is not supported; a Protocol-Reject was sent.
    UnknownProtocol,
    /// Received: an address negotiation before the peer has begun to negotiate required encryption. The last request
    /// is kept and answered later.
    BeforeEncryption,
    /// Received: IP in clear, where only encrypted packets are accepted.
    ClearRefused,
    /// Received: an encrypted packet without agreed keys.
    EncryptedUnexpected,
    /// Received: an encrypted packet that could not be decrypted.
    Mppe(MppeDrop),
    /// Received: a decrypted packet that is not IP.
    NotIp,
    /// Received or to be sent: empty, or not of the expected IP version.
    BadIp,
    /// Received: an authentication packet that was not accepted.
    Auth(AuthDrop),
    /// To be sent: the link is not up, or this version of IP is not.
    NotUp,
    /// To be sent: encryption is being negotiated, and nothing leaves in clear.
    EncryptionPending,
    /// To be sent: larger than the MTU.
    TooBig,
    /// To be sent: the caller's buffer is too small.
    NoRoom,
    /// To be sent: a control frame, while too many wait to be fetched.
    QueueFull,
    /// Either: the link has ended.
    Ended,
}

/// Counters of a link since it was created.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// IP packets received.
    pub received_packets: u64,
    /// Bytes in the IP packets received.
    pub received_bytes: u64,
    /// IP packets framed for sending.
    pub sent_packets: u64,
    /// Bytes in the IP packets framed for sending.
    pub sent_bytes: u64,
    /// Control frames received and handled.
    pub received_control: u64,
    /// Control frames sent.
    pub sent_control: u64,
    /// LCP Echo-Requests sent.
    pub echoes_sent: u64,
    /// LCP Echo-Replies received to them.
    pub echoes_answered: u64,
    /// LCP Configure-Requests received, repeated ones included.
    pub lcp_requests: u64,
    /// LCP Configure-Acks, Naks and Rejects received.
    pub lcp_replies: u64,
    /// How often the peer has renegotiated the link.
    pub renegotiations: u64,
    /// CCP Reset-Requests sent.
    pub resets_sent: u64,
    /// Time from the last short Echo-Request to its Echo-Reply.
    pub round_trip: Option<Duration>,
    drops: DropCounts,
}

/// One counter for each reason, in the order of [`LinkDrop::all`].
#[derive(Clone, Debug, PartialEq, Eq)]
struct DropCounts([u64; LinkDrop::COUNT]);

impl Default for DropCounts {
    fn default() -> Self {
        Self([0; LinkDrop::COUNT])
    }
}

impl LinkCounters {
    /// Returns all reasons with their counters, for metrics.
    pub fn drops(&self) -> impl Iterator<Item = (LinkDrop, u64)> + '_ {
        LinkDrop::all().zip(self.drops.0.iter().copied())
    }

    pub(super) fn drop(&mut self, reason: LinkDrop) -> LinkDrop {
        if let Some(count) = self.drops.0.get_mut(reason.index()) {
            *count = count.saturating_add(1);
        }
        reason
    }
}

impl LinkDrop {
    const PLAIN: [Self; 18] = [
        Self::ShortFrame,
        Self::BadProtocolField,
        Self::MalformedPacket,
        Self::BadOptions,
        Self::UnmatchedReply,
        Self::WrongPhase,
        Self::UnknownProtocol,
        Self::BeforeEncryption,
        Self::ClearRefused,
        Self::EncryptedUnexpected,
        Self::NotIp,
        Self::BadIp,
        Self::NotUp,
        Self::EncryptionPending,
        Self::TooBig,
        Self::NoRoom,
        Self::QueueFull,
        Self::Ended,
    ];

    const COUNT: usize = Self::PLAIN.len() + MppeDrop::ALL.len() + AuthDrop::ALL.len();

    /// Returns every reason.
    pub fn all() -> impl Iterator<Item = Self> {
        let mppe = MppeDrop::ALL.into_iter().map(Self::Mppe);
        let auth = AuthDrop::ALL.into_iter().map(Self::Auth);
        Self::PLAIN.into_iter().chain(mppe).chain(auth)
    }

    /// Returns whether the reason is part of normal operation and costs no packet: a reply to a request that was
    /// repeated meanwhile, and a request that is answered later.
    #[must_use]
    pub const fn is_harmless(self) -> bool {
        matches!(self, Self::UnmatchedReply | Self::BeforeEncryption)
    }

    /// Returns the reason's name as a metrics label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::ShortFrame => "short_frame",
            Self::BadProtocolField => "bad_protocol_field",
            Self::MalformedPacket => "malformed_packet",
            Self::BadOptions => "bad_options",
            Self::UnmatchedReply => "unmatched_reply",
            Self::WrongPhase => "wrong_phase",
            Self::UnknownProtocol => "unknown_protocol",
            Self::BeforeEncryption => "before_encryption",
            Self::ClearRefused => "clear_refused",
            Self::EncryptedUnexpected => "encrypted_unexpected",
            Self::Mppe(reason) => reason.label(),
            Self::NotIp => "not_ip",
            Self::BadIp => "bad_ip",
            Self::Auth(reason) => reason.label(),
            Self::NotUp => "not_up",
            Self::EncryptionPending => "encryption_pending",
            Self::TooBig => "too_big",
            Self::NoRoom => "no_room",
            Self::QueueFull => "queue_full",
            Self::Ended => "ended",
        }
    }

    fn index(self) -> usize {
        Self::all().position(|one| one == self).unwrap_or(0)
    }
}

impl fmt::Display for LinkDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

impl From<FrameError> for LinkDrop {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Short => Self::ShortFrame,
            FrameError::Protocol => Self::BadProtocolField,
        }
    }
}

impl From<PacketDrop> for LinkDrop {
    fn from(why: PacketDrop) -> Self {
        match why {
            PacketDrop::Malformed => Self::MalformedPacket,
            PacketDrop::BadOptions => Self::BadOptions,
            PacketDrop::Unmatched => Self::UnmatchedReply,
            PacketDrop::NotReady => Self::WrongPhase,
        }
    }
}

#[cfg(test)]
impl LinkCounters {
    /// Returns how often this reason has occurred.
    pub fn dropped(&self, reason: LinkDrop) -> u64 {
        self.drops.0.get(reason.index()).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// They count as `ignored`, not as dropped packets.
    #[test]
    fn drops_that_cost_no_packet_are_harmless() {
        let harmless: Vec<&str> =
            LinkDrop::all().filter(|reason| reason.is_harmless()).map(LinkDrop::label).collect();
        assert_eq!(harmless, ["unmatched_reply", "before_encryption"]);
    }

    #[test]
    fn drop_reasons_have_unique_index_and_label() {
        let all: Vec<_> = LinkDrop::all().collect();
        assert_eq!(all.len(), LinkDrop::COUNT);
        for (at, reason) in all.iter().enumerate() {
            assert_eq!(reason.index(), at);
            assert!(all.iter().skip(at + 1).all(|other| other.label() != reason.label()), "{reason}");
        }
        let mut counters = LinkCounters::default();
        counters.drop(LinkDrop::Mppe(MppeDrop::Late));
        assert_eq!(counters.dropped(LinkDrop::Mppe(MppeDrop::Late)), 1);
        assert_eq!(counters.drops().map(|(_, count)| count).sum::<u64>(), 1);
    }
}
