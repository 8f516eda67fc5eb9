//! What a session has seen, as numbers for a failure.

use std::time::Instant;

use super::Session;
use crate::{
    engine::verdict::Offers,
    failure::{Evidence, Failure, FailureKind},
};

impl Session {
    /// Returns what has been seen of the server; `None` if nothing was, and before there is a call only the control
    /// messages.
    pub(super) fn evidence(&self) -> Option<Evidence> {
        let control_messages = self.control.counters().stream.messages;
        let Some(call) = &self.call else {
            return (control_messages > 0).then(|| Evidence { control_messages, ..Evidence::default() });
        };
        let flow = call.flow.counters();
        let (lcp_requests, lcp_replies) = call.link.lcp_received();
        Some(Evidence {
            gre_sent: flow.tx_sent + flow.tx_acks,
            gre_refused: self.gre_refusals.as_ref().map_or(0, |refusals| refusals.count.into()),
            gre_received: call.received,
            frames_received: flow.rx_accepted - flow.rx_empty,
            gre_acknowledged: call.flow.acknowledged().into(),
            lcp_requests,
            lcp_replies,
            control_messages,
        })
    }

    /// Adds what has been seen to a failure, unless the user has ended the session.
    pub(super) fn with_evidence(&self, mut failure: Failure) -> Failure {
        if failure.kind != FailureKind::Interrupted {
            failure.evidence = self.evidence().map(Box::new);
        }
        failure
    }

    /// Returns what this side accepts, and what the server has offered.
    pub(super) fn offers(&self) -> Offers {
        let link = self.call.as_ref().map(|call| &call.link);
        Offers {
            auth: self.spec.auth.clone(),
            mppe: self.spec.mppe,
            offered_auth: link.map_or_else(Vec::new, |link| link.offered_auth().to_vec()),
            mppe_refusal: link.and_then(|link| link.mppe_refusal()),
        }
    }

    /// Returns the words for the time since the last packet of the server.
    pub(super) fn since_last_packet(&self, now: Instant) -> String {
        match self.call.as_ref().and_then(|call| call.last_heard) {
            Some(at) => {
                let seconds = now.saturating_duration_since(at).as_secs_f32();
                format!("its last GRE packet came {seconds:.0} s ago")
            }
            None if self.spec.kernel => "none of its PPP frames has come".to_owned(),
            None => "none of its GRE packets has come".to_owned(),
        }
    }
}
