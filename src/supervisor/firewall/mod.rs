//! Explains by this host's own firewall why packets of a tunnel do not pass.
//!
//! `nft`, `iptables` and `pf` parse listings into the rules of `rules`, `walk` finds those that can drop a packet
//! and compares counters, `words` describes one: no I/O. `reading` takes the listings. [`explain`] is for `up`
//! after a failure, and for `pptpctl doctor`.
//!
//! Nothing is read while all is well. Outgoing packets are tested after the failure: a packet of the same kind,
//! sent between two readings, is refused (EPERM) if a rule drops it, and moves the counter of that rule. For
//! incoming packets the caller takes a reading while the server still sends, and another one follows after the
//! failure.

mod iptables;
mod nft;
mod nft_rule;
mod pf;
pub mod reading;
mod rules;
mod verdict;
mod walk;
mod words;

#[cfg(test)]
mod tests;

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddrV4},
};

use self::rules::Direction;
pub use self::{
    reading::{Reading, has_room_for_a_test},
    verdict::{HELPER_NOT_LOADED, explained},
};
use crate::{net::transport, os::cgroup, platform::Platform};

/// Packets of a tunnel that do not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// TCP to the server's port.
    TcpOut,
    /// The server's answers on that connection.
    TcpIn,
    /// GRE to the server.
    GreOut,
    /// GRE from the server.
    GreIn,
}

/// The path of the packets of a dial, between this host and a server.
#[derive(Clone, Debug)]
pub struct DialPath {
    /// The server.
    pub server: SocketAddrV4,
    /// This host's address, if known.
    pub local: Option<Ipv4Addr>,
    /// The device that leads to the server, if known.
    pub dev: Option<String>,
    /// The options of the tunnel's sockets.
    pub options: transport::Options,
    /// This host's call id.
    pub call_id: u16,
}

/// How this host's firewall drops the packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What drops them: table, chain and rule if the counter of that rule moved, otherwise without the rule.
    /// Continues "dropped by", or "dropped probably by" if it is not certain.
    pub rule: String,
    /// Whether a counter moved.
    pub certain: bool,
    /// Whether it drops every packet until it is changed. A full table may have room again soon.
    pub is_lasting: bool,
    /// What helps, one command or setting each.
    pub remedies: Vec<String>,
    /// Whether a connection tracking helper for PPTP would let the packets pass.
    pub helper_would_help: bool,
    /// Whether it is the kill switch of a tunnel of ours, and not the firewall of this host.
    pub is_kill_switch: bool,
}

/// The result of [`explain`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// This host drops the packets.
    Blocked(Explanation),
    /// Nothing on this host drops them.
    Clear,
    /// It cannot be told, for this reason.
    Unknown(String),
}

impl fmt::Display for Explanation {
    /// Formats the rule, with "probably" if it is not certain.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.certain {
            f.write_str("probably ")?;
        }
        f.write_str(&self.rule)
    }
}

impl Traffic {
    const fn direction(self) -> Direction {
        match self {
            Self::TcpOut | Self::GreOut => Direction::Out,
            Self::TcpIn | Self::GreIn => Direction::In,
        }
    }

    const fn is_gre(self) -> bool {
        matches!(self, Self::GreOut | Self::GreIn)
    }
}

/// Returns whether and how this host's firewall drops this traffic. `earlier` is a reading from before the packets
/// that were dropped on their way in; without it a rule can only be probable. Needs root.
#[must_use]
pub fn explain(traffic: Traffic, path: &DialPath, earlier: Option<&Reading>) -> Finding {
    match traffic.direction() {
        Direction::Out => explain_outgoing(traffic, path),
        Direction::In => explain_incoming(traffic, path, earlier),
    }
}

fn explain_outgoing(traffic: Traffic, path: &DialPath) -> Finding {
    let first = Reading::take();
    let packet = words::packet(traffic, path, first.has_helper);
    let suspects = walk::suspects(&first.tables, &packet);
    let programs = cgroup::programs_for_sending();
    // A SYN that may be answered is not sent without need.
    if traffic == Traffic::TcpOut
        && suspects.is_empty()
        && first.problems.is_empty()
        && !first.is_full()
        && programs.unwrap_or(0) == 0
    {
        return Finding::Clear;
    }
    match test(traffic, path) {
        Ok(true) => return Finding::Clear,
        Ok(false) => {}
        Err(error) => return Finding::Unknown(format!("a test packet could not be sent: {error}")),
    }
    let second = Reading::take();
    if let Some(full) = full(&second) {
        return Finding::Blocked(full);
    }
    let culprit = walk::culprit(&suspects, &first.tables, &second.tables, None);
    let found =
        culprit.and_then(|culprit| words::explanation(&second.tables, &culprit, traffic, path.server));
    Finding::Blocked(match found {
        Some(mut found) => {
            if !found.certain && Platform::host() == Platform::Linux {
                found.remedies.push(other_causes(&second, programs));
            }
            found
        }
        None => not_by_a_rule(&second, programs),
    })
}

