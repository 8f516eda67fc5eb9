//! Finds the reason why a name was not resolved: queries each nameserver of resolv.conf(5), in the unprivileged resolver
//! process.
//!
//! getaddrinfo(3) reports only that it failed. It may also use other sources than these nameservers
//! (nsswitch.conf(5)), so the report is a separate observation.

use std::{
    fs::File,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::fd::AsFd,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::dns_query::{self, RecordType, Reply};
use crate::{
    os::wait::{self, Interest},
    platform::Platform,
};

/// How long the nameservers may take to answer. One that needs longer is of no use to getaddrinfo(3) either.
const LIMIT: Duration = Duration::from_secs(2);

/// The most nameservers that are queried: libc uses no more than three.
const MAX_SERVERS: usize = 3;

/// The most addresses of a kind in a report.
const MAX_ADDRESSES: usize = 4;

/// The file with the nameservers of this host.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The files that getaddrinfo(3) reads on this platform. It ignores those that it may not read, without an error.
pub const FILES: &[&str] = files(Platform::host());

/// Returns the files that getaddrinfo(3) reads. No other may be opened: OpenBSD's kernel kills a process with the
/// promise "dns" that opens one.
const fn files(platform: Platform) -> &'static [&'static str] {
    match platform {
        Platform::Linux => {
            &["/etc/hosts", RESOLV_CONF, "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/host.conf"]
        }
        Platform::FreeBsd | Platform::NetBsd => &["/etc/hosts", RESOLV_CONF, "/etc/nsswitch.conf"],
        Platform::OpenBsd => &["/etc/hosts", RESOLV_CONF],
    }
}

/// A name with an IPv6 address only where NAT64 is in use (RFC 7050).
const NAT64_NAME: &str = "ipv4only.arpa";

/// How long its answer is waited for after those about the name itself.
const NAT64_LIMIT: Duration = Duration::from_millis(300);

/// The result of the queries about a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Report {
    /// The nameservers of resolv.conf(5), in its order; none if it has none or cannot be read.
    pub servers: Vec<ServerReport>,
    /// Whether a nameserver has an IPv6 address for [`NAT64_NAME`].
    pub nat64: bool,
}

/// The result of the queries to one nameserver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ServerReport {
    /// Its address.
    pub address: IpAddr,
    /// The source address of the queries, which identifies the interface; `None` if there is no route.
    pub from: Option<IpAddr>,
    /// Its answer.
    pub outcome: Outcome,
}

/// The answer of a nameserver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Outcome {
    /// The addresses of the name; may be empty.
    Found {
        /// IPv4 addresses.
        ipv4: Vec<Ipv4Addr>,
        /// IPv6 addresses.
        ipv6: Vec<Ipv6Addr>,
    },
    /// A response code other than 0.
    Code(u8),
    /// The query was refused: ICMP, or this host's firewall.
    Refused,
    /// There is no route to it.
    NoRoute,
    /// No answer within the limit.
    Silent,
}

impl Report {
    /// Parses the child's report, which is untrusted.
    ///
    /// # Errors
    /// Returns the reason if it is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut report: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        report.servers.truncate(MAX_SERVERS);
        for server in &mut report.servers {
            if let Outcome::Found { ipv4, ipv6 } = &mut server.outcome {
                ipv4.truncate(MAX_ADDRESSES);
                ipv6.truncate(MAX_ADDRESSES);
            }
        }
        Ok(report)
    }
}

/// Returns the files of [`FILES`] that this process may not read.
#[must_use]
pub fn unreadable() -> Vec<String> {
    let refused = |path: &&str| File::open(path).is_err_and(|e| e.kind() == io::ErrorKind::PermissionDenied);
    FILES.iter().copied().filter(refused).map(str::to_owned).collect()
}

/// Returns the nameservers in the text of a resolv.conf(5), without scopes of IPv6 addresses.
#[must_use]
pub fn nameservers(text: &str) -> Vec<IpAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        let address = words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())?;
        address.split('%').next()?.parse().ok()
    };
    text.lines().filter_map(server).take(MAX_SERVERS).collect()
}

