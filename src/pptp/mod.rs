//! RFC 2637 without I/O: codecs for the control connection and for enhanced GRE, the state machine of one
//! control connection with its calls, and the flow of one call's packets.
//!
//! Nothing here does I/O, reads a clock or draws a random number: bytes and time are arguments, bytes and
//! events are results. Both roles are implemented, so that a client and a server can be connected in memory.
//!
//! Not here: PPP (`ppp`), sockets (`net`), and the decision when to reconnect (`supervisor`).

pub mod cause;
pub mod control;
pub mod flow;
#[cfg(any(feature = "fuzzing", test))]
pub mod fuzzing;
pub mod gre;
pub mod quirks;
pub mod wire;
