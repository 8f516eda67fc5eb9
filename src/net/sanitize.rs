//! Validation of messages from unprivileged children: a text must not control a terminal or fill a disk, an
//! address must be possible for a host. Every parent checks its child's messages with these functions.

use std::net::Ipv4Addr;

/// The maximum length of a text in a message, in bytes.
pub const MAX_TEXT_LENGTH: usize = 600;

/// Sanitizes a text: replaces control characters by `?` and truncates to [`MAX_TEXT_LENGTH`] bytes.
#[must_use]
pub fn plain(text: &str) -> String {
    let mut plain = String::new();
    for c in text.chars().map(|c| if c.is_control() { '?' } else { c }) {
        if plain.len() + c.len_utf8() > MAX_TEXT_LENGTH {
            break;
        }
        plain.push(c);
    }
    plain
}

/// Returns whether [`plain`] leaves the text unchanged.
#[must_use]
pub fn is_plain(text: &str) -> bool {
    text.len() <= MAX_TEXT_LENGTH && !text.chars().any(char::is_control)
}

/// Returns whether an address can belong to a host on a network.
#[must_use]
pub fn is_host(address: Ipv4Addr) -> bool {
    let first = address.octets()[0];
    !(address.is_unspecified()
        || address.is_loopback()
        || address.is_broadcast()
        || first == 0
        || first >= 224)
}
