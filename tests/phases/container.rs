//! pptpctl as the first process of a container, as Docker makes one from `contrib/container`: nothing in the root directory
//! but the program, /proc and /sys as Docker leaves them, its capabilities and something like its filter of system calls.
//! The container shares the network namespace of this test, as `network_mode: "service:…"` does.

use std::{
    collections::BTreeMap,
    fs,
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
};

use pptpctl::testing::demo::config::ServerConfig;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use crate::{
    download,
    script::script,
    working_server,
    world::{PASSWORD, Running, World, in_world, text, timeouts},
};

const START: &str = include_str!("container-start");
/// The numbers of the system calls; of Debian's linux-libc-dev, on which libc6-dev depends.
const NUMBERS: &str = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h";

/// What Docker gives by default.
const DEFAULT: &str = ",+chown,+dac_override,+fsetid,+fowner,+mknod,+net_raw,+setgid,+setuid,+setfcap,+setpcap,\
    +net_bind_service,+sys_chroot,+kill,+audit_write";
/// What is left with `cap_drop: ALL` and the `cap_add` of the compose example.
const LEAST: &str = ",+net_admin,+net_raw,+setgid,+setuid,+sys_chroot";

/// System calls that Docker's profile refuses a container without CAP_SYS_ADMIN and the like.
const REFUSED: [&str; 40] = [
    "acct",
    "add_key",
    "bpf",
    "clock_adjtime",
    "clock_settime",
    "create_module",
    "delete_module",
    "finit_module",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "init_module",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "ioperm",
    "iopl",
    "kcmp",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "mount",
    "mount_setattr",
    "move_mount",
    "move_pages",
    "name_to_handle_at",
    "open_by_handle_at",
    "open_tree",
    "perf_event_open",
    "pivot_root",
    "quotactl",
    "reboot",
    "request_key",
    "setns",
    "settimeofday",
    "swapon",
    "umount2",
    "unshare",
    "userfaultfd",
];

fn filter() -> Vec<u8> {
    let header = fs::read_to_string(NUMBERS).unwrap();
    let numbers: BTreeMap<&str, i64> = header
        .lines()
        .filter_map(|line| line.strip_prefix("#define __NR_")?.split_once(' '))
        .map(|(name, number)| (name, number.trim().parse().unwrap()))
        .collect();
    let number = |call: &&str| *numbers.get(call).expect("the header has it");
    let rules = REFUSED.iter().map(|call| (number(call), Vec::new())).collect();
    let action = SeccompAction::Errno(1);
    let filter =
        SeccompFilter::new(rules, SeccompAction::Allow, action, std::env::consts::ARCH.try_into().unwrap());
    let program: BpfProgram = filter.unwrap().try_into().unwrap();
    let bytes = |one: &seccompiler::sock_filter| {
        [&one.code.to_ne_bytes()[..], &[one.jt, one.jf], &one.k.to_ne_bytes()].concat()
    };
    program.iter().flat_map(bytes).collect()
}

