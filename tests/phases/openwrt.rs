//! The protocol handler of `contrib/openwrt` in BusyBox's shell, with BusyBox's programs only: this test is netifd, with a
//! stand-in for the functions that OpenWrt gives to handlers (`netifd-proto.sh`).

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use pptpctl::testing::demo::config::ServerConfig;
use serde_json::{Value, json};

use crate::{
    download, working_server,
    world::{PASSWORD, Running, World, in_world, text},
};

const HANDLER: &str = include_str!("../../contrib/openwrt/lib/netifd/proto/pptp.sh");
const PROCESS: &str = include_str!("../../contrib/openwrt/lib/netifd/pptpctl-netifd");
const STAND_IN: &str = include_str!("netifd-proto.sh");

/// The directory that is /lib/netifd on OpenWrt.
const NETIFD: &str = "/run/openwrt/netifd";
/// The only directory of programs.
const PROGRAMS: &str = "/run/openwrt/bin";
const CALLS: &str = "/run/openwrt/calls";
const LOG: &str = "/run/openwrt/log";
/// The files of the handler.
const STATE: &str = "/var/run/pptpctl-netifd";

/// netifd, with one interface.
struct Netifd<'a> {
    world: &'a World,
    options: Value,
}

impl<'a> Netifd<'a> {
    fn new(world: &'a World, options: Value) -> Self {
        fs::create_dir_all(format!("{NETIFD}/proto")).unwrap();
        fs::create_dir_all(PROGRAMS).unwrap();
        for (file, content) in
            [("proto/pptp.sh", HANDLER), ("pptpctl-netifd", PROCESS), ("netifd-proto.sh", STAND_IN)]
        {
            fs::write(format!("{NETIFD}/{file}"), content).unwrap();
        }
        let list = Command::new("busybox").arg("--list").output().unwrap();
        let which = Command::new("sh").args(["-c", "command -v busybox"]).output().unwrap();
        let busybox = fs::canonicalize(text(&which.stdout).trim()).unwrap();
        for applet in text(&list.stdout).lines().chain(["busybox"]) {
            let _twice = symlink(&busybox, format!("{PROGRAMS}/{applet}"));
        }
        symlink(World::PROGRAM, format!("{PROGRAMS}/pptpctl")).unwrap();
        fs::write(CALLS, "").unwrap();
        // /var/run is /run also where it is no link.
        fs::create_dir_all(STATE).unwrap();
        fs::remove_dir(STATE).unwrap();
        Self { world, options }
    }

    fn ash(&self, script: &str, arguments: &[&str], error: Option<&str>) -> Command {
        let mut command = Command::new(format!("{PROGRAMS}/busybox"));
        command.args(["ash", script]).args(arguments).current_dir(format!("{NETIFD}/proto"));
        command.env_clear().env("PATH", PROGRAMS).env("NETIFD_MAIN_DIR", NETIFD).env("NETIFD_CALLS", CALLS);
        command.envs(error.map(|status| ("ERROR", status))).stdin(Stdio::null());
        command
    }

    /// Runs the handler, and returns what it printed and the calls of netifd's functions.
    fn handler(&self, action: &str, error: Option<&str>) -> (Output, Vec<String>) {
        let before = calls().len();
        let options = self.options.to_string();
        let output = self.ash("./pptp.sh", &["pptp", action, "vpn", &options], error).output().unwrap();
        print!("{}{}", text(&output.stdout), text(&output.stderr));
        (output, calls().split_off(before))
    }

    /// Runs the handler's setup and then the command that it asked for.
    fn up(&self) -> (String, Running) {
        let (output, made) = self.handler("setup", None);
        let command = made.iter().find_map(|call| call.strip_prefix("run_command vpn "));
        let words: Vec<&str> = command.unwrap_or_else(|| panic!("no command: {made:?}")).split(' ').collect();
        let [script, arguments @ ..] = words.as_slice() else { panic!("an empty command") };
        let mut process = self.ash(script, arguments, None);
        process.stdout(Stdio::null()).stderr(fs::File::create(LOG).unwrap());
        (text(&output.stderr), self.world.spawn(&mut process))
    }

    /// Waits until this call has been made at least this often.
    #[track_caller]
    fn wait_for(&self, call: &str, times: usize) {
        self.world.wait_for(|| calls().iter().filter(|made| *made == call).count() >= times);
    }

