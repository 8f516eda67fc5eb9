//! Maps the end of a state machine to a [`Failure`]: phase, class, words. No I/O.

mod advice;
mod gre;
mod offers;

use std::net::SocketAddrV4;

pub use self::{
    gre::{gets_none_of_our_gre, of_early_end, of_lcp_timeout, of_silence},
    offers::Offers,
};

use super::message::plain;
use crate::{
    failure::{Failure, FailureKind, Phase, Remedy, UndecidedLogin},
    platform::Platform,
    ppp::{auth, link::DownReason},
    pptp::control::{CallEnd, ControlEnd},
};

/// How far a session has come.
#[derive(Clone, Copy, Debug)]
pub struct Reached {
    /// The present phase.
    pub phase: Phase,
    /// The server has given an address, which the phase does not show until the link is confirmed.
    pub has_address: bool,
    /// User and password were sent, or an external daemon may have sent them, and the server has not decided.
    pub login_pending: bool,
}

impl From<Phase> for Reached {
    fn from(phase: Phase) -> Self {
        Self { phase, has_address: false, login_pending: false }
    }
}

/// Returns the failure for the end of the control connection.
#[must_use]
pub fn of_control(reached: impl Into<Reached>, end: &ControlEnd) -> Failure {
    let Reached { phase, has_address, login_pending } = reached.into();
    let kind = match end {
        ControlEnd::Stopped => FailureKind::Interrupted,
        ControlEnd::SccrpTimeout | ControlEnd::SccrqTimeout => FailureKind::ControlSilent,
        ControlEnd::Refused { .. } | ControlEnd::Version { .. } | ControlEnd::NotPptp { .. } => {
            FailureKind::ControlRefused
        }
        ControlEnd::EchoTimeout => FailureKind::PeerLost,
        // Refuses the connection, even while a call is being requested.
        ControlEnd::PeerStopped { .. } if phase <= Phase::Call => FailureKind::ControlRefused,
        ControlEnd::PeerStopped { .. } | ControlEnd::PeerClosed | ControlEnd::Protocol(_) => {
            FailureKind::of_hangup(phase, has_address)
        }
    };
    let failure = Failure::new(phase, kind, plain(&end.to_string()));
    match end {
        ControlEnd::NotPptp { first } => failure.hint(not_pptp_hint(first)),
        // RFC 2637 §2.2: the server knows its clients by their address, which those behind one router share.
        ControlEnd::Refused { result: 3, .. } => failure
            .hint("a connection from this address is open already: that of another client behind the same router, or one of this host that was lost; the server forgets the latter after a minute or two")
            .hint("to tell: end the other client's tunnel, or try from another network"),
        ControlEnd::Version { .. } => {
            failure.hint("this server does not speak PPTP as RFC 2637 has it: check the server and the port")
        }
        ControlEnd::PeerClosed if phase == Phase::Control => failure
            .hint("the server closed the connection before any reply: it may allow only known addresses, or be full, or not be a PPTP server (TLS servers and proxies do that)"),
        ControlEnd::PeerStopped { .. } | ControlEnd::PeerClosed => {
            advice::after_hangup(failure, login_pending)
        }
        _ => failure,
    }
}

/// Returns the hint for a server that answers with something else than PPTP.
fn not_pptp_hint(first: &[u8]) -> &'static str {
    if first.starts_with(b"SSH-") {
        "an SSH server answers: check the server and the port"
    } else if first.starts_with(b"HTTP/") || first.starts_with(b"<") {
        "a web server answers: a captive portal (open a web page and log in), or the wrong server or port"
    } else if matches!(first, [0x14..=0x17, 0x03, ..]) {
        "a TLS server answers: a web server, a captive portal, or a server of another kind of VPN"
    } else {
        "another service answers on this port: check the server and the port"
    }
}

/// Returns the failure for a call that ended without our request.
#[must_use]
pub fn of_call(reached: impl Into<Reached>, end: &CallEnd) -> Failure {
    let Reached { phase, has_address, login_pending } = reached.into();
    let kind = match end {
        CallEnd::ReplyTimeout => FailureKind::CallTimeout,
        CallEnd::Closed => FailureKind::Interrupted,
        CallEnd::Disconnected { .. } | CallEnd::PeerCleared | CallEnd::ControlLost => {
            FailureKind::of_hangup(phase, has_address)
        }
    };
    advice::after_hangup(Failure::new(phase, kind, plain(&end.to_string())), login_pending)
}

