//! The two examples of the manual page, from the files in `contrib/examples`, from `up` to `down`.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use pptpctl::testing::demo::config::ServerConfig;

use crate::{
    resolver_world::{FAR_ANSWER, NEAR_ANSWER, ResolverWorld, in_resolver_world_with},
    world::{World, text},
};

const OFFICE: Ipv4Addr = Ipv4Addr::new(10, 42, 0, 1);

#[test]
fn client_example_works() {
    in_resolver_world_with(server_config(), |net| {
        install("client.toml");
        let before = host_state(net);
        net.assert_resolves("who.example", NEAR_ANSWER);
        net.world.up();
        net.near.take_queries();
        assert!(fetch_page(net, "").contains("10.77.0.100"), "{}", fetch_page(net, ""));
        net.assert_resolves("who.example", FAR_ANSWER);
        assert_eq!(net.near.take_queries(), Vec::<String>::new(), "a query was sent outside the tunnel");
        // All destinations are routed into the tunnel, but the connection of the tunnel itself is not.
        assert!(net.world.shell("ip route get 198.51.100.1").contains("dev tun0"));
        assert!(net.world.shell("ip route get 10.42.0.1").contains("dev tun0"));
        assert_eq!(net.status()["warnings"], serde_json::Value::Null);
        assert!(net.world.run(&["down", "vpn"]).status.success());
        assert_eq!(host_state(net), before);
        net.assert_resolves("who.example", NEAR_ANSWER);
    });
}

#[test]
fn router_example_works() {
    in_resolver_world_with(server_config(), |net| {
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
        let before = host_state(net);
        net.world.up();
        let response = fetch_page(net, &inside);
        // The office sees the tunnel's address, not the LAN host's.
        assert!(response.contains("10.77.0.100") && !response.contains("172.31.9.2"), "{response}");
        assert_mss_is_clamped(net, &inside);
        // The rules are in force, with the tunnel's device and addresses.
        let ruleset = net.world.shell("nft list ruleset");
        assert!(ruleset.contains("iifname \"tun0\" ip saddr 10.77.0.1 accept"), "{ruleset}");
        assert!(net.world.run(&["down", "vpn"]).status.success());
        assert_eq!(host_state(net), before);
        // `--autostart`, as the systemd unit runs it at boot.
        assert!(net.world.run(&["up", "--autostart"]).status.success());
        assert!(fetch_page(net, &inside).contains("10.77.0.100"));
        assert!(net.world.run(&["down", "--autostart"]).status.success());
        assert_eq!(host_state(net), before);
        drop(lan);
    });
}

// Helpers.

fn server_config() -> ServerConfig {
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
fn assert_mss_is_clamped(net: &ResolverWorld<'_>, inside: &str) {
    let first = "tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn and dst port 80";
    let mut capture = net.spawn(
        Command::new("nsenter")
            .args(["-t", "1", "-n", "tcpdump", "-lnvi", "any", "-c", "1", first])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    );
    let mut stderr = BufReader::new(capture.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("listening on") {
        line.clear();
        assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "tcpdump has ended");
    }
    fetch_page(net, inside);
    let mut captured = String::new();
    capture.stdout.take().unwrap().read_to_string(&mut captured).unwrap();
    let mtu = net.world.shell("ip -o link show tun0 | sed 's/.* mtu \\([0-9]*\\).*/\\1/'");
    let mss = mtu.trim().parse::<u16>().unwrap() - 40;
    assert!(mss < 1460 && captured.contains(&format!("mss {mss},")), "MTU {mtu}: {captured}");
    // `status` does not wait for a busy engine, so the counters may be absent at first.
    net.world
        .wait_for(|| net.status()["counters"]["mss.lowered_out"].as_u64().is_some_and(|count| count > 0));
}

/// Returns the response of the office's web server, which contains the client's address.
#[track_caller]
fn fetch_page(net: &ResolverWorld<'_>, inside: &str) -> String {
    let request = format!("exec 3<>/dev/tcp/{OFFICE}/80; printf \"GET / HTTP/1.0\\r\\n\\r\\n\" >&3; cat <&3");
    net.world.shell(&format!("{inside}timeout 60 bash -c '{request}'"))
}

fn host_state(net: &ResolverWorld<'_>) -> String {
    let output = Command::new("nft").args(["list", "ruleset"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    net.world.state() + &text(&output.stdout)
}
