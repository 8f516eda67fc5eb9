//! The end of a link, and the reason that is reported for it.

use std::time::Instant;

use super::{DownReason, Link, LinkEvent, Phase, Role};
use crate::ppp::{auth::printable, mppe::Demand};

/// Mark between the magic number and the error number in a Terminate-Request from Windows.
const WINDOWS_MARK: [u8; 4] = [0x00, 0x3C, 0xCD, 0x74];

impl Link {
    /// Shuts the link down gracefully: sends a Terminate-Request, and reports `Down(reason)` once it is
    /// answered or the limit is over.
    pub fn close(&mut self, now: Instant, reason: DownReason) {
        self.fail(now, reason);
        self.pump(now);
    }

    /// Reports that the tunnel below is gone: ends the link at once, with the best known reason.
    pub fn lower_down(&mut self, now: Instant) {
        let reason = self.best_reason(DownReason::LowerLayerDown);
        self.leave(now);
        self.finish(reason);
    }

    /// Starts the termination from our side. Everything above LCP stops now.
    pub(super) fn fail(&mut self, now: Instant, reason: DownReason) {
        match self.phase {
            Phase::Dead | Phase::Terminate => {}
            Phase::Idle => self.finish(reason),
            Phase::Establish | Phase::Authenticate | Phase::Network => {
                self.leave(now);
                let words =
                    if reason == DownReason::Closed { "User request".to_owned() } else { reason.to_string() };
                self.phase = Phase::Terminate;
                self.phase_end = now.checked_add(self.config.timing.terminate);
                self.ending = Some(reason);
                self.lcp.close(now, &words);
            }
        }
    }

    /// Ends the link and reports it once.
    pub(super) fn finish(&mut self, reason: DownReason) {
        if self.phase == Phase::Dead {
            return;
        }
        self.phase = Phase::Dead;
        self.phase_end = None;
        self.ccp_patience_end = None;
        self.echo.next = None;
        self.up = false;
        self.auth = None;
        self.keys = None;
        self.ccp = None;
        self.ipv6cp = None;
        self.cipher = super::Cipher::Undecided;
        self.addressing = super::Addressing::default();
        self.lcp.stop();
        self.ipcp.stop();
        let reason = self.ending.take().unwrap_or(reason);
        // Bypasses the limit of the queue, so that this event is never lost.
        self.events.push_back(LinkEvent::Down(reason));
    }

    /// Handles the expiry of the present phase's limit.
    pub(super) fn phase_timed_out(&mut self, now: Instant) {
        match self.phase {
            Phase::Establish => {
                let reason =
                    self.best_reason(DownReason::LcpTimeout { heard_anything: self.received_anything });
                self.finish(reason);
            }
            Phase::Network if self.requires_encryption() && !self.cipher.is_on() => {
                self.fail(
                    now,
                    if self.ccp_openings > 0 || self.was_encrypted {
                        DownReason::EncryptionLost
                    } else {
                        DownReason::EncryptionTimeout
                    },
                );
            }
            Phase::Network => {
                self.fail(
                    now,
                    DownReason::NoAddress("the peer did not agree on addresses in time".to_owned()),
                );
            }
            // The authentication has its own limit; the limit of Terminate ends the link unconditionally.
            Phase::Terminate | Phase::Idle | Phase::Authenticate | Phase::Dead => {
                self.finish(DownReason::Closed)
            }
        }
    }

    /// Handles the peer's LCP Terminate-Request, which the automaton has acknowledged.
    pub(super) fn peer_terminates(&mut self, data: &[u8]) {
        if self.phase == Phase::Establish && !self.peer_sent_request {
            // Left over from an earlier link.
            return;
        }
        let (words, about_encryption) = termination_words(data);
        let reason = if self.phase == Phase::Network && !self.up && about_encryption {
            DownReason::EncryptionRefused(format!("the peer ended the link: {words}"))
        } else {
            self.best_reason(DownReason::PeerTerminated(words))
        };
        self.finish(reason);
    }