    /// Waits for the end of the process, and returns its exit status.
    fn status_of(&self, mut process: Running) -> i32 {
        self.world.wait_for(|| process.try_wait().unwrap().is_some());
        print!("{}", fs::read_to_string(LOG).unwrap());
        process.wait().unwrap().code().unwrap()
    }

    /// Checks that nothing of the tunnel is left.
    #[track_caller]
    fn assert_gone(&self, before: &str) {
        let left: Vec<_> = fs::read_dir(STATE).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "{left:?}");
        fs::remove_dir(STATE).unwrap();
        fs::write(CALLS, "").unwrap();
        let _none = fs::remove_file(LOG);
        self.world.assert_state(before);
    }
}

fn calls() -> Vec<String> {
    fs::read_to_string(CALLS).unwrap().lines().map(str::to_owned).collect()
}

/// What the form of LuCI stores, and more.
fn options() -> Value {
    json!({
        "proto": "pptp", "server": "192.0.2.1", "username": "tester", "password": PASSWORD, "keepalive": "3 2",
        "mtu": 1300, "demand": 60, "defaultroute": true, "peerdns": true, "metric": 10, "authfail": false,
        "pppd_options": "refuse-pap refuse-chap mppe required,no40,no56,stateless",
    })
}

fn with(key: &str, value: impl Into<Value>) -> Value {
    let mut all = options();
    all.as_object_mut().unwrap().insert(key.to_owned(), value.into());
    all
}

fn server_with_resolver() -> ServerConfig {
    ServerConfig { dns: vec!["192.168.77.53".parse().unwrap()], ipv6: true, ..working_server() }
}

/// No process of this world has the password in its arguments or its environment.
#[track_caller]
fn assert_password_hidden() {
    // The server has mounted the /proc of this world's processes.
    let is_process = |path: &PathBuf| path.join("cmdline").exists() && !path.ends_with("self");
    let processes: Vec<_> =
        fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path()).filter(is_process).collect();
    assert!(processes.len() >= 3, "supervisor, engine and reader at least: {processes:?}");
    for process in processes {
        for file in ["cmdline", "environ"] {
            let shown = fs::read(process.join(file)).unwrap_or_default();
            assert!(!text(&shown).contains(PASSWORD), "{}/{file}", process.display());
        }
    }
}

#[test]
fn openwrt_handler_declares_the_options_of_the_form() {
    in_world(working_server(), |world| {
        let (output, _) = Netifd::new(world, json!({})).handler("dump", None);
        let declared = text(&output.stdout);
        for option in [
            "string server",
            "string username",
            "string password",
            "string ipv6",
            "string keepalive",
            "string pppd_options",
            "int demand",
            "int mtu",
            "pptp available=1 no_device=1 lasterror=1",
        ] {
            assert!(declared.lines().any(|line| line == option), "{option}: {declared}");
        }
    });
}

