//! The child process: event loop and data path around the protocol machines, without privileges.
//!
//! [`handle`] is the supervisor's half: it starts a child and talks with it in the words of [`message`].
//! [`child`] is the engine process, [`resolver`] a smaller one that looks up one name. Between the sockets and
//! the machines stands [`session`], which is pure, and [`mss`] looks at what passes; [`inform`] asks the server for
//! routes; for a call whose PPP is pppd's or ppp's, [`bridge`] is in the place of our own. [`failure`] is the one
//! list of what can go wrong.

pub mod bridge;
pub mod child;
pub mod failure;
pub mod handle;
pub mod inform;
pub mod message;
pub mod mss;
mod ppp_side;
pub mod resolver;
pub mod session;
pub mod spec;
pub mod statistics;
pub mod verdict;
