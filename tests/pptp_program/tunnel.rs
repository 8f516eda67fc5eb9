//! `pptp --nolaunchpppd` as a PPP daemon runs it, against our own server: both framings and both kinds of
//! pipe, processes, log, and termination.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::ExitStatusExt,
    },
};

use crate::world::*;
use nix::sys::signal::Signal;

const LINE: &str = "192.0.2.1 --nolaunchpppd --loglevel 1 --logstring nm-pptp-service-1";

#[test]
fn ppp_frames_pass_without_loss() {
    in_world("tunnel::ppp_frames_pass_without_loss", || {
        let _log = Syslog::start();
        let server = Server::start("");
        // Eight of the longest frames, the window of `ping`, exceed a pty's buffer: frames arrive joined and
        // split. Synchronous ones have no boundaries then, so that on a busy machine a guess can be wrong: up to three
        // of 300 answers may be lost, but none over a socket that keeps the boundaries.
        for (sync, pipe, may_lose) in [
            (false, Pipe::Socket, 0),
            (false, Pipe::Pty, 0),
            (true, Pipe::Packets, 0),
            (true, Pipe::Socket, 3),
            (true, Pipe::Pty, 3),
        ] {
            println!("sync {sync}, {pipe:?}");
            let line = if sync { format!("{LINE} --sync") } else { LINE.to_owned() };
            let mut pptp = Pptp::start(OURS, &line, pipe);
            let mut daemon = Daemon::new(sync, true);
            daemon.may_lose = may_lose;
            for size in [0, 36, 1370] {
                daemon.ping(&pptp.ppp, 100, size);
            }
            pptp.signal(Signal::SIGTERM);
            assert_eq!(pptp.wait().code(), Some(0));
            eventually("exit of the manager", || sockets().is_empty() && processes("pptpcm").is_empty());
        }
        drop(server);
    });
}

#[test]
fn ignored_signals_of_the_parent_are_reset() {
    in_world("tunnel::ignored_signals_of_the_parent_are_reset", || {
        let _log = Syslog::start();
        let _server = Server::start("");
        // env(1) becomes the program.
        let line = format!(
            "--ignore-signal=CHLD,PIPE,HUP,TERM,INT,USR1 --block-signal=CHLD,HUP,TERM,USR1 {OURS} {LINE}"
        );
        let mut pptp = Pptp::start("env", &line, Pipe::Socket);
        Daemon::new(false, true).ping(&pptp.ppp, 3, 10);
        pptp.signal(Signal::SIGTERM);
        assert_eq!(pptp.wait().code(), Some(0));
        eventually("exit of the manager", || sockets().is_empty() && processes("pptpcm").is_empty());
    });
}

#[test]
fn tunnel_has_expected_processes_files_and_log() {
    in_world("tunnel::tunnel_has_expected_processes_files_and_log", || {
        let mut log = Syslog::start();
        let _server = Server::start("");
        let before = output("ip", &["-4", "route", "show", "table", "all"]);
        let mut pptp = Pptp::start(OURS, LINE, Pipe::Socket);
        let mut daemon = Daemon::new(false, true);
        daemon.ping(&pptp.ppp, 3, 10);

        assert_eq!(processes("pptpgw"), [i32::try_from(pptp.child.id()).unwrap()]);
        assert_eq!(processes("pptpcm").len(), 2, "monitor and worker");
        assert!(processes("pptp").is_empty(), "killall pptp must not hit the tunnel");
        let status = fs::read_to_string(format!("/proc/{}/status", pptp.child.id())).unwrap();
        assert!(
            status.contains("\nNoNewPrivs:\t1\n") && status.contains("\nCapEff:\t0000000000000000\n"),
            "{status}"
        );
        assert!(!status.contains("\nUid:\t0"), "{status}");
        // The tunnel and the manager's worker, on x86-64 and aarch64; not the monitor, which stays root.
        assert!(status.contains("\nSeccomp:\t2\n"), "{status}");
        let filtered = processes("pptpcm").into_iter().filter(|pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            assert_eq!(status.contains("\nSeccomp:\t2\n"), !status.contains("\nUid:\t0"), "{status}");
            status.contains("\nSeccomp:\t2\n")
        });
        assert_eq!(filtered.count(), 1);
        assert!(fs::read_dir(format!("/proc/{}/fd", pptp.child.id())).unwrap().count() <= 16);

        assert_eq!(sockets(), ["255.255.255.255:192.0.2.1"]);
        let socket = fs::metadata("/var/run/pptp/255.255.255.255:192.0.2.1").unwrap();
        assert_eq!((socket.mode() & 0o777, socket.uid()), (0o600, 0));
        assert_eq!(fs::metadata("/var/run/pptp").unwrap().permissions().mode() & 0o777, 0o750);
        assert!(output("ip", &["route"]).contains("\n192.0.2.1 dev"), "{}", output("ip", &["route"]));

        for line in [
            "nm-pptp-service-1 log[ctrlp_disp:worker.rs:",
            "]: Client connection established.",
            "]: Outgoing call established (call ID ",
        ] {
            log.wait_for(line);
        }
        pptp.signal(Signal::SIGUSR1);
        let line = log.wait_for("]: rx accepted  = ");
        assert!(
            line.starts_with(&format!("<29>pptp[{}]: nm-pptp-service-1 log[", pptp.child.id())),
            "{line}"
        );
        log.wait_for("]: round trip   = ");
        daemon.ping(&pptp.ppp, 3, 10);

        pptp.signal(Signal::SIGHUP);
        assert_eq!(pptp.wait().signal(), Some(1));
        eventually("exit of the manager", || processes("pptpcm").is_empty());
        assert!(sockets().is_empty());
        assert_eq!(output("ip", &["-4", "route", "show", "table", "all"]), before);

        // The same again at once, but now the PPP daemon closes the pty.
        let mut pptp = Pptp::start(OURS, LINE, Pipe::Pty);
        Daemon::new(false, true).ping(&pptp.ppp, 3, 10);
        pptp.ppp = fs::File::open("/dev/null").unwrap().into();
        assert_eq!(pptp.wait().code(), Some(0));
        log.wait_for("pppd may have shutdown, see pppd log");
        eventually("exit of the manager", || processes("pptpcm").is_empty());
        assert_eq!(output("ip", &["-4", "route", "show", "table", "all"]), before);
    });
}

