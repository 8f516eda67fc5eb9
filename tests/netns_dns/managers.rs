//! Debian's resolver managers, run from its packages: systemd-resolved, openresolv, resolvconf.

use std::{
    fs,
    io::Write,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    resolver_world::{
        FAR_ANSWER, NEAR_ANSWER, ResolverWorld, in_resolver_world, install, resolv_conf, script,
    },
    world::{Running, text},
};

#[test]
fn systemd_resolved_serves_all_names() {
    in_resolver_world(|net| {
        let _resolved = resolved(net);
        net.assert_resolves("who.example", NEAR_ANSWER);
        let links = || output_of("resolvectl", &["status"]);
        net.world.profile("dns = { search = [\"corp.example\"] }");
        let (before, links_before) = (net.world.state(), links());
        net.world.up();
        let during = links();
        assert!(during.contains("DNS Servers: 192.168.77.1") && during.contains("~."), "{during}");
        net.near.take_queries();
        net.assert_resolves("who.example", FAR_ANSWER);
        assert_eq!(net.near.take_queries(), Vec::<String>::new(), "a query was sent outside the tunnel");
        net.assert_resolves("host", "192.168.77.9");
        assert_eq!(net.status()["warnings"], serde_json::Value::Null);
        // Another program reverts the link's settings.
        output_of("resolvectl", &["revert", "tun0"]);
        let warning = net.status()["warnings"][0].as_str().unwrap().to_owned();
        assert!(warning.contains("systemd-resolved has resolvers [] and domains [] for tun0"), "{warning}");
        net.world.down(&before);
        assert_eq!(links(), links_before);
        net.assert_resolves("who.example", NEAR_ANSWER);
    });
}

/// Each configuration makes systemd-resolved flush its cache and probe the features of its servers again.
#[test]
fn systemd_resolved_is_configured_once() {
    in_resolver_world(|net| {
        let _resolved = resolved(net);
        net.world.shell("cp /usr/bin/resolvectl /etc/resolvectl");
        script("/etc/recorder", "#!/bin/sh\necho \"$@\" >>/var/log/calls\nexec /etc/resolvectl \"$@\"\n");
        net.world.shell("mount --bind /etc/recorder /usr/bin/resolvectl");
        net.world.profile("dns = \"peer\"\nretry.first = \"100ms\"");
        let before = net.world.state();
        net.world.up();
        // Queries have only two words and are left out.
        let configurations = || -> Vec<String> {
            let lines = fs::read_to_string("/var/log/calls").unwrap();
            lines.lines().filter(|line| line.split(' ').count() > 2).map(str::to_owned).collect()
        };
        let once = configurations();
        assert_eq!(once, ["dns tun0 192.168.77.1", "domain tun0 ~.", "default-route tun0 yes"]);
        // The route to the server changes, and the connection survives.
        net.world.shell("ip route add 192.0.2.1 via 192.0.2.1 dev eth0 onlink");
        net.world.wait_for(|| net.log().contains("the route to 192.0.2.1 is 192.0.2.1 dev eth0 now"));
        net.world.shell("ip route del 192.0.2.1");
        net.world.wait_for(|| net.log().matches("the route to 192.0.2.1 is").count() == 2);
        assert_eq!(net.status()["reconnects"], 0, "{}", net.log());
        // The device itself goes down and up.
        net.world.shell("ip link set tun0 down; ip link set tun0 up");
        net.world.wait_for(|| net.world.shell("ip route show 192.168.77.0/24").contains("tun0"));
        assert_eq!(configurations(), once);
        // The connection is lost, and the configuration is still in force.
        net.world.shell(&format!("kill -9 {}", net.pid("engine_pid")));
        net.world.wait_for(|| net.status()["reconnects"] == 1);
        assert_eq!(configurations(), once);
        net.assert_resolves("who.example", FAR_ANSWER);
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
        net.assert_resolves("host.corp.example", "192.168.77.9");
        net.assert_resolves("who.example", NEAR_ANSWER);
        net.far.take_queries();
        net.near.take_queries();
        assert_eq!(net.resolve("nobody.corp.example"), None);
        assert!(!net.near.take_queries().iter().any(|name| name.ends_with("corp.example")));
        assert_eq!(net.resolve("nobody.example"), None);
        assert!(!net.far.take_queries().contains(&"nobody.example".to_owned()));
        // The supervisor is killed: the device disappears, and systemd-resolved drops its settings.
        net.kill_both();
        assert!(net.world.run(&["recover"]).status.success());
        // systemd-resolved processes the removal of the device asynchronously.
        let end = Instant::now() + Duration::from_secs(20);
        while net.world.state() != before && Instant::now() < end {}
        net.world.assert_state(&before);
        assert_eq!(net.resolve("host.corp.example"), None);
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
        let warning = net.status()["warnings"][0].as_str().unwrap().to_owned();
        assert!(warning.contains("systemd-resolved has"), "{warning}");
        // The next connection configures it again.
        net.world.shell(&format!("kill -9 {}", net.pid("engine_pid")));
        net.world.wait_for(|| net.status()["reconnects"] == 1);
        net.assert_resolves("who.example", FAR_ANSWER);
        assert_eq!(net.status()["warnings"], serde_json::Value::Null);
        net.world.down(&before);
    });
}

