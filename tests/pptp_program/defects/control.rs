//! Defects of the control connection: 5, 7, 10, 14.

use std::{
    io::Write,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{peer::*, world::*};

const TIMEOUT_LIMIT: Duration = Duration::from_secs(120);

/// The classic program stores the call under another id than the one in its request.
#[test]
fn defect_05_call_with_quirk_is_established() {
    against_the_classic(
        "defects::control::defect_05_call_with_quirk_is_established",
        "no call",
        |program, _| {
            let peer = Peer::at(9);
            let _pptp = Pptp::start(program, &peer.line("--quirks BEZEQ_ISRAEL"), Pipe::Socket);
            let mut tcp = peer.accept();
            let sccrq = message(&mut tcp).unwrap();
            tcp.write_all(&start_reply(&sccrq)).unwrap();
            let ocrq = message(&mut tcp).unwrap();
            assert_eq!(ocrq[12..14], [0, 0], "the quirk requests call id 0");
            tcp.write_all(&call_reply(&ocrq, peer.call_id)).unwrap();
            tcp.write_all(&echo_request(1)).unwrap();
            // A Set-Link-Info follows if the call is up; the echo reply comes after it.
            match kind(&message(&mut tcp).unwrap()) {
                15 => Ok(()),
                6 => Err("no call: the reply was ignored".to_owned()),
                other => panic!("control message {other}"),
            }
        },
    );
}

/// The classic program sends one in the same tick as the Stop-Control-Connection-Request.
#[test]
fn defect_07_no_echo_request_before_connection_is_established() {
    against_the_classic(
        "defects::control::defect_07_no_echo_request_before_connection_is_established",
        "[3, 5]",
        |program, _| {
            let peer = Peer::at(9);
            let mut pptp = Pptp::start(program, &peer.line("--idle-wait 2"), Pipe::Socket);
            let mut tcp = peer.accept();
            assert_eq!(kind(&message(&mut tcp).unwrap()), 1);
            let mut types = Vec::new();
            while let Some(message) = message(&mut tcp) {
                types.push(kind(&message));
            }
            if types != [3] {
                return Err(format!("sent {types:?} before an answer"));
            }
            assert_eq!(pptp.wait().code(), Some(1));
            Ok(())
        },
    );
}

/// The classic program takes the call id from /dev/random, which may block just after the machine starts.
#[test]
fn defect_10_call_id_is_not_read_from_dev_random() {
    against_the_classic(
        "defects::control::defect_10_call_id_is_not_read_from_dev_random",
        "4242",
        |program, _| {
            let random_bytes = [0x42; 4096];
            let pipe = pipe_at("/dev/random", &random_bytes);
            let call = Peer::at(9).call(program, "", Pipe::Socket);
            if call.id == 0x4242 {
                return Err(format!("call id {:x} was read from /dev/random", call.id));
            }
            let mut left = [0; 8192];
            assert_eq!(nix::unistd::read(&pipe, &mut left), Ok(random_bytes.len()), "/dev/random was read");
            call.end();
            // For the next program.
            output("mount", &["--bind", "/dev/null", "/dev/random"]);
            Ok(())
        },
    );
}

/// TCP without an answer, a server that sends nothing, and a call without an answer, with and without the
/// echo timer, which must not matter. All at the same time.
#[test]
fn defect_14_silent_server_times_out() {
    in_world("defects::control::defect_14_silent_server_times_out", || {
        let _log = Syslog::start();
        let programs = if is_classic_installed() { vec![OURS, CLASSIC] } else { vec![OURS] };
        let mut last = 20;
        let mut waiting = Vec::new();
        let mut peers = Vec::new();
        for program in programs {
            for (silent, wait) in [("TCP", 0), ("TCP", 60), ("control", 0), ("control", 1), ("call", 0)] {
                last += 1;
                let peer = Peer::at(last);
                if silent == "TCP" {
                    nft(&format!("ip daddr {} tcp dport 1723 drop", peer.address));
                }
                let line = peer.line(&format!("--idle-wait {wait} --logstring {silent}{wait}"));
                let pptp = Pptp::start(program, &line, Pipe::Socket);
                let mut tcp = (silent != "TCP").then(|| peer.accept());
                if let Some(tcp) = &mut tcp
                    && silent == "call"
                {
                    let sccrq = message(tcp).unwrap();
                    tcp.write_all(&start_reply(&sccrq)).unwrap();
                    assert_eq!(kind(&message(tcp).unwrap()), 7);
                }
                waiting.push((program, silent, wait, pptp));
                peers.push((peer, tcp));
            }
        }
        let end = Instant::now() + TIMEOUT_LIMIT;
        let (mut ours, mut classic_ones): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|(program, ..)| *program == OURS);
        for (_, silent, wait, pptp) in &mut ours {
            let status = loop {
                if let Some(status) = pptp.child.try_wait().unwrap() {
                    break status;
                }
                assert!(Instant::now() < end, "{silent}, --idle-wait {wait}: no timeout");
                std::thread::sleep(Duration::from_millis(20));
            };
            assert_eq!(status.code(), Some(1), "{silent}, --idle-wait {wait}");
        }
        for (_, silent, wait, pptp) in &mut classic_ones {
            assert_eq!(
                pptp.child.try_wait().unwrap(),
                None,
                "the classic program, {silent}, --idle-wait {wait}: it exited"
            );
        }
    });
}

/// Adds a rule for outgoing packets.
fn nft(rule: &str) {
    let table = format!(
        "add table ip test; add chain ip test out {{ type filter hook output priority 0; }}; add rule ip test out {rule}"
    );
    let done = Command::new("nft").arg(&table).stdin(Stdio::null()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}
