//! What `check` reports beyond the files themselves: profiles compared with each other and with the host.

use std::path::Path;

use pptpctl::testing::{
    platform::Platform,
    profile::{HostView, Profiles, Style},
};

const HOST: HostView<'_> = HostView {
    forwarding: Some(true),
    caller: None,
    no_invoker: None,
    has_program: &|_| true,
    read: &|_| None,
};

/// A profile without findings; later keys are added to it.
fn profile(name: &str, keys: &str) -> String {
    format!("[profile.{name}]\nserver = 'a.example'\nuser = 'u'\npassword.fd = 3\n{keys}\n")
}

/// Returns the profiles after the review; without errors.
fn reviewed(text: &str, platform: Platform, host: &HostView<'_>) -> Profiles {
    let mut profiles = Profiles::from_text_for(Path::new("f"), text, true, platform);
    assert!(profiles.report().errors.is_empty(), "{}", profiles.report());
    profiles.review(host);
    assert!(profiles.report().errors.is_empty(), "{}", profiles.report());
    profiles
}

fn titles(text: &str, host: &HostView<'_>) -> Vec<String> {
    let profiles = reviewed(text, Platform::Linux, host);
    profiles.report().warnings.iter().map(|warning| warning.title.clone()).collect()
}

#[test]
fn findings_point_at_the_keys_of_both_profiles() {
    let text = profile("a", "unit = 3\nroutes = ['10.1.0.0/16', '10.7.0.0/16']")
        + &profile("b", "unit = 3\nroutes = ['10.7.0.0/16']");
    let shown = reviewed(&text, Platform::Linux, &HOST).report().render(Style::Plain);
    assert_eq!(
        shown,
        "warning: unit = 3 is in the profiles `a` and `b`
  --> f:11:8
   |
11 | unit = 3
   |        ^ only one of them can be up at a time
   |
  ::: f:5:8
   |
 5 | unit = 3
   |        ^ the other

warning: the route to 10.7.0.0/16 is in the profiles `a` and `b`
  --> f:12:10
   |
12 | routes = ['10.7.0.0/16']
   |          ^^^^^^^^^^^^^^^ while both are up, only one of the tunnels gets these packets
   |
  ::: f:6:10
   |
 6 | routes = ['10.1.0.0/16', '10.7.0.0/16']
   |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ the other"
    );
}

#[test]
fn overlapping_routes_of_two_profiles_are_reported() {
    let pair = |one: &str, other: &str| {
        titles(
            &(profile("a", &format!("routes = {one}")) + &profile("b", &format!("routes = {other}"))),
            &HOST,
        )
    };
    assert_eq!(pair("['10.0.0.0/8']", "['192.0.2.0/24']"), [""; 0]);
    let inside = ["the route to 10.1.0.0/16 of `b` overlaps the one to 10.0.0.0/8 of `a`"];
    assert_eq!(pair("['10.0.0.0/8', '172.16.0.0/12']", "['192.0.2.0/24', '10.1.0.0/16']"), inside);
    let around = ["the route to 10.0.0.0/8 of `b` overlaps the one to 10.1.0.0/16 of `a`"];
    assert_eq!(pair("['10.1.0.0/16']", "['10.0.0.0/8']"), around);
    assert_eq!(pair("['10.1.0.0/16']", "[{ to = '10.1.0.0/16', table = 7 }]"), [""; 0]);
    // In a network namespace of its own a tunnel meets no other.
    let text = profile("a", "routes = ['10.0.0.0/8']\nunit = 1")
        + &profile("b", "routes = ['10.0.0.0/8']\nlink.netns = 'inner'\nunit = 1");
    assert_eq!(titles(&text, &HOST), [""; 0]);
}

#[test]
fn thousands_of_routes_are_compared_quickly() {
    let list = |first: u8| {
        let all = (0..2000_u16).map(|n| format!("'{first}.{}.{}.0/24'", n / 256, n % 256));
        all.collect::<Vec<_>>().join(",")
    };
    let text: String =
        (1..=3).map(|n| profile(&format!("p{n}"), &format!("routes = [{}]", list(20 + n)))).collect();
    let started = std::time::Instant::now();
    assert_eq!(titles(&text, &HOST), [""; 0]);
    assert!(started.elapsed() < std::time::Duration::from_secs(30));
}

#[test]
fn tunnel_without_routes_is_reported() {
    let nowhere = ["nothing goes through the tunnel of `a`"];
    assert_eq!(titles(&profile("a", ""), &HOST), nowhere);
    for keys in
        ["default = true", "routes = ['10.0.0.0/8']", "peer-routes = true", "hooks.up = ['/bin/add-routes']"]
    {
        assert_eq!(titles(&profile("a", keys), &HOST), [""; 0], "{keys}");
    }
}

