use proptest::prelude::*;

use super::*;
use crate::plan::{Resolver, Value};

proptest! {
    /// With any content before, and any text appended meanwhile.
    #[test]
    fn removing_the_block_restores_the_content(
        lines in proptest::collection::vec(prop_oneof![
            Just("nameserver 192.0.2.53".to_owned()), Just("search example.net".to_owned()),
            Just("domain example.net".to_owned()), Just("nameservers".to_owned()), Just("nameserver".to_owned()),
            Just(" nameserver 192.0.2.1".to_owned()), Just("\toptions edns0".to_owned()), Just("# BEGIN pptpctl other: x".to_owned()),
            Just("# END pptpctl vpn".to_owned()), Just("nameserver\t::1\r".to_owned()), "[ -~]{0,20}",
        ], 0..8),
        ends: bool,
        search: bool,
        added in "[a-z #]{0,12}",
    ) {
        let mut content = lines.join("\n").into_bytes();
        if ends && !content.is_empty() {
            content.push(b'\n');
        }
        prop_assume!(!String::from_utf8_lossy(&content).contains("pptpctl vpn"));
        let step = step(search);
        let with = with_block(&content, &step);
        prop_assert_eq!(without_block(&with, "vpn").unwrap(), content.clone());
        prop_assert_eq!(nameservers(&with).first().copied(), Some(IpAddr::from([10, 99, 0, 53])));
        prop_assert_eq!(owner(&with), Some("vpn:".to_owned()));
        if ends {
            let later = [with, added.clone().into_bytes()].concat();
            prop_assert_eq!(without_block(&later, "vpn").unwrap(), [content, added.into_bytes()].concat());
        }
    }

    #[test]
    fn parser_accepts_arbitrary_bytes(bytes: Vec<u8>) {
        let with = with_block(&bytes, &step(true));
        prop_assert!(without_block(&with, "vpn").is_some());
        drop((nameservers(&bytes), owner(&bytes), without_block(&bytes, "vpn")));
    }
}

#[test]
fn only_our_resolvers_are_in_effect() {
    let before =
        b"# by hand\ndomain example.net\nnameserver 192.0.2.53\nnameserver 192.0.2.54\noptions edns0\n";
    let with = String::from_utf8(with_block(before, &step(false))).unwrap();
    insta::assert_snapshot!(with, @r"
    # BEGIN pptpctl vpn: only while this tunnel is up; `pptpctl down vpn` restores the file
    nameserver 10.99.0.53
    # END pptpctl vpn
    # by hand
    domain example.net
    # pptpctl vpn keeps: nameserver 192.0.2.53
    # pptpctl vpn keeps: nameserver 192.0.2.54
    options edns0
    ");
    let with = String::from_utf8(with_block(before, &step(true))).unwrap();
    assert!(with.contains("search corp.example\n"), "{with}");
    assert!(with.contains("\n# pptpctl vpn keeps: domain example.net\n"), "{with}");
    assert_eq!(nameservers(with.as_bytes()), ["10.99.0.53".parse::<IpAddr>().unwrap()]);
}

#[test]
fn incomplete_block_is_not_removed() {
    let with = with_block(b"nameserver 192.0.2.53\n", &step(false));
    let cut = String::from_utf8(with).unwrap().replace("# END pptpctl vpn\n", "");
    assert_eq!(without_block(cut.as_bytes(), "vpn"), None);
    assert_eq!(without_block(b"nameserver 192.0.2.53\n", "vpn"), None);
}

#[test]
fn write_without_truncation_is_detected() {
    let (long, short) = (&b"0123456789"[..], &b"abcd"[..]);
    assert!(is_torn(b"abcd456789", long, short));
    assert!(!is_torn(b"abcd45678", long, short) && !is_torn(b"abcdX56789", long, short));
    assert!(!is_torn(long, long, short));
}

#[test]
fn parses_resolvectl_output() {
    let output = "Link 12 (tun0): 10.99.0.53 2001:db8::53\n";
    assert_eq!(of_link(output, "tun0"), ["10.99.0.53", "2001:db8::53"]);
    assert!(has_address(&of_link(output, "tun0"), "2001:db8:0::53".parse().unwrap()));
    assert!(of_link(output, "tun1").is_empty());
    assert!(of_link("Link 12 (tun0):\n", "tun0").is_empty());
}

fn step(search: bool) -> DnsStep {
    DnsStep {
        profile: "vpn".into(),
        tun: Value::Known("tun0".into()),
        servers: Value::Known(vec!["10.99.0.53".parse().unwrap()]),
        domains: Vec::new(),
        search: if search { vec!["corp.example".into()] } else { Vec::new() },
        resolver: Value::Known(Resolver::File),
        file: "/etc/resolv.conf".into(),
    }
}
