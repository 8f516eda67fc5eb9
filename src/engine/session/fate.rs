//! What became of a packet, from the counters before and after it: for captures, which the data path knows nothing of.

use std::fmt;

use super::Session;
use crate::{ppp::link::LinkCounters, pptp::flow::FlowCounters};

/// The counters of a call before a packet.
pub struct Before {
    flow: FlowCounters,
    link: Option<LinkCounters>,
    looped: u64,
}

/// The reasons for which a packet was not passed on, or held back; empty if there are none. The names are those of the
/// counters.
pub struct Fate<'a> {
    before: &'a Before,
    flow: &'a FlowCounters,
    link: Option<&'a LinkCounters>,
    looped: u64,
}

impl Session {
    /// Returns the counters before a packet; `None` while there is no call. Allocates nothing.
    #[must_use]
    pub fn before_packet(&self) -> Option<Before> {
        let call = self.call.as_ref()?;
        let link = call.link.link_counters().cloned();
        Some(Before { flow: *call.flow.counters(), link, looped: call.looped })
    }

    /// Returns what became of the packet after `before`.
    #[must_use]
    pub fn fate<'a>(&'a self, before: &'a Before) -> Option<Fate<'a>> {
        let call = self.call.as_ref()?;
        let link = call.link.link_counters();
        Some(Fate { before, flow: call.flow.counters(), link, looped: call.looped })
    }
}

/// Returns the words for a counter of the flow that a packet has changed, unless it says nothing about the packet.
fn flow_words(name: &str) -> Option<&'static str> {
    match name {
        "rx_buffered" => Some("waits for an earlier packet"),
        "rx_repaired" => Some("had been missing"),
        "rx_lost" => Some("earlier ones are given up as lost"),
        "rx_acks_invalid" => Some("acknowledges packets that were not sent"),
        "rx_restarts" => Some("the peer has restarted its numbers"),
        "rx_under_window" | "rx_over_window" | "rx_duplicate" | "rx_truncated" | "rx_short_header"
        | "rx_version" | "rx_protocol" | "rx_no_key" | "rx_flags" | "rx_no_sequence" | "rx_wrong_call"
        | "tx_oversize" => Some("dropped"),
        _ => None,
    }
}

impl fmt::Display for Fate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        let mut add = |f: &mut fmt::Formatter<'_>, words: &str, room: &str, name: &str| {
            write!(f, "{between}{words}: {room}.{name}")?;
            between = "; ";
            Ok(())
        };
        for ((name, now), (_, before)) in self.flow.named().into_iter().zip(self.before.flow.named()) {
            if now != before
                && let Some(words) = flow_words(name)
            {
                add(f, words, "gre", name)?;
            }
        }
        if let (Some(now), Some(before)) = (self.link, &self.before.link) {
            for ((reason, now), (_, before)) in now.drops().zip(before.drops()) {
                if now != before {
                    let room = if reason.is_harmless() { "ignored" } else { "drop" };
                    add(f, "dropped", room, reason.label())?;
                }
            }
        }
        if self.looped != self.before.looped {
            add(f, "dropped", "drop", "loop")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_invalid_or_late_packet_is_named_dropped() {
        let named = FlowCounters::default().named();
        let dropped = named.iter().filter(|(name, _)| flow_words(name) == Some("dropped")).count();
        // Every variant of `DropReason`, and packets that are too long to be sent.
        assert_eq!(dropped, 7 + 4 + 1);
        for name in ["rx_accepted", "rx_acks", "tx_sent", "tx_acks", "rx_empty"] {
            assert!(named.iter().any(|(known, _)| *known == name) && flow_words(name).is_none(), "{name}");
        }
    }
}
