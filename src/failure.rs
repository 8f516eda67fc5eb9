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
    /// The credentials were sent or asked for, and the server has decided nothing.
    LoginUndecided,
    /// The server refused the encryption that the profile requires.
    EncryptionRefused,
    /// Encryption was not negotiated in time, or ended, and the server has refused nothing.
    EncryptionFailed,
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
    /// Routes or addresses of the tunnel are those of a network of this host, or of another tunnel.
    Collision,
    /// A directory or file system that pptpctl needs is missing, read-only or full.
    HostFiles,
    /// Other users can change a directory that root's processes trust.
    UnsafeFiles,
    /// A bug in pptpctl, or a failure of the operating system.
    Internal,
}

impl FailureKind {
    /// All classes, for documents and tests.
    pub const ALL: [Self; 26] = [
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
        Self::LoginUndecided,
        Self::EncryptionRefused,
        Self::EncryptionFailed,
        Self::NoAddress,
        Self::NoTun,
        Self::LinkStep,
        Self::Interrupted,
        Self::NoRoute,
        Self::PeerEnded,
        Self::PeerLost,
        Self::NoPpp,
        Self::PppFailed,
        Self::Collision,
        Self::HostFiles,
        Self::UnsafeFiles,
        Self::Internal,
    ];

    /// Returns the exit status of `pptpctl up`, not used for anything else by the command line. A log-in or encryption
    /// that failed without a refusal has the status of a refusal: scripts tell phases apart, and service managers use
    /// `--from-start`, which goes on after what may pass.
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
            Self::AuthenticationFailed | Self::LoginUndecided => 19,
            Self::EncryptionRefused | Self::EncryptionFailed => 20,
            Self::NoAddress => 21,
            Self::NoTun => 22,
            Self::LinkStep => 23,
            Self::Interrupted => 24,
            Self::NoRoute => 25,
            Self::PeerEnded => 26,
            Self::PeerLost => 27,
            Self::NoPpp => 28,
            Self::PppFailed => 29,
            Self::Collision => 30,
            Self::HostFiles => 31,
            Self::UnsafeFiles => 32,
        }
    }

    /// Returns the class for a server that hangs up in this phase without a reason. `has_address` tells whether it
    /// has given an address.
    #[must_use]
    pub const fn of_hangup(phase: Phase, has_address: bool) -> Self {
        match phase {
            Phase::Resolve | Phase::Connect | Phase::Control => Self::ControlRefused,
            Phase::Call => Self::CallRefused,
            Phase::Lcp => Self::LcpFailed,
            Phase::Addresses if !has_address => Self::NoAddress,
            Phase::Authentication | Phase::Encryption | Phase::Addresses | Phase::Routes | Phase::Up => {
                Self::PeerEnded
            }
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
            Self::GreFiltered => "GRE, IP protocol 47, is filtered",
            Self::LcpFailed => "the PPP link could not be agreed on",
            Self::AuthenticationFailed => "authentication failed",
            Self::LoginUndecided => "authentication ended without a verdict",
            Self::EncryptionRefused => "no encryption that this profile accepts",
            Self::EncryptionFailed => "encryption does not work",
            Self::NoAddress => "the server gave no address",
            Self::NoTun => "no tunnel device",
            Self::LinkStep => "a step on this host failed",
            Self::Interrupted => "taken down before it was up",
            Self::NoRoute => "no route to the server",
            Self::PeerEnded => "the server ended the connection",
            Self::PeerLost => "the server went silent",
            Self::NoPpp => "no external PPP",
            Self::PppFailed => "the PPP daemon failed",
            Self::Collision => "the tunnel and this host have the same addresses",
            Self::HostFiles => "a file system of this host cannot be used",
            Self::UnsafeFiles => "other users can change a directory of pptpctl",
            Self::Internal => "internal error",
        }
    }

    /// Returns the remedy for a failure of this class, unless what was observed says otherwise
    /// ([`Failure::remedied_by`]). Whether there is one at all is a property of the class, and so of the exit status: a
    /// service manager starts a tunnel again exactly where a new attempt may succeed.
    #[must_use]
    pub const fn usual_remedy(self) -> Remedy {
        match self {
            Self::AuthenticationFailed
            | Self::EncryptionRefused
            | Self::Interrupted
            | Self::NoTun
            | Self::NoPpp => Remedy::Nothing,
            Self::LinkStep
            | Self::PppFailed
            | Self::Collision
            | Self::HostFiles
            | Self::UnsafeFiles
            | Self::Internal => Remedy::Retry,
            Self::NameNotResolved
            | Self::ConnectionRefused
            | Self::ConnectTimeout
            | Self::ControlSilent
            | Self::ControlRefused
            | Self::CallRefused
            | Self::CallTimeout
            | Self::GreFiltered
            | Self::LcpFailed
            | Self::LoginUndecided
            | Self::EncryptionFailed
            | Self::NoAddress
            | Self::NoRoute
            | Self::PeerEnded
            | Self::PeerLost => Remedy::AnotherServer,
        }
    }

    /// Returns the class of such a failure in this phase. On a link that is up any host can forge what ended it, so
    /// nothing there is final, and the class is one that may pass.
    const fn in_phase(self, phase: Phase) -> Self {
        match (phase, self) {
            (Phase::Routes | Phase::Up, Self::AuthenticationFailed) => Self::LoginUndecided,
            (Phase::Routes | Phase::Up, Self::EncryptionRefused) => Self::EncryptionFailed,
            (Phase::Routes | Phase::Up, Self::NoTun) => Self::LinkStep,
            (Phase::Routes | Phase::Up, Self::NoPpp) => Self::PppFailed,
            _ => self,
        }
    }
}

