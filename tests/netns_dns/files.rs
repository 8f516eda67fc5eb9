//! A plain resolv.conf on a host without a resolver manager.

use std::{fs, os::unix::fs::PermissionsExt};

use nix::mount::{MsFlags, mount};

use crate::resolver_world::{FAR, FAR_ANSWER, NEAR_ANSWER, RESOLV_CONF, in_resolver_world, resolv_conf};

#[test]
fn names_resolve_through_tunnel_and_file_is_restored() {
    in_resolver_world(|net| {
        fs::set_permissions("/etc/resolv.conf", fs::Permissions::from_mode(0o640)).unwrap();
        net.assert_resolves("who.example", NEAR_ANSWER);
        net.world.profile("dns = { search = [\"corp.example\"] }");
        let before = net.world.state();
        net.world.up();
        assert!(resolv_conf().starts_with("# BEGIN pptpctl vpn"), "{}", resolv_conf());
        assert_eq!(fs::metadata("/etc/resolv.conf").unwrap().permissions().mode() & 0o7777, 0o640);
        net.near.take_queries();
        net.assert_resolves("who.example", FAR_ANSWER);
        net.assert_resolves("host", "192.168.77.9");
        assert_eq!(net.resolve("near.example"), None);
        assert_eq!(net.near.take_queries(), Vec::<String>::new(), "a query was sent outside the tunnel");
        assert!(net.far.take_queries().contains(&"host.corp.example".to_owned()));
        assert_eq!(net.status()["warnings"], serde_json::Value::Null);
        net.world.down(&before);
        assert_eq!(resolv_conf(), RESOLV_CONF);
        assert_eq!(fs::metadata("/etc/resolv.conf").unwrap().permissions().mode() & 0o7777, 0o640);
        net.assert_resolves("who.example", NEAR_ANSWER);
    });
}

/// As in a container: resolv.conf is a bind mount, over which no file can be renamed.
#[test]
fn bind_mounted_file_is_written_in_place() {
    in_resolver_world(|net| {
        let none: Option<&str> = None;
        fs::write("/etc/of-the-host", RESOLV_CONF).unwrap();
        mount(Some("/etc/of-the-host"), "/etc/resolv.conf", none, MsFlags::MS_BIND, none).unwrap();
        net.world.profile("dns = \"peer\"");
        let before = net.world.state();
        net.world.up();
        net.assert_resolves("who.example", FAR_ANSWER);
        assert!(!fs::exists("/etc/.resolv.conf.pptpctl").unwrap());
        // In-place writes by another program are detected too.
        fs::write("/etc/resolv.conf", "nameserver 192.0.2.2\n").unwrap();
        net.world.wait_for(|| net.log().contains("another program has written /etc/resolv.conf"));
        net.world.down(&before.replace(RESOLV_CONF, "nameserver 192.0.2.2\n"));
        assert_eq!(fs::read_to_string("/etc/of-the-host").unwrap(), "nameserver 192.0.2.2\n");
    });
}

/// As in a service of systemd with `ProtectSystem=strict` and `ReadWritePaths=-/etc/resolv.conf`: all of /etc is read-only but
/// that file.
#[test]
fn file_in_read_only_directory_is_written_in_place() {
    in_resolver_world(|net| {
        net.world.profile("dns = \"peer\"");
        let before = net.world.state();
        net.world.shell(
            "mount --bind /etc /etc; mount --bind /etc/resolv.conf /etc/resolv.conf; mount -o remount,bind,ro /etc",
        );
        assert!(fs::write("/etc/other", "").is_err(), "/etc can be written");
        net.world.up();
        net.assert_resolves("who.example", FAR_ANSWER);
        net.world.down(&before);
        assert_eq!(resolv_conf(), RESOLV_CONF);
    });
}

#[test]
fn recover_restores_file_after_crash_and_reboot() {
    in_resolver_world(|net| {
        net.world.profile("dns = \"peer\"");
        for reboot in [false, true] {
            let before = net.world.state();
            net.world.up();
            net.kill_both();
            assert!(resolv_conf().starts_with("# BEGIN pptpctl vpn"));
            assert_eq!(net.resolve("who.example"), None);
            if reboot {
                let ledger = "/var/lib/pptpctl/vpn.ledger";
                let text = fs::read_to_string(ledger).unwrap();
                let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
                fs::write(ledger, text.replace(boot.trim(), "a-boot-before")).unwrap();
                // A reboot empties /run.
                for file in ["/run/tun0.pid", "/run/pptpctl/vpn.sock", "/run/pptpctl/vpn.lock"] {
                    fs::remove_file(file).unwrap();
                }
            }
            let output = net.world.run(&["recover"]);
            assert!(output.status.success(), "{output:?}");
            net.world.assert_state(&before);
            net.assert_resolves("who.example", NEAR_ANSWER);
        }
    });
}

