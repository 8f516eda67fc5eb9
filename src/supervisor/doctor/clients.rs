//! Other PPTP clients of this host: two that dial one server share its GRE packets, and some servers accept one
//! connection per address only.

use std::{collections::BTreeMap, net::SocketAddrV4};

use super::finding::Finding;
#[cfg(not(target_os = "linux"))]
use crate::apply::Program;
#[cfg(target_os = "linux")]
use crate::supervisor::host_files;
use crate::supervisor::{connections::connections, ipc::client};

/// Returns what another PPTP client is, by its arguments; `None` for any other program.
fn client_of(arguments: &[&str]) -> Option<&'static str> {
    let (program, rest) = arguments.split_first()?;
    // A process may set its title, such as "pptp: call manager for …".
    let name = program.rsplit('/').next()?.split([':', ' ']).next()?;
    let is_pptp = |word: &&str| word.contains("pptp") && !word.contains("pptpctl");
    match name {
        "nm-pptp-service" => Some("NetworkManager"),
        "pptp" => Some("pptp"),
        "pptpcm" | "pptpgw" => Some("the call manager of pptp"),
        "mpd5" | "mpd" => Some("mpd"),
        "pppd" | "ppp" if rest.iter().any(is_pptp) => Some("pppd with pptp"),
        _ => None,
    }
}

/// What uses the servers of a profile besides its own tunnel.
#[derive(Debug, Default, PartialEq, Eq)]
struct Use {
    /// Other PPTP clients that run, with their process IDs.
    clients: BTreeMap<&'static str, Vec<u32>>,
    /// Servers with more connections than tunnels of this program.
    connected: Vec<SocketAddrV4>,
}

fn clients(found: &Use) -> Finding {
    let names: Vec<String> = found
        .clients
        .iter()
        .map(|(name, pids)| {
            let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
            format!("{name} (process {})", pids.join(", "))
        })
        .collect();
    let next = if found.clients.contains_key("NetworkManager") {
        "`nmcli connection show --active` lists its connections; `nmcli connection down NAME` ends one"
    } else {
        "end the other client if it uses the same account or server"
    };
    match (found.connected.as_slice(), names.as_slice()) {
        ([], []) => Finding::ok("clients", "no other PPTP client runs on this host"),
        ([], names) => {
            Finding::warning("clients", format!("another PPTP client runs: {}", names.join(", "))).next(next)
        }
        ([server, ..], names) => {
            let who = if names.is_empty() {
                "a program of this host, probably another PPTP client,".to_owned()
            } else {
                format!("another PPTP client, probably {},", names.join(" or "))
            };
            Finding::warning("clients", format!("{who} is connected to {server}")).next(next)
        }
    }
}

/// Checks for other PPTP clients, and for connections of others to these servers.
pub(super) fn check(servers: &[SocketAddrV4]) -> Finding {
    let mut found = Use::default();
    let Some(processes) = processes() else {
        return Finding::skipped("clients", "the processes of this host cannot be listed");
    };
    for (pid, arguments) in &processes {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        if let Some(name) = client_of(&arguments)
            && is_in_this_namespace(*pid)
        {
            found.clients.entry(name).or_default().push(*pid);
        }
    }
    let connections = connections();
    // Tunnels of this program are counted by what their supervisors report, which only root may ask.
    let mut own: BTreeMap<String, usize> = BTreeMap::new();
    let mut unknown = 0;
    for name in client::running() {
        match client::status(&name) {
            Ok(status) => *own.entry(status.server.unwrap_or_default()).or_default() += 1,
            Err(_) => unknown += 1,
        }
    }
    found.connected = servers
        .iter()
        .copied()
        .filter(|server| {
            let known = own.get(&server.to_string()).copied().unwrap_or(0) + unknown;
            connections(*server) > known
        })
        .collect();
    clients(&found)
}

/// Returns whether a process is in the network namespace of this one; `true` if that cannot be told.
fn is_in_this_namespace(pid: u32) -> bool {
    let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net"));
    match (namespace(&pid.to_string()), namespace("self")) {
        (Ok(other), Ok(own)) => other == own,
        _ => true,
    }
}

/// Returns the processes of this host with their arguments.
#[cfg(target_os = "linux")]
fn processes() -> Option<Vec<(u32, Vec<String>)>> {
    host_files::need_proc().ok()?;
    let entries = std::fs::read_dir("/proc").ok()?;
    let process = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.ok()?;
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let arguments = line.split(|byte| *byte == 0).filter(|word| !word.is_empty());
        Some((pid, arguments.map(|word| String::from_utf8_lossy(word).into_owned()).collect()))
    };
    Some(entries.filter_map(process).collect())
}

/// Returns the processes of this host with their arguments.
#[cfg(not(target_os = "linux"))]
fn processes() -> Option<Vec<(u32, Vec<String>)>> {
    let output = Program::find("ps", &["-axww", "-o", "pid=", "-o", "command="]).run().ok()?;
    let process = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        Some((words.next()?.parse().ok()?, words.collect()))
    };
    Some(output.stdout.lines().filter_map(process).collect())
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Severity, *};

    #[test]
    fn clients_are_known_by_their_arguments() {
        for (line, name) in [
            ("/usr/lib/NetworkManager/nm-pptp-service", Some("NetworkManager")),
            ("pptp: call manager for 192.0.2.1", Some("pptp")),
            ("/usr/sbin/pptp 192.0.2.1 --nolaunchpppd", Some("pptp")),
            ("pptpgw 192.0.2.1", Some("the call manager of pptp")),
            ("/usr/sbin/pppd /dev/pts/1 file /proc/self/fd/0", None),
            ("/usr/sbin/pppd pty /usr/sbin/pptp vpn --nolaunchpppd", Some("pppd with pptp")),
            ("pppd plugin pptp.so pptp_server vpn", Some("pppd with pptp")),
            ("pptpctl: engine office", None),
            ("/usr/bin/pptpctl doctor", None),
            ("mpd5 -b", Some("mpd")),
            ("vi pptp.c", None),
            ("", None),
        ] {
            let words: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(client_of(&words), name, "{line}");
        }
    }

    #[test]
    fn another_connection_to_the_server_is_reported() {
        let server: SocketAddrV4 = "192.0.2.1:1723".parse().unwrap();
        assert_eq!(clients(&Use::default()).severity, Severity::Ok);
        let held = clients(&Use { connected: vec![server], ..Use::default() });
        assert!(
            held.evidence.contains("probably another PPTP client, is connected to 192.0.2.1:1723"),
            "{held:?}"
        );
        let by = Use { clients: [("NetworkManager", vec![7, 8])].into(), connected: vec![server] };
        let held = clients(&by);
        assert!(held.evidence.contains("NetworkManager (process 7, 8)"), "{held:?}");
        assert!(held.next.unwrap().contains("nmcli"));
        let idle = clients(&Use { clients: [("mpd", vec![9])].into(), ..Use::default() });
        assert_eq!(idle.severity, Severity::Warning);
    }
}
