//! The option list of a Configure packet: type, length, data (RFC 1661 §6).

/// Longest data that one option can carry, in bytes.
const DATA_MAX: usize = 253;

/// One configuration option, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawOption<'a> {
    /// The option's type number; its meaning depends on the protocol.
    pub kind: u8,
    /// The bytes after type and length.
    pub data: &'a [u8],
}

impl RawOption<'_> {
    /// Returns the data as an array, or `None` if it has another length.
    #[must_use]
    pub fn array<const N: usize>(&self) -> Option<[u8; N]> {
        self.data.try_into().ok()
    }
}

/// A validated option list: every length is at least two and stays inside the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options<'a>(&'a [u8]);

impl<'a> Options<'a> {
    /// Validates a list. Returns `None` if an option is shorter than its own header or extends beyond the
    /// end; the whole packet must then be discarded (RFC 1661 §6).
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = split_first(rest)?.1;
        }
        Some(Self(bytes))
    }

    /// Returns the options in order.
    #[must_use]
    pub fn iter(&self) -> OptionIter<'a> {
        OptionIter(self.0)
    }

    /// Returns the first option of this type.
    #[must_use]
    pub fn find(&self, kind: u8) -> Option<RawOption<'a>> {
        self.iter().find(|option| option.kind == kind)
    }

    /// Returns the list as it was on the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }
}

impl<'a> IntoIterator for Options<'a> {
    type Item = RawOption<'a>;
    type IntoIter = OptionIter<'a>;
    fn into_iter(self) -> OptionIter<'a> {
        self.iter()
    }
}

/// Iterator over an option list.
#[derive(Clone, Debug)]
pub struct OptionIter<'a>(&'a [u8]);

impl<'a> Iterator for OptionIter<'a> {
    type Item = RawOption<'a>;
    fn next(&mut self) -> Option<RawOption<'a>> {
        let (option, rest) = split_first(self.0)?;
        self.0 = rest;
        Some(option)
    }
}

/// Appends one option to a list. Data longer than 253 bytes does not fit in an option and is cut.
pub fn push(out: &mut Vec<u8>, kind: u8, data: &[u8]) {
    let data = data.get(..DATA_MAX).unwrap_or(data);
    out.push(kind);
    out.push(u8::try_from(data.len() + 2).unwrap_or(u8::MAX));
    out.extend_from_slice(data);
}

fn split_first(bytes: &[u8]) -> Option<(RawOption<'_>, &[u8])> {
    let [kind, length, rest @ ..] = bytes else { return None };
    let (data, rest) = rest.split_at_checked(usize::from(*length).checked_sub(2)?)?;
    Some((RawOption { kind: *kind, data }, rest))
}
