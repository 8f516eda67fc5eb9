//! The options of pppd(8) that become no setting, and the number of values of every option.

/// What happens to an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// It has no effect on a PPTP client, or is the behaviour anyway.
    Needless,
    /// It is left out, for this reason.
    LeftOut(&'static str),
}

use Rule::{LeftOut, Needless};

/// Options that become a setting, with the number of their values.
const SETTINGS: &[(&str, usize)] = &[
    ("pty", 1),
    ("plugin", 1),
    ("pptp_server", 1),
    ("pptp_phone", 1),
    ("file", 1),
    ("call", 1),
    ("name", 1),
    ("user", 1),
    ("remotename", 1),
    ("password", 1),
    ("mtu", 1),
    ("mru", 1),
    ("unit", 1),
    ("lcp-echo-interval", 1),
    ("lcp-echo-failure", 1),
    ("maxfail", 1),
    ("holdoff", 1),
    ("mppe", 1),
    ("defaultroute", 0),
    ("-defaultroute", 0),
    ("replacedefaultroute", 0),
    ("nodefaultroute", 0),
    ("usepeerdns", 0),
    ("+ipv6", 0),
    ("persist", 0),
    ("nopersist", 0),
];

const LINE: &str = "pptpctl has no serial line";
const IDLE: &str = "pptpctl neither dials on demand nor hangs up when idle: use `up` and `down`";
const SCRIPT: &str = "a script of pppd is not run: see hooks.up and hooks.down";
const PEER: &str = "a server does not log in to its client";
const TIMER: &str = "the timers of pptpctl's PPP are fixed, see `timeouts`";
const SERVER: &str = "it is for a server";
const LOG: &str = "see `pptpctl logs` and loglevel = 2";

