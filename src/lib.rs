//! pptpctl: a PPTP client for Linux, FreeBSD, OpenBSD and NetBSD.
//!
//! A [`profile`] is one tunnel's configuration. A profile and the facts of a live link become a [`plan`], an
//! ordered list of steps. The [`supervisor`] owns one plan and one [`engine`] process. The engine connects
//! sockets to the protocol state machines in [`pptp`] and [`ppp`], which do no I/O. [`apply`] performs the
//! steps that follow from their events, and writes each to the ledger first.
//!
//! `ARCHITECTURE.md` describes the modules; `tests/imports.rs` checks their imports against it. They are
//! private, so that the compiler finds unused code; [`testing`] has the items that tests use.

// missing_docs does not see items that are public in a private module.
#![deny(clippy::missing_docs_in_private_items)]
#![cfg_attr(
    not(feature = "default"),
    expect(
        dead_code,
        unused_imports,
        reason = "only features that this build leaves out use it; the linker drops it"
    )
)]

mod apply;
mod cli;
mod deadline;
#[cfg(all(feature = "demo", any(target_os = "linux", target_os = "freebsd")))]
mod demo;
#[cfg(feature = "drop-in")]
mod dropin;
mod engine;
mod failure;
#[cfg(any(feature = "fuzzing", test))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "setup")]
mod import;
mod net;
mod os;
mod plan;
mod platform;
mod ppp;
mod pptp;
mod profile;
mod secret;
mod supervisor;
#[doc(hidden)]
pub mod testing;

pub use cli::main as pptpctl_main;
#[cfg(feature = "drop-in")]
pub use dropin::main as pptp_main;
