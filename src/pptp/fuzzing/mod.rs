//! What the fuzz targets run, and what must hold whatever they are fed; errors say what did not.
//!
//! The bytes are a script of operations, not only input: time passes, calls are opened and closed, output is
//! fetched or left lying. The same functions replay the committed corpus as ordinary tests.

mod control;
mod flow;

pub use control::control;
pub use flow::gre_flow;

/// The script, read from the front; zeros once it is used up.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    const fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    fn u32(&mut self) -> u32 {
        u32::from_be_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }

    /// The next `count` bytes, or what is left.
    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        head
    }
}

/// An error unless `holds`.
fn hold(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}
