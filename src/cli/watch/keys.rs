//! The keys of a terminal. No I/O.

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Char(char),
    Up,
    Down,
    Enter,
    Escape,
}

/// Returns the keys in what a terminal has sent at once.
pub fn keys(bytes: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut left = bytes;
    loop {
        left = match left {
            [] => return keys,
            [0x1b, b'[' | b'O', rest @ ..] => {
                // Up to the letter that ends a sequence.
                let end = rest.iter().position(|byte| (0x40..0x7f).contains(byte));
                match end.and_then(|end| rest.get(end)) {
                    Some(b'A') => keys.push(Key::Up),
                    Some(b'B') => keys.push(Key::Down),
                    _ => {}
                }
                rest.get(end.map_or(rest.len(), |end| end + 1)..).unwrap_or_default()
            }
            [0x1b, rest @ ..] => {
                keys.push(Key::Escape);
                rest
            }
            [b'\r' | b'\n', rest @ ..] => {
                keys.push(Key::Enter);
                rest
            }
            // Ctrl-C, which is no signal in raw mode.
            [3, rest @ ..] => {
                keys.push(Key::Char('q'));
                rest
            }
            [byte, rest @ ..] => {
                if byte.is_ascii_graphic() {
                    keys.push(Key::Char(char::from(*byte)));
                }
                rest
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_in_bytes() {
        let arrows = [Key::Down, Key::Down, Key::Char('j'), Key::Up, Key::Enter];
        assert_eq!(keys(b"\x1b[B\x1bOBj\x1b[A\x1b[5~\r"), arrows);
        assert_eq!(keys(b"\x1b"), [Key::Escape]);
        assert_eq!(keys(&[3]), [Key::Char('q')]);
        assert_eq!(keys(b"\x1b["), []);
        assert_eq!(keys("ä\0d".as_bytes()), [Key::Char('d')]);
    }
}
