//! What went wrong, with the step that it went wrong at.

use std::{fmt, io, path::PathBuf};

use super::ProgramError;
use crate::{
    net::{routes, tun},
    plan::{Platform, Step, Symbol, Value},
};

/// One failure.
#[derive(Debug)]
pub struct ApplyError {
    /// What was being done.
    pub operation: Operation,
    /// Why it failed.
    pub cause: Cause,
}

/// What was being done when it failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Performing a step.
    Do(Box<Step>),
    /// Undoing a step.
    Undo(Box<Step>),
    /// Looking something up on the host.
    Observe,
    /// Keeping the ledger.
    Ledger(PathBuf),
}

/// Why it failed.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] routes::Error),
    /// There is no tun device.
    #[error(transparent)]
    Tun(#[from] tun::Error),
    /// A file could not be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A program that the step needs did not do it.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// Someone else has the place: another tunnel, or a live process.
    #[error("{0}")]
    Taken(String),
    /// What is there could not be put back exactly, so it is not taken away.
    #[error("{0}")]
    CannotRestore(String),
    /// The plan still has open symbols.
    #[error("not known yet: {}", list(.0))]
    Unresolved(Vec<Symbol>),
    /// The profile has a ledger already: the tunnel is up, or a dead supervisor's is not recovered yet.
    #[error("there is a ledger already; the tunnel is up, or `pptpctl recover` has to undo it first")]
    LedgerExists,
    /// The ledger can't be read, or was made elsewhere.
    #[error("{0}")]
    Ledger(String),
}

impl ApplyError {
    pub(super) fn doing(step: &Step, cause: impl Into<Cause>) -> Self {
        Self { operation: Operation::Do(Box::new(step.clone())), cause: cause.into() }
    }

    pub(super) fn undoing(step: &Step, cause: impl Into<Cause>) -> Self {
        Self { operation: Operation::Undo(Box::new(step.clone())), cause: cause.into() }
    }

    pub(super) fn observing(cause: impl Into<Cause>) -> Self {
        Self { operation: Operation::Observe, cause: cause.into() }
    }

    pub(super) fn ledger(path: &std::path::Path, cause: Cause) -> Self {
        Self { operation: Operation::Ledger(path.to_owned()), cause }
    }

    /// Whether it failed for want of privileges.
    #[must_use]
    pub fn is_permission(&self) -> bool {
        match &self.cause {
            Cause::Kernel(error) => error.is_permission(),
            Cause::Tun(error) => matches!(error, tun::Error::Permission),
            Cause::File { error, .. } => error.kind() == io::ErrorKind::PermissionDenied,
            _ => false,
        }
    }

    /// Whether trying again can't help: the kernel said no for a reason that lies in what is asked.
    pub(super) fn is_final(&self) -> bool {
        match &self.cause {
            Cause::Kernel(error) => error.errno.is_some() && !error.is_permission(),
            // The user's own program has had its turn; it must not keep the tunnel from ever coming up again.
            Cause::Program(_) | Cause::Taken(_) => {
                matches!(&self.operation, Operation::Undo(step) if matches!(**step, Step::Hook(_)))
            }
            _ => false,
        }
    }
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.operation {
            Operation::Do(step) => write!(f, "{}: ", step.line(Platform::host()))?,
            Operation::Undo(step) => match step.undo_line(Platform::host()) {
                Some(line) => write!(f, "{line}: ")?,
                None => write!(f, "undo {}: ", step.line(Platform::host()))?,
            },
            Operation::Observe => {}
            // Once is enough.
            Operation::Ledger(path) if matches!(&self.cause, Cause::File { path: same, .. } if same == path) =>
                {}
            Operation::Ledger(path) => write!(f, "{}: ", path.display())?,
        }
        self.cause.fmt(f)
    }
}

impl std::error::Error for ApplyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

fn list(symbols: &[Symbol]) -> String {
    symbols.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The value of a fact that the plan was resolved with.
pub(super) fn known<T>(value: &Value<T>) -> Result<&T, Cause> {
    match value {
        Value::Known(value) => Ok(value),
        Value::Open(symbol) => Err(Cause::Unresolved(vec![*symbol])),
    }
}

/// Treats a refusal because the thing is not there as success.
pub(super) fn gone(outcome: Result<(), crate::net::routes::Error>) -> Result<(), Cause> {
    match outcome {
        Err(error) if error.is_absent() => Ok(()),
        outcome => Ok(outcome?),
    }
}
