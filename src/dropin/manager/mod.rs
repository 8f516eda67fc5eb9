//! The call manager: one per server and local address, shared by every `pptp` that wants a call to that server,
//! the classic program included.
//!
//! ```text
//!  pptp (pptpgw) ──┐                                   ┌─ root: lock, socket, route, signals
//!  pptp (pptpgw) ──┼─ /var/run/pptp/LOCAL:SERVER ── keeper (pptpcm) ── worker (pptpcm) ── TCP 1723
//!  classic pptp  ──┘                                                   └─ nobody: parses the control connection
//! ```
//!
//! On the socket, as the classic program has it: the client writes two `pid_t`, that of its PPP daemon or 0
//! and its own; the manager writes the two call ids, 16 bits each, all in host byte order. The call lasts as long
//! as the client keeps its end open.

mod message;
pub mod monitor;
mod route;
mod socket;
pub mod worker;

pub use message::Spec;
pub use socket::Place;
