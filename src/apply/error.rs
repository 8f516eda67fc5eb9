//! Errors of performing and undoing, each with the step at which it occurred.

use std::{fmt, io, path::PathBuf};

use super::ProgramError;
use crate::{
    net::{routes, tun},
    plan::{Step, Symbol, Value},
    platform::Platform,
};

/// A failure of one operation.
#[derive(Debug)]
pub struct ApplyError {
    /// The operation that failed.
    pub operation: Operation,
    /// The reason.
    pub cause: Cause,
}

/// The operation that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Performing a step.
    Do(Box<Step>),
    /// Undoing a step.
    Undo(Box<Step>),
    /// Reading the state of the host.
    Observe,
    /// Reading or writing the ledger at this path.
    Ledger(PathBuf),
}

/// The reason for a failure.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] routes::Error),
    /// No tun device could be opened.
    #[error(transparent)]
    Tun(#[from] tun::Error),
    /// A file could not be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// The path of the file.
        path: PathBuf,
        /// The error of the system call.
        error: io::Error,
    },
    /// A program that the step needs failed.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The resource belongs to another tunnel, to a running process, or to another program.
    #[error("{0}")]
    Taken(String),
    /// The existing state could not be restored exactly, so it is not removed.
    #[error("{0}")]
    CannotRestore(String),
    /// The plan still has open symbols, which are listed.
    #[error("not known yet: {}", list(.0))]
    Unresolved(Vec<Symbol>),
    /// The profile already has a ledger: the tunnel is up, or a dead supervisor's is not recovered yet.
    #[error("there is a ledger already; the tunnel is up, or `pptpctl recover` has to undo it first")]
    LedgerExists,
    /// The ledger can't be read, or was made in another network namespace.
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

    /// Returns an error of reading the host's state.
    pub fn observing(cause: impl Into<Cause>) -> Self {
        Self { operation: Operation::Observe, cause: cause.into() }
    }

    pub(super) fn ledger(path: &std::path::Path, cause: Cause) -> Self {
        Self { operation: Operation::Ledger(path.to_owned()), cause }
    }

    /// Returns whether a retry can't help: the kernel refused for a reason that lies in the request itself.
    pub(super) fn is_final(&self) -> bool {
        match &self.cause {
            Cause::Kernel(error) => error.errno.is_some() && !error.is_permission(),
            // A failed down hook is not retried; it must not keep the tunnel from ever coming up again.
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
            // The cause already names the path.
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

/// Returns the value of a fact that the plan was resolved with.
pub(super) fn known<T>(value: &Value<T>) -> Result<&T, Cause> {
    match value {
        Value::Known(value) => Ok(value),
        Value::Open(symbol) => Err(Cause::Unresolved(vec![*symbol])),
    }
}

/// Treats a refusal because the object does not exist as success.
pub(super) fn gone(outcome: Result<(), crate::net::routes::Error>) -> Result<(), Cause> {
    match outcome {
        Err(error) if error.is_absent() => Ok(()),
        outcome => Ok(outcome?),
    }
}
