//! Tunnels in a named network namespace, with the transport outside it.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use pptpctl::testing::{
    apply::{Changes, Host, recover},
    profile::{DefaultRoute, LinkSettings, Nftables, Profile},
};

use crate::{
    firewall::{answer_ping, example, from_tunnel, send},
    namespace::{Lab, assert_none, ip, split, with_default},
};

#[test]
fn tunnel_in_netns_changes_nothing_outside() {
    Lab::run(|lab| {
        lab.two_uplinks();
        let netns = NamedNamespace::new("inside");
        let (before, netns_before) = (lab.state(), netns.state());
        let mut session = netns.session(lab);
        lab.bring_up(&mut session, &netns.profile()).unwrap();
        lab.assert_state(&before, "nothing has changed outside: no host route, no pid file");
        let routes = netns.ip("route show");
        assert!(routes.contains("default dev tun0") && routes.contains("10.42.0.0/16 dev tun0"), "{routes}");
        assert!(netns.ip("addr show dev tun0").contains("inet 10.99.0.2 peer 10.99.0.1/32"));
        assert!(netns.ip("link show dev tun0").contains("mtu 1400"));
        let tables = netns.exec(&["nft", "list", "tables"]);
        assert_eq!(tables, "table inet pptpctl_vpn\n");

        // A ping inside passes through the device, whose descriptor is held outside, and the reply arrives.
        let tun = session.tun().unwrap().share().unwrap();
        let pinging = Command::new("ip")
            .args(["netns", "exec", &netns.name, "ping", "-c", "1", "-W", "20", "198.18.0.1"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut packet = from_tunnel(&tun, |packet| packet.first() == Some(&0x45) && packet[9] == 1);
        assert_eq!((&packet[12..16], &packet[16..20]), (&[10, 99, 0, 2][..], &[198, 18, 0, 1][..]));
        answer_ping(&mut packet);
        send(&tun, &packet);
        assert!(pinging.wait_with_output().unwrap().status.success());

        assert_none(session.undo_all_and_close());
        drop(tun);
        lab.assert_state(&before, "down");
        assert_eq!(netns.state(), netns_before);
    });
}

/// A device of the same name outside the namespace is not touched.
#[test]
fn device_names_are_per_namespace() {
    Lab::run(|lab| {
        lab.one_uplink();
        let mut outside = lab.session("other");
        let mut profile = with_default(DefaultRoute::Halves);
        profile.name = "other".parse().unwrap();
        lab.bring_up(&mut outside, &profile).unwrap();
        let before = lab.state();
        let netns = NamedNamespace::new("names");
        let mut session = netns.session(lab);
        let fixed = Profile { unit: Some(0), ..netns.profile() };
        lab.bring_up(&mut session, &fixed).unwrap();
        assert_eq!(session.tun().unwrap().name, outside.tun().unwrap().name);
        drop(session);
        // The supervisor was killed: `recover`, run outside, undoes its changes inside.
        let recovery =
            recover(&lab.directories, &mut Host::system().unwrap(), &|header| header.profile == "other");
        assert_none(recovery.errors);
        assert_eq!(recovery.recovered[0].profile, "vpn");
        lab.assert_state(&before, "the other tunnel is unchanged");
        assert_none(outside.undo_all_and_close());
    });
}

#[test]
fn recover_succeeds_when_netns_is_gone() {
    for recreated in [false, true] {
        Lab::run(|lab| {
            lab.one_uplink();
            let before = lab.state();
            let netns = NamedNamespace::new("gone");
            let mut session = netns.session(lab);
            lab.bring_up(&mut session, &netns.profile()).unwrap();
            drop(session);
            let inode = || fs::metadata(Path::new("/run/netns").join(&netns.name)).unwrap().ino();
            let old = inode();
            ip(&["netns", "del", &netns.name]);
            if recreated {
                ip(&["netns", "add", &netns.name]);
                netns.ip("link add tun0 type veth peer name far");
                // Simulate the kernel reusing the inode number of the old namespace, as it often does.
                let text = fs::read_to_string(lab.directories.ledger("vpn")).unwrap();
                let header = format!("\"netns\":{old},");
                assert!(text.contains(&header), "{text}");
                let same = format!("\"netns\":{},", inode());
                fs::write(lab.directories.ledger("vpn"), text.replacen(&header, &same, 1)).unwrap();
            }
            let recovery = recover(&lab.directories, &mut Host::system().unwrap(), &|_| false);
            assert_none(recovery.errors);
            assert!(recovery.recovered[0].gone);
            assert!(!lab.directories.ledger("vpn").exists());
            lab.assert_state(&before, "after recover without the namespace");
            if recreated {
                assert!(
                    netns.ip("link show").contains("tun0"),
                    "recover changed another namespace of the same name"
                );
            }
        });
    }
}

#[test]
fn missing_netns_is_named() {
    Lab::run(|_| {
        let host = Host::system().unwrap();
        let words = host.enter("pptpctl-no-such-name").err().unwrap().to_string();
        assert!(words.contains("`ip netns add pptpctl-no-such-name` creates it"), "{words}");
    });
}

/// A named network namespace for one test; dropping it deletes the namespace.
pub struct NamedNamespace {
    pub name: String,
}

impl NamedNamespace {
    pub fn new(what: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pptpctl-test-{what}-{}-{number}", std::process::id());
        ip(&["netns", "add", &name]);
        Self { name }
    }

    pub fn session(&self, lab: &Lab) -> Changes {
        lab.session_with("vpn", Host::system().unwrap().enter(&self.name).unwrap())
    }

    /// Returns a profile with everything that can be set up inside a namespace.
    pub fn profile(&self) -> Profile {
        Profile {
            link: LinkSettings { netns: Some(self.name.clone()), ..LinkSettings::default() },
            nftables: Some(Nftables { file: example("nftables.vpn") }),
            nat: true,
            routes: vec![split("10.42.0.0/16")],
            ..with_default(DefaultRoute::Replace)
        }
    }

    pub fn ip(&self, arguments: &str) -> String {
        let mut all = vec!["-n", self.name.as_str()];
        all.extend(arguments.split(' '));
        ip(&all)
    }

    pub fn exec(&self, command: &[&str]) -> String {
        let output = Command::new("ip").args(["netns", "exec", &self.name]).args(command).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn state(&self) -> String {
        let commands =
            ["-d -j route show table all", "-d -6 -j route show table all", "-d -j rule", "-j addr"];
        let all: Vec<String> = commands.iter().map(|command| self.ip(command)).collect();
        all.join("\n") + &self.exec(&["nft", "-j", "list", "ruleset"])
    }
}

impl Drop for NamedNamespace {
    fn drop(&mut self) {
        drop(Command::new("ip").args(["netns", "del", &self.name]).stderr(Stdio::null()).status());
    }
}
