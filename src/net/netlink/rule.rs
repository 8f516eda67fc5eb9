//! Rules of policy routing: list, add, delete; the codec between [`Rule`] and rtnetlink.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL, Nla};
use netlink_packet_route::{
    AddressFamily, IpProtocol,
    rule::{RuleAction, RuleAttribute, RuleFlags, RuleHeader, RuleMessage, RulePortRange},
};

use super::{Error, Netlink, message::Message, socket::Undecoded};
use crate::net::rules::Rule;

/// `FRA_SUPPRESS_PREFIXLEN` of a rule that suppresses no routes: -1.
const NO_SUPPRESSION: u32 = u32::MAX;
/// A mask of all bits of the mark, the kernel's default if a rule gives no mask.
const ALL_MARK_BITS: u32 = u32::MAX;

/// The input interface of packets that this host sends itself.
const LOOPBACK: &str = "lo";

/// `FRA_DPORT_MASK`.
const PORT_MASK: u16 = 29;

impl Netlink {
    /// Lists the rules of a family in the order in which the kernel evaluates them.
    ///
    /// # Errors
    /// Returns an error if the dump fails or a rule cannot be decoded.
    pub fn rules(&mut self, ipv6: bool) -> Result<Vec<Rule>, Error> {
        let mut message = RuleMessage::default();
        message.header.family = family(ipv6);
        self.dump("list rules", &Message::GetRule(message), |rules, answer| {
            match answer {
                Ok(Message::NewRule(message)) if message.header.family == family(ipv6) => {
                    rules.push(read(&message));
                }
                Err(Undecoded { why, .. }) => return Err(Error::other("list rules", why)),
                Ok(_) => {}
            }
            Ok(())
        })
    }

    /// Adds a rule.
    ///
    /// # Errors
    /// Returns EEXIST if the rule exists, EINVAL if the kernel does not support `ipproto` and `dport` (before
    /// 4.17), EPERM.
    pub fn add_rule(&mut self, rule: &Rule) -> Result<(), Error> {
        let request = Message::NewRule(write(rule));
        self.change(&format!("add rule {rule}"), request, NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Deletes a rule.
    ///
    /// # Errors
    /// Returns ENOENT if there is no such rule, EPERM.
    pub fn delete_rule(&mut self, rule: &Rule) -> Result<(), Error> {
        self.change(&format!("delete rule {rule}"), Message::DelRule(write(rule)), 0)
    }
}

pub(super) fn write(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header = RuleHeader {
        family: family(rule.ipv6),
        dst_len: rule.to.map_or(0, |to| to.prefix_len()),
        // Numbers above 255 fit only the attribute; the header then has RT_TABLE_UNSPEC.
        table: u8::try_from(rule.table).unwrap_or(0),
        action: RuleAction::ToTable,
        flags: if rule.not { RuleFlags::Invert } else { RuleFlags::empty() },
        ..RuleHeader::default()
    };
    let attributes = &mut message.attributes;
    attributes.push(RuleAttribute::Priority(rule.priority));
    attributes.push(RuleAttribute::Table(rule.table));
    attributes.push(RuleAttribute::Protocol(rule.protocol.into()));
    attributes.extend(rule.to.map(|to| RuleAttribute::Destination(to.network())));
    if let Some(mark) = rule.mark {
        attributes.extend([RuleAttribute::FwMark(mark), RuleAttribute::FwMask(ALL_MARK_BITS)]);
    }
    if rule.of_this_host {
        attributes.push(RuleAttribute::Iifname(LOOPBACK.to_owned()));
    }
    attributes.extend(rule.ip_protocol.map(|number| RuleAttribute::IpProtocol(IpProtocol::from(number))));
    attributes.extend(
        rule.port.map(|port| RuleAttribute::DestinationPortRange(RulePortRange { start: port, end: port })),
    );
    attributes.extend(rule.suppress_prefix.map(RuleAttribute::SuppressPrefixLen));
    message
}

pub(super) fn read(message: &RuleMessage) -> Rule {
    let header = &message.header;
    let mut rule = Rule {
        not: header.flags.contains(RuleFlags::Invert),
        protocol: 0,
        unrestorable: header.action != RuleAction::ToTable
            || header.tos != 0
            || header.src_len != 0
            || header.flags.difference(RuleFlags::Invert) != RuleFlags::empty(),
        ..Rule::for_all(header.family == AddressFamily::Inet6, 0, u32::from(header.table))
    };
    let (mut mark, mut mask) = (0, 0);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(priority) => rule.priority = *priority,
            RuleAttribute::Table(table) => rule.table = *table,
            RuleAttribute::Protocol(protocol) => rule.protocol = u8::from(*protocol),
            RuleAttribute::Destination(to) => rule.to = destination(*to, header.dst_len),
            RuleAttribute::FwMark(number) => mark = *number,
            RuleAttribute::FwMask(number) => mask = *number,
            RuleAttribute::Iifname(name) if name == LOOPBACK => rule.of_this_host = true,
            RuleAttribute::IpProtocol(protocol) => rule.ip_protocol = Some(u8::from(*protocol)),
            RuleAttribute::DestinationPortRange(range) if range.start == range.end => {
                rule.port = Some(range.start);
            }
            RuleAttribute::SuppressPrefixLen(NO_SUPPRESSION) => {}
            RuleAttribute::SuppressPrefixLen(length) => rule.suppress_prefix = Some(*length),
            // -1 means no group; the kernel reports it for every rule.
            RuleAttribute::SuppressIfGroup(u32::MAX) => {}
            // A mask of all bits, which kernels since 6.15 report for every rule with a port.
            RuleAttribute::Other(other) if other.kind() == PORT_MASK && is_all_ones(other) => {}
            _ => rule.unrestorable = true,
        }
    }
    match mask {
        0 => {}
        ALL_MARK_BITS => rule.mark = Some(mark),
        _ => {
            rule.mark = Some(mark);
            rule.unrestorable = true;
        }
    }
    rule
}

