//! Which keys of a profile differ from those of a running tunnel, and when each of them can take effect. No I/O.

use super::{PasswordSource, Profile};

/// When a change of a key takes effect for a tunnel that is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// `reload` applies it at once.
    Now,
    /// It is part of the connection: `reload --redial` applies it.
    Redial,
    /// `up` alone applies it: the password is read, and rights are given up, only then.
    NextUp,
}

/// A field of the profile, with the keys that set it.
struct Setting {
    /// The keys; the first names the field in reports.
    keys: &'static [&'static str],
    effect: Effect,
    differs: fn(&Profile, &Profile) -> bool,
    copy: fn(&mut Profile, &Profile),
}

macro_rules! setting {
    ($effect:ident, [$($key:literal),+], $($field:ident).+) => {
        Setting {
            keys: &[$($key),+],
            effect: Effect::$effect,
            differs: |one, other| one.$($field).+ != other.$($field).+,
            copy: |to, from| to.$($field).+.clone_from(&from.$($field).+),
        }
    };
}

/// All fields of a profile but its name and its position.
const SETTINGS: &[Setting] = &[
    setting!(Redial, ["server"], servers),
    setting!(Redial, ["phone"], phone),
    setting!(Redial, ["quirks"], quirks),
    setting!(Redial, ["localbind"], localbind),
    setting!(NextUp, ["logstring"], logstring),
    setting!(Now, ["loglevel"], loglevel),
    setting!(Redial, ["missing-window"], missing_window),
    setting!(NextUp, ["data-path"], data_path),
    setting!(Redial, ["transmit-window"], transmit_window),
    setting!(Now, ["timeouts.resolve"], timeouts.resolve),
    setting!(Redial, ["timeouts.connect"], timeouts.connect),
    setting!(Redial, ["timeouts.control"], timeouts.control),
    setting!(Redial, ["timeouts.call"], timeouts.call),
    setting!(Redial, ["timeouts.gre"], timeouts.gre),
    setting!(Redial, ["timeouts.lcp"], timeouts.lcp),
    setting!(Redial, ["timeouts.auth"], timeouts.auth),
    setting!(Redial, ["timeouts.network"], timeouts.network),
    setting!(Redial, ["timeouts.stop"], timeouts.stop),
    setting!(Redial, ["timeouts.reorder"], timeouts.reorder),
    setting!(Redial, ["timeouts.idle-wait"], timeouts.idle_wait),
    setting!(Redial, ["timeouts.max-echo-wait"], timeouts.max_echo_wait),
    setting!(NextUp, ["user"], user),
    setting!(NextUp, ["domain"], domain),
    Setting {
        keys: &[
            "password",
            "password.file",
            "password.command",
            "password.fd",
            "password.credential",
            "password.ask",
        ],
        effect: Effect::NextUp,
        differs: |one, other| !is_same_password(&one.password, &other.password),
        copy: |to, from| to.password = from.password.clone(),
    },
    setting!(NextUp, ["password.run-as"], password_run_as),
    setting!(Redial, ["auth"], auth),
    setting!(Redial, ["auth"], unauthenticated),
    setting!(Redial, ["mppe"], mppe),
    setting!(NextUp, ["ppp.backend"], ppp.backend),
    setting!(Redial, ["ppp.options"], ppp.options),
    setting!(Redial, ["ppp.label"], ppp.label),
    setting!(Redial, ["ppp.lcp-echo-interval", "ppp.lcp-echo-failure"], ppp.echo),
    setting!(Redial, ["ppp.mru"], ppp.mru),
    setting!(Redial, ["ppp.ipv6"], ppp.ipv6),
    setting!(NextUp, ["unit"], unit),
    setting!(Redial, ["mtu"], mtu),
    setting!(Now, ["routes", "routes.to", "routes.metric", "routes.table", "routes.label"], routes),
    setting!(Redial, ["peer-routes"], peer_routes),
    setting!(Now, ["exclude"], exclude),
    setting!(Now, ["collision"], collision),
    setting!(Now, ["default", "default.mode"], default_route),
    setting!(Now, ["leak"], leak),
    setting!(Now, ["dns.servers", "dns"], dns.servers),
    setting!(Now, ["dns.domains"], dns.domains),
    setting!(Now, ["dns.search"], dns.search),
    setting!(Now, ["dns.backend"], dns.backend),
    setting!(Now, ["pf.file", "pf.anchor"], pf),
    setting!(Now, ["nftables.file"], nftables),
    setting!(Redial, ["conntrack"], conntrack),
    setting!(Now, ["nat"], nat),
    setting!(Redial, ["mss"], mss),
    setting!(Now, ["hooks.up"], hooks.up),
    setting!(Now, ["hooks.down"], hooks.down),
    setting!(Now, ["hooks.timeout"], hooks.timeout),
    setting!(NextUp, ["link.manage"], link.manage),
    setting!(NextUp, ["link.netns"], link.netns),
    setting!(NextUp, ["link.rdomain"], link.rdomain),
    setting!(NextUp, ["link.fib"], link.fib),
    setting!(NextUp, ["link.rtlabel"], link.rtlabel),
    setting!(NextUp, ["link.gre-allow"], link.gre_allow),
    setting!(Now, ["retry.first"], retry.first),
    setting!(Now, ["retry.max"], retry.max),
    setting!(Now, ["retry.attempts", "retry.forever"], retry.attempts),
    setting!(Now, ["retry.jitter"], retry.jitter_percent),
    setting!(NextUp, ["retry.from-start"], retry.from_start),
    setting!(Now, ["retry.keep-routes"], retry.keep_routes),
    setting!(NextUp, ["control.group"], control_group),
    setting!(NextUp, ["sandbox"], sandbox),
    setting!(NextUp, ["autostart"], autostart),
];

