//! What a child without privileges may say to a parent that has them: texts that cannot drive a terminal or fill a
//! disk, addresses that a host can have. Whoever reads such a child's messages checks them with these.

use std::net::Ipv4Addr;

/// The longest text that a message may carry, in bytes.
pub const LONGEST_TEXT: usize = 600;

/// Makes any text fit to be sent: control characters become `?`, and what is too long is cut.
#[must_use]
pub fn plain(text: &str) -> String {
    let mut plain = String::new();
    for c in text.chars().map(|c| if c.is_control() { '?' } else { c }) {
        if plain.len() + c.len_utf8() > LONGEST_TEXT {
            break;
        }
        plain.push(c);
    }
    plain
}

/// Whether it is as [`plain`] makes it.
#[must_use]
pub fn is_plain(text: &str) -> bool {
    text.len() <= LONGEST_TEXT && !text.chars().any(char::is_control)
}

/// Whether a host on a network can have this address.
#[must_use]
pub fn is_host(address: Ipv4Addr) -> bool {
    let first = address.octets()[0];
    !(address.is_unspecified()
        || address.is_loopback()
        || address.is_broadcast()
        || first == 0
        || first >= 224)
}
