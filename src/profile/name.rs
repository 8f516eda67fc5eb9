//! Profile names: short, and safe in a path, an interface alias, a log line and a systemd instance name.

use std::{borrow::Borrow, fmt, str::FromStr};

/// The NAME of `[profile.NAME]`: 1 to 32 characters of `a-z 0-9 . _ -`, the first a letter, a digit or `_`.
///
/// The rule is strict because the name becomes part of file names (socket, ledger, log, lock).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProfileName(String);

/// Why a text is not a profile name; `Display` is the message for the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// The name is empty.
    #[error("a profile name may not be empty")]
    Empty,
    /// More than [`ProfileName::MAX`] characters.
    #[error("a profile name has at most {} characters", ProfileName::MAX)]
    TooLong,
    /// A leading dot or dash, which would make a hidden file or look like an option.
    #[error("a profile name starts with a letter, a digit or an underscore")]
    BadStart,
    /// A character outside `a-z 0-9 . _ -`.
    #[error("a profile name consists of a-z, 0-9, dot, underscore and dash")]
    BadCharacter,
}

impl ProfileName {
    /// The longest name, in characters.
    pub const MAX: usize = 32;

    /// Checks the text and copies it.
    ///
    /// # Errors
    /// Returns the rule that the text breaks.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        if text.is_empty() {
            return Err(InvalidName::Empty);
        }
        if text.chars().any(|c| !matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-')) {
            return Err(InvalidName::BadCharacter);
        }
        if text.starts_with(['.', '-']) {
            return Err(InvalidName::BadStart);
        }
        if text.len() > Self::MAX {
            return Err(InvalidName::TooLong);
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns the name as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for ProfileName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::new(text)
    }
}

impl AsRef<str> for ProfileName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for ProfileName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl serde::Serialize for ProfileName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_only_names_that_are_safe_in_paths() {
        for good in ["vpn", "0", "_x", "a.b-c_d", &"x".repeat(32)] {
            assert_eq!(ProfileName::new(good).unwrap().as_str(), good);
        }
        for (bad, error) in [
            ("", InvalidName::Empty),
            (".", InvalidName::BadStart),
            ("..", InvalidName::BadStart),
            ("-rf", InvalidName::BadStart),
            ("a/b", InvalidName::BadCharacter),
            ("Vpn", InvalidName::BadCharacter),
            ("a b", InvalidName::BadCharacter),
            ("ä", InvalidName::BadCharacter),
            ("a\0", InvalidName::BadCharacter),
            (&"x".repeat(33), InvalidName::TooLong),
        ] {
            assert_eq!(ProfileName::new(bad), Err(error), "{bad:?}");
        }
    }
}