/// How pptpctl itself may overcome a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Remedy {
    /// Not at all: a new attempt would fail as well, or could lock the account. Ends a tunnel that was up.
    Nothing,
    /// By dialling the next address or server at once; for a tunnel that was up, by dialling again.
    AnotherServer,
    /// By dialling this server again, at once, and accepting the authentication that it has asked for: it gave up
    /// its demand when it was asked for a stronger one.
    WeakerAuthentication,
    /// By dialling again, if the tunnel was up: another server would fail as well.
    Retry,
}

/// How a log-in ended whose credentials were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UndecidedLogin {
    /// Without an answer, or with one that says nothing about the account.
    Unanswered,
    /// With a refusal that any host can have forged: the server has not ended the link.
    Refused,
}

/// Packets and messages of a connection that had been seen when it failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Evidence {
    /// GRE packets given to the kernel, acknowledgements without payload included.
    pub gre_sent: u64,
    /// Those that the kernel refused, if it has accepted none.
    pub gre_refused: u64,
    /// GRE packets of the server for this call.
    pub gre_received: u64,
    /// PPP frames in them.
    pub frames_received: u64,
    /// The highest of our sequence numbers that the server has acknowledged; the first is 1.
    pub gre_acknowledged: u64,
    /// LCP Configure-Requests of the server, repeated ones included.
    pub lcp_requests: u64,
    /// Replies of the server to our LCP Configure-Requests.
    pub lcp_replies: u64,
    /// Messages of the server on the control connection.
    pub control_messages: u64,
}

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
    /// The remedy, if it is not the usual one of the class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    remedy: Option<Remedy>,
    /// Set if the credentials were sent and the server has neither accepted them nor certainly refused them. It
    /// may count this as a failed log-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undecided_login: Option<UndecidedLogin>,
    /// What had been seen of the server, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Box<Evidence>>,
}

impl Failure {
    /// Creates a failure without hints. On a link that is up its class is one that may pass.
    #[must_use]
    pub fn new(phase: Phase, kind: FailureKind, detail: impl Into<String>) -> Self {
        Self {
            phase,
            kind: kind.in_phase(phase),
            detail: detail.into(),
            hints: Vec::new(),
            remedy: None,
            undecided_login: None,
            evidence: None,
        }
    }

    /// Sets the remedy, if what was observed calls for another than the usual one of the class.
    #[must_use]
    pub fn remedied_by(mut self, remedy: Remedy) -> Self {
        self.remedy = (remedy != self.kind.usual_remedy()).then_some(remedy);
        self
    }

