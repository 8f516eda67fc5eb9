//! Fields of control messages: big-endian integers and NUL-padded text (RFC 2637 §2).

use std::fmt;

/// A value with a fixed width on the wire.
pub(super) trait Field: Sized {
    /// Takes the value off the front of `bytes`; `None` if there are too few.
    fn read(bytes: &mut &[u8]) -> Option<Self>;
    /// Appends the value.
    fn write(&self, out: &mut Vec<u8>);
}

/// Text in a field of `N` bytes, padded with NUL.
///
/// All bytes are kept, also those after a NUL, so that decoding and encoding are lossless. `Display` prints
/// only the part before the first NUL, with control characters replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<const N: usize>([u8; N]);

impl<const N: usize> Text<N> {
    /// A field full of NULs.
    pub const EMPTY: Self = Self([0; N]);

    /// Returns a field with the first `N` bytes of `text`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut field = [0; N];
        for (to, from) in field.iter_mut().zip(text.bytes()) {
            *to = from;
        }
        Self(field)
    }

    /// Returns the bytes before the first NUL.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.0.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    /// Replaces control characters, so that a peer's escape sequences do not reach a terminal or a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in String::from_utf8_lossy(self.bytes()).chars() {
            write!(f, "{}", if c.is_control() { '?' } else { c })?;
        }
        Ok(())
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.bytes().escape_ascii())
    }
}

impl<const N: usize> Field for Text<N> {
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        take(bytes).map(Self)
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
}

impl Field for u8 {
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        take(bytes).map(Self::from_be_bytes)
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }
}

impl Field for u16 {
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        take(bytes).map(Self::from_be_bytes)
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }
}

impl Field for u32 {
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        take(bytes).map(Self::from_be_bytes)
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }
}

/// Takes `N` bytes off the front.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_truncated_padded_and_safe_to_print() {
        assert_eq!(Text::<4>::new("ab").0, *b"ab\0\0");
        assert_eq!(Text::<4>::new("abcdef").0, *b"abcd");
        assert_eq!(Text::<4>::new("abcdef").bytes(), b"abcd");
        let mut nasty: &[u8] = b"\x1b[2J\xff\0zz";
        let text = Text::<8>::read(&mut nasty).unwrap();
        assert_eq!(text.to_string(), "?[2J\u{fffd}");
        assert_eq!(nasty, b"");
    }

    #[test]
    fn too_few_bytes_read_as_none() {
        assert_eq!(u32::read(&mut &[1, 2, 3][..]), None);
        assert_eq!(Text::<2>::read(&mut &[1][..]), None);
    }
}
