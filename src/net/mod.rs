//! Sockets, tunnel device, routing sockets, signals: thin shells over system calls, each with one owner.
//!
//! [`channel`] joins supervisor and engine, [`transport`] makes the TCP and GRE sockets of a tunnel,
//! [`signals`] turns signals into readable descriptors, [`wait`] is the one place that blocks.

pub mod channel;
pub mod packets;
pub mod signals;
pub mod transport;
pub mod wait;
