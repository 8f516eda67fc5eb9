//! Reads a line of `pfctl -s states`.

use std::net::IpAddr;

/// A connection that pf knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// The interface that the state is bound to; `all` for none.
    pub(super) dev: String,
    /// The name or number of the IP protocol.
    pub(super) protocol: String,
    /// The address on this side.
    pub(super) local: IpAddr,
    /// The address on the other side of the interface.
    pub(super) remote: IpAddr,
    /// Its port; that of ICMP is an identifier.
    pub(super) remote_port: Option<u16>,
    /// Whether the first packet went out.
    pub(super) is_outgoing: bool,
}

/// Parses `all tcp 198.51.100.2:4711 (10.0.0.5:4711) -> 192.0.2.7:443    ESTABLISHED:ESTABLISHED`. `None` for another line.
pub(super) fn parse(line: &str) -> Option<State> {
    let (first, rest) = line.trim().split_once(' ')?;
    let (protocol, ends) = rest.trim_start().split_once(' ')?;
    let (is_outgoing, (left, right)) = match ends.split_once(" -> ") {
        Some(sides) => (true, sides),
        None => (false, ends.split_once(" <- ")?),
    };
    let ((local, _), (remote, remote_port)) = (end(left)?, end(right)?);
    let (dev, protocol) = (first.to_owned(), protocol.to_owned());
    Some(State { dev, protocol, local, remote, remote_port, is_outgoing })
}

/// Parses the first address of a side: `192.0.2.7:443`, `2001:db8::7[443]`, without port `192.0.2.7`. One in another routing
/// domain follows its number: `(13) 192.0.2.7:443`.
fn end(side: &str) -> Option<(IpAddr, Option<u16>)> {
    side.split_whitespace().find_map(|word| {
        let ipv6 = word.strip_suffix(']').and_then(|word| word.split_once('['));
        let (address, port) = match ipv6 {
            Some((address, port)) => (address, Some(port)),
            None if word.matches(':').count() == 1 => word.split_once(':').map(|(a, p)| (a, Some(p)))?,
            None => (word, None),
        };
        let address = address.split_once('%').map_or(address, |(address, _scope)| address);
        Some((address.parse().ok()?, port.and_then(|port| port.parse().ok())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(line: &str) -> String {
        let state = parse(line).unwrap();
        let State { dev, protocol, local, remote, remote_port, is_outgoing } = state;
        let arrow = if is_outgoing { "->" } else { "<-" };
        format!("{dev} {protocol} {local} {arrow} {remote} {remote_port:?}")
    }

    /// As print_state() of OpenBSD's and FreeBSD's pfctl(8) writes them.
    #[test]
    fn states_have_two_ends() {
        for (line, wanted) in [
            (
                "all tcp 198.51.100.2:4711 -> 192.0.2.7:443       ESTABLISHED:ESTABLISHED",
                "all tcp 198.51.100.2 -> 192.0.2.7 Some(443)",
            ),
            (
                "em0 udp 203.0.113.2:50000 (10.0.0.5:1234) -> 192.0.2.7:53       MULTIPLE:SINGLE",
                "em0 udp 203.0.113.2 -> 192.0.2.7 Some(53)",
            ),
            (
                "all gre 198.51.100.2 -> 192.0.2.1       MULTIPLE:MULTIPLE",
                "all gre 198.51.100.2 -> 192.0.2.1 None",
            ),
            ("all icmp 10.77.0.100:8 <- 10.77.0.1:8       0:0", "all icmp 10.77.0.100 <- 10.77.0.1 Some(8)"),
            (
                "all tcp 2001:db8::2[22] <- fe80::1%em0[4711]       ESTABLISHED:ESTABLISHED",
                "all tcp 2001:db8::2 <- fe80::1 Some(4711)",
            ),
            (
                "all 50 (13) 192.0.2.2 -> (13) 192.0.2.7       MULTIPLE:SINGLE",
                "all 50 192.0.2.2 -> 192.0.2.7 None",
            ),
        ] {
            assert_eq!(shown(line), wanted);
        }
        assert!(parse("   age 00:00:03, expires in 00:00:10").is_none() && parse("").is_none());
    }

    proptest! {
        #[test]
        fn parser_accepts_arbitrary_text(text in "([a-z0-9:.]{0,8}|->|<-| |\\(|\\[|\\]|ä){0,24}") {
            let _state = parse(&text);
        }
    }
}
