//! `pptpctl doctor --dial`: the same exit status and cause as `up` for each failure, and a host that is not changed.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
};

use nix::{
    mount::{MsFlags, mount, umount},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use pptpctl::testing::{
    demo::config::{Fault, ServerConfig},
    ppp::auth::AuthProtocol,
};
use serde_json::Value;

use super::{
    faulty_server, no_mppe, timeouts, working_server,
    world::{World, in_world, text},
};

/// Runs `doctor` with these arguments; returns its exit status and its JSON. The host must be as before.
#[track_caller]
fn doctor(world: &World, arguments: &[&str]) -> (i32, Value) {
    let before = world.state();
    // Log-ins without a verdict would add up to a pause.
    let forget_logins = || drop(fs::remove_file("/var/lib/pptpctl/vpn.logins"));
    forget_logins();
    let shown = world.run(&[&["doctor"], arguments].concat());
    println!("{}{}", text(&shown.stdout), text(&shown.stderr));
    for line in text(&shown.stdout).lines().filter(|line| line.contains(' ')) {
        assert!(line.chars().count() <= 80, "longer than 80 columns: {line}");
    }
    forget_logins();
    let output = world.run(&[&["doctor", "--json"], arguments].concat());
    assert_eq!(output.status.code(), shown.status.code(), "JSON and text disagree");
    world.assert_state(&before);
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value.get("status").and_then(Value::as_i64), output.status.code().map(i64::from));
    (output.status.code().unwrap(), value)
}

/// Returns the finding about a subject, the last one if there are several.
#[track_caller]
fn finding<'a>(report: &'a Value, subject: &str) -> &'a Value {
    let all = report["findings"].as_array().unwrap();
    all.iter()
        .rfind(|finding| finding["subject"] == subject)
        .unwrap_or_else(|| panic!("no {subject}: {report:#}"))
}

/// Checks that `doctor` fails with the same exit status as `up`, and with the same words about it.
#[track_caller]
fn assert_same_as_up(world: &World, arguments: &[&str], code: i32, subject: &str) -> Value {
    let up = world.run(&["up", "vpn"]);
    assert_eq!(up.status.code(), Some(code), "{}", text(&up.stderr));
    let (status, report) = doctor(world, arguments);
    assert_eq!(status, code, "{report:#}");
    let found = finding(&report, subject);
    assert_eq!((found["severity"].as_str(), found["status"].as_i64()), (Some("failure"), Some(code.into())));
    let evidence = found["evidence"].as_str().unwrap();
    // The first line of `up` names profile and phase, then the cause.
    let stderr = text(&up.stderr);
    assert!(
        stderr.lines().any(|line| line.ends_with(evidence)),
        "{evidence:?} is not what up says:\n{stderr}"
    );
    if let Some(next) = found["next"].as_str() {
        assert!(stderr.contains(next), "{next:?} is not a hint of up:\n{stderr}");
    }
    report
}

const DIAL: &[&str] = &["vpn", "--dial"];

#[test]
fn healthy_server_has_no_failure() {
    in_world(working_server(), |world| {
        world.profile("");
        let (status, report) = doctor(world, DIAL);
        assert_eq!(
            (status, &report["failures"], &report["warnings"]),
            (0, &0.into(), &0.into()),
            "{report:#}"
        );
        for (subject, words) in [
            ("connect", "192.0.2.1:1723"),
            ("control", "(demo)"),
            ("gre", "in both directions"),
            ("authentication", "the server proposed MS-CHAPv2"),
            ("encryption", "the server offers MPPE-128"),
            ("addresses", "10.77.0.1"),
            ("packets", "0 lost"),
            ("dial", "nothing was changed"),
            ("route", "192.0.2.1 by eth0"),
        ] {
            let evidence = finding(&report, subject)["evidence"].as_str().unwrap();
            assert!(evidence.contains(words), "{subject}: {evidence}");
        }
        // Without --dial the server gets nothing.
        let (status, report) = doctor(world, &["vpn"]);
        assert_eq!(status, 0);
        let all = report["findings"].as_array().unwrap();
        assert!(!all.iter().any(|finding| finding["subject"] == "connect"), "{report:#}");
    });
}

