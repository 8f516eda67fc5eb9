//! Texts of a peer, made fit for a log or a terminal.

/// Longest text kept, in characters.
const LONGEST: usize = 200;

/// At most 200 characters of what the peer sent. Control characters and those that turn the direction of a line
/// or are invisible become spaces; runs of space become one; what is no UTF-8 becomes U+FFFD.
#[must_use]
pub fn printable(bytes: &[u8]) -> String {
    // A character takes at most four bytes; what lies beyond cannot matter.
    let bytes = bytes.get(..4 * LONGEST).unwrap_or(bytes);
    let text = String::from_utf8_lossy(bytes);
    let mut kept = String::new();
    let mut count = 0;
    for word in text.split(|c: char| c.is_whitespace() || is_unprintable(c)).filter(|word| !word.is_empty()) {
        let gap = usize::from(!kept.is_empty());
        if count + gap >= LONGEST {
            break;
        }
        if gap == 1 {
            kept.push(' ');
        }
        let room = LONGEST - count - gap;
        let taken = word.chars().take(room);
        count += gap + taken.clone().count();
        kept.extend(taken);
    }
    kept
}

fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_safe_from_it() {
        assert_eq!(printable(b"\x1b[31mAccess\r\n\tdenied\0\0"), "[31mAccess denied");
        assert_eq!(printable("a\u{202e}b\u{9b}31mc".as_bytes()), "a b 31mc");
        assert_eq!(printable(b"caf\xe9"), "caf\u{fffd}");
        assert_eq!(printable(b""), "");
        assert_eq!(printable(b" \r\n "), "");
    }

    #[test]
    fn its_length_is_bounded() {
        assert_eq!(printable(&[b'x'; 5000]).chars().count(), LONGEST);
        assert_eq!(printable("é ".repeat(5000).as_bytes()).chars().count(), LONGEST - 1);
        assert!(printable("\u{1f600}".repeat(5000).as_bytes()).chars().count() <= LONGEST);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..2000)) {
            let text = printable(&bytes);
            assert!(text.chars().count() <= LONGEST);
            assert!(!text.chars().any(is_unprintable));
            assert_eq!(printable(text.as_bytes()), text);
        }
    }
}
