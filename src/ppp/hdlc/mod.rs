//! HDLC-like framing on an octet stream (RFC 1662 §4, asynchronous): flags, transparency, FCS-16.
//!
//! Used on a pty or a pipe to ppp(8) or pppd(8). Converts between bytes and frames, and does no I/O. A frame
//! is the same as in GRE: everything between the flags without the FCS. Whether it has address and control
//! bytes and a compressed protocol field is agreed between the two PPP ends and does not matter here.
//!
//! Synchronous mode (`--sync`) does not use this module, because it has no framing: one write is one frame,
//! and one read returns one frame as long as the reader keeps up; nothing in the stream marks the end of a
//! frame. No length inside a frame can replace the mark (MPPE, ACFC, PFC and empty Configure-Requests have
//! none where the classic client expects it).

mod chunk;
mod decoder;
mod encoder;
mod fcs;
#[cfg(any(feature = "fuzzing", test))]
pub mod fuzz;
#[cfg(test)]
mod tests;

pub use decoder::{Decoder, HdlcDrop};
pub use encoder::{encode, encoded_max};

/// Flag, which begins and ends each frame (RFC 1662 §3.1).
const FLAG: u8 = 0x7e;
/// Escape, which means that bit 5 of the next byte is inverted (RFC 1662 §4.2).
const ESCAPE: u8 = 0x7d;
/// The bit that an escape inverts.
const ESCAPE_BIT: u8 = 0x20;

/// Asynchronous-Control-Character-Map (RFC 1662 §7.1): if bit n is set, the sender escapes byte n.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Accm(pub u32);

impl Accm {
    /// All control characters: the default until another map is agreed, and always the map for LCP.
    pub const ALL: Self = Self(u32::MAX);
    /// No control characters.
    pub const NONE: Self = Self(0);
}
