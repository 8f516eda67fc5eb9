//! Pure RFC 1661 family: LCP, authentication, CCP and MPPE, IPCP, IPV6CP, HDLC framing, link phases.
//!
//! Bytes and time in, bytes and events out: no clock, no random source and no socket in here. [`link::Link`] is what
//! the engine talks to; everything else is a part of it. Frames enter and leave without HDLC framing, as GRE
//! carries them (RFC 2637 §4); [`hdlc`] is for a pppd or ppp at the other end of a pty.

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
pub mod watch;
pub mod wire;

#[cfg(test)]
mod tests;
