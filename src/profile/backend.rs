//! Rules for an external PPP: the daemons of each system, the options that a profile may not contain, and the
//! settings that a daemon does not support.

use super::{
    AuthProtocol, Demand, DnsServers, PppBackend, Profile, Strength,
    report::Draft,
    source::Span,
    values::{self, Advice},
};
use crate::platform::Platform;

/// The longest option, in bytes: pppd limits words to 1024 bytes, ppp limits lines to 512.
const MAX_OPTION_LENGTH: usize = 255;
/// The longest label in a generated ppp.conf, in bytes.
const MAX_LABEL_LENGTH: usize = 64;

/// Options of pppd(8) that a profile may not contain, with the reason.
const PPPD_FORBIDDEN: &[(&[&str], &str)] = &[
    (
        &["nodetach", "detach", "updetach", "up_sdnotify"],
        "pptpctl starts pppd itself and keeps it in the foreground",
    ),
    (
        &["pty", "socket", "notty", "connect", "disconnect", "init", "welcome", "sync"],
        "pptpctl sets up the line",
    ),
    (&["file", "call"], "write the options here, one by one"),
    (&["persist", "demand", "holdoff", "maxfail"], "pptpctl redials: see `retry`"),
    (
        &["defaultroute", "defaultroute6", "replacedefaultroute", "defaultroute-metric"],
        "pptpctl sets the routes: see `default` and `routes`",
    ),
    (&["unit", "ifname"], "the profile's `unit` names the device"),
    (
        &["linkname", "logfile", "logfd", "nolog", "nologfd"],
        "pptpctl sets this to find pppd and its messages",
    ),
    (&["user", "name"], "pptpctl sets this from the profile's `user` and `domain`"),
    (&["password"], "pptpctl sets this from the profile's `password`"),
    (&["show-password"], "it would write the password to the log"),
    (&["dryrun", "dump"], "`pptpctl up --dry-run` shows the options of pppd"),
    (&["noip", "-ip"], "without an IPv4 address there is no tunnel"),
    (&["+ipv6", "ipv6", "noipv6"], "pptpctl sets this from the profile's `ppp.ipv6`"),
    (&["usepeerdns"], "pptpctl sets this from the profile's `dns`"),
    (&["mtu", "mru"], "pptpctl sets this from the profile's `mtu` and `ppp.mru`"),
    (
        &["lcp-echo-interval", "lcp-echo-failure"],
        "pptpctl sets this from the profile's `ppp.lcp-echo-interval` and `ppp.lcp-echo-failure`",
    ),
    (
        &[
            "auth",
            "require-pap",
            "+pap",
            "require-chap",
            "+chap",
            "require-mschap",
            "+mschap",
            "require-mschap-v2",
            "+mschap-v2",
            "require-eap",
        ],
        "a server does not log in to its client; the profile's `auth` selects the protocols",
    ),
    (
        &[
            "refuse-pap",
            "-pap",
            "refuse-chap",
            "-chap",
            "refuse-mschap",
            "-mschap",
            "refuse-mschap-v2",
            "-mschap-v2",
        ],
        "pptpctl sets this from the profile's `auth`",
    ),
    (
        &[
            "mppe",
            "+mppe",
            "require-mppe",
            "require-mppe-40",
            "+mppe-40",
            "require-mppe-128",
            "+mppe-128",
            "nomppe",
            "nomppe-40",
            "nomppe-128",
            "mppe-stateful",
            "nomppe-stateful",
            "noccp",
            "-ccp",
        ],
        "pptpctl sets this from the profile's `mppe`",
    ),
];

/// Commands of ppp(8) that a profile may not contain, by their first words, with the reason.
const PPP_FORBIDDEN: &[(&[&str], &str)] = &[
    (&["set authname", "set authkey"], "pptpctl sets this from the profile's `user` and `password`"),
    (&["set device", "set speed", "set phone", "set dial", "set login"], "pptpctl sets up the line"),
    (
        &["set mppe", "enable mppe", "disable mppe", "accept mppe", "deny mppe"],
        "pptpctl sets this from the profile's `mppe`",
    ),
    (&["set mtu", "set mru"], "pptpctl sets this from the profile's `mtu` and `ppp.mru`"),
    (&["set redial", "set reconnect", "set autoload", "set mode"], "pptpctl redials: see `retry`"),
    (&["add", "add!", "delete", "delete!"], "pptpctl sets the routes: see `default` and `routes`"),
    (&["enable dns", "disable dns", "resolv"], "pptpctl sets this from the profile's `dns`"),
    (&["nat"], "pptpctl sets this from the profile's `nat`"),
    (
        &["dial", "open", "close", "down", "quit", "bye", "load", "term"],
        "pptpctl brings the link up and down",
    ),
    (&["shell", "bg"], "use the profile's `hooks` to run programs"),
];

