//! The bodies of the fuzz targets. Each returns an error that describes the violated invariant.
//!
//! The fuzzer's bytes are a script of operations, not only peer input: the script advances the clock, opens
//! and closes calls, and fetches output or leaves it queued. Ordinary tests replay the committed corpus.

mod control;
mod flow;

pub use control::control;
pub(crate) use control::likely_message;
pub use flow::gre_flow;

/// The script, read from the front; yields zeros once it is used up.
pub(crate) struct Script<'a>(pub(crate) &'a [u8]);

impl<'a> Script<'a> {
    /// Returns whether every byte has been read.
    pub(crate) const fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads a byte.
    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// Reads a number of 16 bits.
    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// Reads a number of 32 bits.
    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_be_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }

    /// Takes the next `count` bytes, or all that are left.
    pub(crate) fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        head
    }
}

/// Returns `what` as an error unless `holds`.
pub(crate) fn ensure(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}
