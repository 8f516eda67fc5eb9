//! Reasons for a failed authentication, as sentences: from the failure packets of RFC 2433 §6 and RFC 2759
//! §6, and our own.

use std::fmt;

use super::{AuthProtocol, text::printable};

/// Why authentication failed. Its `Display` is a sentence for the user, without the peer's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthFailure {
    /// Class of the failure.
    pub kind: FailureKind,
    /// The protocol in use.
    pub protocol: AuthProtocol,
    /// The peer's error code (`E=`), such as 691.
    pub code: Option<u32>,
    /// Whether the peer allows another attempt (`R=1`). We never repeat the same password.
    pub retry_allowed: bool,
    /// The peer's message, printable; empty if it sent none.
    pub message: String,
    /// The peer's name, printable; empty if it sent none.
    pub peer_name: String,
    /// Whether the peer acted on it. A refusal after which it keeps the link may be forged.
    pub is_confirmed: bool,
}

/// Classes of failures that the user, or a retry policy, must distinguish.
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
    /// 619, 718, 721 and 930: the server, or a system behind it, did not answer or disconnected.
    ServerTrouble,
    /// 812: a connection policy on the server forbids it.
    Policy,
    /// 734, 741, 742 and 778: the two ends have no common protocol.
    NotAgreed,
    /// An error code without a class here.
    Other,
    /// MS-CHAPv2: the server did not prove that it has the password.
    ServerNotProven,
    /// The peer stopped answering.
    Timeout,
    /// The name or the password does not fit in this protocol's packets.
    DoesNotFit,
}

impl AuthFailure {
    /// Creates a failure detected on this side, without a code or message from the peer.
    #[must_use]
    pub fn new(kind: FailureKind, protocol: AuthProtocol) -> Self {
        Self {
            kind,
            protocol,
            code: None,
            retry_allowed: false,
            message: String::new(),
            peer_name: String::new(),
            is_confirmed: true,
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
    /// Returns the class of an error code of RFC 2433 §6, RFC 2759 §6 or Windows' raserror.h.
    #[must_use]
    const fn of_code(code: u32) -> Self {
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

    /// Returns whether a retry with the same credentials may succeed without intervention: never after a
    /// decision about the account. An unknown code is not known to be one.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::ServerTrouble | Self::Timeout | Self::Other)
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
            FailureKind::Other => "the server refused for an unknown reason",
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

/// Parses a code of at most ten digits (RFC 2759 §6); `None` for anything else.
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
    fn failure_packet_is_parsed() {
        let failure = parse("E=691 R=1 C=0123456789ABCDEF0123456789ABCDEF V=3 M=Access denied, E=5");
        assert_eq!(failure.kind, FailureKind::Rejected);
        assert_eq!(failure.code, Some(691));
        assert!(failure.retry_allowed);
        assert_eq!(failure.message, "Access denied, E=5");
        assert_eq!(failure.to_string(), "wrong user name or password (MS-CHAPv2, error 691)");
    }

    #[test]
    fn error_codes_have_distinct_sentences() {
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
    fn malformed_fields_are_ignored() {
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
    fn account_failures_are_not_retried() {
        for code in [646, 647, 648, 649, 691, 709, 812, 742] {
            assert!(!parse(&format!("E={code} R=1")).kind.is_transient(), "{code}");
        }
        assert!(parse("E=718").kind.is_transient() && parse("E=4711").kind.is_transient());
        assert!(!FailureKind::ServerNotProven.is_transient());
    }

    proptest::proptest! {
        #[test]
        fn parser_accepts_arbitrary_bytes(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let failure = AuthFailure::from_message(AuthProtocol::MsChapV1, &bytes);
            assert!(failure.message.chars().all(|c| !c.is_control()));
        }
    }
}