/// Compares two sources of a password, of which none is read.
fn is_same_password(one: &PasswordSource, other: &PasswordSource) -> bool {
    match (one, other) {
        (PasswordSource::File(one), PasswordSource::File(other)) => one == other,
        (PasswordSource::Command(one), PasswordSource::Command(other)) => one == other,
        (PasswordSource::Fd(one), PasswordSource::Fd(other)) => one == other,
        (PasswordSource::Credential(one), PasswordSource::Credential(other)) => one == other,
        (PasswordSource::Inline(one), PasswordSource::Inline(other)) => one.expose() == other.expose(),
        (PasswordSource::Ask { .. }, PasswordSource::Ask { .. }) => true,
        _ => false,
    }
}

/// Returns the keys with this effect whose values differ, each once, in the order of the manual page.
#[must_use]
pub fn changed(in_force: &Profile, new: &Profile, effect: Effect) -> Vec<&'static str> {
    let differing = SETTINGS.iter().filter(|one| one.effect == effect && (one.differs)(in_force, new));
    let mut keys: Vec<&'static str> = differing.filter_map(|one| one.keys.first().copied()).collect();
    keys.dedup();
    keys
}

/// Returns the profile in force with the new values of all keys that have one of these effects.
#[must_use]
pub fn merged(in_force: &Profile, new: &Profile, effects: &[Effect]) -> Profile {
    let mut merged = in_force.clone();
    for setting in SETTINGS.iter().filter(|setting| effects.contains(&setting.effect)) {
        (setting.copy)(&mut merged, new);
    }
    merged
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        platform::Platform,
        profile::{Profiles, schema::KEYS},
    };

    fn read(text: &str) -> Profile {
        let text = format!("[profile.x]\n{text}");
        let profiles = Profiles::from_text_for(Path::new("x"), &text, true, Platform::Linux);
        profiles.get("x").map_err(|error| error.to_string()).unwrap().clone()
    }

    const LEAST: &str = "server = '192.0.2.1'\nuser = 'u'\npassword = 'one'\n";

    #[test]
    fn every_key_has_one_effect() {
        for key in KEYS {
            let mut effects = SETTINGS.iter().filter(|setting| setting.keys.contains(&key.path));
            let first = effects.next().unwrap_or_else(|| panic!("{} has no effect", key.path)).effect;
            assert!(effects.all(|setting| setting.effect == first), "{}", key.path);
        }
        let named = SETTINGS.iter().flat_map(|setting| setting.keys);
        for key in named {
            assert!(KEYS.iter().any(|known| known.path == *key), "{key} is no key");
        }
    }

    #[test]
    fn keys_are_named_by_their_effect() {
        let one = read(LEAST);
        let other = read(
            &(LEAST.replace("192.0.2.1", "192.0.2.2").replace("one", "two")
                + "routes = ['10.0.0.0/8']\nauth = ['mschapv2', 'none']\nmppe = 'allow'\nautostart = true\n"),
        );
        assert_eq!(changed(&one, &other, Effect::Now), ["routes"]);
        assert_eq!(changed(&one, &other, Effect::Redial), ["server", "auth", "mppe"]);
        assert_eq!(changed(&one, &other, Effect::NextUp), ["password", "autostart"]);
        let same = read(&format!("# moved\n\n{LEAST}"));
        assert!(
            [Effect::Now, Effect::Redial, Effect::NextUp]
                .iter()
                .all(|effect| changed(&one, &same, *effect).is_empty())
        );
    }
}
