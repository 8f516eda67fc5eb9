//! Checks each setting with the profile reader, so that a value that it refuses becomes a remark, not an error in
//! the profile.

use std::path::Path;

use super::draft::{Setting, Tunnel, quoted};
use crate::{
    platform::Platform,
    profile::{Finding, Profiles},
};

/// Keys of which one is refused without the other, with a value for the other.
const PAIRS: [(&str, &str); 2] = [("pf.anchor", "pf.file = \"/x\""), ("pf.file", "pf.anchor = \"x\"")];

/// Keeps the settings that the profile reader accepts.
pub fn keep_accepted(tunnel: &mut Tunnel) {
    let has_ipv6 = tunnel.has("ppp.ipv6");
    tunnel.retain(|setting| match refusal(setting, has_ipv6) {
        Some(why) => Err(why),
        None => Ok(()),
    });
    // One of a pair alone would make the whole profile invalid.
    if tunnel.has("pf.anchor") != tunnel.has("pf.file") {
        tunnel.unset("pf.anchor");
        tunnel.unset("pf.file");
    }
    let domain = tunnel.text("user").is_some_and(|user| user.contains('\\'));
    if domain && tunnel.has("domain") {
        tunnel.unset("domain");
        tunnel.note("the user has a domain already, so `domain` is left out");
    }
}

/// Returns why the reader refuses a setting in a profile that has only that one, or `None`.
fn refusal(setting: &Setting, has_ipv6: bool) -> Option<String> {
    let mut text = String::from("[profile.x]\npassword.fd = 3\n");
    for (key, value) in [("server", "x.example"), ("user", "x")] {
        if setting.key != key {
            text.push_str(&format!("{key} = {}\n", quoted(value)));
        }
    }
    if let Some((_, other)) = PAIRS.iter().find(|(key, _)| *key == setting.key) {
        text.push_str(other);
        text.push('\n');
    }
    // Without keys from the log-in, encryption would be refused together with some values of `auth`.
    if setting.key == "auth" {
        text.push_str("mppe = \"off\"\n");
    }
    if has_ipv6 && setting.key != "ppp.ipv6" {
        text.push_str("ppp.ipv6 = true\n");
    }
    let value = setting.value.toml();
    let is_list = super::draft::is_list(setting.key);
    let value = if is_list { format!("[{value}]") } else { value };
    text.push_str(&format!("{} = {value}\n", setting.key));
    let profiles = Profiles::from_text_for(Path::new("import"), &text, false, Platform::host());
    profiles.report().errors.first().map(reason)
}

/// Returns the message of an error of the reader, on one line.
pub fn reason(error: &Finding) -> String {
    let title = super::draft::shown(&error.title);
    if error.label.is_empty() { title } else { format!("{title}: {}", super::draft::shown(&error.label)) }
}
