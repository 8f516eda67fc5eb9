//! pptpctl: a PPTP client for Linux, FreeBSD, OpenBSD and NetBSD.
//!
//! A [`profile`] is one tunnel's configuration. A profile and the facts of a live link become a [`plan`], an
//! ordered list of steps. The [`supervisor`] owns one plan and one [`engine`] process. The engine connects
//! sockets to the protocol state machines in [`pptp`] and [`ppp`], which do no I/O. [`apply`] performs the
//! steps that follow from their events, and writes each to the ledger first.
//!
//! `ARCHITECTURE.md` describes the modules; `tests/imports.rs` checks their imports against it.

pub mod apply;
pub mod cli;
pub mod deadline;
pub mod demo;
pub mod dropin;
pub mod engine;
pub mod failure;
pub mod net;
pub mod os;
pub mod plan;
pub mod platform;
pub mod ppp;
pub mod pptp;
pub mod profile;
pub mod secret;
pub mod supervisor;
