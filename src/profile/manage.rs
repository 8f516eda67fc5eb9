//! Rules for `link.manage = false`: the keys that change more of the host than the tunnel's device.

use super::{Conntrack, Leak, PppBackend, Profile, report::Draft, source::Span};

/// Checks a profile whose routes and resolvers are another program's.
pub(super) fn check(profile: &Profile, at: impl Fn(&str) -> Span, drafts: &mut Vec<Draft>) {
    if profile.link.manage {
        return;
    }
    let label = "only the device is set up: this is left to the program that manages it";
    let forbidden = [
        ("routes", !profile.routes.is_empty()),
        ("peer-routes", profile.peer_routes),
        ("exclude", !profile.exclude.is_empty()),
        ("default", profile.default_route.is_some()),
        ("leak", profile.leak == Leak::Block),
        ("dns", profile.dns.is_wanted()),
        ("pf", profile.pf.is_some()),
        ("nftables", profile.nftables.is_some()),
        ("conntrack", profile.conntrack == Conntrack::Helper),
        ("nat", profile.nat),
        ("link.rtlabel", profile.link.rtlabel.is_some()),
        ("retry.keep-routes", !profile.retry.keep_routes),
    ];
    for (key, _) in forbidden.into_iter().filter(|(_, written)| *written) {
        let draft = Draft::error(at(key), format!("`{key}` beside `link.manage = false`"), label);
        drafts.push(draft.help("leave one of them out"));
    }
    if profile.ppp.backend != PppBackend::Builtin {
        let title = "`link.manage = false` needs the builtin PPP";
        drafts.push(Draft::error(at("link.manage"), title, "pppd and ppp set up the device themselves"));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::{
        platform::Platform,
        profile::{Profile, Profiles},
    };

    fn read(keys: &str) -> Result<Profile, String> {
        let text = format!(
            "[profile.x]\nserver = '192.0.2.1'\nuser = 'u'\npassword.file = '/p'\nlink.manage = false\n{keys}\n"
        );
        let profiles = Profiles::from_text_for(Path::new("x"), &text, true, Platform::Linux);
        profiles.get("x").cloned().map_err(|error| error.to_string())
    }

    #[test]
    fn keys_that_change_more_than_the_device_are_refused() {
        let alone = read("mtu = 1300\nmss = 1200\nppp.ipv6 = true\nhooks.up = ['/bin/true']").unwrap();
        assert!(!alone.link.manage);
        for keys in [
            "routes = ['10.0.0.0/8']",
            "peer-routes = true",
            "exclude = ['10.0.0.0/8']",
            "default = true",
            "leak = 'block'",
            "dns = 'peer'",
            "pf = { anchor = 'a', file = '/f' }",
            "nftables.file = '/f'",
            "conntrack = 'helper'",
            "nat = true",
            "retry.keep-routes = false",
        ] {
            let error = read(keys).unwrap_err();
            let key = keys.split(' ').next().unwrap().trim_end_matches(".file");
            assert!(error.contains(&format!("`{key}` beside `link.manage = false`")), "{keys}: {error}");
        }
        let error = read("ppp.backend = 'pppd'").unwrap_err();
        assert!(error.contains("`link.manage = false` needs the builtin PPP"), "{error}");
    }
}