fn is_all_ones(mask: &DefaultNla) -> bool {
    let mut value = vec![0; mask.value_len()];
    mask.emit_value(&mut value);
    value.iter().all(|byte| *byte == u8::MAX)
}

fn destination(address: IpAddr, length: u8) -> Option<IpNet> {
    IpNet::new(address, length).ok()
}

const fn family(ipv6: bool) -> AddressFamily {
    if ipv6 { AddressFamily::Inet6 } else { AddressFamily::Inet }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rule_round_trips_through_netlink_message(rule in rules()) {
            prop_assert_eq!(read(&write(&rule)), rule);
        }
    }

    fn rules() -> impl Strategy<Value = Rule> {
        let attributes = any::<(bool, u32, u32, u8, bool, bool)>();
        let selectors = (
            proptest::option::of(any::<u32>()),
            proptest::option::of((any::<u128>(), 0_u8..=32)),
            proptest::option::of(any::<u8>()),
            proptest::option::of(any::<u16>()),
            proptest::option::of(0_u32..129),
        );
        (attributes, selectors).prop_map(
            |((ipv6, priority, table, protocol, not, of_this_host), selectors)| {
                let (mark, to, ip_protocol, port, suppress_prefix) = selectors;
                let to = to.map(|(bits, length)| {
                    let address = if ipv6 {
                        IpAddr::V6(bits.into())
                    } else {
                        IpAddr::V4(u32::try_from(bits >> 96).unwrap().into())
                    };
                    IpNet::new(address, length).unwrap().trunc()
                });
                let unrestorable = false;
                Rule {
                    ipv6,
                    priority,
                    not,
                    mark,
                    to,
                    ip_protocol,
                    port,
                    of_this_host,
                    suppress_prefix,
                    table,
                    protocol,
                    unrestorable,
                }
            },
        )
    }
}