/// Queries the nameservers of this host for a name.
#[must_use]
pub fn check(name: &str) -> Report {
    let text = std::fs::read_to_string(RESOLV_CONF).unwrap_or_default();
    check_at(name, &nameservers(&text), LIMIT)
}

/// The queries to one nameserver.
struct Inquiry {
    address: IpAddr,
    socket: Result<UdpSocket, Outcome>,
    /// Those about the name, IPv4 and IPv6, and that about NAT64.
    replies: [Option<Reply>; 3],
    refused: bool,
}

fn check_at(name: &str, servers: &[IpAddr], limit: Duration) -> Report {
    let mut deadline = Instant::now() + limit;
    let mut asked: Vec<Inquiry> = servers.iter().map(|address| Inquiry::start(*address, name)).collect();
    let mut is_complete = false;
    while asked.iter().any(Inquiry::is_open) {
        if !is_complete && !asked.iter().any(Inquiry::is_pending) {
            // The answer about NAT64 may come last, or never.
            is_complete = true;
            deadline = deadline.min(Instant::now() + NAT64_LIMIT);
        }
        let fds: Vec<_> = asked
            .iter()
            .filter(|inquiry| inquiry.is_open())
            .filter_map(|inquiry| Some((inquiry.socket.as_ref().ok()?.as_fd(), Interest::Readable)))
            .collect();
        if Instant::now() >= deadline || wait::any(&fds, Some(deadline)).is_err() {
            break;
        }
        asked.iter_mut().for_each(Inquiry::receive);
    }
    let nat64 = asked.iter().any(Inquiry::has_nat64);
    Report { servers: asked.into_iter().map(Inquiry::report).collect(), nat64 }
}

impl Inquiry {
    fn start(address: IpAddr, name: &str) -> Self {
        let socket = connect(address).map_err(|error| match error.kind() {
            io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => Outcome::NoRoute,
            _ => Outcome::Refused,
        });
        let mut inquiry = Self { address, socket, replies: [const { None }; 3], refused: false };
        for (id, name, kind) in Self::questions(name) {
            if let (Ok(socket), Some(query)) = (&inquiry.socket, dns_query::query(id, name, kind)) {
                // The kernel reports the ICMP error of an earlier query here or on reading.
                inquiry.refused |= socket.send(&query).is_err_and(|error| is_refusal(&error));
            }
        }
        inquiry
    }

    /// Returns the queries. The socket is connected and its port random, so the ids only have to differ.
    fn questions(name: &str) -> [(u16, &str, RecordType); 3] {
        let base = u16::try_from(std::process::id() & 0x7fff).unwrap_or(0);
        [
            (base, name, RecordType::A),
            (base + 1, name, RecordType::Aaaa),
            (base + 2, NAT64_NAME, RecordType::Aaaa),
        ]
    }

    /// Returns whether an answer about the name is still to come.
    fn is_pending(&self) -> bool {
        let [ipv4, ipv6, _] = &self.replies;
        self.socket.is_ok() && !self.refused && (ipv4.is_none() || ipv6.is_none())
    }

    /// Returns whether any answer is still to come.
    fn is_open(&self) -> bool {
        self.socket.is_ok() && !self.refused && self.replies.iter().any(Option::is_none)
    }

