//! Synchronous rtnetlink client (Linux): routes, rules, addresses, interfaces.
//!
//! Owns one socket per [`Netlink`], tied to the network namespace in which it was opened. Every request is
//! acknowledged, answers are matched by sequence number, each wait has a timeout, and the kernel validates
//! requests strictly. Decides nothing: `plan` chooses the changes, `apply` makes and undoes them.

mod address;
mod device;
#[cfg(any(feature = "fuzzing", test))]
pub mod fuzz;
mod message;
mod names;
mod route;
mod rule;
mod socket;
mod watch;

pub use socket::Netlink;
pub use watch::Watch;

pub use super::routes::Error;
