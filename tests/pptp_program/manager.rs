//! The call manager: calls of several clients, including the classic program, on one control connection, and
//! the bytes sent on that connection.

use std::{
    io::Write,
    net::TcpListener,
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
};

use crate::{peer::message, world::*};
use nix::sys::signal::Signal;

const LINE: &str = "192.0.2.1 --nolaunchpppd";

/// The first program starts the manager; the second call uses the same connection and outlives the first.
fn two_calls_share(first: &str, second: &str) {
    let _log = Syslog::start();
    let _server = Server::start("");
    let mut a = Pptp::start(first, LINE, Pipe::Socket);
    let mut ppp_a = Daemon::new(false, true);
    ppp_a.ping(&a.ppp, 5, 100);
    let mut b = Pptp::start(second, LINE, Pipe::Socket);
    let mut ppp_b = Daemon::new(false, true);
    ppp_b.ping(&b.ppp, 5, 100);
    ppp_a.ping(&a.ppp, 5, 100);
    assert_eq!((connections(), sockets().len()), (1, 1), "{first} and {second}");

    a.signal(Signal::SIGTERM);
    assert_eq!(a.wait().code(), Some(0));
    ppp_b.ping(&b.ppp, 5, 100);
    assert_eq!((connections(), sockets().len()), (1, 1));
    b.signal(Signal::SIGTERM);
    assert_eq!(b.wait().code(), Some(0));
    eventually("exit of the manager", || sockets().is_empty() && processes("pptpcm").is_empty());
}

#[test]
fn two_pptp_clients_share_one_manager() {
    in_world("manager::two_pptp_clients_share_one_manager", || two_calls_share(OURS, OURS));
}

#[test]
fn classic_client_uses_our_manager() {
    if is_classic_installed() {
        in_world("manager::classic_client_uses_our_manager", || two_calls_share(OURS, CLASSIC));
    }
}

#[test]
fn our_client_uses_classic_manager() {
    if is_classic_installed() {
        in_world("manager::our_client_uses_classic_manager", || two_calls_share(CLASSIC, OURS));
    }
}

#[test]
fn simultaneous_clients_start_one_manager() {
    in_world("manager::simultaneous_clients_start_one_manager", || {
        let _log = Syslog::start();
        let _server = Server::start("");
        let mut all: Vec<Pptp> = (0..8).map(|_| Pptp::start(OURS, LINE, Pipe::Socket)).collect();
        for pptp in &all {
            Daemon::new(false, true).ping(&pptp.ppp, 1, 0);
        }
        assert_eq!((connections(), sockets().len(), processes("pptpcm").len()), (1, 1, 2));
        // The manager is killed: every tunnel ends, and the next client finds a stale socket and starts a new
        // manager.
        for pid in processes("pptpcm") {
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        }
        for pptp in &mut all {
            assert_eq!(pptp.wait().code(), Some(0));
        }
        assert_eq!(sockets().len(), 1, "the killed manager cannot remove its socket");
        let mut again = Pptp::start(OURS, LINE, Pipe::Socket);
        Daemon::new(false, true).ping(&again.ppp, 1, 0);
        again.end();
        eventually("exit of the manager", || sockets().is_empty() && processes("pptpcm").is_empty());
    });
}

/// Kills the managers and waits until the pptp that used them has ended.
fn kill_managers(mut pptp: Pptp) {
    for pid in processes("pptpcm") {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }
    assert_eq!(pptp.wait().code(), Some(0));
    eventually("end of the managers", || processes("pptpcm").is_empty());
}

fn host_route() -> String {
    output("ip", &["-4", "route", "show", "192.0.2.1"])
}

fn records() -> usize {
    let entries = std::fs::read_dir("/var/run/pptp").unwrap().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(".route-")).count()
}

