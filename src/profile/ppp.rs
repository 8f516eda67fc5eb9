//! The PPP settings of a profile: authentication, encryption, the PPP backend.
//!
//! Pure data with the defaults in one place. The module `ppp` implements the protocols.

use std::{fmt, time::Duration};

/// An authentication protocol; the order is from the weakest to the strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AuthProtocol {
    /// `pap`: the password is sent in clear (RFC 1334 §2).
    Pap,
    /// `chap`: CHAP with MD5 (RFC 1994).
    ChapMd5,
    /// `mschap`: MS-CHAPv1 (RFC 2433).
    MsChapV1,
    /// `mschapv2`: MS-CHAPv2 (RFC 2759); authenticates the server too.
    MsChapV2,
}

impl AuthProtocol {
    /// Returns the name in profiles.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pap => "pap",
            Self::ChapMd5 => "chap",
            Self::MsChapV1 => "mschap",
            Self::MsChapV2 => "mschapv2",
        }
    }

    /// Returns whether the protocol yields MPPE keys (RFC 3079).
    #[must_use]
    pub const fn gives_mppe_keys(self) -> bool {
        matches!(self, Self::MsChapV1 | Self::MsChapV2)
    }
}

/// The encryption that the profile requires (RFC 3078).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mppe {
    /// Off, allowed or required.
    pub mode: MppeMode,
    /// The weakest key that is accepted; meaningless when off.
    pub min: MppeStrength,
    /// Whether stateful mode is accepted too (`+stateful`); stateless is always preferred.
    pub stateful: bool,
}

impl Default for Mppe {
    /// Requires 128 bits, stateless.
    fn default() -> Self {
        Self { mode: MppeMode::Require, min: MppeStrength::Bits128, stateful: false }
    }
}

/// Whether MPPE is negotiated at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MppeMode {
    /// `off`: rejected; all packets are in clear.
    Off,
    /// `allow`: accepted if the server offers it.
    Allow,
    /// `require-…`: no packet is sent without it.
    Require,
}

/// Length of the MPPE session key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MppeStrength {
    /// 40 bits.
    Bits40,
    /// 56 bits.
    Bits56,
    /// 128 bits.
    Bits128,
}

impl MppeStrength {
    /// Returns the length in bits.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::Bits40 => 40,
            Self::Bits56 => 56,
            Self::Bits128 => 128,
        }
    }
}

impl fmt::Display for Mppe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mode {
            MppeMode::Off => return f.write_str("off"),
            MppeMode::Allow => f.write_str("allow")?,
            MppeMode::Require => write!(f, "require-{}", self.min.bits())?,
        }
        if self.stateful { f.write_str("+stateful") } else { Ok(()) }
    }
}

/// The PPP side of the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ppp {
    /// `ppp.backend`: the implementation of PPP.
    pub backend: PppBackend,
    /// `ppp.options`: further arguments for an external backend.
    pub options: Vec<String>,
    /// `ppp.label`: the label of ppp.conf that ppp(8) reads first.
    pub label: Option<String>,
    /// `ppp.lcp-echo-interval` and `-failure`; `None` if the interval is "off".
    pub echo: Option<Echo>,
    /// `ppp.mru`: the MRU that is requested, in bytes; `None` lets the link use RFC 1661's 1500 less the
    /// overhead.
    pub mru: Option<u16>,
    /// `ppp.ipv6`: whether IPV6CP is negotiated.
    pub ipv6: bool,
}

impl Default for Ppp {
    fn default() -> Self {
        Self {
            backend: PppBackend::default(),
            options: Vec::new(),
            label: None,
            echo: Some(Echo::default()),
            mru: None,
            ipv6: false,
        }
    }
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

/// Settings of LCP echo, which detects a dead peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// Time between two Echo-Requests.
    pub interval: Duration,
    /// Number of consecutive unanswered requests after which the link is down; at least 1.
    pub failures: u32,
}

impl Default for Echo {
    fn default() -> Self {
        Self { interval: Duration::from_secs(15), failures: 4 }
    }
}
