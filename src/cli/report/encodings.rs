//! The forms in which a name or a secret may stand in a text: escaped, in hexadecimal, in base64. Pure.

/// A form, and how it is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// What is looked for; in lower case unless it is base64.
    pub needle: String,
    /// How it is looked for.
    pub class: Class,
}

/// How a form is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// In either case.
    Text,
    /// In either case; the digits around it belong to it.
    Hex,
    /// In this case only; the letters around it belong to it.
    Base64,
}

/// The shortest needle of base64, in characters.
const SHORTEST_BASE64: usize = 4;

/// What separates bytes in hexadecimal dumps.
const SEPARATORS: [&str; 8] = ["", " ", ":", "-", ",", ", ", "\\x", ", 0x"];

/// Returns the forms of a text.
pub(super) fn of_text(text: &str) -> Vec<Form> {
    let mut forms = Vec::new();
    let mut add = |needle: String| {
        let needle = needle.to_ascii_lowercase();
        if !needle.is_empty() && !forms.iter().any(|form: &Form| form.needle == needle) {
            forms.push(Form { needle, class: Class::Text });
        }
    };
    // The same letters in the other case; ASCII is compared without it anyway.
    let cases = [text.to_owned(), text.to_lowercase(), text.to_uppercase()];
    for text in &cases {
        add(text.clone());
        add(quoted(&format!("{text:?}")));
        add(serde_json::to_string(text).map(|json| quoted(&json)).unwrap_or_default());
        add(text.escape_default().to_string());
        add(text.as_bytes().escape_ascii().to_string());
        // As the ledger keeps bytes that are not UTF-8.
        add(text.bytes().map(char::from).collect());
        add(percent(text));
    }
    let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let upper = text.to_uppercase();
    for text in [text, &upper] {
        for bytes in [text.as_bytes().to_vec(), wide(text)] {
            forms.extend(of_bytes(&bytes));
        }
    }
    forms.dedup();
    forms
}

/// Returns the forms of bytes: hexadecimal and base64.
pub(super) fn of_bytes(bytes: &[u8]) -> Vec<Form> {
    let mut forms = Vec::new();
    if bytes.len() >= 3 {
        for separator in SEPARATORS {
            let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            forms.push(Form { needle: digits.join(separator), class: Class::Hex });
        }
        // Dumps in groups of two bytes, which may begin before the first.
        for odd in [false, true] {
            let mut needle = String::new();
            for (at, byte) in bytes.iter().enumerate() {
                if at > 0 && (at % 2 == 1) == odd {
                    needle.push(' ');
                }
                needle.push_str(&format!("{byte:02x}"));
            }
            forms.push(Form { needle, class: Class::Hex });
        }
    }
    for before in 0..3 {
        let needle = base64_core(before, bytes);
        if needle.len() >= SHORTEST_BASE64 {
            let url = needle.replace('+', "-").replace('/', "_");
            if url != needle {
                forms.push(Form { needle: url, class: Class::Base64 });
            }
            forms.push(Form { needle, class: Class::Base64 });
        }
    }
    forms
}

/// Returns a quoted text without its quotes.
fn quoted(text: &str) -> String {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text).to_owned()
}

fn percent(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02x}"),
    };
    text.bytes().map(one).collect()
}

/// Returns the characters of base64 (RFC 4648 §4) that these bytes alone decide, after `before` other bytes.
fn base64_core(before: usize, bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bit = |at: usize| -> usize {
        let byte = bytes.get((at - 8 * before) / 8).copied().unwrap_or(0);
        usize::from(byte >> (7 - at % 8) & 1)
    };
    let (first, last) = ((8 * before).div_ceil(6), 8 * (before + bytes.len()) / 6);
    let character = |at: usize| {
        let value = (6 * at..6 * at + 6).fold(0, |value, at| 2 * value + bit(at));
        ALPHABET.get(value).map_or('A', |letter| char::from(*letter))
    };
    (first..last).map(character).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_found_at_each_offset() {
        // printf 'xxhunter2yy' | base64, and with one and two letters less in front.
        for (text, before) in [("eHhodW50ZXIyeXk=", 2), ("eGh1bnRlcjJ5eQ==", 1), ("aHVudGVyMnl5", 0)] {
            let core = base64_core(before, b"hunter2");
            assert!(text.contains(&core) && core.len() >= 8, "{core} in {text}");
        }
    }

    #[test]
    fn forms_cover_dumps_and_escapes() {
        let forms = of_text("CORP\\é");
        let has = |needle: &str| forms.iter().any(|form| form.needle == needle);
        for needle in ["corp\\é", "corp\\\\é", "corp%5c%c3%a9", "434f52505cc3a9", "43 4f 52 50 5c c3 a9"] {
            assert!(has(needle), "{needle}");
        }
        // UTF-16, and two bytes in a group.
        assert!(has("43004f00520050005c00e900") && has("434f 5250 5cc3 a9") && has("43 4f52 505c c3a9"));
    }
}
