//! Sanitizes text from the peer for logs and terminals.

/// Longest text kept, in characters.
const MAX_CHARS: usize = 200;

/// Returns at most 200 characters of `bytes` as printable text. Control, bidirectional and invisible
/// characters become spaces, runs of spaces become one, and invalid UTF-8 becomes U+FFFD.
#[must_use]
pub fn printable(bytes: &[u8]) -> String {
    // A character takes at most four bytes: ignore the rest.
    let bytes = bytes.get(..4 * MAX_CHARS).unwrap_or(bytes);
    let text = String::from_utf8_lossy(bytes);
    let mut kept = String::new();
    let mut count = 0;
    for word in text.split(|c: char| c.is_whitespace() || is_unprintable(c)).filter(|word| !word.is_empty()) {
        let gap = usize::from(!kept.is_empty());
        if count + gap >= MAX_CHARS {
            break;
        }
        if gap == 1 {
            kept.push(' ');
        }
        let room = MAX_CHARS - count - gap;
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
    fn terminal_escapes_are_removed() {
        assert_eq!(printable(b"\x1b[31mAccess\r\n\tdenied\0\0"), "[31mAccess denied");
        assert_eq!(printable("a\u{202e}b\u{9b}31mc".as_bytes()), "a b 31mc");
        assert_eq!(printable(b"caf\xe9"), "caf\u{fffd}");
        assert_eq!(printable(b""), "");
        assert_eq!(printable(b" \r\n "), "");
    }

    #[test]
    fn length_is_bounded() {
        assert_eq!(printable(&[b'x'; 5000]).chars().count(), MAX_CHARS);
        assert_eq!(printable("é ".repeat(5000).as_bytes()).chars().count(), MAX_CHARS - 1);
        assert!(printable("\u{1f600}".repeat(5000).as_bytes()).chars().count() <= MAX_CHARS);
    }

    proptest::proptest! {
        #[test]
        fn printable_accepts_arbitrary_bytes(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..2000)) {
            let text = printable(&bytes);
            assert!(text.chars().count() <= MAX_CHARS);
            assert!(!text.chars().any(is_unprintable));
            assert_eq!(printable(text.as_bytes()), text);
        }
    }
}
