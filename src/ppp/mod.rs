//! Pure RFC 1661 family: LCP, authentication, CCP and MPPE, IPCP, IPV6CP, link phases.

pub mod auth;
pub mod crypto;
pub mod hdlc;
pub mod mppe;