/// Checks one of `ppp.options`.
///
/// # Errors
/// Returns why it is not allowed, or advice on its form.
pub(super) fn option(backend: PppBackend, text: &str) -> Result<String, Advice> {
    let option = values::printable(text, MAX_OPTION_LENGTH)?;
    let forbidden = match backend {
        PppBackend::Builtin => return Ok(option),
        PppBackend::Pppd if option.starts_with("/dev/") => Some("pptpctl sets up the line"),
        PppBackend::Pppd => {
            PPPD_FORBIDDEN.iter().find(|(names, _)| names.contains(&option.as_str())).map(|(_, why)| *why)
        }
        PppBackend::Ppp if option.starts_with('!') => Some("one command of ppp, not of a shell"),
        PppBackend::Ppp => {
            let words: Vec<&str> = option.split_whitespace().collect();
            let starts = |name: &&str| words.starts_with(&name.split(' ').collect::<Vec<_>>());
            PPP_FORBIDDEN.iter().find(|(names, _)| names.iter().any(starts)).map(|(_, why)| *why)
        }
    };
    match forbidden {
        Some(why) => Err(why.to_owned()),
        None => Ok(option),
    }
}

/// Checks `ppp.label`: a word that can precede a colon in ppp.conf.
///
/// # Errors
/// Returns advice on its form.
pub(super) fn label(text: &str) -> Result<String, Advice> {
    let fits = (1..=MAX_LABEL_LENGTH).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
        && !text.starts_with('-');
    if fits { Ok(text.to_owned()) } else { Err("letters, digits, `.`, `_` and `-`, at most 64".to_owned()) }
}

/// Checks the backend against the system and the rest of the profile.
pub(super) fn check(
    profile: &Profile,
    platform: Platform,
    at: impl Fn(&str) -> Span,
    drafts: &mut Vec<Draft>,
) {
    let backend = profile.ppp.backend;
    if let Some((title, why)) = missing(backend, platform) {
        let mut draft = Draft::error(at("ppp.backend"), title, why)
            .help("ppp.backend = \"builtin\", the default, needs no other program");
        if platform == Platform::Linux {
            draft = draft.help("ppp.backend = \"pppd\" uses Linux's pppd(8)");
        }
        drafts.push(draft);
    } else if backend != PppBackend::Builtin && !cfg!(feature = "pppd") && platform == Platform::host() {
        let title = "this build of pptpctl has no external PPP";
        let label = "it was made without the feature `pppd`";
        let draft = Draft::error(at("ppp.backend"), title, label);
        drafts.push(draft.help("ppp.backend = \"builtin\", the default, needs no other program"));
    }
    if backend == PppBackend::Builtin && !profile.ppp.options.is_empty() {
        let label = "these are for pppd or ppp: add ppp.backend";
        drafts.push(Draft::error(at("ppp.options"), "`ppp.options` without an external PPP", label));
    }
    if backend != PppBackend::Ppp && profile.ppp.label.is_some() {
        let label = "labels are in ppp.conf, which only ppp(8) reads";
        drafts.push(Draft::error(at("ppp.label"), "`ppp.label` without ppp.backend = \"ppp\"", label));
    }
    if backend == PppBackend::Pppd {
        pppd(profile, &at, drafts);
    }
    if backend != PppBackend::Builtin && profile.peer_routes {
        let label = "only the builtin PPP can ask for routes";
        drafts.push(Draft::error(at("peer-routes"), "`peer-routes` with an external PPP", label));
    }
}

