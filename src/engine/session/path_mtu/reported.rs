//! The path MTU that a router has reported with an ICMP error (RFC 1191), of which the kernel informs the GRE socket.

use std::time::{Duration, Instant};

use super::{IPV6_MTU, OUTER_HEADERS};
use crate::engine::{
    message::PathSearchEnd,
    session::{Session, SessionEvent},
};

/// Time until the full size is tried again: a little longer than Linux remembers the report, ten minutes.
const AGAIN: Duration = Duration::from_secs(605);

impl Session {
    /// Adapts to a report that the path carries packets of `path_mtu` bytes, with all headers. A daemon's PPP has a
    /// device of its own, and does not follow.
    pub fn path_reported(&mut self, now: Instant, path_mtu: u16) {
        if !self.is_up() {
            return;
        }
        let Some(link) = self.call.as_mut().and_then(|call| call.link.testable()) else { return };
        let full = link.mtu();
        let headers = OUTER_HEADERS + link.data_frame_length(0);
        let passes = path_mtu.saturating_sub(u16::try_from(headers).unwrap_or(u16::MAX));
        if passes >= full {
            return;
        }
        if self.path.search.is_some() {
            // Its packets are too long for the path, which is known now.
            self.path.cancel();
            self.events.push_back(SessionEvent::PathSearched(PathSearchEnd::Limited));
        }
        self.path.again = Some(now + AGAIN);
        let report =
            format!("a router on the path to the server takes packets of at most {path_mtu} bytes (ICMP)");
        if self.spec.follow_path {
            let device =
                if self.path.ipv6 { passes.max(IPV6_MTU).min(full) } else { passes.max(super::MTU_MIN) };
            if device < self.path.mtu {
                self.mss.set(self.spec.mss, passes);
                self.report_path(device, format!("{report}: the tunnel's MTU is {device} now"));
            }
        } else if !self.path.warned && passes < self.path.mtu {
            let advice = format!("set mtu = \"auto\" or mtu = {passes} in the profile");
            self.report_path(self.path.mtu, format!("{report}, so longer ones leave in fragments: {advice}"));
        }
    }
}
