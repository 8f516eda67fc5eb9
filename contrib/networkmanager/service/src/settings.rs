//! A connection of NetworkManager as a profile of pptpctl.
//!
//! `pptpctl import` reads the keyfile of a connection; the settings that come by D-Bus are written as one. Routes,
//! resolvers and the password do not go that way.

use std::{collections::HashMap, fmt::Write as _};

use zbus::zvariant::OwnedValue;

/// The settings of a connection, as NetworkManager sends them.
pub type Dictionary = HashMap<String, HashMap<String, OwnedValue>>;

/// The flag of a secret that is not needed (NM_SETTING_SECRET_FLAG_NOT_REQUIRED).
const NOT_REQUIRED: u32 = 4;

/// What the service needs of a connection. `Debug` is left out: it has the password.
#[derive(Clone, Default)]
pub struct Settings {
    id: String,
    uuid: String,
    data: Vec<(String, String)>,
    user_name: String,
    /// The password, if there is one.
    pub password: Option<String>,
}

impl Settings {
    /// Reads the settings; what is missing or of another type counts as absent.
    pub fn read(settings: &Dictionary) -> Self {
        let text = |setting: &str, key: &str| {
            let value = settings.get(setting).and_then(|keys| keys.get(key));
            value.and_then(|value| <&str>::try_from(value).ok()).unwrap_or_default().to_owned()
        };
        let texts = |key: &str| -> HashMap<String, String> {
            let value = settings.get("vpn").and_then(|keys| keys.get(key));
            let value = value.and_then(|value| value.try_clone().ok());
            value.and_then(|value| value.try_into().ok()).unwrap_or_default()
        };
        let mut data: Vec<(String, String)> = texts("data").into_iter().collect();
        data.sort();
        Self {
            id: text("connection", "id"),
            uuid: text("connection", "uuid"),
            data,
            user_name: text("vpn", "user-name"),
            password: texts("secrets").remove("password").filter(|password| !password.is_empty()),
        }
    }

    /// Returns whether NetworkManager has to ask for the password.
    pub fn need_password(&self) -> bool {
        let flags = self.value("password-flags").and_then(|flags| flags.parse::<u32>().ok()).unwrap_or(0);
        self.password.is_none() && flags & NOT_REQUIRED == 0
    }

    /// Returns the name of the profile: the connection's UUID is unique, and safe in paths.
    pub fn profile(&self) -> String {
        let safe: String = self.uuid.chars().filter(char::is_ascii_alphanumeric).take(12).collect();
        if safe.is_empty() { "nm-vpn".to_owned() } else { format!("nm-{safe}") }
    }

    /// Returns the name that the user has given to the connection.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the connection as a keyfile, without password, routes and resolvers.
    pub fn keyfile(&self) -> String {
        let mut text = format!(
            "[connection]\nid={}\nuuid={}\ntype=vpn\n\n[vpn]\nservice-type=org.freedesktop.NetworkManager.pptp\n",
            escaped(&self.id),
            escaped(&self.uuid)
        );
        // The password's flags would only lead to remarks about keyrings.
        let sent = |key: &str| is_key(key) && key != "password" && key != "password-flags";
        for (key, value) in self.data.iter().filter(|(key, _)| sent(key)) {
            let _infallible = writeln!(text, "{key}={}", escaped(value));
        }
        if self.value("user").is_none() && !self.user_name.is_empty() {
            let _infallible = writeln!(text, "user={}", escaped(&self.user_name));
        }
        text.push_str("\n[ipv4]\nmethod=auto\nnever-default=true\nignore-auto-dns=true\n");
        text
    }

    fn value(&self, key: &str) -> Option<&str> {
        self.data.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

/// Returns the profile that `pptpctl import` has made of the keyfile, for a tunnel whose routes are NetworkManager's
/// and whose password comes by standard input.
pub fn profile(imported: &str) -> String {
    let mut text = String::new();
    for line in imported.lines().filter(|line| !line.trim_start().starts_with("password")) {
        text.push_str(line);
        text.push('\n');
    }
    text.push_str("password.fd = 0\nlink.manage = false\n");
    text
}

fn is_key(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// Returns a value with the escapes of a keyfile.
fn escaped(value: &str) -> String {
    let mut text = String::new();
    for (position, c) in value.chars().enumerate() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            ' ' if position == 0 => text.push_str("\\s"),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use zbus::zvariant::Value;

    use super::*;

    fn value<'a>(value: impl Into<Value<'a>>) -> OwnedValue {
        value.into().try_into().unwrap_or_else(|_| OwnedValue::from(0_u32))
    }

    fn settings(data: &[(&str, &str)], password: &str) -> Settings {
        let map = |pairs: &[(&str, &str)]| -> HashMap<String, String> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let connection = HashMap::from([
            ("id".to_owned(), value("my office")),
            ("uuid".to_owned(), value("0b7cb1f5-5c8f-4a8a-9d4c-1a2b3c4d5e6f")),
        ]);
        let vpn = HashMap::from([
            ("data".to_owned(), value(map(data))),
            ("secrets".to_owned(), value(map(&[("password", password)]))),
            ("user-name".to_owned(), value("session")),
        ]);
        Settings::read(&HashMap::from([("connection".to_owned(), connection), ("vpn".to_owned(), vpn)]))
    }

    #[test]
    fn connection_becomes_a_keyfile_without_password() {
        let office = settings(
            &[
                ("gateway", "vpn.example.net"),
                ("user", " a\\b\nc"),
                ("bad key]", "x"),
                ("password-flags", "2"),
            ],
            "secret",
        );
        assert_eq!(office.password.as_deref(), Some("secret"));
        assert_eq!((office.id(), office.profile().as_str()), ("my office", "nm-0b7cb1f55c8f"));
        let text = office.keyfile();
        assert!(text.contains("\ngateway=vpn.example.net\nuser=\\sa\\\\b\\nc\n\n[ipv4]\n"), "{text}");
        assert!(!text.contains("secret") && !text.contains("bad"), "{text}");
        assert!(text.contains("never-default=true") && text.contains("ignore-auto-dns=true"));
        assert!(settings(&[], "").keyfile().contains("\nuser=session\n"));
    }

    #[test]
    fn password_is_asked_for_unless_it_is_there_or_not_needed() {
        assert!(!settings(&[], "secret").need_password());
        assert!(settings(&[("password-flags", "2")], "").need_password());
        assert!(!settings(&[("password-flags", "4")], "").need_password());
        assert!(Settings::read(&HashMap::new()).need_password());
        assert_eq!(Settings::default().profile(), "nm-vpn");
    }

    #[test]
    fn profile_has_neither_password_nor_routes() {
        let imported =
            "# Imported\n[profile.nm-1]\nserver = \"a\"\npassword.file = \"/x\"   # write it there\n";
        assert_eq!(
            profile(imported),
            "# Imported\n[profile.nm-1]\nserver = \"a\"\npassword.fd = 0\nlink.manage = false\n"
        );
    }
}