/// Returns why the system does not have the daemon, with advice; `None` if it has.
fn missing(backend: PppBackend, platform: Platform) -> Option<(&'static str, &'static str)> {
    match (backend, platform) {
        (PppBackend::Builtin, _)
        | (PppBackend::Pppd, Platform::Linux)
        | (PppBackend::Ppp, Platform::FreeBsd) => None,
        (PppBackend::Pppd, Platform::FreeBsd) => {
            Some(("FreeBSD has no pppd(8)", "its PPP daemon is \"ppp\""))
        }
        (PppBackend::Pppd, _) => {
            Some(("the pppd(8) of this system supports neither MPPE nor MS-CHAPv2", "it cannot carry PPTP"))
        }
        (PppBackend::Ppp, Platform::Linux) => Some(("Linux has no ppp(8)", "this is FreeBSD's PPP daemon")),
        (PppBackend::Ppp, _) => {
            Some(("ppp(8) is not part of this system", "FreeBSD has it; OpenBSD removed it in 5.8"))
        }
    }
}

/// Checks for settings that pppd does not support.
fn pppd(profile: &Profile, at: &impl Fn(&str) -> Span, drafts: &mut Vec<Draft>) {
    match (profile.mppe.demand, profile.mppe.min) {
        (Demand::Allow, _) => {
            let label = "pppd requires encryption or refuses it: \"require-128\" or \"off\"";
            drafts.push(Draft::error(at("mppe"), "pppd does not support optional encryption", label));
        }
        (Demand::Require, Strength::Bits56) => {
            let label = "\"require-128\", or \"require-40\" for 40 or 128 bits";
            drafts.push(Draft::error(at("mppe"), "pppd does not support 56-bit encryption", label));
        }
        (Demand::Off | Demand::Require, _) => {}
    }
    if profile.mppe.demand == Demand::Require
        && profile.auth.contains(&AuthProtocol::MsChapV1)
        && profile.auth.contains(&AuthProtocol::MsChapV2)
    {
        let label = "pppd would accept either";
        drafts.push(Draft::warning(at("auth"), "MS-CHAPv1 beside MS-CHAPv2 with pppd", label));
    }
    if matches!(profile.dns.servers, DnsServers::Peer) {
        let label = "and /etc/ppp/ip-up may also change the resolvers";
        drafts.push(Draft::warning(at("dns"), "pppd writes /etc/ppp/resolv.conf as well", label));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_must_not_repeat_the_profile() {
        for wrong in
            ["nodetach", "password", "defaultroute", "nomppe", "unit", "/dev/ttyS0", "file", "usepeerdns"]
        {
            assert!(option(PppBackend::Pppd, wrong).is_err(), "{wrong}");
        }
        for right in ["debug", "lcp-restart", "1", "nobsdcomp", "ipcp-restart", "noauth", "10.0.0.9:", "a b"]
        {
            assert_eq!(option(PppBackend::Pppd, right).as_deref(), Ok(right));
        }
        for wrong in
            ["set  authkey x", "add default HISADDR", "!include x", "! ls", "nat enable yes", "set mppe 40"]
        {
            assert!(option(PppBackend::Ppp, wrong).is_err(), "{wrong}");
        }
        for right in ["set log Phase", "enable lqr", "set additional 1", "disable mppe2"] {
            assert_eq!(option(PppBackend::Ppp, right).as_deref(), Ok(right));
        }
        assert!(option(PppBackend::Ppp, "set log x\nquit").is_err());
        assert!(option(PppBackend::Pppd, &"x".repeat(256)).is_err());
    }

    #[test]
    fn label_must_be_one_word() {
        for right in ["vpn", "My.VPN_2-b"] {
            assert_eq!(label(right).as_deref(), Ok(right));
        }
        for wrong in ["", "a b", "-direct", "a:", "ü", &"x".repeat(65)] {
            assert!(label(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn daemons_exist_on_their_system_only() {
        for (backend, has) in [
            (PppBackend::Builtin, &Platform::ALL[..]),
            (PppBackend::Pppd, &[Platform::Linux]),
            (PppBackend::Ppp, &[Platform::FreeBsd]),
        ] {
            for platform in Platform::ALL {
                assert_eq!(
                    missing(backend, platform).is_none(),
                    has.contains(&platform),
                    "{backend:?} {platform:?}"
                );
            }
        }
    }
}
