//! Why an authentication failed, as a sentence: the failure packets of RFC 2433 §6 and RFC 2759 §6, and our own
//! reasons.

use std::fmt;

use super::{AuthProtocol, text::printable};

/// Why authentication failed. Its `Display` is a sentence for a person, without the peer's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthFailure {
    /// What kind of failure.
    pub kind: FailureKind,
    /// The protocol spoken.
    pub protocol: AuthProtocol,
    /// The peer's error code (`E=`), such as 691.
    pub code: Option<u32>,
    /// Whether the peer would have listened to another attempt (`R=1`). We never repeat the same password.
    pub retry_allowed: bool,
    /// The peer's own words, printable; empty when it had none.
    pub message: String,
    /// What the peer calls itself, printable; empty when it never said.
    pub peer_name: String,
}

/// The kinds that a person, or a retry policy, tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// Wrong user name or password (691, or a refusal without a code).
    Rejected,
    /// 646: outside the account's logon hours.
    RestrictedHours,
    /// 647: the account is disabled.
    AccountDisabled,
    /// 648: the password has expired.
    PasswordExpired,
    /// 649: no permission to dial in.
    NoDialIn,
    /// 709: the password must be changed, or changing it failed.
    ChangingPassword,
    /// 619, 718, 721 and 930: the server or what stands behind it did not answer or hung up.
    ServerTrouble,
    /// 812: a connection policy on the server forbids it.
    Policy,
    /// 734, 741, 742 and 778: the two ends have no common protocol.
    NotAgreed,
    /// A code that we have no words for.
    Other,
    /// MS-CHAPv2: the server did not prove that it knows the password.
    ServerNotProven,
    /// The peer fell silent.
    Timeout,
    /// The name or the password does not fit into this protocol's packets.
    DoesNotFit,
}

impl AuthFailure {
    /// A failure of our own finding, with no code and no words of the peer.
    #[must_use]
    pub fn new(kind: FailureKind, protocol: AuthProtocol) -> Self {
        Self {
            kind,
            protocol,
            code: None,
            retry_allowed: false,
            message: String::new(),
            peer_name: String::new(),
        }
    }

    /// Reads the text of a CHAP Failure or a PAP Nak: `E=691 R=1 C=… V=3 M=…`, or free text.
    #[must_use]
    pub fn from_message(protocol: AuthProtocol, message: &[u8]) -> Self {
        let mut failure = Self::new(FailureKind::Rejected, protocol);
        if !message.starts_with(b"E=") {
            failure.message = printable(message);
            return failure;
        }
        let mut rest = message;
        while !rest.is_empty() {
            if let Some(words) = rest.strip_prefix(b"M=") {
                failure.message = printable(words);
                break;
            }
            let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
            let (field, after) = rest.split_at(end);
            if let Some(digits) = field.strip_prefix(b"E=") {
                failure.code = decimal(digits);
            } else if let Some(flag) = field.strip_prefix(b"R=") {
                failure.retry_allowed = flag == b"1";
            }
            rest = after.strip_prefix(b" ").unwrap_or(after);
        }
        failure.kind = failure.code.map_or(FailureKind::Rejected, FailureKind::of_code);
        failure
    }
}

impl FailureKind {
    /// What an error code of RFC 2433 §6, RFC 2759 §6 or Windows' raserror.h means.
    #[must_use]
    pub const fn of_code(code: u32) -> Self {
        match code {
            691 => Self::Rejected,
            646 => Self::RestrictedHours,
            647 => Self::AccountDisabled,
            648 => Self::PasswordExpired,
            649 => Self::NoDialIn,
            709 => Self::ChangingPassword,
            619 | 718 | 721 | 930 => Self::ServerTrouble,
            812 => Self::Policy,
            734 | 741 | 742 | 778 => Self::NotAgreed,
            _ => Self::Other,
        }
    }

    /// Whether another attempt with the same credentials may end better without anyone doing anything: never for
    /// a verdict on the account.
    #[must_use]
    pub const fn may_pass(self) -> bool {
        matches!(self, Self::ServerTrouble | Self::Timeout)
    }
}

