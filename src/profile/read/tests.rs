use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::super::{
    AuthProtocol, DefaultRoute, Demand, DnsBackend, DnsServers, Leak, Mss, Mtu, PppBackend, Quirks, Route,
    Strength,
};
use super::*;
use crate::profile::schema::{Absent, Key, Kind};

/// Reads a profile without gates; also returns the draft titles.
fn open(keys: &str) -> (Profile, Vec<String>) {
    let source = Source::new(Path::new("f"), keys.to_owned(), true);
    let table = DeTable::parse(keys).unwrap();
    let mut reader = Reader::new(|_, _| None);
    let name = ProfileName::new("x").unwrap();
    let header = Span { start: 0, end: 0 };
    let profile = read(&mut reader, &source, &name, header, table.get_ref());
    check::profile(&profile, &mut reader, header, Platform::Linux);
    (profile, reader.drafts.into_iter().map(|draft| draft.title).collect())
}

// One of the keys selects pppd.
#[cfg(feature = "pppd")]
#[test]
fn every_key_sets_its_field() {
    let (profile, drafts) = open(include_str!("everything.toml"));
    // The file sets all keys, some of which contradict each other.
    let contradictions = [
        "MS-CHAPv1 is accepted",
        "`leak` beside `link.netns`",
        "`exclude` beside `link.netns`",
        "`link.netns` needs the builtin PPP",
        "`conntrack` beside `link.netns`",
        "`pf` and `nftables` in one profile",
        "routing domains exist on OpenBSD only: `link.rdomain`",
        "FIBs exist on FreeBSD only: `link.fib`",
        "labels of routes exist on OpenBSD only: `link.rtlabel`",
        "labels of routes exist on OpenBSD only: `routes.label`",
        "`ppp.label` without ppp.backend = \"ppp\"",
        "MS-CHAPv1 beside MS-CHAPv2 with pppd",
        "`peer-routes` with an external PPP",
        "`data-path = \"kernel\"` is not possible here",
        "`dns.domains` needs systemd-resolved",
        "a network namespace has a resolv.conf of its own",
        "`retry.keep-routes = false` beside `leak = \"block\"`",
    ];
    assert_eq!(drafts, contradictions);
    let seconds = Duration::from_secs;
    assert_eq!(
        profile.servers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["a.example:99", "192.0.2.1"]
    );
    assert_eq!((profile.phone.as_deref(), profile.quirks), (Some("12#3"), Quirks::BezeqIsrael));
    assert_eq!(profile.localbind.unwrap().to_string(), "192.0.2.7");
    assert_eq!((profile.log_name(), profile.loglevel), ("log", LogLevel::Verbose));
    assert_eq!((profile.missing_window, profile.transmit_window), (Some(300), true));
    let t = &profile.timeouts;
    let phases = [t.resolve, t.connect, t.control, t.call, t.gre, t.lcp, t.auth, t.network, t.stop];
    assert_eq!(phases.map(|limit| limit.as_secs()), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!((t.reorder, t.idle_wait, t.max_echo_wait), (Reorder::Off, None, seconds(10)));
    assert_eq!((profile.user.as_str(), profile.domain.as_deref()), ("alice", Some("EXAMPLE")));
    assert!(matches!(&profile.password, PasswordSource::Command(argv) if argv.len() == 3));
    assert_eq!(profile.auth, [AuthProtocol::MsChapV2, AuthProtocol::MsChapV1]);
    assert_eq!((profile.mppe.demand, profile.mppe.min), (Demand::Require, Strength::Bits128));
    assert!(profile.mppe.stateful);
    assert_eq!((profile.ppp.backend, profile.ppp.label.as_deref()), (PppBackend::Pppd, Some("vpn")));
    assert_eq!(profile.ppp.options, ["noauth", "debug"]);
    assert_eq!(profile.ppp.echo, Some(Echo { interval: seconds(11), failures: 12 }));
    assert_eq!((profile.ppp.mru, profile.ppp.ipv6), (Some(1400), true));
    assert_eq!((profile.unit, profile.mtu), (Some(7), Mtu::Bytes(1300)));
    let to = |text: &str| Route::to(text.parse().unwrap());
    let first =
        Route { metric: Some(5), table: Some(100), label: Some("branch".to_owned()), ..to("10.0.0.0/8") };
    assert_eq!(profile.routes, [first, to("192.0.2.9/32"), to("2001:db8::/32")]);
    assert!(profile.peer_routes && profile.nat && profile.autostart);
    assert_eq!(profile.exclude, ["192.168.0.0/16".parse().unwrap()]);
    assert_eq!((profile.default_route, profile.leak), (None, Leak::Block));
    assert_eq!(profile.dns.servers, DnsServers::Fixed(vec!["192.0.2.53".parse().unwrap()]));
    assert_eq!(
        (profile.dns.domains, profile.dns.search),
        (vec!["corp".to_owned()], vec!["a.corp".to_owned()])
    );
    assert_eq!((profile.dns.backend, profile.mss), (DnsBackend::Resolvconf, Mss::Bytes(1200)));
    let pf = profile.pf.unwrap();
    assert_eq!((pf.anchor.as_str(), pf.file), ("vpn", Some(PathBuf::from("/etc/pf.conf.vpn"))));
    assert_eq!(profile.nftables.unwrap().file, PathBuf::from("/etc/nftables.vpn"));
    assert_eq!(
        (profile.hooks.up, profile.hooks.down),
        (vec!["/bin/up".to_owned()], vec!["/bin/down".to_owned()])
    );
    assert_eq!(profile.hooks.timeout, seconds(13));
    let link = profile.link;
    assert_eq!((link.netns.as_deref(), link.rdomain, link.fib), (Some("inner"), Some(1), Some(2)));
    assert!(link.gre_allow && link.rtlabel.as_deref() == Some("vpn"));
    assert_eq!(profile.control_group.as_deref(), Some("netadmin"));
    let retry = profile.retry;
    assert_eq!((retry.first, retry.max, retry.attempts), (seconds(14), seconds(15), Some(16)));
    assert_eq!((retry.jitter_percent, retry.from_start, retry.keep_routes), (17, true, false));
}

#[test]
fn test_file_has_every_key() {
    let text = include_str!("everything.toml");
    for key in schema::KEYS {
        let last = key.path.rsplit('.').next().unwrap();
        // Keys that exclude another key in the file.
        let other = matches!(
            key.path,
            "password.file"
                | "password.fd"
                | "password.credential"
                | "password.ask"
                | "default.mode"
                | "retry.forever"
        );
        let tested_below = !samples(key).0.is_empty();
        assert!(other || tested_below || text.contains(last), "{}", key.path);
    }
}

/// Returns valid and invalid values in TOML for a key whose values are in the list; none for other keys.
fn samples(key: &Key) -> (Vec<String>, Vec<String>) {
    let quoted = |words: &[&str]| words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>();
    let time = |time: Duration| format!("'{}'", values::format_duration(time));
    match key.kind {
        Kind::Flag => (vec!["true".to_owned(), "false".to_owned()], vec!["1".to_owned()]),
        Kind::Number(min, max, words) => {
            let outside = [i64::from(min) - 1, i64::from(max) + 1];
            let inside = [min, max].map(|number| number.to_string());
            ([quoted(words), inside.to_vec()].concat(), outside.map(|number| number.to_string()).to_vec())
        }
        Kind::Time(min, max, words) => {
            let step = Duration::from_millis(1);
            ([quoted(words), vec![time(min), time(max)]].concat(), vec![time(min - step), time(max + step)])
        }
        Kind::Word(words) | Kind::Words(words) => (quoted(words), vec!["'x'".to_owned()]),
        Kind::Text | Kind::Texts | Kind::List => (vec![], vec![]),
    }
}

#[test]
fn keys_are_read_as_the_list_says() {
    let read = |key: &str, value: Option<&str>| {
        let password = if key.starts_with("password.") { "" } else { "password = 'x'\n" };
        let line = match (value, key.strip_prefix("routes.")) {
            (None, Some(_)) => "routes = [{ to = '10.0.0.0/8' }]".to_owned(),
            (None, None) => String::new(),
            (Some(value), Some(name)) => format!("routes = [{{ to = '10.0.0.0/8', {name} = {value} }}]"),
            (Some(value), None) => format!("{key} = {value}"),
        };
        let (profile, drafts) = open(&format!("server = 'a.example'\nuser = 'u'\n{password}{line}"));
        (format!("{profile:?}"), drafts.contains(&format!("bad value for `{key}`")))
    };
    for key in schema::KEYS {
        let path = key.path;
        assert_eq!(schema::KEYS.iter().filter(|other| other.path == path).count(), 1, "{path}");
        let absent = read(path, None);
        let (valid, invalid) = samples(key);
        for value in &invalid {
            assert!(read(path, Some(value)).1, "{path} = {value}");
        }
        let valid: Vec<_> = valid.iter().map(|value| read(path, Some(value))).collect();
        assert!(valid.iter().all(|(_, failed)| !failed), "{path}");
        assert!(valid.is_empty() || valid.iter().any(|read| *read != absent), "{path} sets no field");
        // A table `dns` means "peer", and no `dns` means "none".
        if let Absent::Is(default) = key.absent
            && !path.starts_with("dns.")
        {
            let bare = matches!(key.kind, Kind::Flag) || default.bytes().all(|b| b.is_ascii_digit());
            let value = if bare { default.to_owned() } else { format!("'{default}'") };
            assert_eq!(read(path, Some(&value)), absent, "{path} = {value}");
        }
    }
}

#[test]
fn accepts_short_forms_of_values() {
    let head = "server = 'a.example'\nuser = 'D\\u'\npassword = 'x'\n";
    let of = |keys: &str| open(&format!("{head}{keys}")).0;
    assert_eq!((of("").user.as_str(), of("").domain.as_deref()), ("u", Some("D")));
    assert_eq!(of("default = true").default_route, Some(DefaultRoute::Auto));
    assert_eq!(of("default.mode = 'halves'").default_route, Some(DefaultRoute::Halves));
    assert_eq!(of("default.mode = 'policy'").default_route, Some(DefaultRoute::Policy));
    assert_eq!(of("default = false").default_route, None);
    assert_eq!(of("dns = 'peer'").dns.servers, DnsServers::Peer);
    assert_eq!(of("dns.domains = 'corp'").dns.servers, DnsServers::Peer);
    assert_eq!(of("dns = 'none'").dns.servers, DnsServers::None);
    assert_eq!((of("mss = 'auto'").mss, of("mss = 'off'").mss, of("").mss), (Mss::Auto, Mss::Off, Mss::Auto));
    assert_eq!((of("mtu = 'auto'").mtu, of("").mtu), (Mtu::Auto, Mtu::Auto));
    assert_eq!(of("timeouts.idle-wait = '0s'").timeouts.idle_wait, None);
    assert_eq!(
        of("timeouts.reorder = '1s'").timeouts.reorder,
        Reorder::Adaptive { max: Duration::from_secs(1) }
    );
    assert_eq!(of("ppp.lcp-echo-interval = 'off'").ppp.echo, None);
    assert_eq!(of("ppp.lcp-echo-failure = 2").ppp.echo.unwrap().failures, 2);
    assert_eq!(
        (of("retry.forever = true").retry.attempts, of("retry.max = '2s'").retry.attempts),
        (None, None)
    );
    assert_eq!(of("retry.forever = false").retry.attempts, Some(0));
    assert_eq!(of("retry.first = '5m'").retry.max, Duration::from_secs(300));
    assert_eq!(of("auth = 'pap'\nmppe = 'off'").auth, [AuthProtocol::Pap]);
    assert_eq!(of("loglevel = 0").loglevel, LogLevel::Quiet);
}

#[test]
fn first_attempts_without_a_second_one_are_doubtful() {
    let head = "server = 'a.example'\nuser = 'u'\npassword = 'x'\nretry.from-start = true\n";
    let is_doubtful =
        |keys: &str| open(&format!("{head}{keys}")).1.iter().any(|title| title.contains("retry.from-start"));
    for (keys, expected) in [
        ("", false),
        ("retry.attempts = 3", false),
        ("retry.attempts = 0", true),
        ("retry.forever = false", true),
    ] {
        assert_eq!(is_doubtful(keys), expected, "{keys}");
    }
}

#[test]
fn user_of_a_command_needs_a_command() {
    let title = "`password.run-as` without a command".to_owned();
    for (source, is_wrong) in [("fd = 3", true), ("file = '/p'", true), ("command = ['pass']", false)] {
        let text = format!("password.{source}\npassword.run-as = 'invoker'");
        let (_, drafts) = open(&format!("server = 'a.example'\nuser = 'u'\n{text}"));
        assert_eq!(drafts.contains(&title), is_wrong, "{text}");
    }
}

#[test]
fn password_is_asked_for_if_the_profile_has_no_other_source() {
    let read = |keys: &str| open(&format!("server = 'a.example'\nuser = 'u'\n{keys}"));
    let is_asked = |keys: &str| match read(keys).0.password {
        PasswordSource::Ask { is_explicit } => Some(is_explicit),
        _ => None,
    };
    assert_eq!((is_asked(""), is_asked("password.ask = true")), (Some(false), Some(true)));
    assert_eq!(is_asked("password = { file = '/p', ask = false }"), None);
    let one_place = "the password comes from one place".to_owned();
    for (keys, expected) in [
        ("", vec![]),
        ("password.ask = true", vec![]),
        ("password = { file = '/p', ask = false }", vec![]),
        ("password = { file = '/p', ask = true }", vec![one_place.clone()]),
        ("password.ask = false", vec![one_place]),
        ("password.ask = 'yes'", vec!["bad value for `password.ask`".to_owned()]),
        ("autostart = true", vec!["`autostart` with a password that is asked for".to_owned()]),
        ("autostart = true\npassword.fd = 3", vec![]),
    ] {
        assert_eq!(read(keys).1, expected, "{keys}");
    }
}

/// A field that no setting of `differences` has would never be reloaded, and its change never reported.
#[test]
fn every_field_is_compared_and_taken_by_a_reload() {
    use crate::profile::differences::{Effect, changed, merged};
    let (every, _) = open(include_str!("everything.toml"));
    let (least, _) = open("server = 'b.example'\nuser = 'u'\npassword = 'p'\n");
    let all = [Effect::Now, Effect::Redial, Effect::NextUp];
    let shown = |profile: &Profile| format!("{:?}", Profile { origin: None, ..profile.clone() });
    assert_ne!(shown(&least), shown(&every));
    assert_eq!(shown(&merged(&least, &every, &all)), shown(&every));
    assert_eq!(shown(&merged(&least, &every, &[])), shown(&least));
    for effect in all {
        assert!(!changed(&least, &every, effect).is_empty(), "{effect:?}");
        let taken = merged(&least, &every, &[effect]);
        assert!(changed(&taken, &every, effect).is_empty(), "{effect:?}");
    }
}