    /// Returns the remedy. It is [`Remedy::Nothing`] exactly if the class is final, and never on a link that is up.
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        let usual = self.kind.usual_remedy();
        let is_final = usual == Remedy::Nothing;
        match self.remedy.filter(|remedy| is_final == (*remedy == Remedy::Nothing)).unwrap_or(usual) {
            Remedy::Nothing | Remedy::WeakerAuthentication if self.phase >= Phase::Routes => {
                Remedy::AnotherServer
            }
            remedy => remedy,
        }
    }

    /// Returns this failure as the end of a log-in that the server has not decided. It is not repeated at will,
    /// so that no account gets locked, but it is no reason to give up.
    #[must_use]
    pub fn undecided(mut self, how: UndecidedLogin) -> Self {
        self.kind = FailureKind::LoginUndecided;
        self.undecided_login = Some(how);
        let words = match how {
            // Hints so far are about what was observed.
            UndecidedLogin::Unanswered if !self.hints.is_empty() => None,
            UndecidedLogin::Unanswered => Some(
                "user and password were not refused: the server, a system behind it, or the path to it failed before a decision",
            ),
            UndecidedLogin::Refused => {
                Some("the server did not end the link, so this refusal may be forged; a second one is final")
            }
        };
        words.into_iter().fold(self, Self::hint).hint(
            "after two such log-ins in a row only one in 30 minutes is made, so that no account gets locked",
        )
    }

    /// Returns this undecided log-in as a refusal that was confirmed by a second one.
    #[must_use]
    pub fn confirmed(mut self) -> Self {
        self.kind = FailureKind::AuthenticationFailed;
        self.undecided_login = None;
        self.hints =
            vec!["check user, domain and password: the server has refused them twice in a row".to_owned()];
        self
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
                let share = [
                    (FailureKind::AuthenticationFailed, FailureKind::LoginUndecided),
                    (FailureKind::EncryptionRefused, FailureKind::EncryptionFailed),
                ];
                let is_shared = share.contains(&(*kind, *other));
                assert_eq!(kind.exit_code() == other.exit_code(), is_shared, "{kind:?} {other:?}");
                assert_ne!(kind.words(), other.words());
            }
            assert!(!(2..10).contains(&kind.exit_code()), "2 to 9 belong to the command line");
        }
    }

    #[test]
    fn nothing_on_a_link_that_is_up_is_final() {
        for kind in FailureKind::ALL {
            assert_eq!(Failure::new(Phase::Lcp, kind, "").remedy(), kind.usual_remedy());
            assert_ne!(Failure::new(Phase::Up, kind, "").remedy(), Remedy::Nothing, "{kind:?}");
            let seen = Failure::new(Phase::Up, kind, "").kind;
            // `up` that is interrupted has this status in any phase.
            assert!(seen == FailureKind::Interrupted || seen.usual_remedy() != Remedy::Nothing, "{kind:?}");
        }
    }

    #[test]
    fn exit_status_tells_whether_a_failure_is_final() {
        use UndecidedLogin::{Refused, Unanswered};
        let remedies = [Remedy::Nothing, Remedy::AnotherServer, Remedy::WeakerAuthentication, Remedy::Retry];
        for kind in FailureKind::ALL {
            let plain = || Failure::new(Phase::Authentication, kind, "");
            let mut all: Vec<_> = remedies.map(|remedy| plain().remedied_by(remedy)).into();
            all.extend([Refused, Unanswered].map(|how| plain().undecided(how)));
            all.push(plain().undecided(Refused).confirmed());
            for failure in all {
                let is_final = failure.kind.usual_remedy() == Remedy::Nothing;
                assert_eq!(failure.remedy() == Remedy::Nothing, is_final, "{failure:?}");
            }
        }
    }

    #[test]
    fn display_names_phase_class_and_detail() {
        let failure = Failure::new(Phase::Authentication, FailureKind::AuthenticationFailed, "error 691");
        assert_eq!(failure.to_string(), "authentication: authentication failed: error 691");
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