#[test]
fn openresolv_serves_and_is_restored() {
    in_resolver_world(|net| {
        install(&["openresolv"]);
        fs::write("/etc/resolvconf.conf", "resolv_conf=/etc/resolv.conf\n").unwrap();
        check_resolvconf(net, true);
    });
}

/// openresolv that manages nothing yet, as on a FreeBSD host with a fixed address: it restores its copy of the file
/// with an empty line more, and keeps the copy.
#[test]
fn file_that_openresolv_has_not_written_is_restored_to_the_byte() {
    in_resolver_world(|net| {
        install(&["openresolv"]);
        fs::write("/etc/resolvconf.conf", "resolv_conf=/etc/resolv.conf\n").unwrap();
        let fixed = "# by hand\nnameserver 192.0.2.2\n";
        fs::write("/etc/resolv.conf", fixed).unwrap();
        net.world.profile("dns = { backend = \"resolvconf\" }");
        for crash in [false, true] {
            let before = net.world.state();
            net.world.up();
            net.assert_resolves("who.example", FAR_ANSWER);
            if crash {
                net.kill_both();
                assert!(net.world.run(&["recover"]).status.success());
                net.world.assert_state(&before);
            } else {
                net.world.down(&before);
            }
            assert_eq!(resolv_conf(), fixed);
            assert!(!fs::exists("/etc/resolv.conf.bak").unwrap());
        }
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
        check_resolvconf(net, false);
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
        assert!(
            text(&output.stderr).contains("not the resolver that resolvconf was given"),
            "{}",
            text(&output.stderr)
        );
        assert!(!fs::exists("/run/resolvconf/interface/tun0.pptpctl").unwrap());
    });
}

// Helpers.

fn check_resolvconf(net: &ResolverWorld<'_>, is_exclusive: bool) {
    // The resolver of the client's network, as a DHCP client sets it.
    resolvconf("eth0.dhclient", "nameserver 192.0.2.2\n");
    net.assert_resolves("who.example", NEAR_ANSWER);
    net.world.profile("dns = { search = [\"corp.example\"] }");
    let before = net.world.state();
    for crash in [false, true] {
        net.world.up();
        net.near.take_queries();
        net.assert_resolves("who.example", FAR_ANSWER);
        net.assert_resolves("host", "192.168.77.9");
        assert_eq!(net.near.take_queries(), Vec::<String>::new());
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
            net.assert_resolves("who.example", FAR_ANSWER);
            assert_eq!(net.status()["warnings"], serde_json::Value::Null);
            resolvconf("eth0.dhclient", "nameserver 192.0.2.2\n");
            // The administrator edits the file.
            fs::write("/etc/resolv.conf", "nameserver 192.0.2.2\n").unwrap();
            net.world.wait_for(|| net.log().contains("not the resolver that resolvconf was given"));
            net.world.down(&before);
        }
        net.assert_resolves("who.example", NEAR_ANSWER);
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
    let query = || Command::new("resolvectl").arg("dns").output().unwrap();
    net.world.wait_for(|| query().status.success());
    output_of("resolvectl", &["dns", "eth0", "192.0.2.2"]);
    output_of("resolvectl", &["default-route", "eth0", "yes"]);
    resolved
}

#[track_caller]
fn output_of(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}