/// The host route of a manager that was killed stays; the next one takes it over, also when the network has changed
/// since, and one that wants no host route, one for another server, and `pptpctl recover` remove it.
#[test]
fn host_route_of_killed_manager_does_not_stay() {
    in_world("manager::host_route_of_killed_manager_does_not_stay", || {
        let _log = Syslog::start();
        let _server = Server::start("");
        let start = |line: &str| {
            let pptp = Pptp::start(OURS, line, Pipe::Socket);
            Daemon::new(false, true).ping(&pptp.ppp, 1, 0);
            pptp
        };
        let leave_route = || {
            kill_managers(start(LINE));
            assert!(host_route().contains("proto 112") && records() == 1, "{}", host_route());
        };
        let ends_clean = |mut pptp: Pptp| {
            pptp.end();
            eventually("exit of the manager", || sockets().is_empty() && processes("pptpcm").is_empty());
            assert_eq!((host_route().as_str(), records()), ("", 0));
        };
        leave_route();
        ends_clean(start(LINE));

        leave_route();
        let device = host_route().split(" dev ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        // The route that was left names a gateway that the host has left.
        output("ip", &["route", "add", "192.0.2.99", "dev", &device]);
        output("ip", &["route", "del", "192.0.2.1", "proto", "112"]);
        output("ip", &["route", "add", "192.0.2.1", "via", "192.0.2.99", "proto", "112"]);
        let path = "/var/run/pptp/.route-255.255.255.255:192.0.2.1";
        let hop = r#""hops":[{"via":"192.0.2.99""#;
        let record = std::fs::read_to_string(path).unwrap().replace(r#""hops":[{"via":null"#, hop);
        assert!(record.contains(hop), "{record}");
        std::fs::write(path, record.replace(r#""scope":253"#, r#""scope":0"#)).unwrap();
        let pptp = start(LINE);
        assert!(!host_route().contains("192.0.2.99"), "{}", host_route());
        ends_clean(pptp);
        output("ip", &["route", "del", "192.0.2.99"]);

        leave_route();
        let pptp = start(&format!("{LINE} --nohostroute"));
        assert_eq!((host_route().as_str(), records()), ("", 0));
        ends_clean(pptp);

        leave_route();
        // Another manager, for the same server: with a local address of its own.
        let pptp = start(&format!("{LINE} --localbind 192.0.2.2"));
        assert_eq!(records(), 1);
        // Only a manager for the same local address would take over the socket.
        std::fs::remove_file("/var/run/pptp/255.255.255.255:192.0.2.1").unwrap();
        ends_clean(pptp);

        leave_route();
        let recovered = output(env!("CARGO_BIN_EXE_pptpctl"), &["recover"]);
        assert!(recovered.contains("removed the host route 192.0.2.1"), "{recovered}");
        assert_eq!((host_route().as_str(), records()), ("", 0));
    });
}

#[test]
fn classic_client_exits_when_server_closes() {
    if !is_classic_installed() {
        return;
    }
    in_world("manager::classic_client_exits_when_server_closes", || {
        let _log = Syslog::start();
        let server = Server::start("");
        let mut our_client = Pptp::start(OURS, LINE, Pipe::Socket);
        Daemon::new(false, true).ping(&our_client.ppp, 1, 0);
        let mut classic_client = Pptp::start(CLASSIC, LINE, Pipe::Socket);
        Daemon::new(false, true).ping(&classic_client.ppp, 1, 0);
        drop(server);
        assert_eq!(our_client.wait().code(), Some(0));
        assert_eq!(classic_client.wait().code(), Some(0));
    });
}

/// Answers one client and returns the messages that it sent, with call ids set to zero.
fn record_messages(program: &str, more: &str) -> Vec<Vec<u8>> {
    let listener = TcpListener::bind("192.0.2.9:1723").unwrap();
    let line = format!("192.0.2.9 --nolaunchpppd --nohostroute{more}");
    let mut pptp = Pptp::start(program, &line, Pipe::Socket);
    let (mut tcp, _) = listener.accept().unwrap();
    tcp.set_read_timeout(Some(LIMIT)).unwrap();
    let mut messages = vec![message(&mut tcp).unwrap()];
    let mut reply = messages[0].clone();
    reply[9] = 2;
    reply[14] = 1;
    tcp.write_all(&reply).unwrap();
    messages.push(message(&mut tcp).unwrap());
    let id = [messages[1][12], messages[1][13]];
    let mut reply =
        vec![0, 32, 0, 1, 0x1a, 0x2b, 0x3c, 0x4d, 0, 8, 0, 0, 0x12, 0x34, id[0], id[1], 1, 0, 0, 0];
    reply.extend([0, 1, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0]);
    tcp.write_all(&reply).unwrap();
    if more.contains("quirks") {
        messages.push(message(&mut tcp).unwrap());
    }
    // Do not send SIGTERM before the tunnel has read the manager's answer. Both programs redirect standard
    // error to /dev/null once it runs.
    let pid = pptp.child.id();
    eventually("start of the tunnel", || {
        std::fs::read_link(format!("/proc/{pid}/fd/2")).is_ok_and(|to| to.ends_with("null"))
    });
    pptp.signal(Signal::SIGTERM);
    let status = pptp.wait();
    assert!(status.code() == Some(0) || status.signal() == Some(15), "{status}");
    messages.push(message(&mut tcp).unwrap());
    for (number, at) in [(1, 12), (messages.len() - 1, 12)] {
        if !more.contains("quirks") {
            assert_eq!(messages[number][at..at + 2], id);
            messages[number][at..at + 2].fill(0);
        }
    }
    drop(tcp);
    eventually("exit of the manager", || sockets().is_empty() && processes("pptpcm").is_empty());
    messages
}

fn with_local_server_address(inside: impl FnOnce()) {
    assert!(
        Command::new("ip")
            .args(["addr", "add", "192.0.2.9/32", "dev", "lo"])
            .stdin(Stdio::null())
            .status()
            .unwrap()
            .success()
    );
    let _log = Syslog::start();
    inside();
}

/// Start-Control-Connection-Request (RFC 2637 §2.1); framing and bearer capabilities have the same value
/// here.
fn sccrq(capabilities: u8, channels: u16, firmware: u16, host: &str, vendor: &str) -> Vec<u8> {
    let [a, b] = channels.to_be_bytes();
    let [c, d] = firmware.to_be_bytes();
    let numbers = vec![1, 0, 0, 0, 0, 0, 0, capabilities, 0, 0, 0, capabilities, a, b, c, d];
    [header(156, 1), numbers, padded(host), padded(vendor)].concat()
}

/// Outgoing-Call-Request (§2.7) of 2400 to 10,000,000 bit/s, either framing, a window of 3 and no delay.
fn ocrq(bearer: u8, phone: &str) -> Vec<u8> {
    let numbers =
        vec![0, 0, 0, 0, 0, 0, 9, 0x60, 0, 0x98, 0x96, 0x80, 0, 0, 0, bearer, 0, 0, 0, 3, 0, 3, 0, 0];
    let lengths = vec![0, u8::try_from(phone.len()).unwrap(), 0, 0];
    [header(168, 7), numbers, lengths, padded(phone), padded("")].concat()
}

/// Call-Clear-Request (§2.12).
fn ccr() -> Vec<u8> {
    [header(16, 12), vec![0, 0, 0, 0]].concat()
}

fn header(length: u8, kind: u8) -> Vec<u8> {
    vec![0, length, 0, 1, 0x1a, 0x2b, 0x3c, 0x4d, 0, kind, 0, 0]
}

fn padded(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(64, 0);
    bytes
}

#[test]
fn control_messages_match_classic_program() {
    in_world("manager::control_messages_match_classic_program", || {
        with_local_server_address(|| {
            for (more, phone) in [("", ""), (" --phone 5551234", "5551234")] {
                let sccrq = sccrq(3, 0xffff, 1, "local", "cananian");
                let expected = [sccrq, ocrq(3, phone), ccr()];
                assert_eq!(record_messages(OURS, more), expected, "our program{more}");
                if is_classic_installed() {
                    assert_eq!(record_messages(CLASSIC, more), expected, "the classic program{more}");
                }
            }
        });
    });
}

/// Defect 5: the current classic program drops the reply to call id 0; the bytes are from its quirk table.
#[test]
fn control_messages_match_quirk() {
    in_world("manager::control_messages_match_quirk", || {
        with_local_server_address(|| {
            for (more, phone) in [("", "RELAY_PPP1"), (" --phone 42", "42")] {
                let sccrq = sccrq(1, 0, 0x6021, "RELAY_PPP1", "MS Win NT");
                let sli = [header(24, 15), vec![0x12, 0x34, 0, 0], vec![0xff; 8]].concat();
                let expected = [sccrq, ocrq(2, phone), sli, ccr()];
                assert_eq!(record_messages(OURS, &format!(" --quirks BEZEQ_ISRAEL{more}")), expected);
            }
        });
    });
}
