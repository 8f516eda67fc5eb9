//! `report`, after a session with a real log, ledger and status.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::{
    download, working_server,
    world::{PASSWORD, in_world, text},
};

const REPORT: &str = "/run/report.txt";

/// Encodes base64 without its last characters, which depend on what follows.
fn base64(bytes: &[u8]) -> String {
    let alphabet: Vec<char> = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['+', '/']).collect();
    let letters = bytes.chunks_exact(3).flat_map(|three| {
        let bits = three.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        [18, 12, 6, 0].map(|shift| alphabet.get(bits >> shift & 63).copied().unwrap_or_default())
    });
    letters.collect()
}

#[test]
fn report_of_a_session_has_no_secret_and_no_name() {
    in_world(working_server(), |world| {
        world.profile("phone = \"555-0199-77\"");
        let before = world.state();
        world.up();
        download(world.server_config.office, 10_000);
        let status = world.status_with_counters();
        // A password that has got into the log after all.
        let log = "/var/log/pptpctl/vpn.log";
        let hex: String = PASSWORD.bytes().map(|byte| format!("{byte:02x}")).collect();
        let leak = format!("{PASSWORD} {hex} {}\n", base64(format!("{PASSWORD}xx").as_bytes()));
        fs::write(log, fs::read_to_string(log).unwrap() + &leak).unwrap();
        let output = world.run(&["report", "vpn", "--output", REPORT]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(text(&output.stdout).contains("read it before you send it: less /run/report.txt"));
        assert_eq!(fs::metadata(REPORT).unwrap().permissions().mode() & 0o7777, 0o600);
        let report = fs::read_to_string(REPORT).unwrap();
        println!("{report}");
        let host = world.shell("uname -n");
        let local = status["local"].as_str().unwrap();
        for secret in [
            PASSWORD,
            &hex,
            &base64(PASSWORD.as_bytes()),
            "battery",
            "tester",
            "vpn",
            "555-0199-77",
            "192.0.2.",
            "192.168.77.",
            local,
            host.trim(),
        ] {
            assert!(!report.contains(secret), "{secret} in\n{report}");
        }
        for shown in [
            "== profile ==\n[profile.\"<profile 1>\"]\n",
            "server = \"<server 1>\"",
            "mppe = \"require-128\"",
            "\"state\": \"up\"",
            "\"gre.rx_accepted\"",
            "pptpctl-ledger",
            "<private address",
            "== doctor ==",
            "INFO <profile 1>: up on tun0",
            "<secret> <secret> <secret>",
        ] {
            assert!(report.contains(shown), "{shown} is missing in\n{report}");
        }
        let again = world.run(&["report", "vpn", "--output", REPORT]);
        assert_eq!(again.status.code(), Some(1), "{}", text(&again.stdout));
        assert!(text(&again.stderr).contains("exists and is not overwritten"), "{}", text(&again.stderr));
        assert_eq!(fs::read_to_string(REPORT).unwrap(), report);
        fs::remove_file(REPORT).unwrap();
        world.down(&before);
    });
}