    /// Returns a more specific reason than `otherwise` for the end of the link, if one is known.
    pub(super) fn best_reason(&self, otherwise: DownReason) -> DownReason {
        let unproven = self.authenticated.is_none() && !self.up && self.phase != Phase::Authenticate;
        if let Some(reason) = &self.ending {
            reason.clone()
        } else if unproven && let Some((demanded, asked)) = self.lcp.options().held_back() {
            DownReason::WeakerAuthOnly { demanded, asked }
        } else if unproven && !self.lcp.options().offered().is_empty() {
            // We refused the peer's proposals: pppd then opens LCP without authentication, and ends the link.
            self.no_common_auth()
        } else if let Some(refusal) = self.refusal() {
            DownReason::AuthFailed(refusal.clone())
        } else {
            otherwise
        }
    }

    pub(super) fn no_common_auth(&self) -> DownReason {
        let offered = self.lcp.options().offered();
        let for_keys_alone = |name: &String| self.config.accept.iter().any(|one| one.to_string() == *name);
        if self.config.mppe.demand == Demand::Require {
            if !self.config.accept.iter().any(|one| one.gives_keys()) {
                return self.no_keys();
            }
            if let Some(name) = offered.iter().find(|name| for_keys_alone(name)) {
                return DownReason::EncryptionRefused(format!(
                    "MPPE takes its keys from MS-CHAP, and the peer wants {name}"
                ));
            }
        }
        let offered = if offered.is_empty() { "none".to_owned() } else { offered.join(", ") };
        DownReason::NoCommonAuth { offered }
    }

    /// Returns the reason for a link that requires encryption but has no keys.
    pub(super) fn no_keys(&self) -> DownReason {
        let needs = "MPPE takes its keys from MS-CHAP, and";
        DownReason::EncryptionRefused(match (self.authenticated, &self.config.role) {
            (Some(protocol), _) if protocol.gives_keys() => {
                format!("{protocol} with this password gives no key of an allowed strength")
            }
            (Some(protocol), _) => format!("{needs} the authentication was {protocol}"),
            (None, _) if !self.config.accept.iter().any(|one| one.gives_keys()) => {
                let list: Vec<_> = self.config.accept.iter().map(ToString::to_string).collect();
                let list = if list.is_empty() { "nothing".to_owned() } else { list.join(", ") };
                format!("{needs} only {list} is acceptable for authentication")
            }
            (None, Role::Client(_)) => format!("{needs} the server asks for no authentication"),
            (None, Role::Server(_)) => format!("{needs} nobody was authenticated"),
        })
    }
}

/// Returns the text of a Terminate-Request, and whether it is about encryption.
pub(super) fn termination_words(data: &[u8]) -> (String, bool) {
    if let Some((head, code)) = data.get(4..).and_then(|rest| rest.split_first_chunk::<4>())
        && *head == WINDOWS_MARK
        && let Some(code) = code.first_chunk::<4>()
    {
        let code = u32::from_be_bytes(*code);
        let words = match code {
            741 | 742 => ": the required data encryption is not supported by both ends",
            718 => ": no answer in time",
            691 => ": wrong user name or password",
            _ => "",
        };
        return (format!("error {code}{words}"), matches!(code, 741 | 742));
    }
    let words = printable(data);
    let about_encryption = words.contains("MPPE") || words.to_ascii_lowercase().contains("encryption");
    (words, about_encryption)
}

#[cfg(test)]
mod tests {
    use super::termination_words;

    #[test]
    fn windows_error_number_is_read() {
        let data = [0x0D, 0x43, 0x12, 0x33, 0x00, 0x3C, 0xCD, 0x74, 0x00, 0x00, 0x02, 0xE6];
        let (words, about_encryption) = termination_words(&data);
        assert!(words.starts_with("error 742: "), "{words}");
        assert!(about_encryption);
    }

    #[test]
    fn windows_errors_in_use_have_words() {
        let of = |code: u32| {
            let head = [0x0D, 0x43, 0x12, 0x33, 0x00, 0x3C, 0xCD, 0x74];
            termination_words(&[&head[..], &code.to_be_bytes()].concat())
        };
        assert_eq!(of(718), ("error 718: no answer in time".to_owned(), false));
        assert_eq!(of(691), ("error 691: wrong user name or password".to_owned(), false));
        assert_eq!(of(741).0, of(742).0.replace("742", "741"));
        assert_eq!(of(629), ("error 629".to_owned(), false));
    }

    #[test]
    fn termination_text_is_made_printable() {
        assert!(termination_words(b"MPPE required but peer negotiation failed").1);
        assert_eq!(termination_words(b"bye\x1b[31m"), ("bye [31m".to_owned(), false));
        assert_eq!(termination_words(b"").0, "");
    }
}
