//! The failures of a tunnel: one variant, one exit code and one sentence for each.
//!
//! The engine reports what it observed, the supervisor adds information about the host, the command line
//! prints both and exits with the code. The table in `pptpctl(8)` is this enum.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The phases of bringing up a tunnel, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Lookup of the server's name.
    Resolve,
    /// TCP connection to port 1723.
    Connect,
    /// SCCRQ, SCCRP (RFC 2637 §2.1, §2.2).
    Control,
    /// OCRQ, OCRP (RFC 2637 §2.7, §2.8).
    Call,
    /// LCP, including the first GRE packet from the server.
    Lcp,
    /// PAP, CHAP or MS-CHAP.
    Authentication,
    /// CCP with MPPE.
    Encryption,
    /// IPCP.
    Addresses,
    /// The steps on this host: device, addresses, routes.
    Routes,
    /// The tunnel carries packets.
    Up,
}

impl Phase {
    /// Returns the word that `up` and `status` show.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Control => "control",
            Self::Call => "call",
            Self::Lcp => "lcp",
            Self::Authentication => "authentication",
            Self::Encryption => "encryption",
            Self::Addresses => "addresses",
            Self::Routes => "routes",
            Self::Up => "up",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Class of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The name has no address, or no resolver answered.
    NameNotResolved,
    /// Nothing listens on port 1723.
    ConnectionRefused,
    /// No answer to the TCP SYN.
    ConnectTimeout,
    /// TCP is connected, but the SCCRQ is not answered.
    ControlSilent,
    /// The server refused the control connection.
    ControlRefused,
    /// The server refused the call.
    CallRefused,
    /// The server never answered the OCRQ.
    CallTimeout,
    /// The call is up, but no packet arrives on IP protocol 47.
    GreFiltered,
    /// LCP negotiation failed.
    LcpFailed,
    /// The server refused our credentials, or failed to authenticate itself.
    AuthenticationFailed,
    /// The encryption that the profile requires was not negotiated.
    EncryptionRefused,
    /// IPCP assigned no address.
    NoAddress,
    /// There is no tunnel device.
    NoTun,
    /// A step on this host failed.
    LinkStep,
    /// `down` (or a signal) while the tunnel was coming up.
    Interrupted,
    /// The kernel has no route to the server.
    NoRoute,
    /// The server ended a tunnel that was up.
    PeerEnded,
    /// The server stopped answering while the tunnel was up.
    PeerLost,
    /// The external PPP of the profile is not available.
    NoPpp,
    /// The external PPP ended unexpectedly.
    PppFailed,
    /// A bug in pptpctl, or a failure of the operating system.
    Internal,
}

impl FailureKind {
    /// All classes, for documents and tests.
    pub const ALL: [Self; 21] = [
        Self::NameNotResolved,
        Self::ConnectionRefused,
        Self::ConnectTimeout,
        Self::ControlSilent,
        Self::ControlRefused,
        Self::CallRefused,
        Self::CallTimeout,
        Self::GreFiltered,
        Self::LcpFailed,
        Self::AuthenticationFailed,
        Self::EncryptionRefused,
        Self::NoAddress,
        Self::NoTun,
        Self::LinkStep,
        Self::Interrupted,
        Self::NoRoute,
        Self::PeerEnded,
        Self::PeerLost,
        Self::NoPpp,
        Self::PppFailed,
        Self::Internal,
    ];