#[test]
fn next_up_restores_file_first() {
    in_resolver_world(|net| {
        net.world.profile("dns = \"peer\"");
        let before = net.world.state();
        net.world.up();
        net.kill_both();
        net.world.up();
        net.assert_resolves("who.example", FAR_ANSWER);
        net.world.down(&before);
    });
}

#[test]
fn overwritten_file_is_reported_and_kept() {
    in_resolver_world(|net| {
        net.world.profile("dns = \"peer\"");
        let before = net.world.state();
        net.world.up();
        // dhclient and NetworkManager replace the file by rename.
        let generated = "# Generated by NetworkManager\nnameserver 192.0.2.2\n";
        fs::write("/etc/resolv.conf.new", generated).unwrap();
        fs::rename("/etc/resolv.conf.new", "/etc/resolv.conf").unwrap();
        net.world.wait_for(|| net.log().contains("another program has written /etc/resolv.conf"));
        let warning = net.status()["warnings"][0].as_str().unwrap().to_owned();
        assert!(
            warning.contains("192.0.2.2") && warning.contains("Generated by NetworkManager"),
            "{warning}"
        );
        net.world.down(&before.replace(RESOLV_CONF, generated));
        assert_eq!(resolv_conf(), generated);
    });
}

#[test]
fn manual_edit_is_kept() {
    in_resolver_world(|net| {
        net.world.profile("dns = \"peer\"");
        let before = net.world.state();
        net.world.up();
        fs::write("/etc/resolv.conf", resolv_conf() + "options rotate\n").unwrap();
        net.assert_resolves("who.example", FAR_ANSWER);
        assert_eq!(net.status()["warnings"], serde_json::Value::Null);
        let edited = format!("{RESOLV_CONF}options rotate\n");
        net.world.down(&before.replace(RESOLV_CONF, &edited));
        assert!(net.log().contains("only the lines of pptpctl are removed"), "{}", net.log());
    });
}

/// All names are resolved through the tunnel. While it is down, the server's own name must not depend on it.
#[test]
fn server_name_resolves_while_tunnel_is_down() {
    in_resolver_world(|net| {
        net.world.profile("server = \"vpn.example\"\ndns = \"peer\"\nretry = { first = \"100ms\" }");
        let before = net.world.state();
        net.world.up();
        net.world.shell(&format!("kill -9 {}", net.pid("engine_pid")));
        net.world.wait_for(|| net.status()["reconnects"] == 1);
        assert!(net.log().contains("dialling its last addresses"), "{}", net.log());
        net.assert_resolves("who.example", FAR_ANSWER);
        net.world.down(&before);
    });
}

#[test]
fn unavailable_backend_is_refused() {
    in_resolver_world(|net| {
        net.world.profile("dns = { domains = [\"corp.example\"] }");
        net.world.assert_up_fails(
            23,
            "routes",
            &["can't ask other resolvers for some domains only", "dnsmasq"],
            3.0,
        );
        fs::set_permissions("/etc/resolv.conf", fs::Permissions::from_mode(0o666)).unwrap();
        net.world.profile("dns = \"peer\"");
        net.world.assert_up_fails(23, "routes", &["can be written by others than root"], 3.0);
        fs::remove_file("/etc/resolv.conf").unwrap();
        std::os::unix::fs::symlink("/run/systemd/resolve/stub-resolv.conf", "/etc/resolv.conf").unwrap();
        net.world.assert_up_fails(23, "routes", &["a broken symbolic link"], 3.0);
    });
}

#[test]
fn resolver_outside_tunnel_is_reported() {
    in_resolver_world(|net| {
        net.world.profile("routes = [\"192.168.99.0/24\"]\ndns = { servers = [\"192.0.2.2\"] }");
        let output = net.world.run(&["check"]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains("the resolver 192.0.2.2 is in none of `routes`"), "{stderr}");
        net.world.profile("routes = [\"192.168.99.0/24\"]\ndns = \"peer\"");
        let before = net.world.state();
        net.world.up();
        assert!(
            net.log().contains(&format!("the resolver {FAR} is in none of the tunnel's routes")),
            "{}",
            net.log()
        );
        net.world.down(&before);
    });
}
