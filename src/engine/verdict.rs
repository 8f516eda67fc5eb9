//! From what a machine saw at its end to what a person is told: phase, class, words. Pure.

use std::net::SocketAddrV4;

use super::{
    failure::{Failure, FailureKind, Phase},
    message::plain,
};
use crate::{
    ppp::link::DownReason,
    pptp::control::{CallEnd, ControlEnd},
};

/// The control connection ended, and with it everything.
#[must_use]
pub fn of_control(phase: Phase, end: &ControlEnd) -> Failure {
    let kind = match end {
        ControlEnd::Stopped => FailureKind::Interrupted,
        ControlEnd::SccrpTimeout | ControlEnd::SccrqTimeout => FailureKind::ControlSilent,
        ControlEnd::Refused { .. } | ControlEnd::Version { .. } | ControlEnd::NotPptp => {
            FailureKind::ControlRefused
        }
        ControlEnd::EchoTimeout => FailureKind::PeerLost,
        ControlEnd::PeerStopped { .. } | ControlEnd::PeerClosed | ControlEnd::Protocol(_) => cut_short(phase),
    };
    Failure::new(phase, kind, plain(&end.to_string()))
}

/// The call ended without our asking.
#[must_use]
pub fn of_call(phase: Phase, end: &CallEnd) -> Failure {
    let kind = match end {
        CallEnd::ReplyTimeout => FailureKind::CallTimeout,
        CallEnd::Closed => FailureKind::Interrupted,
        CallEnd::Disconnected { .. } | CallEnd::PeerCleared | CallEnd::ControlLost => cut_short(phase),
    };
    Failure::new(phase, kind, plain(&end.to_string()))
}

/// The PPP link ended.
#[must_use]
pub fn of_link(phase: Phase, reason: &DownReason) -> Failure {
    let kind = match reason {
        DownReason::LcpTimeout { heard_anything: false } => FailureKind::GreFiltered,
        DownReason::LcpTimeout { heard_anything: true } | DownReason::LcpRefused(_) | DownReason::Looped => {
            FailureKind::LcpFailed
        }
        DownReason::AuthFailed(_) | DownReason::NoCommonAuth { .. } => FailureKind::AuthenticationFailed,
        DownReason::EncryptionRefused(_) | DownReason::EncryptionLost => FailureKind::EncryptionRefused,
        DownReason::NoAddress(_) => FailureKind::NoAddress,
        DownReason::PeerTerminated(_) => cut_short(phase),
        DownReason::EchoTimeout => FailureKind::PeerLost,
        DownReason::LowerLayerDown | DownReason::Closed => FailureKind::Interrupted,
    };
    // The class has its words already; what follows it is what exactly was seen.
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
        // User and password have not been asked for: the usual hints would lead astray.
        DownReason::NoCommonAuth { .. } => failure
            .hint("the server offers none of the profile's auth = […]; to accept what it does offer, name it there")
            .hint("with auth = [\"pap\"] the password crosses the network in clear"),
        _ => failure,
    }
}

/// TCP to this server did not come to be.
#[must_use]
pub fn of_connect(server: SocketAddrV4, error: &std::io::Error) -> Failure {
    use std::io::ErrorKind;
    let (kind, words) = match error.kind() {
        ErrorKind::ConnectionRefused => (FailureKind::ConnectionRefused, String::new()),
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable | ErrorKind::NetworkDown => {
            (FailureKind::NoRoute, error.to_string())
        }
        // What connect(2) says when a rule of this host rejects the packet.
        ErrorKind::PermissionDenied => {
            (FailureKind::NoRoute, format!("{error}; a firewall on this host forbids it"))
        }
        _ => (FailureKind::ConnectTimeout, error.to_string()),
    };
    // The class says what happened; with several servers it matters to which.
    let detail = if words.is_empty() { server.to_string() } else { format!("{server}: {words}") };
    Failure::new(Phase::Connect, kind, plain(&detail))
}

/// What it means that the server hung up in this phase.
const fn cut_short(phase: Phase) -> FailureKind {
    match phase {
        Phase::Resolve | Phase::Connect | Phase::Control => FailureKind::ControlRefused,
        Phase::Call => FailureKind::CallRefused,
        Phase::Lcp => FailureKind::LcpFailed,
        Phase::Authentication => FailureKind::AuthenticationFailed,
        Phase::Encryption => FailureKind::EncryptionRefused,
        Phase::Addresses => FailureKind::NoAddress,
        Phase::Routes | Phase::Up => FailureKind::PeerEnded,
    }
}