#[test]
fn route_that_covers_the_server_is_reported() {
    let of = |server: &str, routes: &str| {
        let text = profile("a", &format!("routes = {routes}")).replace("'a.example'", server);
        titles(&text, &HOST)
    };
    let covers = ["the route to 192.0.2.0/24 covers the server 192.0.2.9"];
    assert_eq!(of("['b.example', '192.0.2.9:1724']", "['10.0.0.0/8', '192.0.2.0/24']"), covers);
    assert_eq!(of("'192.0.2.9'", "['192.0.3.0/24']"), [""; 0]);
    assert_eq!(of("'192.0.2.9'", "[{ to = '192.0.2.0/24', table = 9 }]"), [""; 0]);
}

#[test]
fn nat_without_forwarding_is_reported() {
    let text = profile("a", "routes = ['10.0.0.0/8']\nnat = true");
    assert_eq!(titles(&text, &HostView { forwarding: Some(false), ..HOST }), ["`nat` without forwarding"]);
    assert_eq!(titles(&text, &HOST), [""; 0]);
    assert_eq!(titles(&text, &HostView { forwarding: None, ..HOST }), [""; 0]);
}

#[test]
fn password_commands_are_examined_but_not_run() {
    let of = |command: &str, caller: Option<&str>| {
        let text = profile("a", "routes = ['10.0.0.0/8']")
            .replace("password.fd = 3", &format!("password.command = {command}"));
        let has_program = |path: &Path| !path.ends_with("absent");
        titles(&text, &HostView { caller: caller.map(str::to_owned), has_program: &has_program, ..HOST })
    };
    let alice = Some("alice");
    assert_eq!(of("['pass', 'show', 'vpn']", None), [""; 0]);
    let home = ["`up` runs as root: pass then looks in root's home, not in that of alice"];
    assert_eq!(of("['pass', 'show', 'vpn']", alice), home);
    assert_eq!(of("['sudo', '-u', 'alice', 'pass', 'show', 'vpn']", alice), [""; 0]);
    let invoker = "['pass', 'show', 'vpn']\npassword.run-as = 'invoker'";
    assert_eq!(of(invoker, alice), [""; 0]);
    let at_boot = ["`autostart` with the password of a user"];
    assert_eq!(of(&format!("{invoker}\nautostart = true"), alice), at_boot);
    let text = profile("a", "routes = ['10.0.0.0/8']")
        .replace("password.fd = 3", &format!("password.command = {invoker}"));
    let no_invoker = Some("no user is behind this call".to_owned());
    assert_eq!(titles(&text, &HostView { no_invoker, ..HOST }), ["`up` would fail from here"]);
    let absent = of("['absent', 'x']", alice);
    assert!(
        absent.len() == 1 && absent[0].starts_with("there is no program absent in /usr/sbin:"),
        "{absent:?}"
    );
    assert_eq!(of("['/opt/absent']", None), ["there is no program /opt/absent"]);
    assert_eq!(of("['cat', '~/vpn']", None), ["`~/vpn` in a command that no shell runs"]);
}

#[test]
fn pf_rules_of_another_system_are_shown_with_their_line() {
    let text = profile("a", "routes = ['10.0.0.0/8']\npf = { anchor = 'vpn', file = '/etc/pf.vpn' }");
    let old = "# rules\nnat on $vpn_if inet from any to any -> ($vpn_if)\n";
    let new = "match out on $vpn_if inet nat-to ($vpn_if)\n";
    let shown = |rules: &'static str, conf: Option<&'static str>, platform| {
        let read = |path: &Path| match path.to_str().unwrap() {
            "/etc/pf.vpn" => Some(rules.to_owned()),
            "/etc/pf.conf" => conf.map(str::to_owned),
            other => unreachable!("{other} is read"),
        };
        reviewed(&text, platform, &HostView { read: &read, ..HOST }).report().render(Style::Plain)
    };
    assert_eq!(
        shown(old, None, Platform::OpenBsd),
        "warning: OpenBSD's pf has no `nat` rules, since 4.7
 --> /etc/pf.vpn:2:1
  |
2 | nat on $vpn_if inet from any to any -> ($vpn_if)
  | ^^^ write match out on … nat-to …
  |
 ::: f:6:31
  |
6 | pf = { anchor = 'vpn', file = '/etc/pf.vpn' }
  |                               ^^^^^^^^^^^^^ loaded by this"
    );
    assert_eq!(shown(old, None, Platform::FreeBsd), "");
    assert!(shown(new, None, Platform::NetBsd).contains("/etc/pf.vpn:1:27"));
    assert!(shown(new, None, Platform::FreeBsd).contains("older releases of FreeBSD"));
    assert_eq!(shown(new, Some("anchor \"vpn\"\n"), Platform::OpenBsd), "");
    let lacking = shown(new, Some("block all\n"), Platform::OpenBsd);
    assert!(lacking.contains("/etc/pf.conf seems to lack anchor \"vpn\""), "{lacking}");
    assert!(lacking.contains("f:6:17"), "{lacking}");
    assert_eq!(shown(old, Some("block all\n"), Platform::Linux), "");
}

