//! Microsoft Point-to-Point Encryption: keys (RFC 3079) and the data path (RFC 3078).
//!
//! [`Keys`] are derived from an authentication. [`Sealer`] and [`Opener`] each handle one direction of the
//! data path and allocate nothing. [`crate::ppp::ccp`] does the negotiation (CCP option 18); this module only
//! defines its bits. MPPE has no integrity protection.

mod ahead;
mod budget;
mod checkpoints;
#[cfg(any(feature = "fuzzing", test))]
pub mod fuzz;
mod keys;
mod lanes;
#[cfg(any(feature = "fuzzing", test))]
mod memo;
mod opener;
mod plausible;
mod rc4;
mod schedule;
mod sealer;
#[cfg(test)]
mod tests;

use std::fmt;

pub use keys::{End, Keys};
pub use opener::{MppeDrop, Opener};
pub use sealer::{ResetStyle, SealError, Sealer};

/// Length of the MPPE header in bytes: flags and coherency count (RFC 3078 §3).
pub const HEADER: usize = 2;

/// Bits of the CCP option's four bytes, most significant byte first (RFC 3078 §2).
pub mod option {
    /// CCP option type of MPPE and MPPC.
    pub const TYPE: u8 = 18;
    /// H: stateless mode, a new key for every packet.
    pub const STATELESS: u32 = 0x0100_0000;
    /// M: 56-bit keys.
    pub const BITS_56: u32 = 0x0000_0080;
    /// S: 128-bit keys.
    pub const BITS_128: u32 = 0x0000_0040;
    /// L: 40-bit keys.
    pub const BITS_40: u32 = 0x0000_0020;
    /// D: obsolete; never offered, ignored on receipt.
    #[cfg(test)]
    pub const OBSOLETE: u32 = 0x0000_0010;
    /// C: MPPC compression, not supported.
    #[cfg(test)]
    pub const COMPRESSION: u32 = 0x0000_0001;
}

/// Length of the RC4 session key. Ordered weakest to strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Strength {
    /// 40 secret bits of 64.
    Bits40,
    /// 56 secret bits of 64.
    Bits56,
    /// 128 bits.
    Bits128,
}

impl Strength {
    /// All strengths, weakest to strongest.
    pub const ALL: [Self; 3] = [Self::Bits40, Self::Bits56, Self::Bits128];

    /// Returns its bit in the CCP option.
    #[must_use]
    pub const fn bit(self) -> u32 {
        match self {
            Self::Bits40 => option::BITS_40,
            Self::Bits56 => option::BITS_56,
            Self::Bits128 => option::BITS_128,
        }
    }

    /// Returns the nominal key length in bits.
    #[must_use]
    pub const fn bits(self) -> u16 {
        match self {
            Self::Bits40 => 40,
            Self::Bits56 => 56,
            Self::Bits128 => 128,
        }
    }

    /// Returns the strongest in `min..=max` whose bit of the CCP option is set in `supported`.
    #[must_use]
    pub fn strongest(supported: u32, min: Self, max: Self) -> Option<Self> {
        Self::ALL.into_iter().rev().find(|one| (min..=max).contains(one) && supported & one.bit() != 0)
    }
}

impl fmt::Display for Strength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MPPE-{}", self.bits())
    }
}

/// Whether a link may, must or must not be encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum Demand {
    /// Never offered, refused when requested.
    Off,
    /// Offered; the link comes up without it when the peer refuses.
    #[default]
    Allow,
    /// No data is sent unencrypted.
    Require,
}

/// One end's requirements for MPPE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Policy {
    /// Whether to encrypt.
    pub demand: Demand,
    /// Weakest key accepted.
    pub min: Strength,
    /// Strongest key offered.
    pub max: Strength,
    /// Whether stateful mode is acceptable (stateless is always preferred).
    pub stateful: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self { demand: Demand::Allow, min: Strength::Bits40, max: Strength::Bits128, stateful: false }
    }
}

/// Returns whether MPPE carries this PPP protocol: 0x0021 to 0x00fa (RFC 3078 §3). Control protocols such as
/// LCP, CCP and IPCP are never encrypted.
#[must_use]
pub const fn carries(protocol: u16) -> bool {
    matches!(protocol, 0x0021..=0x00fa)
}

/// A bit: the RC4 tables were initialized for this packet.
const FLUSHED: u8 = 0x80;
/// D bit: the packet is encrypted.
const ENCRYPTED: u8 = 0x10;
const COUNT_MASK: u16 = 0x0fff;
