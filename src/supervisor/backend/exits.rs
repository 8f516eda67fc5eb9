//! Maps the exit status and the last informative log line of a PPP daemon to a [`Failure`]. No I/O.

use crate::{
    failure::{Failure, FailureKind, Phase, UndecidedLogin},
    plan::Daemon,
};

/// How a daemon's process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It exited with this status.
    Status(i32),
    /// This signal killed it.
    Signal(i32),
}

/// Prefixes of log lines that give no reason.
const UNINFORMATIVE_PREFIXES: &[&str] = &[
    "Connection terminated",
    "Modem hangup",
    "Exit.",
    "Terminating on signal",
    "Hangup (SIGHUP)",
    "Connect time ",
    "Sent ",
    "Connect: ",
    "Using interface ",
    "Renamed interface ",
    "sent [",
    "rcvd [",
    "using channel ",
    "Script ",
    "cbcp_",
    "Waiting for ",
    "local  IP address",
    "remote IP address",
    "CHAP authentication succeeded",
    "PAP authentication succeeded",
    "MPPE ",
    "Overriding mtu ",
    "Plugin ",
];

/// Returns whether a log line of the daemon may explain why it ended.
#[must_use]
pub fn is_informative(line: &str) -> bool {
    !line.is_empty()
        && (line.starts_with("MPPE required")
            || !UNINFORMATIVE_PREFIXES.iter().any(|idle| line.starts_with(idle)))
}

/// Returns the failure for the end of a daemon in `phase`; `words` is the last line that [`is_informative`].
#[must_use]
pub fn failure_of(daemon: Daemon, end: End, phase: Phase, words: &str) -> Failure {
    match daemon {
        Daemon::Pppd => of_pppd(end, phase, words),
        Daemon::Ppp => of_ppp(end, phase, words),
    }
}

/// Maps the end of ppp(8), whose exit statuses are not those of sysexits(3) (EX_NORMAL 0, EX_START 1, EX_SOCK
/// 2, EX_MODEM 3, EX_DIAL 4, EX_DEAD 5, EX_DONE 6, EX_REBOOT 7, EX_ERRDEAD 8, EX_HANGUP 9, EX_TERMINATE 10,
/// EX_NODIAL 11, EX_NOLOGIN 12). None names the phase, so `phase` decides.
#[must_use]
fn of_ppp(end: End, phase: Phase, words: &str) -> Failure {
    let (kind, meaning) = match end {
        End::Signal(number) => (FailureKind::PppFailed, format!("ppp was ended by signal {number}")),
        End::Status(1..=3) => (FailureKind::PppFailed, "ppp could not start".to_owned()),
        End::Status(_) => (FailureKind::of_hangup(phase, false), "ppp ended".to_owned()),
    };
    let detail = if words.is_empty() { meaning } else { format!("{meaning}: {words}") };
    let failure = failure_in(phase, kind, detail);
    if kind == FailureKind::PppFailed {
        failure
            .hint("does /etc/ppp/ppp.conf begin with the line `!include $PPTPCTL_PPP_CONF`?")
            .hint("ppp(8) writes to /var/log/ppp.log")
    } else {
        failure
    }
}

/// Maps the end of pppd(8); see EXIT STATUS in its manual.
#[must_use]
fn of_pppd(end: End, phase: Phase, words: &str) -> Failure {
    let (kind, meaning) = match end {
        End::Signal(number) => (FailureKind::PppFailed, format!("pppd was ended by signal {number}")),
        End::Status(status) => (pppd_kind(status, phase, words), format!("pppd: {}", pppd_words(status))),
    };
    let detail = if words.is_empty() { meaning } else { format!("{meaning}: {words}") };
    let failure = failure_in(phase, kind, detail);
    match (kind, end) {
        (FailureKind::NoPpp, _) => failure
            .hint("does this kernel have PPP? `modprobe ppp_async` should load it, and /dev/ppp should exist")
            .hint("ppp.backend = \"builtin\" needs neither"),
        (FailureKind::PppFailed, End::Status(2)) => failure
            .hint("does this pppd know all of ppp.options and /etc/ppp/options? `pppd --version`; 2.4.8 is the oldest supported")
            .hint("`pptpctl up --dry-run` shows its options, `pptpctl logs` its messages"),
        (FailureKind::PppFailed, _) => failure.hint("`pptpctl logs` shows the messages of pppd"),
        _ => failure,
    }
}

fn pppd_kind(status: i32, phase: Phase, words: &str) -> FailureKind {
    match status {
        _ if words.starts_with("MPPE required") => FailureKind::EncryptionRefused,
        4 => FailureKind::NoPpp,
        11 | 19 if is_silent(words) => FailureKind::LoginUndecided,
        11 | 19 => FailureKind::AuthenticationFailed,
        15 => FailureKind::PeerLost,
        17 => FailureKind::LcpFailed,
        10 if phase == Phase::Encryption => FailureKind::EncryptionFailed,
        0 | 10 | 12 | 13 | 16 => FailureKind::of_hangup(phase, false),
        _ => FailureKind::PppFailed,
    }
}

