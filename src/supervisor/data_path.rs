//! The decision who moves a tunnel's packets: the kernel or the engine. No I/O: what the host can do is asked by the
//! caller, and only if the profile leaves the choice.

use std::fmt;

use crate::{
    platform::Platform,
    profile::{DataPath, Profile},
};

/// Who moves the packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// The kernel.
    Kernel,
    /// The engine, for this reason.
    Userland(String),
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel => f.write_str("kernel"),
            Self::Userland(why) => write!(f, "userland ({why})"),
        }
    }
}

/// Decides. `host` tries what the kernel's path needs, and returns what is missing.
///
/// # Errors
/// Returns why the kernel's path is not possible, if the profile demands it.
pub(super) fn choose(
    profile: &Profile,
    platform: Platform,
    host: impl FnOnce() -> Result<(), String>,
) -> Result<Choice, String> {
    let reason = match DataPath::userland_reason(profile, platform) {
        Some(reason) => Some(reason.to_owned()),
        None => host().err(),
    };
    match reason {
        None => Ok(Choice::Kernel),
        Some(why) if profile.data_path == DataPath::Kernel => Err(why),
        Some(why) => Ok(Choice::Userland(why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(lines: &str, host: Result<(), &str>) -> (String, bool) {
        let text = format!("[profile.x]\nserver = '192.0.2.1'\nuser = 'u'\npassword.fd = 3\n{lines}\n");
        let profiles = crate::profile::Profiles::from_text(std::path::Path::new("x"), &text, true);
        let mut asked = false;
        let choice = choose(profiles.get("x").unwrap(), Platform::Linux, || {
            asked = true;
            host.map_err(str::to_owned)
        });
        (choice.map_or_else(|why| format!("refused: {why}"), |choice| choice.to_string()), asked)
    }

    #[test]
    fn auto_falls_back_and_says_why() {
        const CLEAR: &str = "mppe = 'off'";
        assert_eq!(chosen(CLEAR, Ok(())), ("kernel".to_owned(), true));
        assert_eq!(chosen(CLEAR, Err("no module")), ("userland (no module)".to_owned(), true));
    }

    #[test]
    fn host_is_not_asked_if_the_profile_decides() {
        for lines in ["", "mppe = 'off'\ndata-path = 'userland'", "mppe = 'off'\npeer-routes = true"] {
            let (choice, asked) = chosen(lines, Ok(()));
            assert!(choice.starts_with("userland (") && !asked, "{lines}: {choice}");
        }
    }

    #[test]
    fn demanded_kernel_path_is_refused_if_it_is_missing() {
        const KERNEL: &str = "data-path = 'kernel'";
        assert_eq!(chosen(KERNEL, Ok(())), ("kernel".to_owned(), true), "with MPPE");
        assert_eq!(chosen(KERNEL, Err("no module")), ("refused: no module".to_owned(), true));
    }
}
