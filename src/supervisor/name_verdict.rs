//! Explains a lookup that failed: the nameservers, the interfaces that lead to them, and their answers. No I/O.

use std::net::{IpAddr, Ipv4Addr};

use crate::{
    engine::resolver::name_check::{Outcome, RESOLV_CONF, Report, ServerReport},
    failure::{Failure, FailureKind, Phase},
    net::sanitize::is_host,
};

/// Response codes of RFC 1035 §4.1.1.
const SERVFAIL: u8 = 2;
const NXDOMAIN: u8 = 3;
const REFUSED: u8 = 5;

/// The hint that avoids all resolvers.
const LITERAL: &str = "an address in the profile needs no resolver: server = [\"NAME\", \"203.0.113.9\"]";

/// Returns the failure of a lookup. `words` is the C library's error; `interface` finds the interface of one of
/// this host's addresses.
#[must_use]
pub fn explain(
    name: &str,
    words: &str,
    report: &Report,
    unreadable: &[String],
    interface: impl Fn(IpAddr) -> Option<String>,
) -> Failure {
    let mut observed: Vec<String> =
        report.servers.iter().map(|server| observation(server, &interface)).collect();
    if report.servers.is_empty() {
        observed.push(match unreadable.iter().any(|file| file == RESOLV_CONF) {
            true => format!("the resolver process may not read {RESOLV_CONF}"),
            false => format!("{RESOLV_CONF} names no nameserver"),
        });
    }
    let detail = format!("{name}: {words}; asked directly: {}", observed.join(", "));
    let hints = hints(report).into_iter().chain(super::unreadable::notes(unreadable));
    let failure = Failure::new(Phase::Resolve, FailureKind::NameNotResolved, detail);
    hints.chain([LITERAL.to_owned()]).fold(failure, Failure::hint)
}

/// Returns the description of one nameserver's result.
fn observation(server: &ServerReport, interface: &impl Fn(IpAddr) -> Option<String>) -> String {
    let over = server.from.and_then(interface).map_or_else(String::new, |device| format!(" over {device}"));
    let stub = if is_resolved_stub(server.address) { " (systemd-resolved)" } else { "" };
    let did = match &server.outcome {
        Outcome::Silent => "does not answer".to_owned(),
        Outcome::Refused => "refuses the query".to_owned(),
        Outcome::NoRoute => "cannot be reached: there is no route to it".to_owned(),
        Outcome::Code(NXDOMAIN) => "says that there is no such name (NXDOMAIN)".to_owned(),
        Outcome::Code(SERVFAIL) => "could not find out (SERVFAIL)".to_owned(),
        Outcome::Code(REFUSED) => "does not serve this host (REFUSED)".to_owned(),
        Outcome::Code(code) => format!("answers with error {code}"),
        Outcome::Found { ipv4, ipv6 } => match (ipv4.as_slice(), ipv6.as_slice()) {
            ([], []) => "knows the name, but no address of it".to_owned(),
            ([], [first, ..]) => format!("has IPv6 addresses only ({first})"),
            ([first, ..], _) if is_blocked(*first) => format!("says {first}, which is no server's address"),
            ([first, ..], _) => format!("says {first}"),
        },
    };
    format!("nameserver {}{stub}{over} {did}", server.address)
}

/// Returns the next steps, by the most significant result: an answer precedes silence.
fn hints(report: &Report) -> Vec<String> {
    let of = |wanted: &dyn Fn(&Outcome) -> bool| report.servers.iter().find(|server| wanted(&server.outcome));
    let blocked = |outcome: &Outcome| matches!(outcome, Outcome::Found { ipv4, .. } if ipv4.iter().any(|a| is_blocked(*a)));
    let only_ipv6 = |outcome: &Outcome| matches!(outcome, Outcome::Found { ipv4, ipv6 } if ipv4.is_empty() && !ipv6.is_empty());
    let mut hints = Vec::new();
    if report.servers.is_empty() {
        hints.push(format!(
            "is a network connected? Whatever configures it (DHCP, NetworkManager) writes {RESOLV_CONF}"
        ));
    } else if of(&blocked).is_some() {
        hints.push("a DNS blocker, or a captive portal before its login, answers for this name".to_owned());
    } else if of(&only_ipv6).is_some() {
        hints.push("PPTP exists over IPv4 only: the server needs an IPv4 address".to_owned());
    } else if of(&|outcome| matches!(outcome, Outcome::Found { ipv4, .. } if !ipv4.is_empty())).is_some() {
        hints.push("the nameserver has the address, but libc did not get it: see /etc/nsswitch.conf, `getent ahostsv4 NAME`".to_owned());
    } else if of(&|outcome| *outcome == Outcome::Code(NXDOMAIN)).is_some() {
        hints.push(
            "is the name right, and is it known outside the network that the tunnel leads to?".to_owned(),
        );
    } else if of(&|outcome| matches!(outcome, Outcome::Code(_))).is_some() {
        hints.push("the nameserver runs, but not what it asks itself: has this network an uplink, is there a web login?".to_owned());
    } else if let Some(server) = of(&|outcome| *outcome == Outcome::Refused) {
        hints.push(if server.address.is_loopback() {
            format!("does the resolver of this host run? {}", local_service(server.address))
        } else {
            "no DNS server runs there, or a firewall refuses port 53: is this still the right network's nameserver?".to_owned()
        });
    } else if of(&|outcome| *outcome == Outcome::Silent).is_some() {
        hints.push(
            "the nameserver is dead, or this network drops DNS: does it want a web login first?".to_owned(),
        );
    } else {
        hints.push(format!("is a network connected? {RESOLV_CONF} may be that of an earlier one"));
    }
    if report.nat64 {
        hints.push(
            "this network has NAT64 (ipv4only.arpa has an IPv6 address): NAT64 does not carry GRE, so PPTP needs a \
             network with IPv4 of its own"
                .to_owned(),
        );
    }
    hints
}

