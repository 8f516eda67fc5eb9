//! Debian's own resolver managers, with their own programs: systemd-resolved, openresolv, resolvconf.

use std::{
    fs,
    io::Write,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    town::{FAR_SAYS, NEAR_SAYS, Town, in_town, install, resolv_conf, script},
    world::{Running, text},
};

#[test]
fn systemd_resolved_for_all_names() {
    in_town(|town| {
        let _resolved = resolved(town);
        town.asks("who.example", NEAR_SAYS);
        let links = || said("resolvectl", &["status"]);
        town.world.profile("dns = { search = [\"corp.example\"] }");
        let (before, told) = (town.world.state(), links());
        town.world.up();
        let during = links();
        assert!(during.contains("DNS Servers: 192.168.77.1") && during.contains("~."), "{during}");
        town.near.asked();
        town.asks("who.example", FAR_SAYS);
        assert_eq!(town.near.asked(), Vec::<String>::new(), "a name left beside the tunnel");
        town.asks("host", "192.168.77.9");
        assert_eq!(town.status()["warnings"], serde_json::Value::Null);
        // Someone takes it away.
        said("resolvectl", &["revert", "tun0"]);
        let warned = town.status()["warnings"][0].as_str().unwrap().to_owned();
        assert!(warned.contains("systemd-resolved has resolvers [] and domains [] for tun0"), "{warned}");
        town.world.down(&before);
        assert_eq!(links(), told);
        town.asks("who.example", NEAR_SAYS);
    });
}

/// Each telling empties its cache, and it begins anew to find out what the resolvers can do.
#[test]
fn systemd_resolved_is_told_once() {
    in_town(|town| {
        let _resolved = resolved(town);
        town.world.shell("cp /usr/bin/resolvectl /etc/resolvectl");
        script("/etc/recorder", "#!/bin/sh\necho \"$@\" >>/var/log/told\nexec /etc/resolvectl \"$@\"\n");
        town.world.shell("mount --bind /etc/recorder /usr/bin/resolvectl");
        town.world.profile("dns = \"peer\"\nretry.first = \"100ms\"");
        let before = town.world.state();
        town.world.up();
        // What only asks has two words.
        let told = || -> Vec<String> {
            let lines = fs::read_to_string("/var/log/told").unwrap();
            lines.lines().filter(|line| line.split(' ').count() > 2).map(str::to_owned).collect()
        };
        let once = told();
        assert_eq!(once, ["dns tun0 192.168.77.1", "domain tun0 ~.", "default-route tun0 yes"]);
        // The network changes, and the connection survives.
        town.world.shell("ip route add 192.0.2.1 via 192.0.2.1 dev eth0 onlink");
        town.world.wait_for(|| town.log().contains("the way to 192.0.2.1 is 192.0.2.1 dev eth0 now"));
        town.world.shell("ip route del 192.0.2.1");
        town.world.wait_for(|| town.log().matches("the way to 192.0.2.1 is").count() == 2);
        assert_eq!(town.status()["reconnects"], 0, "{}", town.log());
        // The device itself goes down and up.
        town.world.shell("ip link set tun0 down; ip link set tun0 up");
        town.world.wait_for(|| town.world.shell("ip route show 192.168.77.0/24").contains("tun0"));
        assert_eq!(told(), once);
        // It does not, and what was told is still so.
        town.world.shell(&format!("kill -9 {}", town.pid("engine_pid")));
        town.world.wait_for(|| town.status()["reconnects"] == 1);
        assert_eq!(told(), once);
        town.asks("who.example", FAR_SAYS);
        town.world.down(&before);
    });
}

#[test]
fn systemd_resolved_for_some_domains() {
    in_town(|town| {
        let _resolved = resolved(town);
        town.world.profile("dns = { domains = [\"corp.example\"] }");
        let before = town.world.state();
        town.world.up();
        town.asks("host.corp.example", "192.168.77.9");
        town.asks("who.example", NEAR_SAYS);
        town.far.asked();
        town.near.asked();
        assert_eq!(town.ask("nobody.corp.example"), None);
        assert!(!town.near.asked().iter().any(|name| name.ends_with("corp.example")));
        assert_eq!(town.ask("nobody.example"), None);
        assert!(!town.far.asked().contains(&"nobody.example".to_owned()));
        // A dead supervisor: the device goes, and systemd-resolved forgets it.
        town.kill_both();
        assert!(town.world.run(&["recover"]).status.success());
        // That it has gone systemd-resolved hears when it gets to it.
        let end = Instant::now() + Duration::from_secs(20);
        while town.world.state() != before && Instant::now() < end {}
        town.world.assert_state(&before);
        assert_eq!(town.ask("host.corp.example"), None);
    });
}

#[test]
fn systemd_resolved_that_dies_and_lives_again() {
    in_town(|town| {
        let [running, _bus] = resolved(town);
        town.world.profile("dns = \"peer\"\nretry = { first = \"100ms\" }");
        let before = town.world.state();
        town.world.up();
        drop(running);
        // It writes down what it was told; this is one that has forgotten.
        fs::remove_dir_all("/run/systemd/resolve/netif").unwrap();
        let _again = start_resolved(town);
        let warned = town.status()["warnings"][0].as_str().unwrap().to_owned();
        assert!(warned.contains("systemd-resolved has"), "{warned}");
        // With the next connection it is told again.
        town.world.shell(&format!("kill -9 {}", town.pid("engine_pid")));
        town.world.wait_for(|| town.status()["reconnects"] == 1);
        town.asks("who.example", FAR_SAYS);
        assert_eq!(town.status()["warnings"], serde_json::Value::Null);
        town.world.down(&before);
    });
}

