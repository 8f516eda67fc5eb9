//! The exact configuration that the daemons receive.

use super::{ppp, pppd};
use crate::{
    profile::{PppBackend, Profile, Profiles},
    secret::Secret,
};

/// Returns a profile for pppd. Profiles for ppp are refused on hosts without it, so [`ppp_text`] converts
/// one.
fn profile(keys: &str) -> Profile {
    let text = format!(
        "[profile.vpn]\nserver = '192.0.2.1'\nuser = 'u'\npassword.fd = 3\nppp.backend = 'pppd'\n{keys}\n"
    );
    let profiles = Profiles::from_text(std::path::Path::new("x"), &text, true);
    profiles.get("vpn").unwrap_or_else(|error| panic!("{error}")).clone()
}

fn pppd_text(profile: &Profile, password: &str) -> String {
    String::from_utf8(pppd::options(profile, Some(&Secret::from(password)), 1460).to_vec()).unwrap()
}

fn ppp_text(mut profile: Profile, options: &[&str], password: &str) -> String {
    profile.ppp.backend = PppBackend::Ppp;
    profile.ppp.options = options.iter().map(|&option| option.to_owned()).collect();
    ppp::section(&profile, Some(&Secret::from(password)), 1460).to_string()
}

#[test]
fn pppd_options_for_the_default_profile() {
    let expected = "\
mtu 1460
mru 1460
lcp-echo-interval 15
lcp-echo-failure 4
lcp-restart 1
lcp-max-configure 30
nobsdcomp
nodeflate
novj
ipparam vpn
nodetach
nolock
nopersist
noproxyarp
nodefaultroute
noipdefault
logfd 1
maxfail 1
linkname pptpctl-vpn
ipcp-accept-local
ipcp-accept-remote
noipv6
noauth
refuse-eap
refuse-pap
refuse-chap
refuse-mschap
require-mppe-128
nomppe-40
nomppe-stateful
user u
remotename pptpctl-vpn
hide-password
password \"secret\"
";
    assert_eq!(pppd_text(&profile(""), "secret"), expected);
}

#[test]
fn pppd_options_for_non_default_keys() {
    let odd = profile(
        "domain = 'D O'\nauth = ['pap', 'chap', 'mschap', 'mschapv2']\nmppe = 'off'\nunit = 7\nmtu = 1300\nloglevel = 2
ppp.mru = 1200\nppp.ipv6 = true\nppp.lcp-echo-interval = 'off'\nppp.options = ['lcp-restart', '2', 'a \"b\"']",
    );
    let expected = "\
mtu 1300
mru 1200
lcp-echo-interval 0
lcp-echo-failure 0
lcp-restart 1
lcp-max-configure 30
nobsdcomp
nodeflate
novj
debug
ipparam vpn
lcp-restart
2
\"a\\040\\042b\\042\"
nodetach
nolock
nopersist
noproxyarp
nodefaultroute
noipdefault
logfd 1
maxfail 1
linkname pptpctl-vpn
unit 7
ifname ppp7
ipcp-accept-local
ipcp-accept-remote
+ipv6
noauth
refuse-eap
nomppe
noccp
user \"D\\040O\\134u\"
remotename pptpctl-vpn
hide-password
password \"\\042\\134\\043\\040\\303\\274\\047\\011\"
";
    assert_eq!(pppd_text(&odd, "\"\\# ü'\t"), expected);
}

#[test]
fn pppd_options_for_each_mppe_strength() {
    for (mppe, words) in [
        ("require-128+stateful", "require-mppe-128\nnomppe-40\nmppe-stateful\n"),
        ("require-40", "require-mppe\nnomppe-stateful\n"),
        ("require-40+stateful", "require-mppe\nmppe-stateful\n"),
    ] {
        let options = pppd_text(&profile(&format!("mppe = '{mppe}'")), "x");
        assert!(options.contains(words), "{mppe}: {options}");
    }
    // `mtu` is the size of an inner packet; pppd subtracts MPPE's bytes from its own `mtu`.
    assert!(pppd_text(&profile("mtu = 1300"), "x").starts_with("mtu 1304\n"));
    assert!(
        pppd_text(&profile("mtu = 1459"), "x").starts_with("mtu 1460\n"),
        "mtu is above the limit of the path"
    );
}