/// (names, number of values, rule).
const OTHERS: &[(&[&str], usize, Rule)] = &[
    (
        &[
            "lock",
            "nolock",
            "noauth",
            "nobsdcomp",
            "nodeflate",
            "nopcomp",
            "noaccomp",
            "novj",
            "novjccomp",
            "nopredictor1",
            "default-asyncmap",
            "default-mru",
            "nodetach",
            "detach",
            "updetach",
            "noipdefault",
            "ipcp-accept-local",
            "ipcp-accept-remote",
            "noipv6",
            "hide-password",
            "nolog",
            "nolocal",
            "local",
            "modem",
            "crtscts",
            "nocrtscts",
            "-crtscts",
            "cdtrcts",
            "nocdtrcts",
            "ktune",
            "noktune",
            "nomultilink",
            "nomp",
            "noproxyarp",
            "noipx",
            "noremoteip",
            "nodefaultroute6",
            "noreplacedefaultroute",
            "noendpoint",
            "nompshortseq",
            "refuse-eap",
            "-eap",
            "-pc",
            "-ac",
            "-vj",
            "-bsdcomp",
            "silent",
            "passive",
            "-p",
            "nomagic",
            "lcp-echo-adaptive",
            "sync",
            "noxonxoff",
            "up_sdnotify",
            "nosendip",
        ],
        0,
        Needless,
    ),
    (&["asyncmap", "escape", "-am"], 1, Needless),
    (&["bsdcomp", "deflate", "vj-max-slots"], 1, LeftOut("pptpctl does not compress")),
    (&["predictor1"], 0, LeftOut("pptpctl does not compress")),
    (
        &["connect", "disconnect", "init", "welcome", "xonxoff", "stop-bits", "speed", "connect-delay"],
        1,
        LeftOut(LINE),
    ),
    (&["notty", "receive-all"], 0, LeftOut(LINE)),
    (&["socket", "record"], 1, LeftOut(LINE)),
    (&["demand"], 0, LeftOut(IDLE)),
    (&["idle", "active-filter", "pass-filter", "precompiled-active-filter"], 1, LeftOut(IDLE)),
    (&["maxconnect"], 1, LeftOut("pptpctl has no limit for the duration of a tunnel")),
    (
        &[
            "ip-up-script",
            "ip-down-script",
            "ip-pre-up-script",
            "ipv6-up-script",
            "ipv6-down-script",
            "auth-up-script",
        ],
        1,
        LeftOut(SCRIPT),
    ),
    (
        &["ipparam"],
        1,
        LeftOut(
            "it is an argument of pppd's scripts in /etc/ppp, which are not run: hooks have PPTPCTL_PROFILE",
        ),
    ),
    (&["linkname"], 1, LeftOut("it names pppd's pid file; that of pptpctl is tunN.pid")),
    (&["ifname"], 1, LeftOut("the device is tunN: `unit` chooses N")),
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
            "+eap",
            "login",
            "papcrypt",
            "need-peer-eap",
        ],
        0,
        LeftOut(PEER),
    ),
    (&["allow-ip", "allow-number", "remotenumber"], 1, LeftOut(SERVER)),
    (&["ms-dns", "ms-wins"], 1, LeftOut(SERVER)),
    (&["proxyarp", "show-password", "enable-session"], 0, LeftOut(SERVER)),
    (&["debug", "dump", "dryrun", "-d"], 0, LeftOut(LOG)),
    (&["kdebug", "logfile", "logfd"], 1, LeftOut(LOG)),
    (&["set", "unset"], 1, LeftOut("it sets a variable of pppd's scripts, which are not run")),
    (
        &["domain"],
        1,
        LeftOut("it is added to this host's name, not to the user's: see `domain` in pptpctl.toml(5)"),
    ),
    (&["usehostname"], 0, LeftOut("the user has to be named")),
    (&["privgroup"], 1, LeftOut("only root may bring a tunnel up")),
    (&["noip", "-ip"], 0, LeftOut("without IPv4 there is no tunnel")),
    (&["ipv6"], 1, LeftOut("the identifiers are negotiated; ppp.ipv6 = true enables IPv6")),
    (&["defaultroute6"], 0, LeftOut("`default` with ppp.ipv6 = true includes IPv6")),
    (&["defaultroute-metric"], 1, LeftOut("`default` uses rules, not metrics")),
    (
        &["netmask", "endpoint", "mrru", "bundle", "pptp_window", "pptp_timeout"],
        1,
        LeftOut("pptpctl has no such setting"),
    ),
    (&["multilink", "mp", "mpshortseq"], 0, LeftOut("PPTP is used with one link")),
    (
        &["ipx", "master_detach", "child-timeout", "chapms-strip-domain"],
        0,
        LeftOut("pptpctl has no such setting"),
    ),
    (
        &[
            "lcp-restart",
            "lcp-max-configure",
            "lcp-max-failure",
            "lcp-max-terminate",
            "ipcp-restart",
            "ipcp-max-configure",
            "ipcp-max-failure",
            "ipcp-max-terminate",
            "ipv6cp-restart",
            "ipv6cp-max-configure",
            "ipv6cp-max-failure",
            "ipv6cp-max-terminate",
            "ccp-restart",
            "ccp-max-configure",
            "chap-restart",
            "chap-interval",
            "chap-max-challenge",
            "chap-timeout",
            "pap-restart",
            "pap-timeout",
            "pap-max-authreq",
            "eap-restart",
            "eap-timeout",
            "eap-interval",
            "eap-max-rreq",
            "eap-max-sreq",
        ],
        1,
        LeftOut(TIMER),
    ),
    (
        &["ca", "cert", "key", "crl", "crl-dir", "srp-interval", "srp-pn-secret"],
        1,
        LeftOut("pptpctl has no EAP"),
    ),
    (
        &["ipv6cp-accept-local", "ipv6cp-accept-remote", "ipv6cp-use-ipaddr", "ipv6cp-use-persistent"],
        0,
        Needless,
    ),
];

/// Options about security, which the reader knows by itself.
const SECURITY: &[&str] = &[
    "refuse-pap",
    "refuse-chap",
    "refuse-mschap",
    "refuse-mschap-v2",
    "-pap",
    "-chap",
    "-mschap",
    "-mschap-v2",
    "require-mppe",
    "require-mppe-40",
    "require-mppe-128",
    "+mppe",
    "+mppe-40",
    "+mppe-128",
    "nomppe",
    "nomppe-40",
    "nomppe-128",
    "-mppe",
    "noccp",
    "-ccp",
    "mppe-stateful",
    "nomppe-stateful",
];

/// Returns the number of values of an option.
#[must_use]
pub fn arguments(option: &str) -> usize {
    let setting = SETTINGS.iter().find(|(name, _)| *name == option).map(|(_, count)| *count);
    let other = || OTHERS.iter().find(|(names, ..)| names.contains(&option)).map(|(_, count, _)| *count);
    setting.or_else(other).unwrap_or(0)
}

/// Returns whether an option is known.
#[must_use]
pub fn is_known(option: &str) -> bool {
    SETTINGS.iter().any(|(name, _)| *name == option) || SECURITY.contains(&option) || rule(option).is_some()
}

/// Returns what happens to an option that becomes no setting.
#[must_use]
pub fn rule(option: &str) -> Option<Rule> {
    OTHERS.iter().find(|(names, ..)| names.contains(&option)).map(|(_, _, rule)| *rule)
}