/// Returns the failure for the end of the PPP link.
#[must_use]
pub fn of_link(reached: impl Into<Reached>, reason: &DownReason, offers: &Offers) -> Failure {
    let Reached { phase, has_address, login_pending } = reached.into();
    let kind = match reason {
        DownReason::LcpTimeout { heard_anything: false } => FailureKind::GreFiltered,
        DownReason::LcpTimeout { heard_anything: true }
        | DownReason::LcpRefused(_)
        | DownReason::WeakerAuthOnly { .. }
        | DownReason::DataRejected
        | DownReason::Looped => FailureKind::LcpFailed,
        // Without a challenge nothing was sent; the session knows better if something was.
        DownReason::AuthFailed(failure) if failure.kind == auth::FailureKind::Timeout => {
            FailureKind::PeerLost
        }
        DownReason::AuthFailed(failure) if failure.kind.is_transient() => FailureKind::LoginUndecided,
        DownReason::AuthFailed(_) | DownReason::NoCommonAuth { .. } | DownReason::NotAuthenticated => {
            FailureKind::AuthenticationFailed
        }
        DownReason::EncryptionRefused(_) => FailureKind::EncryptionRefused,
        DownReason::EncryptionTimeout | DownReason::EncryptionLost | DownReason::DataUnreadable { .. } => {
            FailureKind::EncryptionFailed
        }
        DownReason::NoAddress(_) if has_address => FailureKind::PeerEnded,
        DownReason::NoAddress(_) => FailureKind::NoAddress,
        DownReason::PeerTerminated(_) | DownReason::EncryptionEnded(_) => {
            FailureKind::of_hangup(phase, has_address)
        }
        DownReason::EchoTimeout => FailureKind::PeerLost,
        DownReason::LowerLayerDown | DownReason::Closed => FailureKind::Interrupted,
    };
    // The class has words already; the detail adds what exactly was observed.
    let detail = match reason {
        DownReason::AuthFailed(failure) if failure.message.is_empty() => failure.to_string(),
        DownReason::AuthFailed(failure) => format!("{failure}; the server says: {}", failure.message),
        DownReason::EncryptionRefused(words)
        | DownReason::NoAddress(words)
        | DownReason::LcpRefused(words) => words.clone(),
        other => other.to_string(),
    };
    let failure = Failure::new(phase, kind, plain(&detail));
    match reason {
        // Any host can forge packets of a link that is up: they decide nothing about account or encryption.
        _ if phase >= Phase::Routes => failure,
        DownReason::AuthFailed(refusal) if refusal.kind.is_transient() => {
            advice::after_refusal(failure, refusal.kind)
        }
        DownReason::AuthFailed(refusal) if !refusal.is_confirmed => {
            failure.undecided(UndecidedLogin::Refused)
        }
        DownReason::AuthFailed(refusal) => advice::after_refusal(failure, refusal.kind),
        DownReason::EncryptionTimeout | DownReason::EncryptionLost => with_hints(
            failure,
            advice::after_missing_encryption(*reason == DownReason::EncryptionLost),
        ),
        DownReason::PeerTerminated(_) | DownReason::EncryptionEnded(_) => {
            advice::after_hangup(failure, login_pending)
        }
        DownReason::NoAddress(_) if has_address => advice::after_hangup(failure, login_pending),
        DownReason::WeakerAuthOnly { .. } => failure.remedied_by(Remedy::WeakerAuthentication),
        DownReason::NotAuthenticated => failure
            .hint("any host that can answer with this address could be the server, and nothing in the tunnel would be encrypted: check server = …")
            .hint("if this server is to be used so: add \"none\" to auth = […], and mppe = \"off\""),
        // The server has not asked for user and password, so the usual hints would mislead.
        DownReason::NoCommonAuth { .. } if offers.auth_hints().is_empty() => failure.hint(
            "the server offers none of the profile's auth = […]; to accept what it offers, add that there",
        ),
        DownReason::NoCommonAuth { .. } => with_hints(failure, offers.auth_hints()),
        DownReason::EncryptionRefused(_) if offers.mppe_refusal.is_some() => {
            with_hints(failure, offers.mppe_hints())
        }
        DownReason::EncryptionRefused(words) => match offers.auth_hints() {
            // Of a profile without MS-CHAP the hints of the class say so.
            hints if hints.is_empty() && words.contains(NO_KEYS) && offers.accepts_keys() => {
                with_hints(failure, advice::without_keys())
            }
            hints => with_hints(failure, hints),
        },
        _ => failure,
    }
}

/// How the link says that there is no key for MPPE (`ppp/link/ending.rs`).
const NO_KEYS: &str = "MPPE takes its keys from MS-CHAP";

fn with_hints(failure: Failure, hints: Vec<String>) -> Failure {
    hints.into_iter().fold(failure, Failure::hint)
}

/// How the detail of [`of_gre_refusal`] begins; the supervisor looks for the reason then.
pub const HOST_REFUSES: &str = "this host refuses to send it";

/// What the detail of [`of_connect`] contains if connect(2) was not permitted.
pub const HOST_FORBIDS: &str = "this host forbids it";

/// Returns the failure of a link whose GRE packets the kernel refuses to send.
#[must_use]
pub fn of_gre_refusal(phase: Phase, count: u32, error: &str) -> Failure {
    let detail = format!("{HOST_REFUSES} ({count} packets: {error})");
    let failure = Failure::new(phase, FailureKind::GreFiltered, plain(&detail));
    if Platform::host() == Platform::Linux {
        failure
            .hint("a rule of this host's firewall drops outgoing GRE: look for IP protocol 47 in `nft list ruleset` and `iptables -S OUTPUT`")
            .hint("a rule that lets it pass: nft insert rule inet TABLE CHAIN ip protocol gre accept")
            .hint("no such rule? a cgroup program or a full conntrack table refuses in the same way (dmesg)")
    } else {
        failure.hint("a rule of this host's firewall blocks outgoing GRE: `pfctl -sr`; to let it pass: pass out proto gre")
    }
}