/// Decodes a quoted word as pppd's getword (options.c) does.
fn read_back(quoted: &str) -> Vec<u8> {
    let inner = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap();
    let mut bytes = inner.bytes();
    let mut word = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte == b'\\' {
            let digits: Vec<u8> = bytes.by_ref().take(3).collect();
            let value = digits.iter().fold(0_u32, |value, digit| value * 8 + u32::from(digit - b'0'));
            word.push(u8::try_from(value).unwrap());
        } else {
            assert!(byte.is_ascii_alphanumeric());
            word.push(byte);
        }
    }
    word
}

proptest::proptest! {
    #[test]
    fn pppd_password_quoting_round_trips(password in proptest::collection::vec(1_u8..=255, 1..200)) {
        let options = pppd::options(&profile(""), Some(&Secret::new(password.clone())), 1460);
        let options = std::str::from_utf8(&options).unwrap();
        let line = options.lines().last().unwrap();
        proptest::prop_assert_eq!(read_back(line.strip_prefix("password ").unwrap()), password);
        proptest::prop_assert_eq!(options.lines().count(), 34);
    }
}

#[test]
fn displayed_configuration_omits_the_password() {
    let profile = profile("");
    let options = String::from_utf8(pppd::options(&profile, None, 1460).to_vec()).unwrap();
    assert!(options.ends_with("password (not shown)\n"), "{options}");
    assert!(ppp::section(&profile, None, 1460).ends_with("set authkey (not shown)\n"));
}

#[test]
fn ppp_section_for_the_default_profile() {
    let expected = "\
pptpctl-vpn:
 set log Phase Warning Error Alert
 set mtu max 1460
 set mru max 1460
 enable echo
 set echoperiod 15
 disable lqr vjcomp deflate pred1
 deny lqr vjcomp deflate pred1
 set timeout 0
 set redial 0 0
 set reconnect 0 0
 set openmode active
 set ifaddr 10.0.0.1/0 10.0.0.2/0 255.255.255.255 0.0.0.0
 disable sroutes
 disable ipv6cp
 disable dns
 resolv readonly
 disable pap
 deny pap
 disable chap05
 deny chap05
 disable chap80
 deny chap80
 disable chap81
 accept chap81
 enable mppe
 accept mppe
 set mppe 128 stateless
 set authname \"u\"
 set authkey \"secret\"
";
    assert_eq!(ppp_text(profile(""), &[], "secret"), expected);
}

#[test]
fn ppp_section_for_non_default_keys() {
    let odd = profile(
        "domain = 'D'\nauth = ['mschap', 'mschapv2']\nmppe = 'require-40+stateful'\nloglevel = 2\nunit = 3
ppp.ipv6 = true\nppp.lcp-echo-interval = 'off'",
    );
    let section = ppp_text(odd.clone(), &["set ccpretry 2"], "a\"b\\c$HOME~ #d");
    for line in [
        " set log Phase LCP IPCP CCP Warning Error Alert",
        " disable echo",
        " set ccpretry 2",
        " enable ipv6cp",
        " accept chap80",
        " deny chap05",
        " set mppe * *",
        " set authname \"D\\\\u\"",
        " set authkey \"a\\\"b\\\\c\\$HOME\\~ #d\"",
    ] {
        assert!(section.lines().any(|other| other == line), "{line}\n{section}");
    }
    assert!(
        section.find("ccpretry") < section.find("set timeout"),
        "derived settings must follow the configured ones"
    );
    // ppp reads lines of at most 511 bytes (LINE_LEN less one).
    assert!(section.lines().all(|line| line.len() <= 511));
    let mut labelled = odd;
    labelled.ppp.label = Some("office".to_owned());
    assert_eq!(ppp::arguments(&labelled), ["-direct", "-quiet", "-unit3", "office", "pptpctl-vpn"]);
    labelled.ppp.label = None;
    labelled.unit = None;
    assert_eq!(ppp::arguments(&labelled), ["-direct", "-quiet", "pptpctl-vpn"]);
}