/// Ctrl-C closes the connection, and leaves nothing behind.
#[test]
fn interrupted_dial_leaves_nothing() {
    in_world(faulty_server(Fault::SilentCall), |world| {
        world.profile("timeouts = { call = \"60s\" }\npassword.fd = 7");
        let before = world.state();
        let script = format!(
            "cp -p /run/test.password /run/inherited; exec 7</run/inherited; rm /run/inherited; exec {} --config {} doctor vpn --dial",
            World::PROGRAM,
            World::CONFIG
        );
        let mut dial = world.spawn(Command::new("sh").args(["-c", &script]).stdout(Stdio::piped()));
        let mut lines = BufReader::new(dial.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains(" control ")), "not dialled");
        let up = world.run(&["up", "vpn"]).status.code();
        let holders = world.shell("ls -l /proc/[0-9]*/fd 2>/dev/null | grep -c /run/inherited || true");
        assert_eq!(holders.trim(), "0", "the engine has inherited the descriptor of the password");
        kill(Pid::from_raw(dial.id().try_into().unwrap()), Signal::SIGINT).unwrap();
        let rest: Vec<String> = lines.map(|line| line.unwrap()).collect();
        assert_eq!((up, dial.wait().unwrap().code()), (Some(5), Some(24)), "{rest:?}");
        world.assert_state(&before);
    });
}

#[test]
fn tunnel_that_is_up_is_not_dialled() {
    in_world(working_server(), |world| {
        world.profile("");
        let before = world.state();
        world.up();
        let (status, report) = doctor(world, DIAL);
        assert_eq!(status, 0, "{report:#}");
        assert_eq!(finding(&report, "tunnel")["evidence"], "up on tun0");
        assert_eq!(finding(&report, "dial")["severity"], "warning");
        assert_eq!(
            finding(&report, "clients")["severity"],
            "ok",
            "its own connection is not another client's"
        );
        world.down(&before);
    });
}

/// `doctor --dial` must not lock an account either.
#[test]
fn logins_without_a_verdict_are_counted() {
    in_world(faulty_server(Fault::DeafAuth), |world| {
        world.profile(&timeouts(&[("auth", "1s")]));
        let before = world.state();
        let dial = || text(&world.run(&["doctor", "vpn", "--dial"]).stdout);
        for _ in 0..2 {
            let shown = dial();
            assert!(!shown.contains("not tried") && shown.contains("authentication"), "{shown}");
        }
        let refused = dial();
        assert!(refused.contains("not tried") && !refused.contains("  connect "), "{refused}");
        let up = world.run(&["up", "vpn"]);
        assert_eq!(up.status.code(), Some(19), "{}", text(&up.stderr));
        assert!(text(&up.stderr).contains("not tried"), "{}", text(&up.stderr));
        world.assert_state(&before);
    });
}

#[test]
fn assigned_address_of_the_server_has_the_verdict_of_up() {
    let first = std::net::Ipv4Addr::new(192, 0, 2, 1);
    in_world(ServerConfig { first, addresses: 1, ..working_server() }, |world| {
        world.profile("");
        assert_same_as_up(world, DIAL, 30, "collisions");
    });
}