    /// Returns the exit status of `pptpctl up`: unique, and not used for anything else by the command line.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Internal => 1,
            Self::NameNotResolved => 10,
            Self::ConnectionRefused => 11,
            Self::ConnectTimeout => 12,
            Self::ControlSilent => 13,
            Self::ControlRefused => 14,
            Self::CallRefused => 15,
            Self::CallTimeout => 16,
            Self::GreFiltered => 17,
            Self::LcpFailed => 18,
            Self::AuthenticationFailed => 19,
            Self::EncryptionRefused => 20,
            Self::NoAddress => 21,
            Self::NoTun => 22,
            Self::LinkStep => 23,
            Self::Interrupted => 24,
            Self::NoRoute => 25,
            Self::PeerEnded => 26,
            Self::PeerLost => 27,
            Self::NoPpp => 28,
            Self::PppFailed => 29,
        }
    }

    /// Returns a short description.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::NameNotResolved => "the server's name could not be resolved",
            Self::ConnectionRefused => "connection refused",
            Self::ConnectTimeout => "no answer to the TCP connection",
            Self::ControlSilent => "the server does not answer PPTP",
            Self::ControlRefused => "the server refused the control connection",
            Self::CallRefused => "the server refused the call",
            Self::CallTimeout => "the server did not answer the call request",
            Self::GreFiltered => "GRE is filtered: nothing comes back on IP protocol 47",
            Self::LcpFailed => "the PPP link could not be agreed on",
            Self::AuthenticationFailed => "authentication failed",
            Self::EncryptionRefused => "no encryption that this profile accepts",
            Self::NoAddress => "the server gave no address",
            Self::NoTun => "no tunnel device",
            Self::LinkStep => "a step on this host failed",
            Self::Interrupted => "taken down before it was up",
            Self::NoRoute => "no route to the server",
            Self::PeerEnded => "the server ended the tunnel",
            Self::PeerLost => "the server went silent",
            Self::NoPpp => "no external PPP",
            Self::PppFailed => "the PPP daemon failed",
            Self::Internal => "internal error",
        }
    }

    /// Returns whether another address of the server should be tried at once.
    #[must_use]
    pub const fn is_address_specific(self) -> bool {
        matches!(
            self,
            Self::ConnectionRefused
                | Self::ConnectTimeout
                | Self::ControlSilent
                | Self::ControlRefused
                | Self::CallRefused
                | Self::CallTimeout
                | Self::NoAddress
                | Self::GreFiltered
                | Self::NoRoute
        )
    }

    /// Returns whether a lost tunnel must not be dialled again: a retry could lock the account or hide a
    /// refusal.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::AuthenticationFailed
                | Self::EncryptionRefused
                | Self::Interrupted
                | Self::NoTun
                | Self::NoPpp
        )
    }
}

/// Start of the text of `ppp` if the server accepts no protocol of the profile: other hints help than after a
/// wrong password.
pub const NO_COMMON_AUTH: &str = "no authentication protocol in common";

/// Part of the text of `net` for a unit in use; the driver is present then.
pub const UNIT_TAKEN: &str = " is in use";

/// One failure, with all that the user needs to resolve it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The phase in which it occurred.
    pub phase: Phase,
    /// The class of the failure.
    pub kind: FailureKind,
    /// What exactly was observed; may be empty. Texts from the peer are sanitized beforehand.
    pub detail: String,
    /// What to check, each a sentence.
    pub hints: Vec<String>,
}

impl Failure {
    /// Creates a failure without hints.
    #[must_use]
    pub fn new(phase: Phase, kind: FailureKind, detail: impl Into<String>) -> Self {
        Self { phase, kind, detail: detail.into(), hints: Vec::new() }
    }

    /// Adds one more thing to check.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.kind.words();
        // The detail may begin with the words of the class; print them once.
        let detail = self.detail.strip_prefix(words).unwrap_or(&self.detail).trim_start_matches(": ");
        write!(f, "{}: {words}", self.phase)?;
        if detail.is_empty() { Ok(()) } else { write!(f, ": {detail}") }
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_have_distinct_exit_codes_and_words() {
        for (at, kind) in FailureKind::ALL.iter().enumerate() {
            for other in FailureKind::ALL.iter().skip(at + 1) {
                assert_ne!(kind.exit_code(), other.exit_code(), "{kind:?} {other:?}");
                assert_ne!(kind.words(), other.words());
            }
            assert!(!(2..10).contains(&kind.exit_code()), "2 to 9 belong to the command line");
        }
    }

    #[test]
    fn display_names_phase_class_and_detail() {
        let failure = Failure::new(Phase::Authentication, FailureKind::AuthenticationFailed, "error 691");
        assert_eq!(failure.to_string(), "authentication: authentication failed: error 691");
    }

    #[test]
    fn hint_patterns_match_the_reported_texts() {
        let text = crate::ppp::link::DownReason::NoCommonAuth { offered: "PAP".into() }.to_string();
        assert!(text.starts_with(NO_COMMON_AUTH), "{text}");
        let text = crate::net::tun::Error::InUse(7).to_string();
        assert!(text.contains(UNIT_TAKEN), "{text}");
    }

    #[test]
    fn display_omits_repeated_kind() {
        let kind = FailureKind::AuthenticationFailed;
        let failure = Failure::new(Phase::Authentication, kind, "authentication failed: error 691");
        assert_eq!(failure.to_string(), "authentication: authentication failed: error 691");
        let failure = Failure::new(Phase::Call, FailureKind::CallTimeout, FailureKind::CallTimeout.words());
        assert_eq!(failure.to_string(), "call: the server did not answer the call request");
    }
}