#[test]
fn anchor_for_nat_is_looked_for() {
    let text = profile("a", "routes = ['10.0.0.0/8']\nnat = true");
    for (platform, conf, expected) in [
        (Platform::OpenBsd, "block all\n", "anchor \"pptpctl/*\""),
        (Platform::FreeBsd, "anchor \"pptpctl/*\"\n", "nat-anchor \"pptpctl/*\""),
        (Platform::NetBsd, "nat-anchor \"pptpctl/*\"\n", ""),
        (Platform::OpenBsd, "anchor \"pptpctl/*\"\n", ""),
    ] {
        let read = |path: &Path| path.ends_with("pf.conf").then(|| conf.to_owned());
        let shown = reviewed(&text, platform, &HostView { read: &read, ..HOST }).report().to_string();
        assert_eq!(shown.is_empty(), expected.is_empty(), "{platform:?}: {shown}");
        assert!(shown.contains(expected), "{platform:?}: {shown}");
    }
}

/// The kill switch of a BSD needs pf, and pf a line before the rules that let packets out.
#[test]
fn kill_switch_without_pf_is_reported() {
    let shown = |more: &str, conf: &str, platform| {
        let text = profile("a", &format!("default = true\nleak = 'block'\n{more}"));
        let read = |path: &Path| path.ends_with("pf.conf").then(|| conf.to_owned());
        reviewed(&text, platform, &HostView { read: &read, ..HOST }).report().to_string()
    };
    let with_pf = "pf = { anchor = 'vpn' }";
    let good = "set skip on lo\nanchor \"vpn/leak\"\npass out quick\n";
    for platform in [Platform::OpenBsd, Platform::FreeBsd] {
        let routes = shown("", good, platform);
        assert!(
            routes.contains("the kill switch blocks by routes alone") && routes.contains("anchor = \"vpn\""),
            "{routes}"
        );
        assert_eq!(shown(with_pf, good, platform), "");
        assert_eq!(shown(with_pf, "anchor \"vpn/*\"\n", platform), "");
        assert_eq!(shown(with_pf, "include \"/etc/pf.more\"\n", platform), "");
        for lacking in ["block all\n", "anchor \"vpn\"\n"] {
            let words = shown(with_pf, lacking, platform);
            assert!(words.contains("/etc/pf.conf seems to lack anchor \"vpn/leak\""), "{words}");
        }
        let late = shown(with_pf, "pass in quick\npass out quick on em0\nanchor \"vpn/leak\"\n", platform);
        assert!(late.contains("passes packets before") && late.contains("`pass out quick on em0`"), "{late}");
    }
    assert!(shown(with_pf, good, Platform::NetBsd).contains("npf(7) can block them"));
    assert_eq!(shown(with_pf, "block all\n", Platform::Linux), "");
    // Without the kill switch the anchor would stay empty.
    let text = profile("a", &format!("default = true\n{with_pf}"));
    let report = Profiles::from_text(Path::new("f"), &text, true).report().to_string();
    assert!(report.contains("`pf` without `file`"), "{report}");
}

#[test]
fn backslash_in_double_quotes_is_explained() {
    for user in [r"CORP\alice", r"CORP\ünal", r"CORP\xavier", r"CORP\ulf", r"CORP\bob", r"CORP\tom"] {
        let text = profile("a", "").replace("user = 'u'", &format!("user = \"{user}\""));
        let report = Profiles::from_text(Path::new("f"), &text, true).report().to_string();
        for way in [r"user = 'CORP\alice'", r#""CORP\\alice""#, r#"domain = "CORP""#] {
            assert!(report.contains(way), "{user}: {report}");
        }
    }
    let text = profile("a", r#"phone = "a\q""#);
    let report = Profiles::from_text(Path::new("f"), &text, true).report().to_string();
    assert!(report.contains("single quotes") && !report.contains("CORP"), "{report}");
    for user in [r"'CORP\alice'", r#""CORP\\alice""#] {
        let text = profile("a", "").replace("'u'", user);
        let profiles = Profiles::from_text(Path::new("f"), &text, true);
        let profile = profiles.get("a").unwrap();
        assert_eq!((profile.user.as_str(), profile.domain.as_deref()), ("alice", Some("CORP")));
    }
}