/// Starts `pptpctl ARGUMENTS` in a container.
fn start(world: &World, capabilities: &str, mode: &str, keys: &str, arguments: &[&str]) -> Running {
    fs::create_dir_all("/run/container/etc/pptpctl/secrets").unwrap();
    let private = |file: &str, content: &str, mode: u32| {
        let path = format!("/run/container/{file}");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    private("etc/pptpctl/secrets/vpn", PASSWORD, 0o600);
    let profile = format!(
        "[profile.vpn]\nserver = \"192.0.2.1\"\nuser = \"tester\"\npassword.file = \"/etc/pptpctl/secrets/vpn\"\n{keys}\n{}",
        timeouts(&[])
    );
    private("etc/pptpctl/profiles.toml", &profile, 0o644);
    private("resolv.conf", RESOLV_CONF, 0o644);
    fs::write("/run/container/filter", filter()).unwrap();
    script("/run/container/start", START);
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--ipc", "--uts", "--fork", "sh", "/run/container/start"]);
    command.args([World::PROGRAM, "/run/container/filter", capabilities, mode]).args(arguments);
    let log = fs::File::create(LOG).unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    world.spawn(&mut command)
}

/// What the container prints.
const LOG: &str = "/run/container.log";

const RESOLV_CONF: &str = "# Docker's\nnameserver 127.0.0.11\noptions ndots:0\n";

/// Returns the pid of the container's first process, of its parent's namespace, once it is pptpctl.
fn first_process(world: &World, container: &mut Running) -> String {
    let mut first = String::new();
    world.wait_for(|| {
        let has_ended = container.try_wait().unwrap().is_some();
        assert!(!has_ended, "the container has ended: {}", fs::read_to_string(LOG).unwrap());
        first = world.shell("pgrep -x -P \"$(pgrep -x unshare)\" pptpctl || :").trim().to_owned();
        !first.is_empty()
    });
    first
}

/// Returns the exit status of a command in the container, as `docker exec` and health checks run it.
fn exec(world: &World, container: &mut Running, arguments: &str) -> i32 {
    let script = format!(
        "nsenter -t {} -m -p -r -w /pptpctl {arguments} >>/run/exec.log 2>&1; echo $?",
        first_process(world, container)
    );
    world.shell(&script).trim().parse().unwrap()
}

fn server() -> ServerConfig {
    ServerConfig { dns: vec![Ipv4Addr::new(192, 168, 77, 53)], ..working_server() }
}

#[test]
fn container_is_up_blocks_what_passes_the_tunnel_and_puts_everything_back() {
    let everything = format!("{DEFAULT},+net_admin");
    for (capabilities, mode) in [(everything.as_str(), "writable"), (LEAST, "read-only")] {
        let (capabilities, mode) = (capabilities.to_owned(), mode.to_owned());
        in_world(server(), move |world| {
            world.shell("ip route add default via 192.0.2.1");
            let before = crate::shown::network_state();
            let keys = "default = true\nleak = \"block\"\ndns = \"peer\"\nsandbox = \"strict\"";
            let mut container = start(world, &capabilities, &mode, keys, &["up", "--foreground", "vpn"]);
            // The supervisor answers; then, as a health check, whether the tunnel is up.
            world.wait_for(|| exec(world, &mut container, "status vpn") == 0);
            let waited = exec(world, &mut container, "up --wait vpn");
            assert_eq!(
                waited,
                0,
                "{}{}",
                fs::read_to_string("/run/exec.log").unwrap(),
                fs::read_to_string(LOG).unwrap()
            );
            let first = first_process(world, &mut container);
            let status = world.shell(&format!("cat /proc/{first}/status"));
            assert!(status.contains("NSpid:") && status.contains("\t1\n"), "not the first process: {status}");
            // Another process of the network namespace.
            download(world.server_config.office, 100_000);
            assert!(world.shell("ip route get 198.51.100.1").contains("dev tun0"));
            let resolvers = fs::read_to_string("/run/container/resolv.conf").unwrap();
            assert!(resolvers.contains("\nnameserver 192.168.77.53\n"), "{resolvers}");
            assert!(
                resolvers.contains("# nameserver 127.0.0.11")
                    || !resolvers.contains("\nnameserver 127.0.0.11")
            );
            // The engine found no user nobody, and is not root.
            let engine = world.shell("pgrep -f '^pptpctl: engine'");
            let engine = world.shell(&format!("grep ^Uid: /proc/{}/status", engine.trim()));
            assert_eq!(engine.split_whitespace().nth(1), Some("65534"));
            // Without the tunnel nothing leaves.
            world.shell("ip link set tun0 down");
            let blocked = Command::new("ip").args(["route", "get", "198.51.100.1"]).output().unwrap();
            assert!(!text(&blocked.stdout).contains("dev eth0"), "{}", text(&blocked.stdout));

            world.shell(&format!("kill -TERM {first}"));
            let ended = container.wait_with_output();
            let log = fs::read_to_string(LOG).unwrap();
            println!("{mode}:\n{log}");
            assert_eq!(ended.status.code(), Some(0), "{log}");
            crate::shown::assert_same(&before, &crate::shown::network_state(), "after the container");
            assert_eq!(fs::read_to_string("/run/container/resolv.conf").unwrap(), RESOLV_CONF);
            for word in ["WARN", "ERROR"] {
                assert!(!log.contains(word), "{mode}: {log}");
            }
        });
    }
}

/// What is missing is named, and the exit status is that of the manual page: an image without directories, no capability
/// for the network, no tun device.
#[test]
fn container_that_lacks_something_says_what() {
    for (capabilities, mode, status, words) in [
        (LEAST, "bare", 31, "the directory above /run/pptpctl is missing"),
        (LEAST, "sticky", 32, "/var/lib/pptpctl has mode 1777"),
        (DEFAULT, "writable", 4, "CAP_NET_ADMIN"),
        (",+net_admin,+net_raw", "writable", 4, "CAP_SETUID"),
    ] {
        in_world(server(), move |world| {
            let before = crate::shown::network_state();
            let container =
                start(world, capabilities, mode, "default = true", &["up", "--foreground", "vpn"]);
            let ended = container.wait_with_output();
            let log = fs::read_to_string(LOG).unwrap();
            println!("{log}");
            assert_eq!(ended.status.code(), Some(status), "{log}");
            assert!(log.contains(words), "{words}: {log}");
            crate::shown::assert_same(&before, &crate::shown::network_state(), "after the container");
        });
    }
}

/// Root of a user namespace, with a network namespace of its own: as in a rootless container whose uplink passes GRE. With
/// the users of /etc/subuid a tunnel comes up; with root alone the message names what is missing.
#[test]
fn user_namespace_needs_a_range_of_users() {
    for (map, status, words) in [("0 0 65536", 0, "up on tun0"), ("0 0 1", 1, "has no user and group 65534")]
    {
        in_world(server(), move |world| {
            fs::create_dir_all("/run/container").unwrap();
            fs::write("/run/container/password", PASSWORD).unwrap();
            fs::set_permissions("/run/container/password", fs::Permissions::from_mode(0o600)).unwrap();
            let keys = "password.file = \"/run/container/password\"\ndefault = true\nleak = \"block\"";
            world.profile(&format!("{keys}\nroutes = []"));
            let inside = format!(
                "#!/bin/sh\nset -e\nread -r _ || :\nmount -t proc proc /proc\nmount -t tmpfs -o mode=755 none /var/lib\n\
                 ip link set lo up\nip addr add 192.0.2.2/24 dev eth0\nip link set eth0 up\n\
                 ip route add default via 192.0.2.1\nexec {} --config {} up --foreground vpn\n",
                World::PROGRAM,
                World::CONFIG
            );
            script("/run/container/inside", &inside);
            let log = fs::File::create(LOG).unwrap();
            let mut unshare = Command::new("unshare");
            unshare.args(["--user", "--net", "--mount", "--pid", "--fork", "sh", "/run/container/inside"]);
            unshare.stdin(Stdio::piped()).stdout(log.try_clone().unwrap()).stderr(log);
            let mut container = world.spawn(&mut unshare);
            world.wait_for(|| !world.shell("pgrep -P \"$(pgrep -x unshare)\" || :").is_empty());
            let first = world.shell(&format!(
                "parent=$(pgrep -x unshare); first=$(pgrep -P $parent)\n\
                 echo '{map}' >/proc/$parent/uid_map; echo '{map}' >/proc/$parent/gid_map\n\
                 ip link set eth0 netns $first; echo $first"
            ));
            drop(container.stdin.take());
            if status == 0 {
                world.wait_for(|| fs::read_to_string(LOG).unwrap().contains(words));
                let to = format!("nsenter -t {} -U -n ping -c 1 -W 30 192.168.77.1", first.trim());
                world.shell(&to);
                world.shell(&format!("kill -TERM {first}"));
            }
            let ended = container.wait_with_output().status.code();
            let log = fs::read_to_string(LOG).unwrap();
            println!("{map}:\n{log}");
            assert_eq!(ended, Some(status), "{log}");
            assert!(log.contains(words), "{words}: {log}");
        });
    }
}
