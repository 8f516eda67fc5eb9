//! Validation of messages from unprivileged children: a text must not control a terminal or fill a disk, an
//! address must be possible for a host. Every parent checks its child's messages with these functions.

use std::net::Ipv4Addr;

/// The maximum length of a text in a message, in bytes.
pub const MAX_TEXT_LENGTH: usize = 600;

/// Sanitizes a text: replaces control characters, and those of [`visible`], by `?` and truncates to
/// [`MAX_TEXT_LENGTH`] bytes.
#[must_use]
pub fn plain(text: &str) -> String {
    let mut plain = String::new();
    for c in text.chars().map(|c| if c.is_control() || misleads(c) { '?' } else { c }) {
        if plain.len() + c.len_utf8() > MAX_TEXT_LENGTH {
            break;
        }
        plain.push(c);
    }
    plain
}

/// Replaces characters by `?` that a terminal or an editor does not show, or that change the order in which others are
/// shown.
#[must_use]
pub fn visible(text: &str) -> String {
    text.chars().map(|c| if misleads(c) { '?' } else { c }).collect()
}

/// Returns whether a character is invisible or changes the direction of text: Unicode's default ignorable code points,
/// bidirectional controls (UAX 9), and line and paragraph separators.
const fn misleads(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Returns whether a text is short enough and has no control characters.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invisible_and_bidirectional_characters_are_replaced() {
        for c in
            ['\u{202e}', '\u{2066}', '\u{200b}', '\u{feff}', '\u{e0041}', '\u{2028}', '\u{ad}', '\u{61c}']
        {
            let text = format!("Access {c}granted");
            assert_eq!(plain(&text), "Access ?granted", "{c:?}");
            assert_eq!(visible(&text), "Access ?granted", "{c:?}");
        }
        for text in ["Grüße", "Доступ разрешён", "アクセス", "שלום", "a\u{300}"] {
            assert_eq!(plain(text), text);
        }
    }
}
