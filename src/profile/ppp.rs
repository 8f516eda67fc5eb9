//! The settings of a profile below `ppp`.
//!
//! Pure data; defaults are in `schema`. The module `ppp` implements the protocols.

use super::Echo;

/// The PPP side of the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ppp {
    /// `ppp.backend`: the implementation of PPP.
    pub backend: PppBackend,
    /// `ppp.options`: further arguments for an external backend.
    pub options: Vec<String>,
    /// `ppp.label`: the label of ppp.conf that ppp(8) reads first.
    pub label: Option<String>,
    /// `ppp.lcp-echo-interval` and `-failure`, which detect a dead peer; `None` if the interval is "off".
    pub echo: Option<Echo>,
    /// `ppp.mru`: the MRU that is requested, in bytes; `None` lets the link use RFC 1661's 1500 less the
    /// overhead.
    pub mru: Option<u16>,
    /// `ppp.ipv6`: whether IPV6CP is negotiated.
    pub ipv6: bool,
}

/// The implementation of PPP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PppBackend {
    /// `builtin`: the module `ppp`, on a tun device.
    #[default]
    Builtin,
    /// `pppd`: pppd(8).
    Pppd,
    /// `ppp`: FreeBSD's ppp(8).
    Ppp,
}

/// `data-path`: who moves the packets between the device and GRE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DataPath {
    /// The kernel, if it can and the tunnel is not encrypted; else the engine.
    #[default]
    Auto,
    /// The kernel (Linux with `pptp` and `ppp_generic`, and `ppp_mppe` for encryption).
    Kernel,
    /// The engine.
    Userland,
}
