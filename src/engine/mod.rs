//! The engine: an unprivileged child process with the event loop and the data path around the protocol state
//! machines.
//!
//! [`handle`] is the supervisor's half: it starts a child and exchanges the messages of [`message`] with it.
//! [`child`] is the engine process, [`resolver`] a smaller child that looks up one name. [`session`] connects
//! the sockets with the state machines and does no I/O; [`inform`] asks the
//! server for routes; [`bridge`] replaces our own PPP if pppd or ppp handles the call. [`failure`](crate::failure) lists
//! everything that can go wrong.

pub mod bridge;
pub mod capture;
pub mod child;
pub mod handle;
pub mod inform;
pub mod message;
mod ppp_side;
pub mod resolver;
pub mod session;
pub mod spec;
pub mod statistics;
pub mod verdict;
