//! The call manager: one per server and local address, shared by all `pptp` processes with calls to that
//! server, including the classic program's.
//!
//! ```text
//!  pptp (pptpgw) ──┐                                   ┌─ root: lock, socket, route, signals
//!  pptp (pptpgw) ──┼─ /var/run/pptp/LOCAL:SERVER ── monitor (pptpcm) ── worker (pptpcm) ── TCP 1723
//!  classic pptp  ──┘                                                    └─ nobody: parses the control connection
//! ```
//!
//! The protocol on the socket is the classic program's: the client writes two `pid_t`, that of its PPP daemon
//! (or 0) and its own; the manager writes the two call ids, 16 bits each. All are in host byte order. The
//! call ends when the client closes the socket.

mod message;
pub mod monitor;
mod route;
mod socket;
pub mod worker;

pub use message::Spec;
pub use socket::ManagerSocket;