/// Returns whether the daemon got no answer: it has one status for that and for a refusal.
fn is_silent(words: &str) -> bool {
    ["No response", "timed out", "timeout"].iter().any(|one| words.contains(one))
}

/// Returns the failure; one that says nothing about the account is an undecided log-in while that is under way.
fn failure_in(phase: Phase, kind: FailureKind, detail: String) -> Failure {
    let failure = Failure::new(phase, kind, detail);
    match kind {
        FailureKind::LoginUndecided | FailureKind::PeerLost | FailureKind::PeerEnded
            if phase == Phase::Authentication =>
        {
            failure.undecided(UndecidedLogin::Unanswered)
        }
        _ => failure,
    }
}

const fn pppd_words(status: i32) -> &'static str {
    match status {
        0 => "the link ended",
        1 => "fatal error (1)",
        2 => "an option that it does not accept (2)",
        3 => "it is not root (3)",
        4 => "the kernel has no PPP (4)",
        5 => "ended by SIGINT, SIGTERM or SIGHUP (5)",
        6 => "the device is locked (6)",
        7 => "the device could not be opened (7)",
        10 => "no agreement with the server (10)",
        11 => "the server failed to authenticate itself (11)",
        12 => "idle for too long (12)",
        13 => "the time limit of the connection was reached (13)",
        15 => "no answer to LCP echo (15)",
        16 => "the line was hung up (16)",
        17 => "the line is looped back (17)",
        19 => "the server refused our authentication (19)",
        _ => "an unexpected exit status",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Remedy;

    #[test]
    fn pppd_exit_statuses_map_to_failure_kinds() {
        for (status, phase, kind) in [
            (1, Phase::Lcp, FailureKind::PppFailed),
            (2, Phase::Lcp, FailureKind::PppFailed),
            (3, Phase::Lcp, FailureKind::PppFailed),
            (4, Phase::Lcp, FailureKind::NoPpp),
            (5, Phase::Up, FailureKind::PppFailed),
            (8, Phase::Lcp, FailureKind::PppFailed),
            (9, Phase::Lcp, FailureKind::PppFailed),
            (10, Phase::Lcp, FailureKind::LcpFailed),
            (10, Phase::Encryption, FailureKind::EncryptionFailed),
            (10, Phase::Addresses, FailureKind::NoAddress),
            (11, Phase::Authentication, FailureKind::AuthenticationFailed),
            (12, Phase::Up, FailureKind::PeerEnded),
            (13, Phase::Up, FailureKind::PeerEnded),
            (15, Phase::Up, FailureKind::PeerLost),
            (16, Phase::Up, FailureKind::PeerEnded),
            (16, Phase::Authentication, FailureKind::LoginUndecided),
            (17, Phase::Lcp, FailureKind::LcpFailed),
            (19, Phase::Authentication, FailureKind::AuthenticationFailed),
            (77, Phase::Up, FailureKind::PppFailed),
        ] {
            assert_eq!(of_pppd(End::Status(status), phase, "").kind, kind, "{status} {phase}");
        }
        let killed = of_pppd(End::Signal(9), Phase::Up, "");
        assert_eq!(
            (killed.kind, killed.detail.as_str()),
            (FailureKind::PppFailed, "pppd was ended by signal 9")
        );
    }

    #[test]
    fn only_a_verdict_on_a_new_link_is_final() {
        for (status, phase, words, remedy) in [
            (19, Phase::Authentication, "", Remedy::Nothing),
            (19, Phase::Up, "", Remedy::AnotherServer),
            (19, Phase::Authentication, "No response to PAP authenticate-requests", Remedy::AnotherServer),
            (15, Phase::Authentication, "", Remedy::AnotherServer),
            (16, Phase::Authentication, "", Remedy::AnotherServer),
            (16, Phase::Encryption, "", Remedy::AnotherServer),
            (10, Phase::Encryption, "", Remedy::AnotherServer),
            (10, Phase::Encryption, "MPPE required but peer refused", Remedy::Nothing),
        ] {
            let failure = of_pppd(End::Status(status), phase, words);
            assert_eq!(failure.remedy(), remedy, "{status} {phase}");
            let undecided = phase == Phase::Authentication && remedy == Remedy::AnotherServer;
            assert_eq!(failure.undecided_login.is_some(), undecided, "{status} {phase}");
        }
    }

    #[test]
    fn last_informative_line_decides_the_failure() {
        let lines =
            ["Using interface ppp0", "MPPE required but peer negotiation failed", "Connection terminated."];
        let words = lines.into_iter().rfind(|line| is_informative(line)).unwrap();
        let failure = of_pppd(End::Status(16), Phase::Encryption, words);
        assert_eq!(failure.kind, FailureKind::EncryptionRefused);
        assert!(failure.detail.ends_with("MPPE required but peer negotiation failed"), "{failure}");
        assert!(!is_informative("MPPE 128-bit stateless compression enabled") && !is_informative(""));
    }
}
