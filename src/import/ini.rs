//! Sections with `key=value` lines: keyfiles of NetworkManager, and the phone book of Windows.

use super::{draft::Origin, sources::Source};

/// A section.
pub struct Section {
    /// Its name.
    pub name: String,
    /// The line of the name.
    pub origin: Origin,
    /// Its lines.
    pub entries: Vec<Entry>,
}

/// A line of a section.
pub struct Entry {
    /// The key.
    pub key: String,
    /// The value, without blanks around it.
    pub value: String,
    /// The line.
    pub origin: Origin,
}

/// Reads the sections; lines that are neither a section nor have an equals sign are skipped, as are comments.
#[must_use]
pub fn sections(source: &Source) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for (line, number) in source.text.lines().zip(1..) {
        let origin = Origin::new(&source.path, number);
        let text = line.trim();
        if text.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            sections.push(Section { name: name.to_owned(), origin, entries: Vec::new() });
        } else if let (Some((key, value)), Some(section)) = (text.split_once('='), sections.last_mut()) {
            let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
            section.entries.push(Entry { key, value, origin });
        }
    }
    sections
}

impl Section {
    /// Returns the value of a key, the last one if it stands there twice.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().rev().find(|entry| entry.key == key)
    }
}