    fn receive(&mut self) {
        let Ok(socket) = &self.socket else { return };
        let mut bytes = [0; 1500];
        loop {
            match socket.recv(&mut bytes) {
                Ok(size) => {
                    for ((id, ..), place) in Self::questions("").into_iter().zip(&mut self.replies) {
                        let reply = bytes.get(..size).and_then(|bytes| dns_query::parse(bytes, id));
                        *place = place.take().or(reply);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.refused = true;
                    return;
                }
            }
        }
    }

    fn has_nat64(&self) -> bool {
        let [.., nat64] = &self.replies;
        nat64.as_ref().is_some_and(|reply| reply.addresses.iter().any(IpAddr::is_ipv6))
    }

    fn report(self) -> ServerReport {
        let from = self.socket.as_ref().ok().and_then(|socket| Some(socket.local_addr().ok()?.ip()));
        let [ipv4, ipv6, _] = self.replies;
        let outcome = match (self.socket, ipv4) {
            (Err(outcome), _) => outcome,
            (Ok(_), None) if self.refused => Outcome::Refused,
            (Ok(_), None) => Outcome::Silent,
            (Ok(_), Some(reply)) if reply.code != 0 => Outcome::Code(reply.code),
            (Ok(_), Some(reply)) => {
                let also = ipv6.map(|reply| reply.addresses).unwrap_or_default();
                let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
                for address in reply.addresses.into_iter().chain(also) {
                    match address {
                        IpAddr::V4(address) => ipv4.push(address),
                        IpAddr::V6(address) => ipv6.push(address),
                    }
                }
                Outcome::Found { ipv4, ipv6 }
            }
        };
        ServerReport { address: self.address, from, outcome }
    }
}

fn connect(address: IpAddr) -> io::Result<UdpSocket> {
    let any: IpAddr =
        if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.set_nonblocking(true)?;
    socket.connect(SocketAddr::new(address, 53))?;
    Ok(socket)
}

fn is_refusal(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On OpenBSD those that the kernel's pledge(2) permits with "dns", without the unneeded /etc/services and
    /// /etc/protocols; an attempt to open another one kills the process.
    #[test]
    fn openbsds_resolver_opens_no_other_file() {
        assert_eq!(files(Platform::OpenBsd), ["/etc/hosts", "/etc/resolv.conf"]);
        for platform in Platform::ALL {
            assert!(files(platform).contains(&RESOLV_CONF), "{platform:?}");
        }
    }

    #[test]
    fn nameservers_are_read_as_libc_reads_them() {
        let text = "# nameserver 192.0.2.9\nsearch lan\n nameserver 192.0.2.1 # first\nnameserver fe80::1%eth0\n\
                    nameserver nonsense\nnameserver\t2001:db8::53\nnameserver 192.0.2.4\noptions nameserver\n";
        let found: Vec<String> = nameservers(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.1", "fe80::1", "2001:db8::53"]);
        assert!(nameservers("").is_empty());
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_text_has_at_most_three_nameservers(
            text in "(nameserver|[ \\t\\r\\n%:.#]|[0-9a-f]{1,4}|é){0,60}",
            bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
        ) {
            proptest::prop_assert!(nameservers(&text).len() <= MAX_SERVERS);
            let _no_panic = Report::parse(&bytes);
        }
    }

    #[test]
    fn untrusted_reports_are_bounded() {
        let server = ServerReport {
            address: IpAddr::from([192, 0, 2, 1]),
            from: None,
            outcome: Outcome::Found { ipv4: vec![Ipv4Addr::LOCALHOST; 100], ipv6: Vec::new() },
        };
        let report = Report { servers: vec![server; 100], nat64: true };
        let parsed = Report::parse(&serde_json::to_vec(&report).unwrap()).unwrap();
        assert_eq!(parsed.servers.len(), MAX_SERVERS);
        let first = &parsed.servers[0].outcome;
        assert!(matches!(first, Outcome::Found { ipv4, .. } if ipv4.len() == MAX_ADDRESSES));
        assert!(Report::parse(b"{\"servers\":[{}]}").is_err());
    }

    #[test]
    fn absent_nameserver_refuses() {
        // Nothing listens on port 53 of this address.
        let absent = IpAddr::from([127, 83, 1, 9]);
        let report = check_at("vpn.example", &[absent], Duration::from_secs(20));
        assert_eq!(report.servers[0].outcome, Outcome::Refused);
        assert!(report.servers[0].from.is_some_and(|from| from.is_loopback()));
        assert_eq!(check_at("vpn.example", &[], LIMIT), Report::default());
    }
}