/// Returns the failure for a TCP connection that was not established.
#[must_use]
pub fn of_connect(server: SocketAddrV4, error: &std::io::Error) -> Failure {
    use std::io::ErrorKind;
    let (kind, words) = match error.kind() {
        ErrorKind::ConnectionRefused => (FailureKind::ConnectionRefused, String::new()),
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable | ErrorKind::NetworkDown => {
            (FailureKind::NoRoute, error.to_string())
        }
        // connect(2) returns this if a cgroup program or, on some systems, a firewall rule of this host refuses it.
        ErrorKind::PermissionDenied => (FailureKind::NoRoute, format!("{error}; {HOST_FORBIDS}")),
        _ => (FailureKind::ConnectTimeout, error.to_string()),
    };
    // The class says what happened, the address with which of several servers.
    let detail = if words.is_empty() { server.to_string() } else { format!("{server}: {words}") };
    Failure::new(Phase::Connect, kind, plain(&detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_that_are_not_pptp_are_named() {
        let cases: [(&[u8], &str); 6] = [
            (b"HTTP/1.1 400 Bad Request", "a web server answers: a captive portal"),
            (b"<html>", "a web server answers: a captive portal"),
            (&[0x15, 0x03, 0x01, 0, 2, 2, 0x46], "a TLS server answers"),
            (&[0x16, 0x03, 0x03, 0, 9], "a TLS server answers"),
            (b"SSH-2.0-dropbear", "an SSH server answers"),
            (b"220 mail ESMTP", "another service answers"),
        ];
        for (first, words) in cases {
            let failure = of_control(Phase::Control, &ControlEnd::NotPptp { first: first.to_vec() });
            assert_eq!((failure.kind, failure.hints.len()), (FailureKind::ControlRefused, 1), "{failure}");
            assert!(failure.hints[0].contains(words), "{:?}", failure.hints);
        }
    }

    #[test]
    fn end_of_the_negotiation_of_encryption_is_retried() {
        let of = |reason: DownReason| of_link(Phase::Encryption, &reason, &offers());
        for words in ["", "out of memory"] {
            let failure = of(DownReason::EncryptionEnded(words.to_owned()));
            assert_eq!((failure.kind, failure.remedy()), (FailureKind::PeerEnded, Remedy::AnotherServer));
            assert!(failure.detail.contains("negotiation of encryption") && failure.detail.ends_with(words));
            assert!(failure.hints[0].contains("after it had accepted"), "{:?}", failure.hints);
        }
        let refused = of(DownReason::EncryptionRefused("it has none".to_owned()));
        assert_eq!((refused.kind, refused.remedy()), (FailureKind::EncryptionRefused, Remedy::Nothing));
    }

    fn offers() -> Offers {
        Offers {
            auth: vec![auth::AuthProtocol::MsChapV2],
            mppe: crate::ppp::mppe::Policy::default(),
            offered_auth: Vec::new(),
            mppe_refusal: None,
        }
    }

    #[test]
    fn hangup_after_an_address_was_given_is_no_lack_of_one() {
        let ends = |has_address| {
            let reached = || Reached { phase: Phase::Addresses, has_address, login_pending: false };
            [
                of_control(reached(), &ControlEnd::PeerClosed),
                of_call(reached(), &CallEnd::PeerCleared),
                of_link(reached(), &DownReason::PeerTerminated(String::new()), &offers()),
                of_link(reached(), &DownReason::NoAddress("the peer ended IPCP".to_owned()), &offers()),
            ]
        };
        for failure in ends(true) {
            assert_eq!(failure.kind, FailureKind::PeerEnded, "{failure}");
            assert!(failure.hints[0].contains("after it had accepted"), "{failure:?}");
        }
        for failure in ends(false) {
            assert_eq!(failure.kind, FailureKind::NoAddress, "{failure}");
        }
    }

    #[test]
    fn second_connection_of_one_address_may_be_another_client() {
        let end = ControlEnd::Refused { result: 3, error: 0 };
        let failure = of_control(Phase::Control, &end);
        assert!(failure.hints[0].contains("another client behind the same router"), "{:?}", failure.hints);
        let other = of_control(Phase::Control, &ControlEnd::Refused { result: 4, error: 0 });
        assert!(other.hints.is_empty(), "{:?}", other.hints);
    }

    #[test]
    fn hangup_without_a_reply_has_hints_of_its_own() {
        let failure = of_control(Phase::Control, &ControlEnd::PeerClosed);
        assert!(failure.hints[0].contains("before any reply"), "{:?}", failure.hints);
        assert!(of_control(Phase::Up, &ControlEnd::PeerClosed).hints.is_empty());
    }
}
