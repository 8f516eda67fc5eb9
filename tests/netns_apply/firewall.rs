//! nftables tables, loaded into the kernel by nft(8) and tested with packets.

use std::{
    fs,
    io::Write,
    net::Ipv4Addr,
    os::{fd::OwnedFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use pptpctl::testing::{
    apply::{Cause, Changes, ProgramError},
    net::packets::PacketIo,
    os::wait::{self, Interest},
    plan::{self, Clamp, Facts, FirewallStep, Macros, Value, nft_text},
    platform::Platform,
    profile::{Conntrack, DefaultRoute, Nftables, Profile},
};

use crate::namespace::{Lab, SERVER, assert_none, ip, link_facts, nft, profile, split, with_default};
use crate::netns::NamedNamespace;

/// Rules of the administrator, which must not change: two tables, a set with elements, a counter.
const ADMIN_RULES: &str = "\
table inet mine {
	set lan { type ipv4_addr; flags interval; elements = { 192.168.0.0/24 }; }
	chain input { type filter hook input priority 10; policy accept; counter; ip saddr @lan accept; }
}
table ip nat {
	chain post { type nat hook postrouting priority 100; ip saddr 172.16.0.0/12 masquerade; }
}
";

pub fn example(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/examples").join(name);
    // A checkout made with another umask may be group-writable, and such rules are refused.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    path
}

#[test]
fn example_rules_are_loaded_with_macros_and_deleted() {
    Lab::run(|lab| {
        lab.one_uplink();
        load_rules(ADMIN_RULES);
        let before = lab.state();
        let mut session = lab.session("vpn");
        lab.bring_up(&mut session, &with_rules(&example("nftables.vpn"))).unwrap();
        let tun = session.tun().unwrap().name.clone();
        let table = nft(&["list", "table", "inet", "pptpctl_vpn"]);
        for rule in [
            format!("iifname \"{tun}\" ip saddr 10.99.0.1 accept"),
            format!("iifname \"{tun}\" tcp dport @open_ports accept"),
            format!("oifname \"{tun}\" ip daddr 203.0.113.9 counter packets 0 bytes 0 reject"),
        ] {
            assert!(table.contains(&rule), "{rule} in {table}");
        }
        assert_eq!(other_tables(), ADMIN_TABLES);
        assert_none(session.undo_all_and_close());
        lab.assert_state(&before, "");
    });
}

/// A reconnect that changes the local address replaces the whole table atomically.
#[test]
fn nft_table_is_replaced_when_address_changes() {
    Lab::run(|lab| {
        lab.one_uplink();
        let file =
            rules(lab, "chain in { type filter hook input priority 0; ip daddr $vpn_local accept; }\n");
        let profile = with_rules(&file);
        let mut session = lab.session("vpn");
        let network = lab.bring_up(&mut session, &profile).unwrap();
        let mut facts = session.facts(SERVER, None).unwrap();
        link_facts(&mut facts, &session);
        let other = Facts { local: Some(Ipv4Addr::new(10, 99, 0, 77)), ..facts };
        // The rules file is read again; if it is wrong now, the old rules stay in force.
        fs::write(&file, "chain in { accpet }\n").unwrap();
        session.perform(&lab.network(&profile).resolve(&other)).unwrap_err();
        assert!(nft(&["list", "ruleset"]).contains("ip daddr 10.99.0.2 accept"));
        fs::write(&file, "chain in { type filter hook input priority 0; ip daddr $vpn_local drop; }\n")
            .unwrap();
        session.perform(&lab.network(&profile).resolve(&other)).unwrap();
        let table = nft(&["list", "ruleset"]);
        assert!(table.contains("ip daddr 10.99.0.77 drop") && !table.contains("10.99.0.2 "), "{table}");
        // Reloading the host's rules flushes ours too; the next reconnect restores them.
        nft(&["flush", "ruleset"]);
        session.perform(&lab.network(&profile).resolve(&other)).unwrap();
        assert_eq!(nft(&["list", "ruleset"]), table);
        drop(network);
        nft(&["flush", "ruleset"]);
        assert_none(session.undo_all_and_close());
        assert_eq!(nft(&["list", "ruleset"]), "");
    });
}

#[test]
fn up_fails_with_nft_message_when_rules_are_wrong() {
    Lab::run(|lab| {
        lab.one_uplink();
        load_rules(ADMIN_RULES);
        let before = lab.state();
        let text =
            "chain in {\n\ttype filter hook input priority 0;\n\tiifname $vpn_if tcp dport 22 acccept\n}\n";
        let file = rules(lab, text);
        let mut session = lab.session("vpn");
        let error = lab.bring_up(&mut session, &with_rules(&file)).unwrap_err();
        assert!(
            matches!(&error.cause, Cause::Program(ProgramError::Failed { code: Some(1), .. })),
            "{error}"
        );
        let words = error.to_string();
        assert!(words.contains(&format!("{}:3:", file.display())), "{words}");
        assert!(words.contains("syntax error") && !words.contains("/dev/stdin"), "{words}");
        assert_none(session.undo_all_and_close());
        lab.assert_state(&before, "after a syntax error");
    });
}

#[test]
fn unsafe_rules_are_refused() {
    Lab::run(|lab| {
        lab.one_uplink();
        load_rules(ADMIN_RULES);
        let before = lab.state();
        let valid = "chain x { }\n";
        let escaping = "chain x { } # }\n}\ntable inet other {\n";
        for (text, mode, words) in [
            (escaping, 0o644, "rules.nft:2: this brace closes the table"),
            (valid, 0o666, "others than its owner may write it"),
            ("\u{feff}chain x { }\n", 0o644, "rules.nft: begins with a byte order mark"),
            ("include \"/no/such/file\"\n", 0o644, "File not found: /no/such/file"),
        ] {
            let file = rules(lab, text);
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            assert_refused(lab, &file, words);
            lab.assert_state(&before, words);
        }
        assert_refused(lab, Path::new("/no/such/rules.nft"), "/no/such/rules.nft: No such file");
        assert_refused(lab, lab.directories.run.as_path(), "not a file");
        // A table of the same name made by another program is neither replaced nor deleted.
        load_rules("table inet pptpctl_vpn {\n chain theirs { }\n}\n");
        let before = lab.state();
        assert_refused(lab, &rules(lab, valid), "that this tunnel did not create");
        lab.assert_state(&before, "after refusing the name of another table");
    });
}

/// `conntrack = "helper"`: the table follows the address that is dialled, is loaded again after a flush, and is deleted.
#[test]
fn helper_table_follows_the_dialled_address() {
    Lab::run(|lab| {
        lab.one_uplink();
        load_rules(ADMIN_RULES);
        let before = lab.state();
        let profile = Profile { conntrack: Conntrack::Helper, ..profile() };
        let mut session = lab.session("vpn");
        lab.bring_up(&mut session, &profile).unwrap();
        let table = || nft(&["list", "table", "ip", "pptpctl_vpn"]);
        let rule = |server: Ipv4Addr| format!("ip daddr {server} tcp dport 1723 ct helper set \"pptp\"");
        assert!(table().contains(&rule(SERVER)), "{}", table());
        let other = Ipv4Addr::new(198, 51, 100, 77);
        let facts = Facts { server: Some(other.into()), ..session.facts(SERVER, None).unwrap() };
        let transport = plan::transport(&profile, Platform::Linux).resolve(&facts);
        session.perform(&transport).unwrap();
        assert!(table().contains(&rule(other)) && !table().contains(&rule(SERVER)), "{}", table());
        let loaded = table();
        nft(&["delete", "table", "ip", "pptpctl_vpn"]);
        session.perform(&transport).unwrap();
        assert_eq!(table(), loaded);
        assert_none(session.undo_all_and_close());
        lab.assert_state(&before, "");
    });
}

/// Packets from a LAN behind this host enter the tunnel with the tunnel's local address, and replies reach
/// the LAN.
#[test]
fn nat_masquerades_forwarded_traffic() {
    Lab::run(|lab| {
        lab.one_uplink();
        load_rules(ADMIN_RULES);
        let lan = lan();
        let before = lab.state();
        let mut profile = Profile { nat: true, ..profile() };
        profile.routes = vec![split("10.42.0.0/16")];
        let mut session = lab.session("vpn");
        let plan = lab.bring_up(&mut session, &profile).unwrap();
        assert!(
            plan.notes.iter().any(|note| note.contains("sysctl net.ipv4.ip_forward=1")),
            "{:?}",
            plan.notes
        );
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        let plan = lab.bring_up(&mut session, &profile).unwrap();
        assert!(plan.notes.is_empty(), "{:?}", plan.notes);

        let tun = session.tun().unwrap().share().unwrap();
        let pinging = Command::new("ip")
            .args(["netns", "exec", &lan.name, "ping", "-c", "1", "-W", "20", "10.42.0.5"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut packet = from_tunnel(&tun, |packet| packet.first() == Some(&0x45) && packet[9] == 1);
        assert_eq!(packet[12..16], [10, 99, 0, 2], "the source is not masqueraded");
        assert_eq!(packet[16..20], [10, 42, 0, 5]);
        answer_ping(&mut packet);
        send(&tun, &packet);
        let answered = pinging.wait_with_output().unwrap();
        assert!(answered.status.success(), "{}", String::from_utf8_lossy(&answered.stdout));

        // This host's own packets already have the tunnel's local address, unless bound to another one.
        let own_ping = Command::new("ping").args(["-c", "1", "-W", "1", "10.42.0.6"]).output().unwrap();
        assert!(!own_ping.status.success());
        let packet = from_tunnel(&tun, |packet| packet.get(16..20) == Some(&[10, 42, 0, 6][..]));
        assert_eq!(packet[12..16], [10, 99, 0, 2]);

        fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        assert_none(session.undo_all_and_close());
        lab.assert_state(&before, "");
    });
}

/// With pppd(8) as the data plane nft(8) clamps the segment size instead of the engine, and accepts these
/// rules.
#[test]
fn nft_clamps_segment_size() {
    Lab::run(|_| {
        let macros = Macros {
            tun: Value::Known("ppp0".to_owned()),
            local: Value::Known(Ipv4Addr::new(10, 99, 0, 2)),
            peer: Value::Known(Ipv4Addr::new(10, 99, 0, 1)),
            server: Value::Known(SERVER.into()),
        };
        let mss = Some(Clamp::Mtu(Value::Known(1400)));
        let step = FirewallStep::Nft { table: "pptpctl_vpn".to_owned(), file: None, nat: true, mss, macros };
        load_rules(&nft_text(&step).unwrap());
        let table = nft(&["list", "chain", "inet", "pptpctl_vpn", "pptpctl_mss"]);
        for (direction, family, size) in [("oifname", "ipv4", 1360), ("iifname", "ipv6", 1340)] {
            let rule = format!("{direction} \"ppp0\" meta nfproto {family} tcp flags syn / fin,syn,rst");
            assert!(
                table.lines().any(|line| line.contains(&rule) && line.ends_with(&format!("set {size}"))),
                "{table}"
            );
        }
    });
}

/// The example rules drop unsolicited packets and accept the peer's.
#[test]
fn example_rules_filter_traffic() {
    Lab::run(|lab| {
        lab.one_uplink();
        let mut session = lab.session("vpn");
        lab.bring_up(&mut session, &with_rules(&example("nftables.vpn"))).unwrap();
        let tun = session.tun().unwrap().share().unwrap();
        let dropped = || {
            let list = nft(&["list", "chain", "inet", "pptpctl_vpn", "input"]);
            let line = list.lines().find(|line| line.contains("drop")).unwrap().to_owned();
            line.split_whitespace()
                .skip_while(|word| *word != "packets")
                .nth(1)
                .unwrap()
                .parse::<u32>()
                .unwrap()
        };
        let udp = |from: [u8; 4]| {
            let builder = etherparse::PacketBuilder::ipv4(from, [10, 99, 0, 2], 64).udp(53, 5353);
            let mut packet = Vec::new();
            builder.write(&mut packet, b"x").unwrap();
            packet
        };
        send(&tun, &udp([10, 99, 0, 1]));
        assert_eq!(dropped(), 0, "the packet of the peer was dropped");
        send(&tun, &udp([10, 42, 0, 9]));
        assert_eq!(dropped(), 1, "the unsolicited packet was not dropped");
        assert_none(session.undo_all_and_close());
    });
}

const ADMIN_TABLES: &str = "table inet mine\ntable ip nat\n";

/// Creates a namespace with 192.168.77.2, connected to 192.168.77.1 in this one.
fn lan() -> NamedNamespace {
    let lan = NamedNamespace::new("lan");
    ip(&["link", "add", "lan0", "type", "veth", "peer", "name", "eth0", "netns", &lan.name]);
    ip(&["addr", "add", "192.168.77.1/24", "dev", "lan0"]);
    ip(&["link", "set", "lan0", "up"]);
    for arguments in
        ["addr add 192.168.77.2/24 dev eth0", "link set eth0 up", "route add default via 192.168.77.1"]
    {
        lan.ip(arguments);
    }
    lan
}

fn with_rules(file: &Path) -> Profile {
    Profile { nftables: Some(Nftables { file: file.to_owned() }), ..with_default(DefaultRoute::Halves) }
}

fn rules(lab: &Lab, text: &str) -> PathBuf {
    let file = lab.directories.run.parent().unwrap().join("rules.nft");
    drop(fs::remove_file(&file));
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    file
}

#[track_caller]
fn assert_refused(lab: &Lab, file: &Path, words: &str) {
    let mut session: Changes = lab.session("vpn");
    let error = lab.bring_up(&mut session, &with_rules(file)).unwrap_err().to_string();
    assert!(error.contains(words), "{error}");
    assert_none(session.undo_all_and_close());
}

fn load_rules(text: &str) {
    let mut child = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

fn other_tables() -> String {
    nft(&["list", "tables"])
        .lines()
        .filter(|line| !line.contains("pptpctl_"))
        .fold(String::new(), |text, line| text + line + "\n")
}

/// Writes a packet to the device, as one that comes out of the tunnel.
#[track_caller]
pub fn send(tun: &OwnedFd, packet: &[u8]) {
    let mut packets = PacketIo::new(tun);
    packets.send(tun, packet);
    packets.flush(tun);
    assert_eq!(packets.refused(), 0);
}

/// Returns the first packet sent into the tunnel that `wanted` accepts.
pub fn from_tunnel(tun: &OwnedFd, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut packets = PacketIo::new(tun);
    loop {
        use std::os::fd::AsFd;
        while let Some(mut read) = packets.receive(tun).unwrap() {
            while let Some(packet) = read.next_packet() {
                if wanted(packet) {
                    return packet.to_vec();
                }
            }
        }
        assert!(Instant::now() < deadline, "no such packet");
        wait::until([Some((tun.as_fd(), Interest::Readable))], Some(deadline)).unwrap();
    }
}

/// Turns an ICMP echo request into its reply: swaps the addresses, sets type 0 and adjusts the checksum.
pub fn answer_ping(packet: &mut [u8]) {
    let (from, to) = (packet[12..16].to_vec(), packet[16..20].to_vec());
    packet[12..16].copy_from_slice(&to);
    packet[16..20].copy_from_slice(&from);
    assert_eq!(packet[20], 8);
    packet[20] = 0;
    let sum = u32::from(u16::from_be_bytes([packet[22], packet[23]])) + 0x0800;
    let sum = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    packet[22..24].copy_from_slice(&sum.to_be_bytes());
}
