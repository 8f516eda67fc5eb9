//! The exit statuses of `pptpctl`; those from 10 on are [`FailureKind::exit_code`]'s.

use std::process::ExitCode;

use crate::supervisor::{Failure, FailureKind};

/// An exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(u8);

/// It went well.
pub const OK: Code = Code(0);
/// A defect of ours, or of the system under us.
pub const INTERNAL: Code = Code(1);
/// The command line is wrong.
pub const USAGE: Code = Code(2);
/// No such profile, or it is not valid, or its password is not to be had.
pub const PROFILE: Code = Code(3);
/// Only root can do that.
pub const NOT_ROOT: Code = Code(4);
/// The tunnel is up, or on its way.
pub const ALREADY_UP: Code = Code(5);
/// The tunnel is not up.
pub const NOT_UP: Code = Code(6);
/// The demo may not make namespaces here, or the system has none.
pub const NO_NAMESPACES: Code = Code(7);
/// The demo has no tunnel device, as [`FailureKind::NoTun`].
pub const NO_TUN: Code = Code(FailureKind::NoTun.exit_code());
/// Something could not be undone.
pub const NOT_UNDONE: Code = Code(FailureKind::LinkStep.exit_code());

impl Code {
    /// Of a failure of `up`.
    #[must_use]
    pub const fn of(failure: &Failure) -> Self {
        Self::of_kind(failure.kind)
    }

    /// Of a class of failures of `up`.
    #[must_use]
    pub const fn of_kind(kind: FailureKind) -> Self {
        Self(kind.exit_code())
    }

    /// The number.
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
