//! Debian's resolver managers, run from its packages: systemd-resolved, openresolv, resolvconf.

use std::{
    fs,
    io::Write,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    resolver_world::{FAR_SAYS, NEAR_SAYS, ResolverWorld, in_resolver_world, install, resolv_conf, script},
    world::{Running, text},
};

#[test]
fn systemd_resolved_serves_all_names() {
    in_resolver_world(|net| {
        let _resolved = resolved(net);
        net.asks("who.example", NEAR_SAYS);
        let links = || said("resolvectl", &["status"]);
        net.world.profile("dns = { search = [\"corp.example\"] }");
        let (before, told) = (net.world.state(), links());
        net.world.up();
        let during = links();
        assert!(during.contains("DNS Servers: 192.168.77.1") && during.contains("~."), "{during}");
        net.near.asked();
        net.asks("who.example", FAR_SAYS);
        assert_eq!(net.near.asked(), Vec::<String>::new(), "a name left beside the tunnel");
        net.asks("host", "192.168.77.9");
        assert_eq!(net.status()["warnings"], serde_json::Value::Null);
        // Another program reverts the link's settings.
        said("resolvectl", &["revert", "tun0"]);
        let warned = net.status()["warnings"][0].as_str().unwrap().to_owned();
        assert!(warned.contains("systemd-resolved has resolvers [] and domains [] for tun0"), "{warned}");
        net.world.down(&before);
        assert_eq!(links(), told);
        net.asks("who.example", NEAR_SAYS);
    });
}

/// Each configuration makes systemd-resolved flush its cache and probe the features of its servers again.
#[test]
fn systemd_resolved_is_configured_once() {
    in_resolver_world(|net| {
        let _resolved = resolved(net);
        net.world.shell("cp /usr/bin/resolvectl /etc/resolvectl");
        script("/etc/recorder", "#!/bin/sh\necho \"$@\" >>/var/log/told\nexec /etc/resolvectl \"$@\"\n");
        net.world.shell("mount --bind /etc/recorder /usr/bin/resolvectl");
        net.world.profile("dns = \"peer\"\nretry.first = \"100ms\"");
        let before = net.world.state();
        net.world.up();
        // Queries have only two words and are left out.
        let told = || -> Vec<String> {
            let lines = fs::read_to_string("/var/log/told").unwrap();
            lines.lines().filter(|line| line.split(' ').count() > 2).map(str::to_owned).collect()
        };
        let once = told();
        assert_eq!(once, ["dns tun0 192.168.77.1", "domain tun0 ~.", "default-route tun0 yes"]);
        // The route to the server changes, and the connection survives.
        net.world.shell("ip route add 192.0.2.1 via 192.0.2.1 dev eth0 onlink");
        net.world.wait_for(|| net.log().contains("the way to 192.0.2.1 is 192.0.2.1 dev eth0 now"));
        net.world.shell("ip route del 192.0.2.1");
        net.world.wait_for(|| net.log().matches("the way to 192.0.2.1 is").count() == 2);
        assert_eq!(net.status()["reconnects"], 0, "{}", net.log());
        // The device itself goes down and up.
        net.world.shell("ip link set tun0 down; ip link set tun0 up");
        net.world.wait_for(|| net.world.shell("ip route show 192.168.77.0/24").contains("tun0"));
        assert_eq!(told(), once);
        // The connection is lost, and the configuration is still in force.
        net.world.shell(&format!("kill -9 {}", net.pid("engine_pid")));
        net.world.wait_for(|| net.status()["reconnects"] == 1);
        assert_eq!(told(), once);
        net.asks("who.example", FAR_SAYS);
        net.world.down(&before);
    });
}

#[test]
fn systemd_resolved_serves_some_domains() {
    in_resolver_world(|net| {
        let _resolved = resolved(net);
        net.world.profile("dns = { domains = [\"corp.example\"] }");
        let before = net.world.state();
        net.world.up();
        net.asks("host.corp.example", "192.168.77.9");
        net.asks("who.example", NEAR_SAYS);
        net.far.asked();
        net.near.asked();
        assert_eq!(net.ask("nobody.corp.example"), None);
        assert!(!net.near.asked().iter().any(|name| name.ends_with("corp.example")));
        assert_eq!(net.ask("nobody.example"), None);
        assert!(!net.far.asked().contains(&"nobody.example".to_owned()));
        // The supervisor is killed: the device disappears, and systemd-resolved drops its settings.
        net.kill_both();
        assert!(net.world.run(&["recover"]).status.success());
        // systemd-resolved processes the removal of the device asynchronously.
        let end = Instant::now() + Duration::from_secs(20);
        while net.world.state() != before && Instant::now() < end {}
        net.world.assert_state(&before);
        assert_eq!(net.ask("host.corp.example"), None);
    });
}