#[test]
fn openwrt_interface_comes_up_is_dialled_again_and_goes_down() {
    in_world(server_with_resolver(), |world| {
        let netifd = Netifd::new(world, options());
        let before = world.state();
        let (said, process) = netifd.up();
        assert_eq!(calls()[..1], ["host_dependency vpn 192.0.2.1 "], "{:?}", calls());
        let private = fs::metadata(format!("{STATE}/vpn.toml")).unwrap().permissions().mode();
        assert_eq!(private & 0o777, 0o600);
        netifd.wait_for("send_update vpn", 1);
        assert_password_hidden();
        // Neither demand nor a harmless log-in loop can be had, and the form's user should know.
        for words in ["`demand` is left out", "`authfail` is left out"] {
            assert!(said.contains(words), "{said}");
        }
        assert!(!Path::new(&format!("{STATE}/vpn.password")).exists(), "the password stays in a file");
        let made = calls();
        let update = made.iter().position(|call| call == "init_update tun0 1").unwrap();
        assert_eq!(
            made[update..],
            [
                "init_update tun0 1",
                "ipv4_address 10.77.0.100 32  10.77.0.1",
                "ipv4_route 0.0.0.0 0 10.77.0.1",
                "dns_server 192.168.77.53",
                "data server=192.0.2.1:1723 mtu=1300",
                "send_update vpn"
            ]
        );
        // netifd's part.
        world.shell("ip route add 192.168.77.0/24 dev tun0");
        download(world.server_config.office, 100_000);

        let status: Value = serde_json::from_slice(
            &world.command(&["status", "netifd-vpn", "--json"]).output().unwrap().stdout,
        )
        .unwrap();
        let engine = status["engine_pid"].as_u64().unwrap();
        world.shell(&format!("kill -9 {engine}"));
        netifd.wait_for("init_update * 0", 1);
        netifd.wait_for("init_update tun0 1", 2);
        netifd.wait_for("send_update vpn", 3);
        world.shell("ip route replace 192.168.77.0/24 dev tun0");
        download(world.server_config.office, 100_000);

        kill(Pid::from_raw(process.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        assert_eq!(netifd.status_of(process), 0);
        let (_, made) = netifd.handler("teardown", None);
        assert_eq!(made, ["kill_command vpn"]);
        netifd.assert_gone(&before);
    });
}

#[test]
fn openwrt_interface_gets_ipv6_if_it_asks_for_it() {
    in_world(server_with_resolver(), |world| {
        let netifd = Netifd::new(world, with("ipv6", "auto"));
        let before = world.state();
        let (_, process) = netifd.up();
        netifd.wait_for("ubus call network add_dynamic  name=vpn_6 ifname=@vpn proto=dhcpv6", 1);
        let made = calls();
        assert!(made.iter().any(|call| call.starts_with("ipv6_address fe80::")), "{made:?}");
        kill(Pid::from_raw(process.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        assert_eq!(netifd.status_of(process), 0);
        netifd.handler("teardown", None);
        netifd.assert_gone(&before);
    });
}

#[test]
fn openwrt_interface_stays_down_after_a_refused_login() {
    in_world(working_server(), |world| {
        let netifd = Netifd::new(world, with("password", "it's \"wrong\" \\ $(id)"));
        let before = world.state();
        let (_, process) = netifd.up();
        assert_eq!(netifd.status_of(process), 19);
        netifd.wait_for("notify_error vpn AUTHENTICATION_FAILED", 1);
        let (_, made) = netifd.handler("teardown", Some("19"));
        assert_eq!(made, ["notify_error vpn AUTH_FAILED", "block_restart vpn", "kill_command vpn"]);
        netifd.assert_gone(&before);
    });
}

/// Quotes and metacharacters in each place are those of the name, and a connection refused is tried again.
#[test]
fn openwrt_options_are_taken_as_they_are() {
    let user = "CORP\\it's \"x\" $(touch /run/pwned) `id` #%";
    let server = ServerConfig {
        users: vec![("it's \"x\" $(touch /run/pwned) `id` #%".to_owned(), PASSWORD.to_owned())],
        ..working_server()
    };
    in_world(server, move |world| {
        let mut all = with("username", user);
        all["mtu"] = 9000.into();
        all["interface"] = "wan".into();
        let netifd = Netifd::new(world, all);
        let before = world.state();
        let (said, process) = netifd.up();
        assert!(said.contains("`mtu` is left out: 9000 is not between 576 and 1500"), "{said}");
        assert_eq!(calls()[..1], ["host_dependency vpn 192.0.2.1 wan"]);
        netifd.wait_for("send_update vpn", 1);
        kill(Pid::from_raw(process.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        assert_eq!(netifd.status_of(process), 0);
        netifd.handler("teardown", None);
        assert!(!Path::new("/run/pwned").exists());
        netifd.assert_gone(&before);
    });
}

#[test]
fn openwrt_options_that_cannot_work_block_the_interface() {
    in_world(working_server(), |world| {
        let netifd = Netifd::new(world, with("password", ""));
        let before = world.state();
        let (output, made) = netifd.handler("setup", None);
        assert!(text(&output.stderr).contains("no `option password`"), "{}", text(&output.stderr));
        assert_eq!(made, ["notify_error vpn INVALID_OPTIONS", "block_restart vpn", "setup_failed vpn"]);
        netifd.assert_gone(&before);

        // A name without an address may get one: it is tried again.
        let netifd = Netifd { options: with("server", "no-such-host.invalid"), ..netifd };
        let (_, made) = netifd.handler("setup", None);
        assert_eq!(made, ["notify_error vpn NAME_NOT_RESOLVED", "setup_failed vpn"]);
        netifd.assert_gone(&before);

        for (status, expected) in [
            ("3", &["notify_error vpn INVALID_OPTIONS", "block_restart vpn", "kill_command vpn"][..]),
            ("20", &["notify_error vpn ENCRYPTION_REFUSED", "block_restart vpn", "kill_command vpn"]),
            ("27", &["kill_command vpn"]),
            ("31", &["notify_error vpn EXIT_STATUS_31", "kill_command vpn"]),
        ] {
            assert_eq!(netifd.handler("teardown", Some(status)).1, expected, "{status}");
        }
    });
}
