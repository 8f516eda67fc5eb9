//! wireguard-go and OpenVPN, where they are installed.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::Ipv4Addr,
    os::unix::net::UnixStream,
    process::Command,
};

use crate::{
    far_end::{Running, at_far_end, far_namespace, ip, processes, run},
    tunnels::{FAR, NEAR, Tunnel, start, wait_for},
};

/// Key pairs of X25519 for the near and the far end, private and public; secret only in name.
const KEYS: [(&str, &str); 2] = [
    (
        "0101010101010101010101010101010101010101010101010101010101010101",
        "a4e09292b651c278b9772c569f5fa9bb13d906b46ab68c9df9dc2b4409f8a209",
    ),
    (
        "0202020202020202020202020202020202020202020202020202020202020202",
        "ce8d3ad1ccb633ec7b70c17814a5c76ecd029685050d344745ba05870e587d59",
    ),
];
const CERTIFICATE: &str = "/run/openvpn.crt";
const KEY: &str = "/run/openvpn.key";

/// Starts those that are wanted and installed.
pub fn start_all(
    wanted: &dyn Fn(&str) -> bool,
    tunnels: &mut Vec<Tunnel>,
    children: &mut Vec<Running>,
    versions: &mut Vec<String>,
) {
    if wanted("wireguard-go")
        && let Some(version) = version("wireguard-go")
    {
        versions.push(version);
        tunnels.push(wireguard(children));
    }
    if wanted("openvpn")
        && let Some(version) = version("openvpn")
    {
        versions.push(version);
        tunnels.push(openvpn(children));
    }
}

/// Returns the first line of what `--version` prints, `None` if there is no such program.
fn version(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let line = String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned();
    Some(format!("{program}: {line}"))
}

/// Returns a command that runs a program at one end.
fn at(far: bool, program: &str) -> Command {
    if !far {
        return Command::new(program);
    }
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", far_namespace())).arg(program);
    command
}

fn wireguard(children: &mut Vec<Running>) -> Tunnel {
    for (number, far) in [false, true].into_iter().enumerate() {
        let device = format!("wg{number}");
        children.push(start(at(far, "wireguard-go").args(["-f", &device])));
    }
    wait_for("wg0", "wg1");
    for (number, peer) in [(0, FAR), (1, NEAR)] {
        // Its configuration protocol (wireguard.com/xplatform).
        let (private, public) = (KEYS[number].0, KEYS[1 - number].1);
        let mut socket = UnixStream::connect(format!("/run/wireguard/wg{number}.sock")).unwrap();
        let (own_port, port) = (51_820 + number, 51_821 - number);
        write!(
            socket,
            "set=1\nprivate_key={private}\nlisten_port={own_port}\npublic_key={public}\nreplace_allowed_ips=true\n\
             allowed_ip=10.78.0.0/24\nendpoint={peer}:{port}\n\n"
        )
        .unwrap();
        let mut answer = String::new();
        BufReader::new(socket).read_line(&mut answer).unwrap();
        assert_eq!(answer.trim(), "errno=0", "wireguard-go refuses its configuration");
    }
    ip("addr add 10.78.0.2/24 dev wg0");
    ip("link set wg0 mtu 1400 up");
    at_far_end(|| {
        ip("addr add 10.78.0.1/24 dev wg1");
        ip("link set wg1 mtu 1400 up");
    });
    let far = Ipv4Addr::new(10, 78, 0, 1);
    Tunnel { name: "wireguard-go", device: "wg0".to_owned(), far, processes: processes("wireguard-go -f") }
}

/// AES-256-GCM over UDP, with large buffers, as its documents advise for speed; without the kernel's data path.
fn openvpn(children: &mut Vec<Running>) -> Tunnel {
    run(Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-nodes", "-subj", "/CN=bench", "-days", "2", "-keyout", KEY, "-out", CERTIFICATE]));
    let print = Command::new("openssl")
        .args(["x509", "-noout", "-fingerprint", "-sha256", "-in", CERTIFICATE])
        .output()
        .unwrap();
    let print = String::from_utf8(print.stdout).unwrap();
    let print = print.trim().split('=').nth(1).unwrap();
    fs::create_dir_all("/run/openvpn").unwrap();
    for far in [true, false] {
        let mut command = at(far, "openvpn");
        command.args([
            "--dev",
            "tun79",
            "--dev-type",
            "tun",
            "--proto",
            "udp4",
            "--cert",
            CERTIFICATE,
            "--key",
            KEY,
        ]);
        command.args([
            "--peer-fingerprint",
            print,
            "--data-ciphers",
            "AES-256-GCM",
            "--cipher",
            "AES-256-GCM",
        ]);
        command.args(["--tun-mtu", "1400", "--mssfix", "0", "--txqueuelen", "1000", "--fast-io"]);
        command.args(["--sndbuf", "4194304", "--rcvbuf", "4194304", "--disable-dco", "--verb", "0"]);
        if far {
            command.args([
                "--tls-server",
                "--dh",
                "none",
                "--lport",
                "1194",
                "--ifconfig",
                "10.79.0.1",
                "10.79.0.2",
            ]);
        } else {
            command.args(["--tls-client", "--remote", &FAR.to_string(), "1194", "--nobind"]);
            command.args(["--ifconfig", "10.79.0.2", "10.79.0.1"]);
        }
        children.push(start(&mut command));
    }
    wait_for("tun79", "tun79");
    let far = Ipv4Addr::new(10, 79, 0, 1);
    Tunnel { name: "openvpn", device: "tun79".to_owned(), far, processes: processes("openvpn --dev") }
}
