//! Failures that follow from which GRE packets have passed. No I/O.

use std::time::Duration;

use crate::{
    engine::message::plain,
    failure::{Evidence, Failure, FailureKind, Phase},
};

/// Configure-Requests of the server that count as repeated: it would have got an answer to the first.
const REPEATED: u64 = 2;

/// Configure-Requests of the server, and packets of ours, after which a block is told before the limit of LCP.
const CLEARLY_REPEATED: u64 = 3;

/// Returns whether the evidence shows that none of our GRE packets reaches the server: it has repeated its request
/// several times, and has neither acknowledged nor answered any of several packets.
#[must_use]
pub fn gets_none_of_our_gre(seen: &Evidence) -> bool {
    seen.gre_acknowledged == 0
        && seen.lcp_replies == 0
        && seen.lcp_requests >= CLEARLY_REPEATED
        && seen.gre_sent.saturating_sub(seen.gre_refused) >= CLEARLY_REPEATED
}

/// Returns the failure of a link for which LCP did not come up in time, although packets of the server came.
#[must_use]
pub fn of_lcp_timeout(phase: Phase, seen: &Evidence) -> Failure {
    let Evidence { gre_sent, gre_received, gre_acknowledged, lcp_requests, lcp_replies, .. } = *seen;
    if gre_acknowledged == 0 && lcp_replies == 0 && lcp_requests >= REPEATED && gre_sent > seen.gre_refused {
        let detail = format!(
            "the server does not hear our GRE: it repeats its request ({lcp_requests} LCP Configure-Requests) \
             and acknowledges none of the {gre_sent} packets that this host has sent; \
             GRE comes in ({gre_received} packets), so the block is outbound, on the path to the server"
        );
        return Failure::new(phase, FailureKind::GreFiltered, plain(&detail))
            .hint("the kernel of this host has sent the packets: look at the routers and firewalls after it, not at this host")
            .hint("the router must pass PPTP (\"PPTP passthrough\"); many guest and mobile networks drop GRE: try another network");
    }
    let detail = if lcp_requests == 0 && lcp_replies == 0 && gre_acknowledged > 0 {
        format!(
            "GRE passes in both directions (the server acknowledges {gre_acknowledged} packets), \
             but it sends no LCP packet: its PPP does not run, or hangs"
        )
    } else {
        format!(
            "the peer did not agree on a link in time: it sent {lcp_requests} LCP Configure-Requests and \
             {lcp_replies} replies to ours, and acknowledged {gre_acknowledged} of {gre_sent} GRE packets"
        )
    };
    Failure::new(phase, FailureKind::LcpFailed, plain(&detail))
}

/// Returns the failure of a call that the server has ended before it sent any PPP frame. `words` say how it ended,
/// `lasted` is the time since the call reply.
#[must_use]
pub fn of_early_end(phase: Phase, words: &str, lasted: Duration, seen: &Evidence) -> Failure {
    let Evidence { gre_sent, gre_received, gre_acknowledged, .. } = *seen;
    let packets = match gre_received {
        0 => format!("no GRE packet of it came, {gre_sent} were sent"),
        _ => format!(
            "{gre_received} GRE packets of it came, none with PPP; it acknowledged {gre_acknowledged} of {gre_sent}"
        ),
    };
    let seconds = lasted.as_secs_f32();
    let detail = format!(
        "the server closed the call {seconds:.1} s after its call reply, before it sent any PPP ({words}; {packets}): \
         probably its PPP daemon failed to start"
    );
    Failure::new(phase, FailureKind::PeerEnded, plain(&detail))
        .hint("there is nothing to change on this host: the server's administrator finds the reason in its log (pppd, pptpd)")
}

/// Returns the failure of a call without any GRE packet of the server.
#[must_use]
pub fn of_silence(limit: Duration, seen: &Evidence) -> Failure {
    let detail = format!(
        "the call is up and the control connection is fine, but no GRE packet came within {} s (this host sent {})",
        limit.as_secs_f32(),
        seen.gre_sent
    );
    Failure::new(Phase::Lcp, FailureKind::GreFiltered, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Remedy;

    const DEAF: Evidence = Evidence {
        gre_sent: 18,
        gre_refused: 0,
        gre_received: 12,
        frames_received: 12,
        gre_acknowledged: 0,
        lcp_requests: 12,
        lcp_replies: 0,
        control_messages: 2,
    };

    #[test]
    fn repeated_requests_without_acknowledgement_mean_an_outbound_block() {
        let failure = of_lcp_timeout(Phase::Lcp, &DEAF);
        assert_eq!((failure.kind, failure.remedy()), (FailureKind::GreFiltered, Remedy::AnotherServer));
        for words in ["does not hear our GRE", "12 LCP", "none of the 18 packets", "outbound"] {
            assert!(failure.detail.contains(words), "{words}: {failure}");
        }
        assert_eq!(plain(&failure.detail), failure.detail, "it is cut");
    }

    #[test]
    fn any_sign_that_the_server_receives_us_is_no_block() {
        let others = [
            Evidence { gre_acknowledged: 1, ..DEAF },
            Evidence { lcp_replies: 1, ..DEAF },
            // One request alone may have been lost after.
            Evidence { lcp_requests: 1, ..DEAF },
            Evidence { lcp_requests: 0, ..DEAF },
            // This host has sent nothing.
            Evidence { gre_sent: 0, ..DEAF },
            Evidence { gre_refused: 18, ..DEAF },
        ];
        for seen in others {
            let failure = of_lcp_timeout(Phase::Lcp, &seen);
            assert_eq!(failure.kind, FailureKind::LcpFailed, "{seen:?}");
            assert!(!failure.detail.contains("outbound"), "{failure}");
            assert!(!gets_none_of_our_gre(&seen), "{seen:?}");
        }
        assert!(gets_none_of_our_gre(&DEAF));
        assert!(!gets_none_of_our_gre(&Evidence { lcp_requests: 2, ..DEAF }), "two may be chance");
    }

    #[test]
    fn acknowledgements_without_lcp_point_to_the_servers_ppp() {
        let seen = Evidence { gre_acknowledged: 7, lcp_requests: 0, frames_received: 0, ..DEAF };
        let failure = of_lcp_timeout(Phase::Lcp, &seen);
        assert!(failure.detail.contains("acknowledges 7 packets"), "{failure}");
        assert!(failure.detail.contains("its PPP does not run"), "{failure}");
    }

    #[test]
    fn early_end_names_what_came() {
        let none = Evidence { gre_sent: 2, control_messages: 3, ..Evidence::default() };
        let failure = of_early_end(Phase::Lcp, "carrier lost (result 1)", Duration::from_millis(140), &none);
        for words in
            ["0.1 s after its call reply", "before it sent any PPP", "no GRE packet of it came, 2 were sent"]
        {
            assert!(failure.detail.contains(words), "{words}: {failure}");
        }
        assert_eq!(failure.kind, FailureKind::PeerEnded);
        let acks = Evidence { gre_received: 2, gre_acknowledged: 2, ..none };
        let failure = of_early_end(Phase::Lcp, "ended by the peer", Duration::from_secs(1), &acks);
        assert!(failure.detail.contains("2 GRE packets of it came, none with PPP"), "{failure}");
    }
}