#[test]
fn existing_host_route_is_kept_and_nohostroute_adds_none() {
    in_world("tunnel::existing_host_route_is_kept_and_nohostroute_adds_none", || {
        let _server = Server::start("");
        let device = output("ip", &["-o", "route", "get", SERVER]);
        let device = device.split(" dev ").nth(1).unwrap().split(' ').next().unwrap();
        let routes_before = output("ip", &["route"]);
        let mut pptp = Pptp::start(OURS, "192.0.2.1 --nolaunchpppd --nohostroute", Pipe::Socket);
        Daemon::new(false, true).ping(&pptp.ppp, 1, 0);
        assert_eq!(output("ip", &["route"]), routes_before);
        pptp.end();
        eventually("exit of the manager", || processes("pptpcm").is_empty());

        output("ip", &["route", "add", "192.0.2.1", "dev", device, "proto", "static"]);
        let before = output("ip", &["route"]);
        let mut pptp = Pptp::start(OURS, "192.0.2.1 --nolaunchpppd", Pipe::Socket);
        Daemon::new(false, true).ping(&pptp.ppp, 1, 0);
        assert_eq!(output("ip", &["route"]), before);
        pptp.signal(Signal::SIGINT);
        assert_eq!(pptp.wait().code(), Some(0));
        eventually("exit of the manager", || processes("pptpcm").is_empty());
        assert_eq!(output("ip", &["route"]), before);
    });
}

#[test]
fn failure_is_logged_and_nothing_is_left() {
    in_world("tunnel::failure_is_logged_and_nothing_is_left", || {
        let mut log = Syslog::start();
        // No server listens; no route.
        let mut pptp = Pptp::start(OURS, "127.0.0.1 --nolaunchpppd", Pipe::Socket);
        assert_eq!(pptp.wait().code(), Some(1));
        log.wait_for("no connection to 127.0.0.1:1723: Connection refused");
        log.wait_for("anon fatal[");
        let mut pptp = Pptp::start(OURS, "198.51.100.1 --nolaunchpppd", Pipe::Socket);
        assert_eq!(pptp.wait().code(), Some(1));
        // The call is refused: the manager's signal ends `pptp`, as it does the classic program.
        let _server = Server::start(r#","trouble":{"refuse-call":{"result":7,"error":0,"cause":0}}"#);
        let mut pptp = Pptp::start(OURS, "192.0.2.1 --nolaunchpppd", Pipe::Socket);
        assert_eq!(pptp.wait().signal(), Some(15));
        log.wait_for("has not been accepted");
        eventually("exit of the manager", || processes("pptpcm").is_empty() && sockets().is_empty());
    });
}

#[test]
fn pptp_exits_when_server_hangs_up() {
    in_world("tunnel::pptp_exits_when_server_hangs_up", || {
        let server = Server::start("");
        let mut pptp = Pptp::start(OURS, LINE, Pipe::Socket);
        Daemon::new(false, true).ping(&pptp.ppp, 1, 0);
        drop(server);
        assert_eq!(pptp.wait().code(), Some(0));
        eventually("exit of the manager", || processes("pptpcm").is_empty() && sockets().is_empty());
    });
}
