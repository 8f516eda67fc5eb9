use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

fn known(terms: &[(Kind, &str)]) -> Redactor {
    let mut redactor = Redactor::default();
    terms.iter().for_each(|(kind, text)| redactor.add(*kind, text));
    redactor
}

#[test]
fn same_name_has_the_same_placeholder() {
    let mut redactor =
        known(&[(Kind::Server, "vpn.example.net"), (Kind::User, "alice"), (Kind::Domain, "CORP")]);
    assert_eq!(
        redactor.text("VPN.example.net refuses corp\\alice, from 203.0.113.9 (203.0.113.9, 10.1.2.3)"),
        "<server 1> refuses <domain 1>\\<user 1>, from <address 1> (<address 1>, <private address 1>)"
    );
    assert_eq!(redactor.text("mail.example.net, then alice"), "<host 1>, then <user 1>");
    // A name within a word is that name only if it is long.
    assert_eq!(redactor.text("malice"), "malice");
}

#[test]
fn overlapping_finds_are_one() {
    let mut redactor = known(&[
        (Kind::Profile, "office"),
        (Kind::User, "alice@corp.example"),
        (Kind::Secret, "a 1.2.3.4 b"),
    ]);
    for (text, shown) in [
        ("mail.office.example", "<host 1>"),
        ("alice@corp.example", "<user 1>"),
        ("x a 1.2.3.4 b y", "x <secret> y"),
        ("/run/pptpctl/office.sock", "/run/pptpctl/<host 2>"),
    ] {
        assert_eq!(redactor.text(text), shown, "{text}");
    }
}

#[test]
fn words_of_this_program_and_of_the_kernel_stay() {
    let text = "2026-11-29T23:58:23.123456Z  INFO up on tun0, gre.rx_lost 3, net.ipv4.conf.eth0.rp_filter, /etc/resolv.conf, \
                127.0.0.53, 10.0.0.0/8, 0.0.0.0/0, 128.0.0.0/1, fe80::/10, ::1, timeouts.gre, pptpctl::engine, 1.5 s, \
                Linux 6.1.0-18-amd64, e.g. 255.255.255.0, drop.loop, /etc/pptpctl/profiles.toml, 35.4ms";
    assert_eq!(Redactor::default().text(text), text);
}

#[test]
fn unknown_addresses_names_and_dumps_are_found() {
    let mut redactor = Redactor::default();
    for (text, shown) in [
        ("2001:db8::5 fd00::1 52:54:00:12:34:56", "<address 1> <private address 1> <hardware address 1>"),
        ("[2001:db8::5]:443", "[<address 1>]:443"),
        ("9.113.0.203.in-addr.arpa", "<host 1>"),
        ("router.lan: 00:11:22:33:44:55:66:77", "<host 2>: <address 2>"),
        ("0123456789abcdef0", "<hex 1>"),
        ("00 11 22 33 44 55 66 7f", "<hex 2>"),
        ("/home/bob/x", "/home/<user 1>/x"),
        (
            "finished authentication: MS-CHAPv2, accepted by RAS01: Welcome Bob",
            "finished authentication: MS-CHAPv2, accepted by <text of the server>",
        ),
        (
            "the account is disabled; the server says: Bob left",
            "the account is disabled; the server says: <text of the server>",
        ),
        (
            "finished control: linux firmware 1 (ras01)",
            "finished control: linux firmware 1 (<server's name 1>)",
        ),
        ("a <server 1> of the peer", "a ‹server 1› of the peer"),
    ] {
        assert_eq!(redactor.text(text), shown, "{text}");
    }
}

#[test]
fn json_keeps_its_structure() {
    let mut redactor = known(&[(Kind::User, "alice")]);
    let value = serde_json::json!({
        "user": "alice", "n": 7, "content": "nameserver 192.0.2.1", "lines": "a\nb", "bytes": [1, 2, 3, 4],
        "counters": {"gre.rx_lost": 1}, "up": ["x", "alice"], "192.0.2.1": [true, null],
    });
    assert_eq!(
        redactor.json(&value),
        serde_json::json!({
            "user": "<user 1>", "n": 7, "content": "<20 bytes left out>", "lines": "<2 lines left out>",
            "bytes": "<4 numbers left out>", "counters": {"gre.rx_lost": 1}, "up": "<2 words left out>",
            "<address 1>": [true, null],
        })
    );
}