impl fmt::Display for AuthFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self.kind {
            FailureKind::Rejected => "wrong user name or password",
            FailureKind::RestrictedHours => "the account may not log on at this hour",
            FailureKind::AccountDisabled => "the account is disabled on the server",
            FailureKind::PasswordExpired => {
                "the password has expired: change it on the server's network first"
            }
            FailureKind::NoDialIn => {
                "the account has no permission to dial in: ask the server's administrator"
            }
            FailureKind::ChangingPassword => "the server wants the password changed and that did not succeed",
            FailureKind::ServerTrouble => "the server could not check the password now",
            FailureKind::Policy => "a connection policy on the server forbids this user or this protocol",
            FailureKind::NotAgreed => "server and client found no common way to authenticate or encrypt",
            FailureKind::Other => "the server refused for a reason that has no words here",
            FailureKind::ServerNotProven => {
                "the server did not prove that it knows the password: it may not be the server that it claims to be"
            }
            FailureKind::Timeout => "the peer stopped answering during authentication",
            FailureKind::DoesNotFit => "the user name or the password is too long for this protocol",
        };
        f.write_str(words)?;
        match self.code {
            Some(code) => write!(f, " ({}, error {code})", self.protocol),
            None => write!(f, " ({})", self.protocol),
        }
    }
}

impl std::error::Error for AuthFailure {}

/// At most ten digits (RFC 2759 §6); anything else is no code.
fn decimal(digits: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(digits).ok()?;
    let plain = (1..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> AuthFailure {
        AuthFailure::from_message(AuthProtocol::MsChapV2, text.as_bytes())
    }

    #[test]
    fn a_failure_packet_is_read() {
        let failure = parse("E=691 R=1 C=0123456789ABCDEF0123456789ABCDEF V=3 M=Access denied, E=5");
        assert_eq!(failure.kind, FailureKind::Rejected);
        assert_eq!(failure.code, Some(691));
        assert!(failure.retry_allowed);
        assert_eq!(failure.message, "Access denied, E=5");
        assert_eq!(failure.to_string(), "wrong user name or password (MS-CHAPv2, error 691)");
    }

    #[test]
    fn each_code_has_its_own_sentence() {
        let mut seen = Vec::new();
        for code in [646, 647, 648, 649, 691, 709, 718, 742, 812, 4711] {
            let sentence = parse(&format!("E={code} R=0")).to_string();
            assert!(sentence.contains(&format!("error {code}")), "{sentence}");
            let words = sentence.split(" (").next().unwrap().to_owned();
            assert!(!seen.contains(&words), "{words}");
            seen.push(words);
        }
        assert_eq!(parse("E=619").kind, parse("E=718").kind);
    }

    #[test]
    fn odd_texts_are_read_as_far_as_they_go() {
        assert_eq!(parse("go away").message, "go away");
        assert_eq!(parse("go away").code, None);
        assert_eq!(parse("").to_string(), "wrong user name or password (MS-CHAPv2)");
        assert_eq!(parse("E= R=1").code, None);
        assert_eq!(parse("E=99999999999 R=1").code, None);
        assert_eq!(parse("E=9999999999 R=1").code, None);
        assert_eq!(parse("E=+691").code, None);
        assert_eq!(parse("E=0000000691").code, Some(691));
        assert_eq!(parse("E=691  R=1   M=x").message, "x");
        assert_eq!(parse("E=648 M=\x1b]0;pwn\x07 now").message, "]0;pwn now");
    }

    #[test]
    fn verdicts_are_final() {
        for code in [646, 647, 648, 649, 691, 709, 4711] {
            assert!(!parse(&format!("E={code} R=1")).kind.may_pass(), "{code}");
        }
        assert!(parse("E=718").kind.may_pass());
        assert!(!FailureKind::ServerNotProven.may_pass());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let failure = AuthFailure::from_message(AuthProtocol::MsChapV1, &bytes);
            assert!(failure.message.chars().all(|c| !c.is_control()));
        }
    }
}
