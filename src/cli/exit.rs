//! Exit statuses of `pptpctl`; those from 10 on come from [`FailureKind::exit_code`].

use std::process::ExitCode;

use crate::supervisor::{ClientError, Failure, FailureKind, Remedy};

/// An exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(u8);

/// Success.
pub const OK: Code = Code(0);
/// A bug, or an error of the system.
pub const INTERNAL: Code = Code(1);
/// The command line is invalid.
pub const USAGE: Code = Code(2);
/// The profile does not exist or is invalid, or its password cannot be obtained.
pub const PROFILE: Code = Code(3);
/// The command needs root.
pub const NOT_ROOT: Code = Code(4);
/// The tunnel is up or coming up.
pub const ALREADY_UP: Code = Code(5);
/// The tunnel is not up.
pub const NOT_UP: Code = Code(6);
/// The demo may not create namespaces here, or the system has none.
pub const NO_NAMESPACES: Code = Code(7);
/// The demo has no tunnel device; the same status as [`FailureKind::NoTun`].
pub const NO_TUN: Code = Code(FailureKind::NoTun.exit_code());
/// Something could not be undone.
pub const NOT_UNDONE: Code = Code(FailureKind::LinkStep.exit_code());

impl Code {
    /// Returns the exit status for a failure of `up`.
    #[must_use]
    pub const fn of(failure: &Failure) -> Self {
        Self::of_kind(failure.kind)
    }

    /// Returns the exit status for a kind of failure of `up`.
    #[must_use]
    pub const fn of_kind(kind: FailureKind) -> Self {
        Self(kind.exit_code())
    }

    /// Returns the exit status for a supervisor that does not answer.
    #[must_use]
    pub const fn of_client(why: &ClientError) -> Self {
        match why {
            ClientError::NotUp | ClientError::Died | ClientError::NotYet(_) => NOT_UP,
            ClientError::Denied(_) => NOT_ROOT,
            _ => INTERNAL,
        }
    }

    /// Returns whether the command would fail again in the same way, or could lock an account: a service manager must not
    /// repeat it.
    #[must_use]
    pub fn is_final(self) -> bool {
        let is_final_kind = |kind: &FailureKind| {
            kind.exit_code() == self.0
                && kind.usual_remedy() == Remedy::Nothing
                && *kind != FailureKind::Interrupted
        };
        [USAGE, PROFILE, NOT_ROOT, ALREADY_UP].contains(&self) || FailureKind::ALL.iter().any(is_final_kind)
    }

    /// Returns the exit status of a process of this program.
    #[must_use]
    pub const fn of_process(status: u8) -> Self {
        Self(status)
    }

    /// Returns the status of two commands: the first that is final, as a repetition could lock an account, otherwise the
    /// first failure.
    #[must_use]
    pub fn or(self, next: Self) -> Self {
        if self == OK || (next.is_final() && !self.is_final()) { next } else { self }
    }

    /// Returns the status as a number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code.0)
    }
}
