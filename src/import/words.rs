//! Splits the lines of the old formats into words.

use std::iter::Peekable;

/// A word of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The word, without quotes and escapes.
    pub text: String,
    /// The word without quotes, but with its backslashes.
    pub raw: String,
    /// The line that it begins in, counted from 1.
    pub line: usize,
}

/// Splits an options file or a secrets file of pppd(8): words in quotes, escapes with a backslash, comments.
#[must_use]
pub fn pppd(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut line = 1;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.peek().copied() {
        if c == '\n' {
            line += 1;
            chars.next();
        } else if c.is_ascii_whitespace() {
            chars.next();
        } else if c == '#' {
            while chars.next_if(|c| *c != '\n').is_some() {}
        } else {
            let (word, lines) = pppd_word(&mut chars, line);
            line += lines;
            words.extend(word);
        }
    }
    words
}

/// Reads one word; returns it and the number of lines that end in it.
fn pppd_word(chars: &mut Peekable<std::str::Chars<'_>>, line: usize) -> (Option<Word>, usize) {
    let mut word = Word { text: String::new(), raw: String::new(), line };
    let (mut quote, mut lines, mut is_word) = (None, 0, false);
    while let Some(c) = chars.peek().copied() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if c == open => quote = None,
            (None, '#') => break,
            (None, _) if c.is_ascii_whitespace() => break,
            (_, '\\') => {
                chars.next();
                match chars.peek().copied() {
                    Some('\n') => lines += 1,
                    Some(_) => {
                        escape(chars, &mut word);
                        is_word = true;
                        continue;
                    }
                    None => break,
                }
                chars.next();
                continue;
            }
            _ => {
                lines += usize::from(c == '\n');
                word.text.push(c);
                word.raw.push(c);
            }
        }
        is_word = true;
        chars.next();
    }
    (is_word.then_some(word), lines)
}

/// Reads what follows a backslash.
fn escape(chars: &mut Peekable<std::str::Chars<'_>>, word: &mut Word) {
    word.raw.push('\\');
    match chars.next() {
        Some('x') => {
            word.raw.push('x');
            match number(chars, 16, 2, "", word) {
                Some(byte) => word.text.push(char::from(byte)),
                None => word.text.push('x'),
            }
        }
        Some(c @ '0'..='7') => {
            if let Some(byte) = number(chars, 8, 3, &c.to_string(), word) {
                word.text.push(char::from(byte));
            }
        }
        Some(c) => {
            word.raw.push(c);
            word.text.push(match c {
                'a' => '\u{7}',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                's' => ' ',
                't' => '\t',
                'v' => '\u{b}',
                other => other,
            });
        }
        None => {}
    }
}

/// Reads the digits of an escape; `first` has been read already.
fn number(
    chars: &mut Peekable<std::str::Chars<'_>>,
    radix: u32,
    most: usize,
    first: &str,
    word: &mut Word,
) -> Option<u8> {
    let mut found = first.to_owned();
    while found.len() < most {
        match chars.next_if(|c| c.is_digit(radix)) {
            Some(digit) => found.push(digit),
            None => break,
        }
    }
    word.raw.push_str(&found);
    u32::from_str_radix(&found, radix).ok().and_then(|code| u8::try_from(code & 0xff).ok())
}

/// Splits a line as ppp(8), mpd and sh(1) do: words in quotes, a backslash before a character.
#[must_use]
pub fn line(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some('\''), _) => word.get_or_insert_default().push(c),
            (_, '\\') => word.get_or_insert_default().extend(chars.next()),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, _) if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// Returns the last part of a path.
#[must_use]
pub fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Returns whether a shell would do more with this word than pass it on.
#[must_use]
pub fn needs_shell(word: &str) -> bool {
    word.contains(['$', '`', '|', ';', '&', '<', '>', '*', '?', '(', ')', '{', '}'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        pppd(text).into_iter().map(|word| word.text).collect()
    }

    #[test]
    fn pppd_words_have_quotes_escapes_and_comments() {
        assert_eq!(texts("# x\nname \"a b\" # c\n'it''s' a\\ b\\\nc ''"), ["name", "a b", "its", "a bc", ""]);
        assert_eq!(texts("CORP\\\\alice \\x41\\101\\t\\q a#b"), ["CORP\\alice", "AA\tq", "a"]);
        let words = pppd("a\n\"b\nc\" d\ne");
        assert_eq!(words.iter().map(|word| word.line).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(pppd("name CORP\\alice")[1].raw, "CORP\\alice");
    }

    #[test]
    fn lines_have_quotes_and_comments() {
        assert_eq!(line(r#" set device "!pptp \"x\" 'y z'" # c"#), ["set", "device", "!pptp \"x\" 'y z'"]);
        assert_eq!(line("a 'b \\c' d#e \"\""), ["a", "b \\c", "d#e", ""]);
    }

    proptest::proptest! {
        #[test]
        fn splitters_accept_arbitrary_text(text: String) {
            let words = pppd(&text);
            let lines = text.lines().count().max(1);
            proptest::prop_assert!(words.iter().all(|word| (1..=lines + 1).contains(&word.line)));
            let _words = line(&text);
        }
    }
}
