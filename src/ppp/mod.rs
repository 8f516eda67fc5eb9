//! PPP (RFC 1661): LCP, authentication, CCP and MPPE, IPCP, IPV6CP, HDLC framing, link phases.
//!
//! Bytes and time in, bytes and events out: no clock, no random source and no socket. The engine uses
//! [`link::Link`], which drives the other modules. Frames enter and leave without HDLC framing, as GRE
//! carries them (RFC 2637 §4); [`hdlc`], [`stream`] and [`watch`] are for external PPP (pppd or ppp on a
//! pty). [`mss`] clamps the TCP segment sizes of the IP packets that the link carries.

pub mod auth;
pub mod automaton;
pub mod ccp;
pub mod crypto;
pub mod hdlc;
pub mod ipcp;
pub mod ipv6cp;
pub mod lcp;
pub mod link;
pub mod mppe;
pub mod mss;
pub mod stream;
pub mod watch;
pub mod wire;

#[cfg(test)]
mod tests;
