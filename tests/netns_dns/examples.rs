//! The two examples of the manual page, from the files in `contrib/examples`, from `up` to `down`.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use pptpctl::demo::config::ServerConfig;

use crate::{
    resolver_world::{FAR_SAYS, NEAR_SAYS, ResolverWorld, in_town_of},
    world::{World, text},
};

const OFFICE: Ipv4Addr = Ipv4Addr::new(10, 42, 0, 1);

#[test]
fn client_example_works() {
    in_town_of(orders(), |net| {
        install("client.toml");
        let before = everything(net);
        net.asks("who.example", NEAR_SAYS);
        net.world.up();
        net.near.asked();
        assert!(page(net, "").contains("10.77.0.100"), "{}", page(net, ""));
        net.asks("who.example", FAR_SAYS);
        assert_eq!(net.near.asked(), Vec::<String>::new(), "a name left beside the tunnel");
        // All destinations are routed into the tunnel, but the connection of the tunnel itself is not.
        assert!(net.world.shell("ip route get 198.51.100.1").contains("dev tun0"));
        assert!(net.world.shell("ip route get 10.42.0.1").contains("dev tun0"));
        assert_eq!(net.status()["warnings"], serde_json::Value::Null);
        assert!(net.world.run(&["down", "vpn"]).status.success());
        assert_eq!(everything(net), before);
        net.asks("who.example", NEAR_SAYS);
    });
}

#[test]
fn router_example_works() {
    in_town_of(orders(), |net| {
        install("router.toml");
        let rules = examples().join("nftables.vpn");
        fs::copy(rules, "/etc/nftables.vpn").unwrap();
        // A LAN host behind this one, in a network to which the server has no route.
        let lan = net.spawn(Command::new("unshare").args(["--net", "sleep", "1000"]));
        let host = net.world.shell("until pgrep -x sleep; do :; done").trim().to_owned();
        net.world.shell(&format!(
            "sysctl -qw net.ipv4.ip_forward=1
             ip link add lan0 type veth peer name eth0 netns {host}
             ip link set lan0 addrgenmode none
             ip address add 172.31.9.1/24 dev lan0; ip link set lan0 up
             nsenter -t {host} -n sh -c 'ip link set lo up; ip address add 172.31.9.2/24 dev eth0; ip link set eth0 up
               ip route add default via 172.31.9.1'"
        ));
        let inside = format!("nsenter -t {host} -n ");
        // The kernel updates the operational state, which is compared, after LOWER_UP.
        net.world.wait_for(|| net.world.shell("ip -o link show lan0").contains("state UP"));
        let before = everything(net);
        net.world.up();
        let said = page(net, &inside);
        // The office sees the tunnel's address, not the LAN host's.
        assert!(said.contains("10.77.0.100") && !said.contains("172.31.9.2"), "{said}");
        segments_fit(net, &inside);
        // The rules are in force, with the tunnel's device and addresses.
        let ruleset = net.world.shell("nft list ruleset");
        assert!(ruleset.contains("iifname \"tun0\" ip saddr 10.77.0.1 accept"), "{ruleset}");
        assert!(net.world.run(&["down", "vpn"]).status.success());
        assert_eq!(everything(net), before);
        // `--autostart`, as the systemd unit runs it at boot.
        assert!(net.world.run(&["up", "--autostart"]).status.success());
        assert!(page(net, &inside).contains("10.77.0.100"));
        assert!(net.world.run(&["down", "--autostart"]).status.success());
        assert_eq!(everything(net), before);
        drop(lan);
    });
}

// Helpers.

fn orders() -> ServerConfig {
    let users = vec![("User".to_owned(), "MySecret".to_owned())];
    ServerConfig { users, dns: vec![OFFICE], office: OFFICE, ..ServerConfig::default() }
}

/// Installs an example as its first lines describe.
fn install(example: &str) {
    fs::create_dir_all("/etc/pptpctl/secrets").unwrap();
    fs::write("/etc/pptpctl/secrets/vpn", "MySecret\n").unwrap();
    fs::set_permissions("/etc/pptpctl/secrets/vpn", fs::Permissions::from_mode(0o600)).unwrap();
    fs::copy(examples().join(example), World::CONFIG).unwrap();
    fs::set_permissions(World::CONFIG, fs::Permissions::from_mode(0o644)).unwrap();
}

fn examples() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/examples")
}

/// Checks that the MSS which the Ethernet host offers (1460) is clamped to the tunnel's MTU when the SYN
/// reaches the office.
fn segments_fit(net: &ResolverWorld<'_>, inside: &str) {
    let first = "tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn and dst port 80";
    let mut capture = net.spawn(
        Command::new("nsenter")
            .args(["-t", "1", "-n", "tcpdump", "-lnvi", "any", "-c", "1", first])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    );
    let mut heard = BufReader::new(capture.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("listening on") {
        line.clear();
        assert_ne!(heard.read_line(&mut line).unwrap(), 0, "tcpdump has ended");
    }
    page(net, inside);
    let mut seen = String::new();
    capture.stdout.take().unwrap().read_to_string(&mut seen).unwrap();
    let mtu = net.world.shell("ip -o link show tun0 | sed 's/.* mtu \\([0-9]*\\).*/\\1/'");
    let fits = mtu.trim().parse::<u16>().unwrap() - 40;
    assert!(fits < 1460 && seen.contains(&format!("mss {fits},")), "MTU {mtu}: {seen}");
    // `status` does not wait for a busy engine, so the counters may be absent at first.
    net.world
        .wait_for(|| net.status()["counters"]["mss.lowered_out"].as_u64().is_some_and(|count| count > 0));
}

/// Returns the response of the office's web server, which contains the client's address.
#[track_caller]
fn page(net: &ResolverWorld<'_>, inside: &str) -> String {
    let ask = format!("exec 3<>/dev/tcp/{OFFICE}/80; printf \"GET / HTTP/1.0\\r\\n\\r\\n\" >&3; cat <&3");
    net.world.shell(&format!("{inside}timeout 60 bash -c '{ask}'"))
}

fn everything(net: &ResolverWorld<'_>) -> String {
    let output = Command::new("nft").args(["list", "ruleset"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    net.world.state() + &text(&output.stdout)
}
