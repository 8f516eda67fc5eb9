//! Counters and drop reasons of a flow, under the names that pptp(8) uses in its statistics.

use std::{fmt, time::Duration};

use crate::pptp::gre::GreDrop;

/// Why a packet was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// Not a valid PPTP packet.
    Gre(GreDrop),
    /// For another call: a raw socket receives the packets of every tunnel to the same server.
    WrongCall,
    /// Already received.
    Duplicate,
    /// Too late: later packets have been delivered.
    UnderWindow,
    /// Too far ahead to be accepted, unless more such packets follow.
    OverWindow,
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gre(gre) => gre.fmt(f),
            Self::WrongCall => f.write_str("packet of another call"),
            Self::Duplicate => f.write_str("duplicate packet"),
            Self::UnderWindow => f.write_str("packet too late"),
            Self::OverWindow => f.write_str("packet too far ahead"),
        }
    }
}

/// Counts since the call came up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowCounters {
    /// Packets delivered, empty ones included.
    pub rx_accepted: u64,
    /// Sequence numbers given up as lost.
    pub rx_lost: u64,
    /// Packets dropped as too late.
    pub rx_under_window: u64,
    /// Packets dropped as too far ahead.
    pub rx_over_window: u64,
    /// Packets that were buffered behind a gap.
    pub rx_buffered: u64,
    /// Packets dropped as duplicates.
    pub rx_duplicate: u64,
    /// Packets dropped because their payload is cut short.
    pub rx_truncated: u64,
    /// Packets dropped because their header is cut short.
    pub rx_short_header: u64,
    /// Packets dropped for their GRE version.
    pub rx_version: u64,
    /// Packets dropped because they do not carry PPP.
    pub rx_protocol: u64,
    /// Packets dropped because they have no key.
    pub rx_no_key: u64,
    /// Packets dropped for forbidden flags.
    pub rx_flags: u64,
    /// Packets dropped because their payload has no sequence number.
    pub rx_no_sequence: u64,
    /// Packets of other calls.
    pub rx_wrong_call: u64,
    /// Packets with a sequence number and no payload, not delivered.
    pub rx_empty: u64,
    /// Acknowledgements received, alone or with data.
    pub rx_acks: u64,
    /// Acknowledgements of packets that were never sent, ignored.
    pub rx_acks_invalid: u64,
    /// Times that the peer was assumed to have restarted its sequence numbers.
    pub rx_restarts: u64,
    /// Missing packets that arrived before they were given up.
    pub rx_repaired: u64,
    /// Data packets for which a header was written.
    pub tx_sent: u64,
    /// Acknowledgements sent without data.
    pub tx_acks: u64,
    /// Times that the peer's window became full; only if it is obeyed.
    pub tx_window_full: u64,
    /// Payloads too long for GRE.
    pub tx_oversize: u64,
    /// Time from the last timed packet to its acknowledgement, which the peer may delay.
    pub round_trip: Option<Duration>,
}

impl FlowCounters {
    /// Returns every counter with its label.
    #[must_use]
    pub const fn named(&self) -> [(&'static str, u64); 23] {
        [
            ("rx_accepted", self.rx_accepted),
            ("rx_lost", self.rx_lost),
            ("rx_under_window", self.rx_under_window),
            ("rx_over_window", self.rx_over_window),
            ("rx_buffered", self.rx_buffered),
            ("rx_duplicate", self.rx_duplicate),
            ("rx_truncated", self.rx_truncated),
            ("rx_short_header", self.rx_short_header),
            ("rx_version", self.rx_version),
            ("rx_protocol", self.rx_protocol),
            ("rx_no_key", self.rx_no_key),
            ("rx_flags", self.rx_flags),
            ("rx_no_sequence", self.rx_no_sequence),
            ("rx_wrong_call", self.rx_wrong_call),
            ("rx_empty", self.rx_empty),
            ("rx_acks", self.rx_acks),
            ("rx_acks_invalid", self.rx_acks_invalid),
            ("rx_restarts", self.rx_restarts),
            ("rx_repaired", self.rx_repaired),
            ("tx_sent", self.tx_sent),
            ("tx_acks", self.tx_acks),
            ("tx_window_full", self.tx_window_full),
            ("tx_oversize", self.tx_oversize),
        ]
    }

    /// Returns the packets dropped as not PPTP's, which pptp(8) counts as "invalid".
    #[must_use]
    pub const fn rx_invalid(&self) -> u64 {
        self.rx_short_header
            + self.rx_version
            + self.rx_protocol
            + self.rx_no_key
            + self.rx_flags
            + self.rx_no_sequence
    }

    pub(super) const fn count(&mut self, drop: DropReason) {
        let counter = match drop {
            DropReason::Gre(GreDrop::ShortHeader) => &mut self.rx_short_header,
            DropReason::Gre(GreDrop::Truncated) => &mut self.rx_truncated,
            DropReason::Gre(GreDrop::Version) => &mut self.rx_version,
            DropReason::Gre(GreDrop::Protocol) => &mut self.rx_protocol,
            DropReason::Gre(GreDrop::NoKey) => &mut self.rx_no_key,
            DropReason::Gre(GreDrop::Flags) => &mut self.rx_flags,
            DropReason::Gre(GreDrop::NoSequence) => &mut self.rx_no_sequence,
            DropReason::WrongCall => &mut self.rx_wrong_call,
            DropReason::Duplicate => &mut self.rx_duplicate,
            DropReason::UnderWindow => &mut self.rx_under_window,
            DropReason::OverWindow => &mut self.rx_over_window,
        };
        *counter += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_packets_are_those_that_are_not_of_pptp() {
        let mut counters = FlowCounters::default();
        let invalid = [
            GreDrop::ShortHeader,
            GreDrop::Version,
            GreDrop::Protocol,
            GreDrop::NoKey,
            GreDrop::Flags,
            GreDrop::NoSequence,
        ];
        for (at, drop) in (1..).zip(invalid) {
            counters.count(DropReason::Gre(drop));
            assert_eq!(counters.rx_invalid(), at, "{drop:?}");
        }
        for drop in [
            DropReason::Gre(GreDrop::Truncated),
            DropReason::WrongCall,
            DropReason::Duplicate,
            DropReason::UnderWindow,
            DropReason::OverWindow,
        ] {
            counters.count(drop);
            assert_eq!(counters.rx_invalid(), 6, "{drop:?}");
        }
    }
}