/// Encodes base64, independently of the code under test.
fn base64(bytes: &[u8]) -> String {
    let alphabet: Vec<char> = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['+', '/']).collect();
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut three = [0; 3];
        three[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for at in 0..4 {
            let letter = alphabet[(bits >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= chunk.len() { letter } else { '=' });
        }
    }
    text
}

fn hex(bytes: &[u8], separator: &str) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _written = write!(text, "{}{byte:02X}", if text.is_empty() { "" } else { separator });
        text
    })
}

/// The ways in which a text gets into a log.
fn encoded(text: &str, way: usize) -> String {
    let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    match way {
        0 => text.to_owned(),
        1 => format!("{text:?}"),
        2 => serde_json::to_string(text).unwrap(),
        3 => hex(text.as_bytes(), ""),
        4 => hex(text.as_bytes(), ":"),
        5 => hex(&wide, " "),
        6 => base64(text.as_bytes()),
        7 => base64(format!("x{text}yy").as_bytes()),
        8 => base64(format!("xx{text}").as_bytes()),
        9 => base64(&wide),
        10 => text.to_uppercase(),
        11 => format!("password = \"{text}\""),
        _ => text.as_bytes().escape_ascii().to_string(),
    }
}

/// The number of ways of [`encoded`].
const WAYS: usize = 13;

/// Returns whether a text of this kind could be read from the report.
fn is_legible(report: &str, text: &str) -> bool {
    let lower = report.to_lowercase();
    (0..WAYS).any(|way| {
        let form = encoded(text, way);
        let form = form.trim_start_matches("password = ").trim_matches(['"', '=']);
        lower.contains(&form.to_lowercase())
    })
}

proptest! {
    #[test]
    fn no_known_term_survives(
        secret in "[!-~äß€]{6,20}",
        user in "[a-z][a-z0-9._-]{6,12}",
        host in "[a-z]{3,8}\\.[a-z]{3,8}\\.[a-z]{2,4}",
        noise in "[ -~\n]{0,80}",
        more in "[ -~\n]{0,80}",
        way in 0..WAYS,
    ) {
        let mut redactor = known(&[(Kind::Secret, &secret), (Kind::User, &user), (Kind::Server, &host)]);
        for term in [&secret, &user, &host] {
            // The noise has it by chance only where the term is short.
            let text = format!("{noise} {} {more}", encoded(term, way));
            let report = redactor.text(&text);
            prop_assert!(!is_legible(&report, term), "{term} in\n{text}\nis\n{report}");
        }
    }

    #[test]
    fn no_address_survives(address: [u8; 4], six: [u16; 8], noise in "[ -~\n]{0,40}", way in 0..3_usize) {
        let four = std::net::Ipv4Addr::from(address);
        let mut redactor = known(&[(Kind::Server, &four.to_string())]);
        let shown = match way {
            0 => four.to_string(),
            1 => hex(&address, ""),
            _ => hex(&address, " "),
        };
        let report = redactor.text(&format!("{noise} {shown} {noise}"));
        prop_assert!(!report.to_uppercase().contains(&shown) || noise.to_uppercase().contains(&shown), "{report}");
        // One that is not known is found by its form.
        let six = std::net::Ipv6Addr::from(six);
        let report = Redactor::default().text(&format!("to {six} by {four}/32"));
        prop_assert!(!report.contains(&six.to_string()), "{report}");
        let is_common = four.is_loopback() || four.is_unspecified() || four.is_broadcast() || address[0] == 255;
        prop_assert!(is_common || !report.contains(&four.to_string()), "{report}");
    }

    #[test]
    fn arbitrary_text_is_accepted(text in any::<String>(), term in any::<String>()) {
        let report = known(&[(Kind::Secret, &term)]).text(&text);
        prop_assert!(term.chars().count() < 4 || term.contains(['<', '>']) || !report.contains(&term));
    }
}