fn explain_incoming(traffic: Traffic, path: &DialPath, earlier: Option<&Reading>) -> Finding {
    let second = Reading::take();
    let packet = words::packet(traffic, path, second.has_helper);
    let suspects = walk::suspects(&second.tables, &packet);
    let first = earlier.unwrap_or(&second);
    let after = second.taken.saturating_duration_since(first.taken);
    let culprit = walk::culprit(&suspects, &first.tables, &second.tables, Some(after));
    let found =
        culprit.and_then(|culprit| words::explanation(&second.tables, &culprit, traffic, path.server));
    match (found, second.problems.first()) {
        (Some(found), _) => {
            let helper_would_help = traffic == Traffic::GreIn
                && !second.has_helper
                && Platform::host() == Platform::Linux
                && ["related", "established"].iter().all(|state| {
                    let states = if *state == "related" { &["related"][..] } else { &["established"] };
                    walk::passes(&second.tables, &rules::Packet { states, ..packet.clone() })
                });
            Finding::Blocked(Explanation { helper_would_help, ..found })
        }
        (None, Some(problem)) => Finding::Unknown(problem.clone()),
        // A rule that may drop them, but has counted nothing or does not count.
        (None, None) if suspects.iter().any(|suspect| !walk::is_idle(&second.tables, suspect)) => {
            Finding::Unknown("some rules depend on more than the listing tells".to_owned())
        }
        (None, None) => Finding::Clear,
    }
}

/// Sends one packet of this kind; returns whether the kernel lets it pass.
fn test(traffic: Traffic, path: &DialPath) -> io::Result<bool> {
    if traffic.is_gre() {
        transport::send_test_gre(*path.server.ip(), &path.options)
    } else {
        transport::send_test_syn(path.server, &path.options)
    }
}

/// Returns the explanation of a host whose connection tracking table is full: it drops every new connection.
fn full(reading: &Reading) -> Option<Explanation> {
    let (count, most) = reading.connections.filter(|_| reading.is_full())?;
    Some(Explanation {
        rule: format!("the connection tracking table, which is full ({count} of {most} entries)"),
        certain: false,
        is_lasting: false,
        remedies: vec![format!(
            "sysctl net.netfilter.nf_conntrack_max={}",
            most.max(count).saturating_mul(2)
        )],
        helper_would_help: false,
        is_kill_switch: false,
    })
}

/// Returns what else refuses packets with the same error as a rule, and what was seen of it: for a rule whose counter
/// does not show that it was the one.
fn other_causes(reading: &Reading, programs: Option<u32>) -> String {
    let programs = match programs {
        Some(0) => "none filters what this process sends".to_owned(),
        Some(count) => format!("number of those that filter what this process sends: {count}"),
        None => "`bpftool cgroup tree`".to_owned(),
    };
    let table = match reading.connections {
        Some((count, most)) => format!("{count} of {most} entries now"),
        None => "dmesg".to_owned(),
    };
    format!(
        "no such rule there? EPERM can also come from a cgroup program ({programs}) or a full connection tracking table ({table})"
    )
}

/// Returns the explanation of a packet that the kernel refused although no rule drops it.
fn not_by_a_rule(reading: &Reading, programs: Option<u32>) -> Explanation {
    let (rule, remedy) = match (reading.problems.first(), programs) {
        (Some(problem), _) => (
            format!("a rule that could not be read ({problem})"),
            "look for IP protocol 47 and TCP port 1723 in the rules of this host",
        ),
        (None, Some(count @ 1..)) => (
            format!(
                "a cgroup program (number of those that filter what this process sends: {count}), as no rule of nftables or iptables drops it"
            ),
            "systemd attaches such programs: look for IPAddressDeny= and IPEgressFilterPath= in `systemctl show UNIT`, and at `bpftool cgroup tree`",
        ),
        (None, _) => (
            "something that is neither a rule of the firewall nor a full connection tracking table"
                .to_owned(),
            "a cgroup program or a security module can do this: `bpftool cgroup tree`, dmesg",
        ),
    };
    Explanation {
        rule,
        certain: false,
        is_lasting: true,
        remedies: vec![remedy.to_owned()],
        helper_would_help: false,
        is_kill_switch: false,
    }
}
