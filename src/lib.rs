//! pptpctl: a PPTP client for Linux, FreeBSD, OpenBSD and NetBSD.
//!
//! One sentence holds the house together: what a person wrote becomes a [`profile`]; a profile and the
//! facts of a live link become a [`plan`]; the [`supervisor`] owns one plan and one [`engine`] process; the
//! engine turns sockets into calls on the pure protocol machines in [`pptp`] and [`ppp`]; what they report
//! becomes steps performed by [`apply`], each written to the ledger before it is done.
//!
//! `ARCHITECTURE.md` has the map; `tests/imports.rs` holds the imports to it.

pub mod apply;
pub mod cli;
pub mod demo;
pub mod dropin;
pub mod engine;
pub mod net;
pub mod os;
pub mod plan;
pub mod ppp;
pub mod pptp;
pub mod profile;
pub mod secret;
pub mod supervisor;
