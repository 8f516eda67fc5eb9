//! The TCP connections of this host to a server: its own tunnels, and other PPTP clients.

use std::net::SocketAddrV4;

use crate::apply::Program;

/// Returns a function that counts the TCP connections of this host to a server.
pub fn connections() -> impl Fn(SocketAddrV4) -> usize {
    let linux = cfg!(target_os = "linux");
    let table = if linux {
        std::fs::read_to_string("/proc/net/tcp").unwrap_or_default()
    } else {
        Program::find("netstat", &["-n", "-f", "inet", "-p", "tcp"])
            .run()
            .map(|output| output.stdout)
            .unwrap_or_default()
    };
    move |server| if linux { count_in_proc(&table, server) } else { count_in_netstat(&table, server) }
}

/// Returns the number of connections to a server in the format of /proc/net/tcp (Linux), apart from those that are
/// being closed.
fn count_in_proc(table: &str, server: SocketAddrV4) -> usize {
    const ESTABLISHED: &str = "01";
    const SYN_SENT: &str = "02";
    // The address is printed as the number that it is in memory, the port is not.
    let address = u32::from_ne_bytes(server.ip().octets());
    let wanted = format!("{address:08X}:{:04X}", server.port());
    let matches = |line: &&str| {
        let mut words = line.split_whitespace().skip(2);
        words.next() == Some(wanted.as_str())
            && words.next().is_some_and(|state| [ESTABLISHED, SYN_SENT].contains(&state))
    };
    table.lines().filter(matches).count()
}

/// Returns the same from the output of netstat(1) on the BSDs, where a dot precedes the port.
fn count_in_netstat(output: &str, server: SocketAddrV4) -> usize {
    let wanted = format!("{}.{}", server.ip(), server.port());
    let matches = |line: &&str| {
        let mut words = line.split_whitespace();
        words.next().is_some_and(|protocol| protocol.starts_with("tcp"))
            && words.nth(3) == Some(wanted.as_str())
            && words.next().is_some_and(|state| ["ESTABLISHED", "SYN_SENT"].contains(&state))
    };
    output.lines().filter(matches).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_in_both_formats() {
        let server: SocketAddrV4 = "192.0.2.1:1723".parse().unwrap();
        // As a host of little-endian byte order prints it.
        let table = "  sl  local_address rem_address   st tx_queue\n   \
             0: 020200C0:9C40 010200C0:06BB 01 00000000:00000000\n   \
             1: 020200C0:9C41 010200C0:06BB 06 00000000:00000000\n   \
             2: 020200C0:9C42 010200C0:01BB 01 00000000:00000000\n";
        if cfg!(target_endian = "little") {
            assert_eq!(count_in_proc(table, server), 1);
        }
        let output = "Proto Recv-Q Send-Q Local Address Foreign Address (state)\n\
             tcp4 0 0 192.0.2.2.51234 192.0.2.1.1723 ESTABLISHED\n\
             tcp 0 0 192.0.2.2.51235 192.0.2.1.1723 TIME_WAIT\n\
             tcp 0 0 192.0.2.2.51236 192.0.2.11.1723 ESTABLISHED\n";
        assert_eq!(count_in_netstat(output, server), 1);
    }
}
