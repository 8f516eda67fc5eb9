//! Programs for WireGuard, and OpenVPN, where they are installed.

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
/// Programs with the same arguments and the same protocol for their configuration (wireguard.com/xplatform).
const WIREGUARD: [&str; 3] = ["wireguard-go", "boringtun-cli", "gotatun"];
/// The second byte of the addresses inside.
const NETWORK: u8 = 78;
const CERTIFICATE: &str = "/run/openvpn.crt";
const KEY: &str = "/run/openvpn.key";

/// Starts those that are wanted and installed.
pub fn start_all(
    wanted: &dyn Fn(&str) -> bool,
    tunnels: &mut Vec<Tunnel>,
    children: &mut Vec<Running>,
    versions: &mut Vec<String>,
) {
    for (number, program) in WIREGUARD.into_iter().enumerate() {
        if wanted(program)
            && let Some(version) = version(program)
        {
            versions.push(version);
            tunnels.push(wireguard(program, number, children));
        }
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

/// Starts both ends of the tunnel of one of these programs; the number makes names and addresses of its own.
fn wireguard(program: &'static str, number: usize, children: &mut Vec<Running>) -> Tunnel {
    let devices = [format!("wg{number}near"), format!("wg{number}far")];
    for (device, far) in devices.iter().zip([false, true]) {
        // The other two give up root, and with it their device, without this.
        children.push(start(at(far, program).env("WG_SUDO", "true").args(["-f", device])));
    }
    wait_for(&devices[0], &devices[1]);
    for (end, peer) in [FAR, NEAR].into_iter().enumerate() {
        let (private, public) = (KEYS[end].0, KEYS[1 - end].1);
        let mut socket = UnixStream::connect(format!("/run/wireguard/{}.sock", devices[end])).unwrap();
        let port = |end: usize| 51_820 + 2 * number + end;
        write!(
            socket,
            "set=1\nprivate_key={private}\nlisten_port={}\npublic_key={public}\nreplace_allowed_ips=true\n\
             allowed_ip=10.{NETWORK}.{number}.0/24\nendpoint={peer}:{}\n\n",
            port(end),
            port(1 - end)
        )
        .unwrap();
        let mut answer = String::new();
        BufReader::new(socket).read_line(&mut answer).unwrap();
        assert_eq!(answer.trim(), "errno=0", "{program} refuses its configuration");
    }
    let bring_up = |end: usize| {
        ip(&format!("addr add 10.{NETWORK}.{number}.{}/24 dev {}", 2 - end, devices[end]));
        ip(&format!("link set {} mtu 1400 up", devices[end]));
    };
    bring_up(0);
    at_far_end(|| bring_up(1));
    let far = Ipv4Addr::new(10, NETWORK, u8::try_from(number).unwrap(), 1);
    Tunnel { name: program, device: devices[0].clone(), far, processes: processes(&format!("{program} -f")) }
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
