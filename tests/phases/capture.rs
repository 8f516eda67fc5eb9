//! `capture`: files of real sessions, read by tshark(1).

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::fs::PermissionsExt,
    process::{ChildStdout, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use pptpctl::testing::demo::{config::ServerConfig, impairment::ImpairmentConfig};

use crate::{
    download, upload, working_server,
    world::{Running, World, in_world, text},
};

const FILE: &str = "/run/session.pcapng";

/// A capture that runs.
struct Capture {
    process: Running,
    output: BufReader<ChildStdout>,
}

impl Capture {
    /// Starts a capture, and waits until it prints a line with `words`.
    fn start(world: &World, options: &[&str], words: &str) -> Self {
        let arguments = [&["capture", "vpn", FILE], options].concat();
        let mut process = world.spawn(world.command(&arguments).stdout(Stdio::piped()));
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert!(line.contains(words), "{line}");
        Self { process, output }
    }

    /// Waits for its end; returns what it has printed.
    fn end(mut self) -> String {
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        assert!(self.process.wait().unwrap().success(), "{rest}");
        rest
    }

    /// Ends it as Ctrl-C does.
    fn interrupt(self) -> String {
        kill(Pid::from_raw(self.process.id().try_into().unwrap()), Signal::SIGINT).unwrap();
        self.end()
    }
}

/// Reads the file: a line for each packet that the filter passes, with these fields.
fn packets(filter: &str, fields: &[&str]) -> Vec<String> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-r", FILE, "-Y", filter, "-T", "fields"]).env("HOME", "/run");
    command.args(["-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE"]);
    let output = command.args(fields.iter().flat_map(|field| ["-e", field])).output().unwrap();
    assert!(output.status.success(), "{filter}: {}", text(&output.stderr));
    text(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn capture_has_the_dial_from_its_first_message() {
    in_world(working_server(), |world| {
        world.profile("");
        let before = world.state();
        let down = world.run(&["capture", "vpn", FILE]);
        assert_eq!(down.status.code(), Some(6), "{}", text(&down.stderr));
        assert!(text(&down.stderr).contains("with --wait the capture begins"), "{}", text(&down.stderr));
        assert!(!fs::exists(FILE).unwrap(), "an empty file stays");
        let capture = Capture::start(world, &["--wait", "--inner"], "waits for `pptpctl up vpn`");
        world.up();
        download(world.server_config.office, 50_000);
        let second = world.run(&["capture", "vpn", "/run/second.pcapng"]);
        assert!(text(&second.stderr).contains("another capture of this tunnel is on"));
        assert!(!fs::exists("/run/second.pcapng").unwrap());
        assert!(world.run(&["down", "vpn"]).status.success());
        let words = capture.end();
        assert!(
            words.contains("as good as the password") && words.contains("the tunnel has ended; "),
            "{words}"
        );
        assert!(!words.contains("not captured"), "{words}");
        assert_eq!(fs::metadata(FILE).unwrap().permissions().mode() & 0o7777, 0o600);

        let all =
            packets("frame", &["frame.interface_id", "_ws.col.Protocol", "_ws.col.Info", "frame.comment"]);
        let count =
            words.rsplit_once(": ").and_then(|(_, rest)| rest.split(' ').next()?.parse::<usize>().ok());
        assert_eq!(Some(all.len()), count, "{words}");
        let shown = all.join("\n");
        println!("{}", all.iter().take(60).map(|line| format!("{line}\n")).collect::<String>());
        assert!(all[0].starts_with("0\tPPTP\tStart-Control-Connection-Request\t"), "{shown}");
        for wanted in [
            "0\tPPTP\tOutgoing-Call-Reply",
            "0\tPPP LCP\tConfiguration Request",
            "0\tPPP CHAP\tChallenge",
            "0\tPPP CHAP\tResponse",
            "0\tPPP Comp\tCompressed data",
            "0\tPPP LCP\tTermination Request",
            "1\tTCP\t",
            "1\tHTTP\tGET /file/50000",
            "phase authentication has begun",
            "the link is up, MTU 1456",
        ] {
            assert!(shown.contains(wanted), "{wanted} is missing in\n{shown}");
        }
        for wrong in [
            "_ws.malformed",
            "ip.checksum.status == 0",
            "tcp.checksum.status == 0 && frame.interface_id == 0",
        ] {
            let found = packets(wrong, &["frame.number", "_ws.col.Info"]);
            assert!(found.is_empty(), "{wrong}: {found:?}");
        }
        // Both directions on both interfaces, and the bytes of the file in the tunnel.
        for filter in ["frame.interface_id == 0", "frame.interface_id == 1"] {
            for direction in ["frame.packet_flags_direction == 1", "frame.packet_flags_direction == 2"] {
                assert!(!packets(&format!("{filter} && {direction}"), &["frame.number"]).is_empty());
            }
        }
        let again = world.run(&["capture", "vpn", FILE]);
        assert!(text(&again.stderr).contains("exists and is not overwritten"), "{}", text(&again.stderr));
        fs::remove_file(FILE).unwrap();
        world.assert_state(&before);
    });
}

#[test]
fn capture_names_why_packets_are_dropped_and_survives_a_redial() {
    let bad = ImpairmentConfig { loss: 10, duplicate: 60, reorder: 50, delay: 300, hold: 2_000, seed: 1 };
    let server =
        ServerConfig { inbound: bad, outbound: ImpairmentConfig { seed: 2, ..bad }, ..working_server() };
    in_world(server, |world| {
        world.profile("retry.first = \"100ms\"");
        let before = world.state();
        world.up();
        let capture = Capture::start(world, &[], "capturing into");
        download(world.server_config.office, 300_000);
        // More than the link takes.
        world.shell("ping -c 2 -W 1 -M dont -s 1200 192.168.77.1 >/dev/null || true");
        let engine = world.pid("engine_pid");
        world.shell(&format!("kill -9 {engine}"));
        world.wait_for(|| {
            let status = world.run(&["status", "vpn", "--json"]);
            let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
            status["reconnects"] == 1 && status["state"] == "up"
        });
        upload(world.server_config.office, 50_000);
        let words = capture.interrupt();
        assert!(words.contains("ended; /run/session.pcapng: "), "{words}");
        let comments = packets("frame.comment", &["frame.comment"]).join("\n");
        assert!(comments.contains("dropped: gre.rx_duplicate"), "{comments}");
        assert!(comments.contains("waits for an earlier packet: gre.rx_buffered"), "{comments}");
        let dials = packets("pptp.control_message_type == 1", &["frame.number"]);
        assert_eq!(dials.len(), 1, "{dials:?}");
        // Without leave, no packet of the tunnel.
        assert!(packets("http || frame.interface_id == 1", &["frame.number"]).is_empty());
        // The tunnel goes on without it.
        download(world.server_config.office, 10_000);
        fs::remove_file(FILE).unwrap();
        world.down(&before);
    });
}

#[test]
fn capture_is_bounded_and_delays_nothing() {
    in_world(working_server(), |world| {
        world.profile("");
        let before = world.state();
        world.up();
        let capture = Capture::start(world, &["--inner", "--limit", "64K"], "at most 64.0 KiB");
        download(world.server_config.office, 300_000);
        let words = capture.end();
        assert!(words.contains("the file has its largest size; "), "{words}");
        let size = fs::metadata(FILE).unwrap().len();
        assert!((32 << 10..=64 << 10).contains(&size), "{size}");
        assert!(!packets("http.request", &["frame.number"]).is_empty());
        fs::remove_file(FILE).unwrap();
        // One that does not read.
        let stopped = Capture::start(world, &["--inner"], "capturing into");
        let pid = Pid::from_raw(stopped.process.id().try_into().unwrap());
        kill(pid, Signal::SIGSTOP).unwrap();
        download(world.server_config.office, 6_000_000);
        kill(pid, Signal::SIGCONT).unwrap();
        download(world.server_config.office, 10_000);
        let words = stopped.interrupt();
        assert!(words.contains("not captured"), "{words}");
        assert!(text(&fs::read(FILE).unwrap()).contains("packets not captured"));
        fs::remove_file(FILE).unwrap();
        let timed = Capture::start(world, &["--time", "1"], "capturing into");
        assert!(timed.end().contains("the time is over; "));
        fs::remove_file(FILE).unwrap();
        world.down(&before);
    });
}