#[test]
fn openresolv() {
    in_town(|town| {
        install(&["openresolv"]);
        fs::write("/etc/resolvconf.conf", "resolv_conf=/etc/resolv.conf\n").unwrap();
        by_resolvconf(town, true);
    });
}

#[test]
fn debians_resolvconf() {
    in_town(|town| {
        install(&["resolvconf"]);
        fs::create_dir_all("/run/resolvconf/interface").unwrap();
        fs::write("/run/resolvconf/enable-updates", "").unwrap();
        fs::remove_file("/etc/resolv.conf").unwrap();
        std::os::unix::fs::symlink("/run/resolvconf/resolv.conf", "/etc/resolv.conf").unwrap();
        by_resolvconf(town, false);
    });
}

/// Installed, and nobody reads what it writes: then the file it is.
#[test]
fn a_resolvconf_that_is_not_in_charge() {
    in_town(|town| {
        install(&["resolvconf"]);
        town.world.profile("dns = \"peer\"");
        let before = town.world.state();
        town.world.up();
        assert!(resolv_conf().starts_with("# BEGIN pptpctl vpn"), "{}", resolv_conf());
        town.world.down(&before);
        // Forced to use it, `up` finds out that it does not help.
        town.world.profile("dns = { backend = \"resolvconf\" }");
        let output = town.world.run(&["up", "vpn"]);
        assert_eq!(output.status.code(), Some(23));
        assert!(text(&output.stderr).contains("not what resolvconf was told"), "{}", text(&output.stderr));
        assert!(!fs::exists("/run/resolvconf/interface/tun0.pptpctl").unwrap());
    });
}

// Helpers.

fn by_resolvconf(town: &Town<'_>, is_exclusive: bool) {
    // The client's own network, as a DHCP client would tell it.
    resolvconf("eth0.dhclient", "nameserver 192.0.2.2\n");
    town.asks("who.example", NEAR_SAYS);
    town.world.profile("dns = { search = [\"corp.example\"] }");
    let before = town.world.state();
    for crash in [false, true] {
        town.world.up();
        town.near.asked();
        town.asks("who.example", FAR_SAYS);
        town.asks("host", "192.168.77.9");
        assert_eq!(town.near.asked(), Vec::<String>::new());
        // Everyone may read it, though the supervisor's own files are private.
        assert_eq!(fs::metadata("/etc/resolv.conf").unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(resolv_conf().contains("192.0.2.2"), !is_exclusive, "{}", resolv_conf());
        if crash {
            town.kill_both();
            assert!(town.world.run(&["recover"]).status.success());
            town.world.assert_state(&before);
        } else {
            // A lease is renewed meanwhile: resolvconf(8) keeps both.
            resolvconf("eth0.dhclient", "nameserver 192.0.2.2\nsearch lan.example\n");
            town.asks("who.example", FAR_SAYS);
            assert_eq!(town.status()["warnings"], serde_json::Value::Null);
            resolvconf("eth0.dhclient", "nameserver 192.0.2.2\n");
            // And someone writes the file by hand.
            fs::write("/etc/resolv.conf", "nameserver 192.0.2.2\n").unwrap();
            town.world.wait_for(|| town.log().contains("not what resolvconf was told"));
            town.world.down(&before);
        }
        town.asks("who.example", NEAR_SAYS);
    }
}

fn resolvconf(record: &str, content: &str) {
    let mut child = Command::new("resolvconf").args(["-a", record]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(content.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// systemd-resolved with a bus of its own, and the client's own network told to it.
fn resolved(town: &Town<'_>) -> [Running; 2] {
    install(&["systemd-resolved", "libsystemd-shared"]);
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    if !passwd.contains("systemd-resolve:") {
        fs::write("/etc/passwd", passwd + "systemd-resolve:x:995:995::/:/usr/sbin/nologin\n").unwrap();
        let group = fs::read_to_string("/etc/group").unwrap();
        fs::write("/etc/group", group + "systemd-resolve:x:995:\n").unwrap();
    }
    fs::create_dir_all("/run/dbus").unwrap();
    fs::create_dir_all("/run/systemd").unwrap();
    let mut command = Command::new("dbus-daemon");
    command.args(["--system", "--nofork", "--nopidfile"]).stdout(Stdio::null()).stderr(Stdio::null());
    let bus = town.spawn(&mut command);
    town.world.wait_for(|| UnixStream::connect("/run/dbus/system_bus_socket").is_ok());
    fs::remove_file("/etc/resolv.conf").unwrap();
    std::os::unix::fs::symlink("/run/systemd/resolve/stub-resolv.conf", "/etc/resolv.conf").unwrap();
    [start_resolved(town), bus]
}

fn start_resolved(town: &Town<'_>) -> Running {
    let mut command = Command::new("/usr/lib/systemd/systemd-resolved");
    let resolved = town.spawn(command.stdout(Stdio::null()).stderr(Stdio::null()));
    let asked = || Command::new("resolvectl").arg("dns").output().unwrap();
    town.world.wait_for(|| asked().status.success());
    said("resolvectl", &["dns", "eth0", "192.0.2.2"]);
    said("resolvectl", &["default-route", "eth0", "yes"]);
    resolved
}

#[track_caller]
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}
