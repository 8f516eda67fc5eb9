//! Maps the end of a state machine to a [`Failure`]: phase, class, words. No I/O.

use std::net::SocketAddrV4;

use super::message::plain;
use crate::{
    failure::{Failure, FailureKind, Phase, Remedy, UndecidedLogin},
    platform::Platform,
    ppp::{auth, link::DownReason},
    pptp::control::{CallEnd, ControlEnd},
};

/// Returns the failure for the end of the control connection.
#[must_use]
pub fn of_control(phase: Phase, end: &ControlEnd) -> Failure {
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
            FailureKind::of_hangup(phase)
        }
    };
    let failure = Failure::new(phase, kind, plain(&end.to_string()));
    match end {
        ControlEnd::NotPptp { first } => failure.hint(not_pptp_hint(first)),
        _ => failure,
    }
}

/// Returns the hint for a server that answers with something else than PPTP.
fn not_pptp_hint(first: &[u8]) -> &'static str {
    if first.starts_with(b"HTTP/") || first.starts_with(b"<") {
        "a web server answers: a captive portal (open a web page and log in), or the wrong server or port"
    } else if matches!(first, [0x14..=0x17, 0x03, ..]) {
        "a TLS server answers: a captive portal, or a server of another kind of VPN"
    } else {
        "another service answers on this port: check the server and the port"
    }
}

/// Returns the failure for a call that ended without our request.
#[must_use]
pub fn of_call(phase: Phase, end: &CallEnd) -> Failure {
    let kind = match end {
        CallEnd::ReplyTimeout => FailureKind::CallTimeout,
        CallEnd::Closed => FailureKind::Interrupted,
        CallEnd::Disconnected { .. } | CallEnd::PeerCleared | CallEnd::ControlLost => {
            FailureKind::of_hangup(phase)
        }
    };
    Failure::new(phase, kind, plain(&end.to_string()))
}

/// Returns the failure for the end of the PPP link.
#[must_use]
pub fn of_link(phase: Phase, reason: &DownReason) -> Failure {
    let kind = match reason {
        DownReason::LcpTimeout { heard_anything: false } => FailureKind::GreFiltered,
        DownReason::LcpTimeout { heard_anything: true }
        | DownReason::LcpRefused(_)
        | DownReason::DataRejected
        | DownReason::Looped => FailureKind::LcpFailed,
        // Without a challenge nothing was sent; the session knows better if something was.
        DownReason::AuthFailed(failure) if failure.kind == auth::FailureKind::Timeout => {
            FailureKind::PeerLost
        }
        DownReason::AuthFailed(_) | DownReason::NoCommonAuth { .. } => FailureKind::AuthenticationFailed,
        DownReason::EncryptionRefused(_)
        | DownReason::EncryptionTimeout
        | DownReason::EncryptionLost
        | DownReason::DataUnreadable { .. } => FailureKind::EncryptionRefused,
        DownReason::NoAddress(_) => FailureKind::NoAddress,
        DownReason::PeerTerminated(_) => FailureKind::of_hangup(phase),
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
            failure.remedied_by(Remedy::AnotherServer)
        }
        DownReason::AuthFailed(refusal) if !refusal.is_confirmed => {
            failure.undecided(UndecidedLogin::Refused)
        }
        DownReason::EncryptionTimeout | DownReason::EncryptionLost => {
            failure.remedied_by(Remedy::AnotherServer)
        }
        // The server has not asked for user and password, so the usual hints would mislead.
        DownReason::NoCommonAuth { .. } => failure
            .hint("the server offers none of the profile's auth = […]; to accept what it offers, add that there")
            .hint("with auth = [\"pap\"] the password crosses the network in clear"),
        _ => failure,
    }
}

/// Returns the failure of a link whose GRE packets the kernel refuses to send.
#[must_use]
pub fn of_gre_refusal(phase: Phase, count: u32, error: &str) -> Failure {
    let detail = format!("this host refuses to send it ({count} packets: {error})");
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
        // connect(2) returns this if a firewall rule of this host rejects the packet.
        ErrorKind::PermissionDenied => {
            (FailureKind::NoRoute, format!("{error}; a firewall on this host forbids it"))
        }
        _ => (FailureKind::ConnectTimeout, error.to_string()),
    };
    // The class says what happened, the address with which of several servers.
    let detail = if words.is_empty() { server.to_string() } else { format!("{server}: {words}") };
    Failure::new(Phase::Connect, kind, plain(&detail))
}
