//! `data-path`: who moves the packets between the tunnel device and GRE, and which profiles leave that no choice.

use super::{DataPath, Demand, PppBackend, Profile, report::Draft, source::Span};
use crate::platform::Platform;

impl DataPath {
    /// Returns why the packets of this profile cannot take the kernel's path on any host of this system; `None` if the
    /// host decides.
    #[must_use]
    pub fn obstacle(profile: &Profile, platform: Platform) -> Option<&'static str> {
        if platform != Platform::Linux {
            Some("only Linux has PPTP in the kernel")
        } else if profile.ppp.backend != PppBackend::Builtin {
            Some("ppp.backend is another PPP, whose frames pass the engine")
        } else if profile.link.netns.is_some() {
            Some("the kernel's PPTP does not reach into another network namespace (link.netns)")
        } else if profile.peer_routes {
            Some("the engine has to see the server's answer to peer-routes")
        } else {
            None
        }
    }

    /// Returns why packets of this profile take the engine's path, as far as the profile decides; `None` if the host does.
    #[must_use]
    pub fn userland_reason(profile: &Profile, platform: Platform) -> Option<&'static str> {
        match profile.data_path {
            Self::Userland => Some("as data-path says"),
            Self::Kernel => Self::obstacle(profile, platform),
            Self::Auto if profile.mppe.demand != Demand::Off => {
                Some("auto: the kernel cannot tell forged MPPE packets from good ones")
            }
            Self::Auto => Self::obstacle(profile, platform),
        }
    }
}

/// Checks `data-path` against the system and the rest of the profile.
pub(super) fn check(
    profile: &Profile,
    platform: Platform,
    at: impl Fn(&str) -> Span,
    drafts: &mut Vec<Draft>,
) {
    if profile.data_path != DataPath::Kernel {
        return;
    }
    if let Some(why) = DataPath::obstacle(profile, platform) {
        let draft = Draft::error(at("data-path"), "`data-path = \"kernel\"` is not possible here", why);
        drafts.push(
            draft.help("data-path = \"auto\", the default, takes the kernel's path where there is one"),
        );
    } else if profile.mppe.demand != Demand::Off {
        let label = "the kernel takes forged packets for the server's, and may send in clear for a moment";
        let draft = Draft::warning(at("data-path"), "MPPE in the kernel", label);
        drafts.push(draft.help("data-path = \"auto\" leaves encrypted tunnels to the engine"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profiles;

    fn profile(lines: &str) -> Profile {
        let text = format!("[profile.x]\nserver = '192.0.2.1'\nuser = 'u'\npassword.fd = 3\n{lines}\n");
        let profiles = Profiles::from_text(std::path::Path::new("x"), &text, true);
        profiles.get("x").unwrap().clone()
    }

    #[test]
    fn profile_decides_before_the_host() {
        for (lines, words) in [
            ("mppe = \"off\"", None),
            ("", Some("forged MPPE")),
            ("mppe = \"allow\"", Some("forged MPPE")),
            ("data-path = \"kernel\"", None),
            ("data-path = \"userland\"\nmppe = \"off\"", Some("data-path")),
            ("mppe = \"off\"\nlink.netns = \"inner\"", Some("link.netns")),
            ("mppe = \"off\"\npeer-routes = true", Some("peer-routes")),
            #[cfg(feature = "pppd")]
            ("mppe = \"off\"\nppp.backend = \"pppd\"", Some("ppp.backend")),
        ] {
            let reason = DataPath::userland_reason(&profile(lines), Platform::Linux);
            assert_eq!(reason.is_some(), words.is_some(), "{lines}: {reason:?}");
            assert!(reason.unwrap_or_default().contains(words.unwrap_or_default()), "{lines}: {reason:?}");
        }
        let bsd = DataPath::userland_reason(&profile("mppe = \"off\""), Platform::OpenBsd);
        assert!(bsd.is_some_and(|reason| reason.contains("only Linux")));
    }
}