#[test]
fn broken_host_has_the_verdict_of_up() {
    in_world(working_server(), |world| {
        world.profile(r#"server = "no-such-host.invalid""#);
        assert_same_as_up(world, &["vpn"], 10, "name");
        world.profile(r#"routes = ["192.0.2.0/24"]"#);
        assert_same_as_up(world, &["vpn"], 30, "collisions");
        world.profile(r#"server = "203.0.113.9""#);
        assert_same_as_up(world, &["vpn"], 25, "route");
        world.profile("localbind = \"203.0.113.7\"");
        let up = world.run(&["up", "vpn"]).status.code();
        assert_eq!(Some(doctor(world, &["vpn"]).0), up);
        // The second server can be dialled.
        world.profile(r#"server = ["203.0.113.9", "192.0.2.1"]"#);
        let (status, report) = doctor(world, DIAL);
        assert_eq!((status, &finding(&report, "dial")["severity"]), (0, &"ok".into()), "{report:#}");
        world.profile("password.file = \"/run/missing\"");
        assert_same_as_up(world, &["vpn"], 3, "password");
        world.profile("");
        let none: Option<&str> = None;
        mount(Some("tmpfs"), "/dev/net", Some("tmpfs"), MsFlags::empty(), none).unwrap();
        let up = world.run(&["up", "vpn"]);
        let (status, report) = doctor(world, DIAL);
        assert_eq!((up.status.code(), status), (Some(22), 22));
        assert!(finding(&report, "tun")["evidence"].as_str().unwrap().contains("/dev/net/tun is missing"));
        assert_eq!(finding(&report, "dial")["severity"], "skipped", "dialled without a tun device");
    });
}

/// What `up` cannot use on this host, before or after the dial.
#[test]
fn unusable_files_have_the_verdict_of_up() {
    in_world(working_server(), |world| {
        world.profile("");
        let none: Option<&str> = None;
        for dir in ["/run/pptpctl", "/var/lib/pptpctl"] {
            fs::create_dir_all(dir).unwrap();
            mount(Some("tmpfs"), dir, Some("tmpfs"), MsFlags::MS_RDONLY, Some("mode=0755")).unwrap();
            assert_same_as_up(world, DIAL, 31, "files");
            umount(dir).unwrap();
            fs::remove_dir(dir).unwrap();
        }
        for (dir, mode) in [("/run/pptpctl", "755"), ("/var/lib/pptpctl", "700")] {
            fs::create_dir_all(dir).unwrap();
            fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).unwrap();
            let report = assert_same_as_up(world, DIAL, 32, "files");
            let found = finding(&report, "files");
            assert!(
                found["evidence"]
                    .as_str()
                    .unwrap()
                    .ends_with(&format!("{dir} has mode 0777 and belongs to user 0"))
            );
            let command = format!("`chmod {mode} {dir}`");
            assert!(found["next"].as_str().unwrap().ends_with(&command), "{found:#}");
            fs::remove_dir(dir).unwrap();
        }
        mount(Some("tmpfs"), "/proc", Some("tmpfs"), MsFlags::empty(), none).unwrap();
        let up = world.run(&["up", "vpn"]);
        let output = world.run(&["doctor", "--json", "vpn", "--dial"]);
        umount("/proc").unwrap();
        assert_eq!((up.status.code(), output.status.code()), (Some(31), Some(31)));
        assert!(!text(&up.stderr).contains("pptpctl logs"), "nothing was logged: {}", text(&up.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        for unknown in ["conntrack", "clients", "dial"] {
            assert_eq!(finding(&report, unknown)["severity"], "skipped", "{report:#}");
        }

        world.profile("localbind = \"203.0.113.7\"");
        assert_same_as_up(world, &["vpn"], 25, "route");
        world.profile("link.netns = \"nowhere\"");
        assert_same_as_up(world, DIAL, 23, "netns");
        let assert_found = |profile: &str, words: &str| {
            world.profile(profile);
            let before = world.state();
            let up = world.run(&["up", "vpn"]);
            assert_eq!(up.status.code(), Some(23), "{}", text(&up.stderr));
            assert!(text(&up.stderr).contains(words), "{words}: {}", text(&up.stderr));
            world.assert_state(&before);
            let (status, report) = doctor(world, DIAL);
            assert_eq!(status, 23, "{report:#}");
            let found = finding(&report, "files");
            assert_eq!((found["severity"].as_str(), found["status"].as_i64()), (Some("failure"), Some(23)));
            assert!(found["evidence"].as_str().unwrap().contains(words), "{words}: {found:#}");
        };
        // Both are looked at before the up hook is run.
        for hook in ["up", "down"] {
            let words = format!("hooks.{hook} is not run: /nonexistent/hook: No such file");
            assert_found(&format!("hooks.{hook} = [\"/nonexistent/hook\"]"), &words);
        }
        fs::write("/run/rules.nft", "\u{feff}chain forward { }\n").unwrap();
        assert_found("nftables.file = \"/run/rules.nft\"", "begins with a byte order mark");
        assert_found(
            "dns = { servers = [\"10.77.0.53\"], backend = \"resolvconf\" }",
            "resolvconf: no such program",
        );
        // This server names none.
        world.profile("dns = { servers = \"peer\", backend = \"resolvconf\" }");
        let before = world.state();
        world.up();
        world.down(&before);
        let (status, report) = doctor(world, DIAL);
        assert_eq!((status, &finding(&report, "files")["severity"]), (0, &"warning".into()), "{report:#}");
        let nft = world.shell("command -v nft").trim().to_owned();
        mount(Some("/dev/null"), nft.as_str(), none, MsFlags::MS_BIND, none).unwrap();
        assert_found("conntrack = \"helper\"", "nft: no such program");
        umount(nft.as_str()).unwrap();
    });
}

#[test]
fn ordinary_user_learns_what_can_be_checked() {
    in_world(working_server(), |world| {
        world.profile("");
        let output = world.command(&["doctor", "vpn", "--json"]).uid(65_534).gid(65_534).output().unwrap();
        assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(finding(&report, "rights")["status"], 4);
        assert_eq!(finding(&report, "password")["severity"], "skipped");
        assert_eq!(finding(&report, "route")["severity"], "ok");
    });
}

#[test]
fn refused_and_silent_connections_have_the_verdict_of_up() {
    in_world(working_server(), |world| {
        world.profile(r#"server = "192.0.2.1:9""#);
        assert_same_as_up(world, DIAL, 11, "connect");
        world.profile(&format!("server = \"192.0.2.77\"\n{}", timeouts(&[("connect", "1s")])));
        world.shell("ip neigh add 192.0.2.77 lladdr 02:00:00:00:00:77 nud permanent dev eth0");
        assert_same_as_up(world, DIAL, 12, "connect");
    });
}

/// Something else than a PPTP server answers, as behind a captive portal.
#[test]
fn web_server_has_the_verdict_of_up() {
    // A thread of a world cannot start threads; its sockets work in any.
    let (opened, portal) = mpsc::channel::<TcpListener>();
    let server = thread::spawn(move || {
        for mut client in portal.recv().unwrap().incoming().take(3).flatten() {
            let _request = client.read(&mut [0; 256]);
            client.write_all(b"HTTP/1.1 302 Found\r\nLocation: http://portal/\r\n\r\n").unwrap();
        }
    });
    in_world(working_server(), move |world| {
        world.shell("ip link set lo up");
        opened.send(TcpListener::bind("127.0.0.1:1723").unwrap()).unwrap();
        world.profile(r#"server = "127.0.0.1""#);
        assert_same_as_up(world, DIAL, 14, "control");
    });
    server.join().unwrap();
}

#[test]
fn silent_control_connection_has_the_verdict_of_up() {
    in_world(faulty_server(Fault::SilentControl), |world| {
        world.profile(&timeouts(&[("control", "500ms")]));
        assert_same_as_up(world, DIAL, 13, "control");
    });
}

#[test]
fn refused_call_has_the_verdict_of_up() {
    in_world(faulty_server(Fault::RefuseCall { result: 4, error: 0, cause: 0 }), |world| {
        world.profile("");
        let report = assert_same_as_up(world, DIAL, 15, "call");
        assert_eq!(finding(&report, "control")["severity"], "ok");
    });
}

#[test]
fn filtered_gre_has_the_verdict_of_up() {
    in_world(faulty_server(Fault::DropGre), |world| {
        world.profile(&timeouts(&[("gre", "500ms")]));
        let report = assert_same_as_up(world, DIAL, 17, "gre");
        assert_eq!(finding(&report, "call")["severity"], "ok");
    });
}

#[test]
fn wrong_password_has_the_verdict_of_up() {
    in_world(working_server(), |world| {
        fs::write("/run/test.password", "not that one\n").unwrap();
        world.profile("");
        let report = assert_same_as_up(world, DIAL, 19, "authentication");
        assert_eq!(finding(&report, "lcp")["severity"], "ok");
    });
}

#[test]
fn missing_common_authentication_has_the_verdict_of_up() {
    in_world(ServerConfig { auth: vec![AuthProtocol::Pap], mppe: no_mppe(), ..working_server() }, |world| {
        world.profile(r#"mppe = "off""#);
        assert_same_as_up(world, DIAL, 19, "lcp");
    });
}

#[test]
fn missing_encryption_has_the_verdict_of_up() {
    in_world(ServerConfig { mppe: no_mppe(), ..working_server() }, |world| {
        world.profile("");
        let report = assert_same_as_up(world, DIAL, 20, "encryption");
        assert_eq!(finding(&report, "authentication")["severity"], "ok");
    });
}

/// Resolvers that the server names can be set only by a program that is there: known after a dial.
#[test]
fn missing_resolvconf_has_the_verdict_of_up() {
    in_world(ServerConfig { dns: vec![[10, 77, 0, 53].into()], ..working_server() }, |world| {
        world.profile("dns = { servers = \"peer\", backend = \"resolvconf\" }");
        assert_eq!(world.run(&["up", "vpn"]).status.code(), Some(23));
        let (status, report) = doctor(world, DIAL);
        let found = finding(&report, "files");
        assert_eq!((status, &found["severity"]), (23, &"failure".into()), "{report:#}");
        assert!(found["evidence"].as_str().unwrap().contains("resolvconf: no such program"), "{found:#}");
    });
}

/// A connection of another client to the server is seen, and so are steps that a killed supervisor left.
#[test]
fn other_clients_and_leftovers_are_reported() {
    in_world(working_server(), |world| {
        world.profile("");
        let held = TcpStream::connect("192.0.2.1:1723").unwrap();
        let (status, report) = doctor(world, &["vpn"]);
        let clients = finding(&report, "clients");
        assert_eq!((status, &clients["severity"]), (0, &"warning".into()), "{report:#}");
        assert!(clients["evidence"].as_str().unwrap().contains("is connected to 192.0.2.1:1723"));
        drop(held);
        world.up();
        world.shell(&format!("kill -9 {}", world.pid("supervisor_pid")));
        world.wait_for(|| text(&world.run(&["status", "vpn"]).stdout).contains("died"));
        let (status, report) = doctor(world, DIAL);
        assert_eq!(
            (status, &finding(&report, "leftovers")["severity"]),
            (0, &"warning".into()),
            "{report:#}"
        );
        assert_eq!(finding(&report, "dial")["severity"], "warning", "dialled among the leftovers");
        assert!(world.run(&["recover"]).status.success());
    });
}
