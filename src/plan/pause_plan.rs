//! When the kill switch can be paused, and the plan of its pause.

use std::time::Duration;

use super::{
    Part, Plan, Step,
    default_route::default_mode,
    kill_switch,
    pause::{LONGEST, PauseStep},
};
use crate::{
    platform::Platform,
    profile::{DefaultRoute, Leak, Profile},
};

/// Returns the plan of a pause; without a length, the plan of none.
#[must_use]
pub fn pause(profile: &Profile, table: u32, tun: Option<&str>, length: Option<Duration>) -> Plan {
    let step = |length: Duration| {
        Step::Pause(PauseStep {
            nft: format!("pptpctl_pause_{}", profile.name),
            table,
            tun: tun.map(str::to_owned),
            seconds: length.min(LONGEST).as_secs().max(1),
        })
    };
    Plan {
        platform: Platform::Linux,
        part: Part::Pause,
        steps: length.map(step).into_iter().collect(),
        notes: Vec::new(),
    }
}

/// Returns why the kill switch of a profile can't be paused, or need not be.
#[must_use]
pub fn pause_refusal(profile: &Profile, platform: Platform) -> Option<String> {
    if profile.leak == Leak::Allow {
        return Some("leak = \"allow\": nothing is blocked, so a login page needs no pause".to_owned());
    }
    if !kill_switch::is_on(profile, platform) {
        return Some("the tunnel is in a namespace of its own, and nothing is blocked outside it".to_owned());
    }
    match (platform, default_mode(profile, platform)) {
        (_, None) => {
            Some("only the prefixes in `routes` are blocked, so a login page needs no pause".to_owned())
        }
        (Platform::Linux, Some(DefaultRoute::Policy)) => None,
        (Platform::Linux, Some(_)) => Some(
            "the kill switch can be paused with default.mode = \"policy\" only, the default on Linux"
                .to_owned(),
        ),
        _ => Some(format!(
            "{} has no rule that the kernel removes when its time is over, so there is no pause: `pptpctl down {}` \
             opens the kill switch, until the next `up`",
            platform.name(),
            profile.name
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::profile::Profiles;

    fn profile(keys: &str) -> Profile {
        let text = format!("[profile.x]\nserver = '192.0.2.1'\nuser = 'u'\npassword.fd = 3\n{keys}");
        let profiles = Profiles::from_text_for(Path::new("x"), &text, true, Platform::Linux);
        profiles.get("x").map_err(|error| error.to_string()).unwrap().clone()
    }

    #[test]
    fn only_a_kill_switch_by_policy_rules_is_paused() {
        let refused = |keys: &str, platform| pause_refusal(&profile(keys), platform).unwrap_or_default();
        assert_eq!(refused("default = true\nleak = 'block'", Platform::Linux), "");
        for (keys, words) in [
            ("default = true", "nothing is blocked"),
            ("routes = ['10.0.0.0/8']\nleak = 'block'", "only the prefixes in `routes`"),
            ("default.mode = 'halves'\nleak = 'block'", "default.mode"),
            ("default.mode = 'replace'\nleak = 'block'", "default.mode"),
        ] {
            assert!(refused(keys, Platform::Linux).contains(words), "{keys}");
        }
        for platform in [Platform::FreeBsd, Platform::OpenBsd, Platform::NetBsd] {
            let words = refused("default = true\nleak = 'block'", platform);
            assert!(words.contains("no pause") && words.contains("`pptpctl down x`"), "{words}");
        }
    }

    #[test]
    fn table_accepts_for_the_given_time_and_drops_then() {
        let plan =
            pause(&profile("default = true"), 0x1723_0001, Some("tun3"), Some(Duration::from_secs(90)));
        let [Step::Pause(step)] = plan.steps.as_slice() else { panic!("{plan}") };
        let text = step.nft_text();
        for part in [
            "delete table inet pptpctl_pause_x\n",
            "elements = { tcp timeout 90s, udp timeout 90s }",
            "meta mark 0x17230001 accept",
            "oifname { \"lo\", \"tun3\" } accept",
            "meta l4proto @open accept\n\t\tudp dport { 53 } drop",
            "tcp dport { 53, 80, 443, 8080, 8443, 8843, 8880 } drop",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(plan.lines().all(|line| line.contains("for 90 s")), "{plan}");
        let forever = pause(&profile(""), 1, None, Some(Duration::from_secs(1 << 40)));
        assert!(forever.lines().all(|line| line.contains("for 1800 s")), "{forever}");
        assert!(pause(&profile(""), 1, None, None).steps.is_empty());
    }
}
