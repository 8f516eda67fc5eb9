//! Pure RFC 2637: the codecs of the control connection and of enhanced GRE, the machine for one control
//! connection with its calls, and the flow of one call's packets.
//!
//! Nothing here does I/O, reads a clock or draws a random number: bytes and time are arguments, bytes and
//! events are results. Both roles exist, so that two machines can be wired together in memory.
//!
//! What is not here: PPP itself (`ppp`), sockets (`net`), and the decision when to dial again (`supervisor`).

pub mod cause;
pub mod control;
pub mod flow;
#[doc(hidden)]
pub mod fuzzing;
pub mod gre;
pub mod quirks;
pub mod wire;
