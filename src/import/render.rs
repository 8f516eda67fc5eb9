//! Writes a tunnel as TOML, with the origin of each line as a comment.

use std::path::{Path, PathBuf};

use super::{
    accept,
    draft::{Setting, Tunnel, is_list, quoted, shown},
};
use crate::profile::{ProfileName, Profiles};

/// The user of a profile whose source names none.
pub const PLACEHOLDER: &str = "CHANGE-ME";
/// The column of the comments, unless the setting is longer.
const COLUMN: usize = 44;

/// Where the files of a profile are put.
pub struct Place {
    /// The profile.
    pub profile: PathBuf,
    /// The password.
    pub secret: PathBuf,
}

impl Place {
    /// Returns the places for a profile in a directory with `profiles.d` and `secrets`.
    #[must_use]
    pub fn of(directory: &Path, name: &ProfileName) -> Self {
        Self {
            profile: directory.join("profiles.d").join(format!("{name}.toml")),
            secret: directory.join("secrets").join(name.as_str()),
        }
    }
}

impl Tunnel {
    /// Returns the profile as TOML. `written` is whether the password is in its file by then.
    #[must_use]
    pub fn toml(&self, name: &ProfileName, title: &str, place: &Place, written: bool) -> String {
        let mut text = format!(
            "# Imported from {title} by `pptpctl import`. Each comment names the line it comes from.\n"
        );
        text.push_str(&format!("[profile.{}]\n", key_of(name)));
        let settings = self.settings();
        let mut written_lists = Vec::new();
        let mut lines: Vec<(&str, String, String)> = Vec::new();
        for setting in &settings {
            if is_list(setting.key) {
                if !written_lists.contains(&setting.key) {
                    written_lists.push(setting.key);
                    list(&settings, setting.key, &mut lines);
                }
            } else if !(setting.key == "dns" && settings.iter().any(|other| other.key.starts_with("dns."))) {
                let line = format!("{} = {}", setting.key, setting.value.toml());
                lines.push((setting.key, line, comment(setting)));
            } else if !self.has("dns.servers") {
                // A string and a table of the same key exclude each other.
                lines.push(("dns.servers", "dns.servers = \"peer\"".to_owned(), comment(setting)));
            }
        }
        let after_user = |lines: &[(&str, String, String)]| {
            let last = lines
                .iter()
                .rposition(|(key, ..)| ["server", "phone", "quirks", "user", "domain"].contains(key));
            last.map_or(0, |at| at + 1)
        };
        if !self.has("user") {
            let at = after_user(&lines);
            let line = format!("user = {}", quoted(PLACEHOLDER));
            lines.insert(at, ("user", line, "the source names no user: write it here".to_owned()));
        }
        let at = after_user(&lines);
        let (line, comment) = self.password_line(place, written);
        lines.insert(at, ("password", line, comment));
        for (_, line, comment) in lines {
            if comment.is_empty() {
                text.push_str(&line);
            } else {
                text.push_str(&format!("{line:<COLUMN$}  # {comment}"));
            }
            text.push('\n');
        }
        text
    }

    /// Returns the line of the password and its comment. A file that nobody has written would make `up` fail.
    fn password_line(&self, place: &Place, written: bool) -> (String, String) {
        let Some((_, origin)) = &self.password else {
            let comment = "no password was found: `up` asks for it; password.file names a file instead";
            return ("password.ask = true".to_owned(), comment.to_owned());
        };
        let comment = if written { origin.to_string() } else { format!("{origin}; --write puts it there") };
        (format!("password.file = {}", quoted(&place.secret.to_string_lossy())), comment)
    }

    /// Returns the errors of the profile reader for this TOML: none, unless settings exclude each other.
    #[must_use]
    pub fn errors(toml: &str, place: &Place) -> Vec<String> {
        let profiles = Profiles::from_text(&place.profile, toml, false);
        profiles.report().errors.iter().map(accept::reason).collect()
    }
}

/// Writes a list: on one line if it has one element, else one line for each.
fn list(settings: &[&Setting], key: &'static str, lines: &mut Vec<(&'static str, String, String)>) {
    let of: Vec<&&Setting> = settings.iter().filter(|setting| setting.key == key).collect();
    if let [one] = of.as_slice() {
        let value = one.value.toml();
        let value = if key == "server" { value } else { format!("[{value}]") };
        lines.push((key, format!("{key} = {value}"), comment(one)));
        return;
    }
    lines.push((key, format!("{key} = ["), String::new()));
    for one in of {
        lines.push((key, format!("    {},", one.value.toml()), comment(one)));
    }
    lines.push((key, "]".to_owned(), String::new()));
}

fn comment(setting: &Setting) -> String {
    match &setting.origin {
        Some(origin) if setting.note.is_empty() => origin.to_string(),
        Some(origin) => format!("{origin}: {}", setting.note),
        None => setting.note.to_owned(),
    }
}

/// Returns a name as a key of TOML: a dot needs quotes.
fn key_of(name: &ProfileName) -> String {
    if name.as_str().contains('.') { quoted(name.as_str()) } else { name.to_string() }
}

/// Returns the name of a profile for a label of the old configuration, which no other has; `None` after many.
#[must_use]
pub fn profile_name(label: &str, taken: impl Fn(&ProfileName) -> bool) -> Option<ProfileName> {
    let mut text = String::new();
    for c in shown(label).to_lowercase().chars() {
        match c {
            'a'..='z' | '0'..='9' | '.' | '_' | '-' => text.push(c),
            'ä' | 'æ' => text.push_str("ae"),
            'ö' | 'œ' | 'ø' => text.push_str("oe"),
            'ü' => text.push_str("ue"),
            'ß' => text.push_str("ss"),
            'à' | 'á' | 'â' | 'ã' | 'å' => text.push('a'),
            'è' | 'é' | 'ê' | 'ë' => text.push('e'),
            'ì' | 'í' | 'î' | 'ï' => text.push('i'),
            'ò' | 'ó' | 'ô' | 'õ' => text.push('o'),
            'ù' | 'ú' | 'û' => text.push('u'),
            'ç' => text.push('c'),
            'ñ' => text.push('n'),
            _ if text.ends_with('-') => {}
            _ => text.push('-'),
        }
    }
    let text = text.trim_start_matches(['.', '-']).trim_end_matches('-');
    let text = if text.is_empty() { "vpn" } else { text };
    (1..1000).find_map(|number| {
        let suffix = if number == 1 { String::new() } else { format!("-{number}") };
        let most = ProfileName::MAX - suffix.len();
        let base: String = text.chars().take(most).collect();
        ProfileName::new(&format!("{base}{suffix}")).ok().filter(|name| !taken(name))
    })
}
