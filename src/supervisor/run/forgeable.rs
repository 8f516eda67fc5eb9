//! Counts how often a link that was up has been ended by packets that any host can forge, for the status.

use std::time::Duration;

use crate::failure::{Failure, FailureKind, Phase};

/// A link that the server itself ends after a shorter time than this counts as well, but for the first one.
const SHORT: Duration = Duration::from_secs(60);

/// Links that were ended in this way.
#[derive(Debug, Default)]
pub(super) struct ForgeableEnds {
    count: u64,
    last: String,
    /// Links that the server itself has ended soon.
    soon: u64,
}

impl ForgeableEnds {
    /// Records how a link ended that had been up for `lasted`.
    pub fn record(&mut self, failure: &Failure, lasted: Duration) {
        if failure.phase < Phase::Routes {
            return;
        }
        let is_forgeable = match failure.kind {
            // No working server does this on a link that is up.
            FailureKind::LcpFailed
            | FailureKind::EncryptionFailed
            | FailureKind::LoginUndecided
            | FailureKind::NoAddress => true,
            // A server that restarts does, but not again and again.
            FailureKind::PeerEnded if lasted < SHORT => {
                self.soon = self.soon.saturating_add(1);
                self.soon > 1
            }
            _ => false,
        };
        if is_forgeable {
            self.count = self.count.saturating_add(1);
            self.last = failure.to_string();
        }
    }

    /// Returns the warning for the status, if there is one.
    pub fn warning(&self) -> Option<String> {
        let times = if self.count == 1 { "once".to_owned() } else { format!("{} times", self.count) };
        (self.count > 0).then(|| {
            format!(
                "the link was ended {times} while it was up, by packets that any host can send in the server's name, and redialled; the last: {}. Does the log of the server show why? If not, another host probably forges them",
                self.last
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: FailureKind, phase: Phase, seconds: u64) -> Option<String> {
        let mut ends = ForgeableEnds::default();
        ends.record(&Failure::new(phase, kind, "seen"), Duration::from_secs(seconds));
        ends.warning()
    }

    #[test]
    fn only_ends_that_no_working_server_causes_are_counted() {
        assert!(record(FailureKind::EncryptionRefused, Phase::Up, 3600).is_some());
        assert!(record(FailureKind::LcpFailed, Phase::Up, 3600).unwrap().contains("once"));
        assert_eq!(record(FailureKind::EncryptionRefused, Phase::Encryption, 0), None, "not up");
        assert_eq!(record(FailureKind::PeerEnded, Phase::Up, 3600), None, "a server that restarts");
        assert_eq!(record(FailureKind::PeerEnded, Phase::Up, 5), None, "once");
        assert_eq!(record(FailureKind::PeerLost, Phase::Up, 5), None);
    }

    #[test]
    fn server_that_ends_links_again_and_again_is_counted() {
        let mut ends = ForgeableEnds::default();
        for _ in 0..2 {
            assert_eq!(ends.warning(), None);
            // No link that was up.
            ends.record(&Failure::new(Phase::Call, FailureKind::PeerEnded, "dial"), Duration::ZERO);
            ends.record(&Failure::new(Phase::Up, FailureKind::PeerEnded, "seen"), Duration::from_secs(5));
        }
        assert!(ends.warning().unwrap().contains("once"), "{:?}", ends.warning());
    }

    #[test]
    fn warning_counts_and_quotes_the_last_end() {
        let mut ends = ForgeableEnds::default();
        for detail in ["first", "second"] {
            let failure = Failure::new(Phase::Up, FailureKind::LcpFailed, detail);
            ends.record(&failure, Duration::ZERO);
        }
        let warning = ends.warning().unwrap();
        assert!(warning.contains("2 times") && warning.contains("second"), "{warning}");
    }
}