#[test]
fn systemd_resolved_restart_is_handled() {
    in_resolver_world(|net| {
        let [running, _bus] = resolved(net);
        net.world.profile("dns = \"peer\"\nretry = { first = \"100ms\" }");
        let before = net.world.state();
        net.world.up();
        drop(running);
        // Removes its saved settings, as if it had started without them.
        fs::remove_dir_all("/run/systemd/resolve/netif").unwrap();
        let _again = start_resolved(net);
        let warned = net.status()["warnings"][0].as_str().unwrap().to_owned();
        assert!(warned.contains("systemd-resolved has"), "{warned}");
        // The next connection configures it again.
        net.world.shell(&format!("kill -9 {}", net.pid("engine_pid")));
        net.world.wait_for(|| net.status()["reconnects"] == 1);
        net.asks("who.example", FAR_SAYS);
        assert_eq!(net.status()["warnings"], serde_json::Value::Null);
        net.world.down(&before);
    });
}

#[test]
fn openresolv_serves_and_is_restored() {
    in_resolver_world(|net| {
        install(&["openresolv"]);
        fs::write("/etc/resolvconf.conf", "resolv_conf=/etc/resolv.conf\n").unwrap();
        by_resolvconf(net, true);
    });
}

#[test]
fn debian_resolvconf_serves_and_is_restored() {
    in_resolver_world(|net| {
        install(&["resolvconf"]);
        fs::create_dir_all("/run/resolvconf/interface").unwrap();
        fs::write("/run/resolvconf/enable-updates", "").unwrap();
        fs::remove_file("/etc/resolv.conf").unwrap();
        std::os::unix::fs::symlink("/run/resolvconf/resolv.conf", "/etc/resolv.conf").unwrap();
        by_resolvconf(net, false);
    });
}

/// If resolvconf is installed but resolv.conf is not its file, the `file` backend is chosen.
#[test]
fn unused_resolvconf_is_not_chosen() {
    in_resolver_world(|net| {
        install(&["resolvconf"]);
        net.world.profile("dns = \"peer\"");
        let before = net.world.state();
        net.world.up();
        assert!(resolv_conf().starts_with("# BEGIN pptpctl vpn"), "{}", resolv_conf());
        net.world.down(&before);
        // If the profile demands it, `up` detects that resolvconf has no effect.
        net.world.profile("dns = { backend = \"resolvconf\" }");
        let output = net.world.run(&["up", "vpn"]);
        assert_eq!(output.status.code(), Some(23));
        assert!(text(&output.stderr).contains("not what resolvconf was told"), "{}", text(&output.stderr));
        assert!(!fs::exists("/run/resolvconf/interface/tun0.pptpctl").unwrap());
    });
}

// Helpers.

fn by_resolvconf(net: &ResolverWorld<'_>, is_exclusive: bool) {
    // The resolver of the client's network, as a DHCP client sets it.
    resolvconf("eth0.dhclient", "nameserver 192.0.2.2\n");
    net.asks("who.example", NEAR_SAYS);
    net.world.profile("dns = { search = [\"corp.example\"] }");
    let before = net.world.state();
    for crash in [false, true] {
        net.world.up();
        net.near.asked();
        net.asks("who.example", FAR_SAYS);
        net.asks("host", "192.168.77.9");
        assert_eq!(net.near.asked(), Vec::<String>::new());
        // World-readable, despite the supervisor's restrictive umask.
        assert_eq!(fs::metadata("/etc/resolv.conf").unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(resolv_conf().contains("192.0.2.2"), !is_exclusive, "{}", resolv_conf());
        if crash {
            net.kill_both();
            assert!(net.world.run(&["recover"]).status.success());
            net.world.assert_state(&before);
        } else {
            // A lease is renewed meanwhile: resolvconf(8) keeps both.
            resolvconf("eth0.dhclient", "nameserver 192.0.2.2\nsearch lan.example\n");
            net.asks("who.example", FAR_SAYS);
            assert_eq!(net.status()["warnings"], serde_json::Value::Null);
            resolvconf("eth0.dhclient", "nameserver 192.0.2.2\n");
            // The administrator edits the file.
            fs::write("/etc/resolv.conf", "nameserver 192.0.2.2\n").unwrap();
            net.world.wait_for(|| net.log().contains("not what resolvconf was told"));
            net.world.down(&before);
        }
        net.asks("who.example", NEAR_SAYS);
    }
}

fn resolvconf(record: &str, content: &str) {
    let mut child = Command::new("resolvconf").args(["-a", record]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(content.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// Starts a D-Bus daemon and systemd-resolved, and configures the resolver of the client's network.
fn resolved(net: &ResolverWorld<'_>) -> [Running; 2] {
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
    let bus = net.spawn(&mut command);
    net.world.wait_for(|| UnixStream::connect("/run/dbus/system_bus_socket").is_ok());
    fs::remove_file("/etc/resolv.conf").unwrap();
    std::os::unix::fs::symlink("/run/systemd/resolve/stub-resolv.conf", "/etc/resolv.conf").unwrap();
    [start_resolved(net), bus]
}

fn start_resolved(net: &ResolverWorld<'_>) -> Running {
    let mut command = Command::new("/usr/lib/systemd/systemd-resolved");
    let resolved = net.spawn(command.stdout(Stdio::null()).stderr(Stdio::null()));
    let asked = || Command::new("resolvectl").arg("dns").output().unwrap();
    net.world.wait_for(|| asked().status.success());
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
