//! Files of a running supervisor that another program removes, and a supervisor that must not spin.

use std::{
    fs,
    os::unix::net::UnixStream,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::{
    working_server,
    world::{in_world, text},
};

const DIR: &str = "/run/pptpctl";
const SOCKET: &str = "/run/pptpctl/vpn.sock";
const LOCK: &str = "/run/pptpctl/vpn.lock";
const PID_FILE: &str = "/run/tun0.pid";

#[test]
fn removed_files_are_put_back() {
    in_world(working_server(), |world| {
        world.profile("");
        let before = world.state();
        world.up();
        let during = world.state();
        let pid = world.pid("supervisor_pid");
        for removal in [
            format!("rm {SOCKET}"),
            format!("rm {LOCK}"),
            format!("rm -r {DIR}"),
            format!("mv {DIR} /run/elsewhere && rm -r /run/elsewhere"),
            format!("rm -r {DIR} {PID_FILE}"),
            // Other programs of the same kind replace what they find.
            format!("rm {SOCKET} {LOCK}; touch {LOCK} {SOCKET}"),
        ] {
            world.shell(&removal);
            // Until the supervisor has looked.
            world.wait_for(|| text(&world.run(&["status", "vpn"]).stdout).contains("up on tun0"));
            world.wait_for(|| Path::new(PID_FILE).exists());
            assert_eq!(world.pid("supervisor_pid"), pid, "{removal}");
            assert!(text(&world.run(&["list"]).stdout).contains("up "), "{removal}");
            assert!(text(&world.run(&["recover"]).stdout).contains("vpn: running, not changed"), "{removal}");
            let second = world.run(&["up", "vpn"]);
            assert_eq!(second.status.code(), Some(5), "{removal}: {}", text(&second.stderr));
            assert!(text(&second.stderr).contains(&format!("(supervisor {pid})")), "{removal}");
            world.assert_state(&during);
        }
        world.down(&before);
    });
}

/// While others try to bring the same tunnel up, the files are put back and no second tunnel comes up.
#[test]
fn files_are_put_back_while_others_take_the_lock() {
    in_world(working_server(), |world| {
        world.profile("");
        let before = world.state();
        world.up();
        let during = world.state();
        world.shell(&format!("rm -r {DIR}"));
        let until = Instant::now() + Duration::from_secs(2);
        let commands = [&["up", "vpn"][..], &["recover"], &["status", "vpn"], &["list"]];
        let mut running = Vec::new();
        for arguments in commands.iter().cycle() {
            if Instant::now() >= until {
                break;
            }
            running.push((arguments, world.run(arguments)));
        }
        for (arguments, output) in running.iter().filter(|(arguments, _)| arguments[0] == "up") {
            assert_eq!(output.status.code(), Some(5), "{arguments:?}: {}", text(&output.stderr));
        }
        world.wait_for(|| text(&world.run(&["status", "vpn"]).stdout).contains("up on tun0"));
        world.assert_state(&during);
        world.down(&before);
    });
}

/// Returns the CPU time of a process, in clock ticks of 10 ms.
fn cpu_ticks(pid: u64) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // proc(5): fields 14 and 15; the first one here is field 3.
    let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
    fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

/// A loop that spins uses every tick that it gets. On a machine with load 10 these are several dozen in the period.
#[track_caller]
fn assert_idle(pids: [u64; 2], condition: &str) {
    const PERIOD: Duration = Duration::from_secs(3);
    const MOST_TICKS: u64 = 15;
    let before = pids.map(cpu_ticks);
    thread::sleep(PERIOD);
    for (pid, before) in pids.into_iter().zip(before) {
        let used = cpu_ticks(pid) - before;
        println!("{condition}: process {pid} used {used} ticks");
        assert!(used < MOST_TICKS, "{condition}: process {pid} used {used} ticks of 10 ms");
    }
}

#[test]
fn supervisor_and_engine_do_not_spin() {
    in_world(working_server(), |world| {
        world.profile("");
        let before = world.state();
        world.up();
        let pids = [world.pid("supervisor_pid"), world.pid("engine_pid")];
        let [supervisor, _] = pids;
        assert_idle(pids, "idle");

        // The listening socket stays readable while the client cannot be accepted.
        let is_open = |fd: &u64| fs::symlink_metadata(format!("/proc/{supervisor}/fd/{fd}")).is_ok();
        let free = (0..1024).find(|fd| !is_open(fd)).unwrap();
        world.shell(&format!("prlimit --pid {supervisor} --nofile={free}:4096"));
        let waiting = UnixStream::connect(SOCKET).unwrap();
        assert_idle(pids, "no descriptor left");
        world.shell(&format!("prlimit --pid {supervisor} --nofile=1024:4096"));
        drop(waiting);

        // Queues of inotify and netlink that have overflowed.
        world.shell(&format!("kill -STOP {supervisor}"));
        let queue: usize =
            fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
        for number in 0..=queue / 2 {
            let file = format!("{DIR}/{}", number % 64);
            fs::write(&file, "").unwrap();
            fs::remove_file(&file).unwrap();
        }
        let addresses = |verb: &str| {
            let lines: Vec<String> = (0..1000)
                .map(|n| format!("address {verb} 10.99.{}.{}/32 dev lo", n / 250, n % 250 + 1))
                .collect();
            fs::write("/run/batch", lines.join("\n")).unwrap();
            world.shell("ip -batch /run/batch; rm /run/batch");
        };
        addresses("add");
        addresses("del");
        world.shell(&format!("kill -CONT {supervisor}"));
        world.wait_for(|| text(&world.run(&["status", "vpn"]).stdout).contains("up on tun0"));
        assert_idle(pids, "queues that have overflowed");
        world.down(&before);
    });
}
