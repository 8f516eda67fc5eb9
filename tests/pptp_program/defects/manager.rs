//! Defects of the call manager: 9, 11.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{fs::MetadataExt, net::UnixStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use crate::{peer::*, world::*};

#[test]
fn defect_09_socket_is_private_to_root() {
    against_the_classic("defects::manager::defect_09_socket_is_private_to_root", "777", |program, _| {
        let call = Peer::at(9).call(program, "", Pipe::Socket);
        let mode = fs::metadata(socket()).unwrap().mode() & 0o777;
        call.end();
        if mode & 0o077 == 0 { Ok(()) } else { Err(format!("mode {mode:o}")) }
    });
}

/// The classic program binds its socket only when TCP is connected: a client that comes in between starts
/// another manager.
#[test]
fn defect_09_simultaneous_clients_share_one_manager() {
    against_the_classic(
        "defects::manager::defect_09_simultaneous_clients_share_one_manager",
        "2 control connections",
        |program, _| {
            let peer = Peer::at(9);
            // Connections get no answer while both programs start.
            for rule in [
                "add table ip slow",
                "add chain ip slow out { type filter hook output priority 0; }",
                "add rule ip slow out tcp dport 1723 drop",
            ] {
                output("nft", &[rule]);
            }
            let _a = Pptp::start(program, &peer.line(""), Pipe::Socket);
            eventually("a manager that connects", || connecting() == 1);
            let _b = Pptp::start(program, &peer.line(""), Pipe::Socket);
            let end = Instant::now() + defect_timeout(program);
            while connecting() == 1 && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(10));
            }
            let count = connecting();
            output("nft", &["delete table ip slow"]);
            if count != 1 {
                return Err(format!("{count} control connections"));
            }
            let mut tcp = peer.accept();
            let sccrq = message(&mut tcp).unwrap();
            tcp.write_all(&start_reply(&sccrq)).unwrap();
            for _ in 0..2 {
                let ocrq = message(&mut tcp).unwrap();
                tcp.write_all(&call_reply(&ocrq, peer.call_id)).unwrap();
            }
            Ok(())
        },
    );
}

/// Starts and stops five times without a pause.
#[test]
fn defect_09_manager_restarts_without_pause() {
    in_world("defects::manager::defect_09_manager_restarts_without_pause", || {
        let _log = Syslog::start();
        let _server = Server::start("");
        for _ in 0..5 {
            let mut pptp = Pptp::start(OURS, "192.0.2.1 --nolaunchpppd", Pipe::Socket);
            Daemon::new(false, true).ping(&pptp.ppp, 1, 0);
            pptp.signal(Signal::SIGTERM);
            assert_eq!(pptp.wait().code(), Some(0));
        }
        no_manager();
    });
}

/// A client sends the manager the pid of its process; the process exits and another gets its pid; then the
/// server ends the call.
#[test]
fn defect_11_process_with_reused_pid_is_not_killed() {
    against_the_classic(
        "defects::manager::defect_11_process_with_reused_pid_is_not_killed",
        "killed",
        |program, _| {
            let mut call = Peer::at(9).call(program, "", Pipe::Socket);
            let mut daemon = sleep();
            let pid = i32::try_from(daemon.id()).unwrap();
            let mut client = UnixStream::connect(socket()).unwrap();
            client.write_all(&[pid.to_ne_bytes(), 0_i32.to_ne_bytes()].concat()).unwrap();
            let ocrq = message(&mut call.tcp).unwrap();
            call.tcp.write_all(&call_reply(&ocrq, 0x7777)).unwrap();
            assert_eq!(client.read(&mut [0; 8]).unwrap(), 4, "two call ids");

            daemon.kill().unwrap();
            daemon.wait().unwrap();
            let mut reuser = process_with_pid(pid);
            // The server ends that call: Call-Disconnect-Notify.
            let mut cdn = vec![0, 148, 0, 1, 0x1a, 0x2b, 0x3c, 0x4d, 0, 13, 0, 0, 0x77, 0x77, 1, 0];
            cdn.resize(148, 0);
            call.tcp.write_all(&cdn).unwrap();
            assert_eq!(
                client.read(&mut [0; 8]).unwrap(),
                0,
                "the manager closes the connection of the client"
            );
            // The process that would send a signal has exited by then; the signal may take a while to act.
            call.end();
            let end = Instant::now() + defect_timeout(program);
            let mut killed = reuser.try_wait().unwrap();
            while killed.is_none() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(10));
                killed = reuser.try_wait().unwrap();
            }
            reuser.kill().unwrap();
            reuser.wait().unwrap();
            killed
                .map_or(Ok(()), |status| Err(format!("the process with the reused pid was killed: {status}")))
        },
    );
}

fn socket() -> String {
    let sockets = sockets();
    assert_eq!(sockets.len(), 1, "{sockets:?}");
    format!("/var/run/pptp/{}", sockets[0])
}

fn sleep() -> Child {
    Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap()
}

/// Starts a process with exactly this pid, which is free.
fn process_with_pid(pid: i32) -> Child {
    let end = Instant::now() + LIMIT;
    loop {
        fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).unwrap();
        let mut child = sleep();
        if i32::try_from(child.id()) == Ok(pid) {
            return child;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(Instant::now() < end, "no process gets pid {pid}");
    }
}

/// Returns the number of TCP connections to port 1723 in SYN_SENT.
fn connecting() -> usize {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    table
        .lines()
        .filter(|line| {
            let mut words = line.split_whitespace().skip(2);
            words.next().is_some_and(|to| to.ends_with(":06BB")) && words.next() == Some("02")
        })
        .count()
}