fn local_service(address: IpAddr) -> &'static str {
    if is_resolved_stub(address) {
        "(systemctl status systemd-resolved)"
    } else {
        "(dnsmasq, unbound, systemd-resolved)"
    }
}

/// Returns whether this is an address at which systemd-resolved(8) listens.
fn is_resolved_stub(address: IpAddr) -> bool {
    [IpAddr::from([127, 0, 0, 53]), IpAddr::from([127, 0, 0, 54])].contains(&address)
}

/// Returns whether this address cannot be a server's, so that the nameserver's answer is false.
#[must_use]
pub fn is_blocked(address: Ipv4Addr) -> bool {
    !is_host(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outcomes: &[Outcome]) -> Report {
        let server = |(at, outcome): (u8, &Outcome)| ServerReport {
            address: IpAddr::from([192, 0, 2, at]),
            from: Some(IpAddr::from([192, 0, 2, 100])),
            outcome: outcome.clone(),
        };
        Report { servers: (1..).zip(outcomes).map(server).collect(), nat64: false }
    }

    fn found(ipv4: &[[u8; 4]], ipv6: usize) -> Outcome {
        let ipv4 = ipv4.iter().map(|octets| Ipv4Addr::from(*octets)).collect();
        Outcome::Found { ipv4, ipv6: vec![[0x20; 16].into(); ipv6] }
    }

    fn verdict(report: &Report) -> (String, String) {
        let device = |_| Some("wlan0".to_owned());
        let failure = explain("vpn.example", "Try again", report, &[], device);
        assert_eq!(failure.kind, FailureKind::NameNotResolved);
        assert!(failure.detail.starts_with("vpn.example: Try again; asked directly: "), "{}", failure.detail);
        assert_eq!(failure.hints.last().unwrap(), LITERAL);
        (failure.detail, failure.hints[0].clone())
    }

    #[test]
    fn each_answer_has_its_own_verdict() {
        let cases = [
            (Outcome::Silent, "192.0.2.1 over wlan0 does not answer", "is dead, or this network drops DNS"),
            (Outcome::Refused, "refuses the query", "no DNS server runs there"),
            (Outcome::NoRoute, "there is no route to it", "that of an earlier one"),
            (Outcome::Code(3), "no such name (NXDOMAIN)", "is the name right"),
            (Outcome::Code(2), "could not find out (SERVFAIL)", "has this network an uplink"),
            (Outcome::Code(5), "(REFUSED)", "has this network an uplink"),
            (Outcome::Code(9), "error 9", "has this network an uplink"),
            (found(&[], 0), "no address of it", "that of an earlier one"),
            (found(&[], 1), "IPv6 addresses only (2020:", "IPv4 only"),
            (found(&[[0, 0, 0, 0]], 0), "says 0.0.0.0, which is no server's", "DNS blocker"),
            (found(&[[127, 0, 0, 1]], 0), "says 127.0.0.1, which is no server's", "DNS blocker"),
            (found(&[[192, 0, 2, 9]], 1), "says 192.0.2.9", "nsswitch.conf"),
        ];
        let mut seen = Vec::new();
        for (outcome, observed, hint) in cases {
            let (detail, first) = verdict(&report(std::slice::from_ref(&outcome)));
            assert!(detail.contains(observed), "{outcome:?}: {detail}");
            assert!(first.contains(hint), "{outcome:?}: {first}");
            assert!(!seen.contains(&detail), "{detail}");
            seen.push(detail);
        }
    }

    #[test]
    fn every_nameserver_is_named_and_the_best_answer_decides() {
        let (detail, first) = verdict(&report(&[Outcome::Silent, Outcome::Code(3)]));
        assert!(detail.contains("192.0.2.1 over wlan0 does not") && detail.contains("192.0.2.2"), "{detail}");
        assert!(first.contains("is the name right"), "{first}");
        let mut stub = report(&[Outcome::Refused]);
        stub.servers[0].address = IpAddr::from([127, 0, 0, 53]);
        let (detail, first) = verdict(&stub);
        assert!(detail.contains("127.0.0.53 (systemd-resolved) over wlan0 refuses"), "{detail}");
        assert!(first.contains("systemctl status systemd-resolved"), "{first}");
    }

    #[test]
    fn missing_nameserver_nat64_and_unreadable_files_are_told() {
        let (detail, first) = verdict(&Report::default());
        assert!(detail.contains("/etc/resolv.conf names no nameserver"), "{detail}");
        assert!(first.contains("is a network connected"), "{first}");
        let files = [RESOLV_CONF.to_owned()];
        let failure = explain("x", "y", &Report { nat64: true, ..Report::default() }, &files, |_| None);
        assert!(failure.detail.contains("may not read /etc/resolv.conf"), "{}", failure.detail);
        assert!(failure.hints.iter().any(|hint| hint.contains("NAT64 does not carry GRE")));
        assert!(failure.hints.iter().any(|hint| hint.contains("may not read /etc/resolv.conf: ")));
    }
}
