//! Routes: lookup, list, add, delete; the codec between [`Route`] and rtnetlink.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{DefaultNla, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::{
    AddressFamily,
    route::{
        RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteNextHop,
        RouteNextHopFlags, RoutePreference, RouteRealm, RouteScope, RouteType, RouteVia,
    },
};

use nix::errno::Errno;

use super::{Error, Netlink, message::Message, names::Names, socket::Undecoded};
use crate::net::routes::{Filter, Hop, Insert, Kind, Route, RouteTo};

/// `RTA_IP_PROTO`.
const RTA_IP_PROTO: u16 = 27;
/// IP protocol numbers.
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

impl Netlink {
    /// Looks up the route for a packet to `to` (RTM_GETROUTE), from `source` and with `mark` if given.
    ///
    /// # Errors
    /// Returns ENETUNREACH or EHOSTUNREACH if there is no route.
    pub fn route_to(
        &mut self,
        to: IpAddr,
        source: Option<IpAddr>,
        mark: Option<u32>,
    ) -> Result<RouteTo, Error> {
        let mut selectors = Vec::new();
        selectors.extend(source.map(|source| RouteAttribute::Source(source.into())));
        selectors.extend(mark.map(RouteAttribute::Mark));
        self.look_up(to, source, selectors)
    }

    /// Looks up the route for an echo request.
    ///
    /// # Errors
    /// As [`Netlink::route_to`].
    pub fn route_of_ping(&mut self, to: IpAddr) -> Result<RouteTo, Error> {
        let protocol = DefaultNla::new(RTA_IP_PROTO, vec![if to.is_ipv6() { ICMPV6 } else { ICMP }]);
        self.look_up(to, None, vec![RouteAttribute::Other(protocol)])
    }

    fn look_up(
        &mut self,
        to: IpAddr,
        source: Option<IpAddr>,
        selectors: Vec<RouteAttribute>,
    ) -> Result<RouteTo, Error> {
        let mut names = self.names();
        let mut message = RouteMessage::default();
        message.header.address_family = family(to);
        message.header.destination_prefix_length = host_bits(to);
        message.attributes.push(RouteAttribute::Destination(to.into()));
        message.header.source_prefix_length = source.map_or(0, host_bits);
        message.attributes.extend(selectors);
        let what = format!("look up the route to {to}");
        let mut found = None;
        self.query(&what, Message::GetRoute(message), &mut |answer| {
            if let Ok(Message::NewRoute(message)) = answer {
                found = read_route_to(&message, &mut names, source);
            }
            Ok(())
        })?;
        found.ok_or_else(|| Error::errno(what, Errno::ENETUNREACH))
    }

    /// Lists the routes that match, in the kernel's order.
    ///
    /// # Errors
    /// Returns an error if the dump fails, or if a route that may be to the filter's destination cannot be
    /// decoded.
    pub fn routes(&mut self, filter: &Filter) -> Result<Vec<Route>, Error> {
        // Without a destination in the filter, routes that cannot be decoded are skipped.
        self.list_routes(filter, |payload| could_match(filter, payload))
    }

    /// Lists all routes of one table.
    ///
    /// # Errors
    /// Returns an error if the dump fails or a route cannot be decoded.
    pub fn table(&mut self, ipv6: bool, table: u32) -> Result<Vec<Route>, Error> {
        self.list_routes(&Filter { ipv6, table: Some(table), dest: None }, |_| true)
    }

    fn list_routes(
        &mut self,
        filter: &Filter,
        is_needed: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<Route>, Error> {
        let mut names = self.names();
        let mut message = RouteMessage::default();
        message.header.address_family = if filter.ipv6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
        if let Some(table) = filter.table {
            set_table(&mut message, table);
        }
        let request = Message::GetRoute(message);
        let found = self.dump("list routes", &request, |routes, answer| {
            match answer {
                // RTM_F_CLONED marks entries of the route cache (learned path MTUs), not routes.
                Ok(Message::NewRoute(message)) if !message.header.flags.contains(RouteFlags::Cloned) => {
                    routes.extend(read(&message, &mut names).filter(|route| matches(filter, route)));
                }
                Err(Undecoded { payload, why }) if is_needed(payload) => {
                    return Err(Error::other("list routes", why));
                }
                _ => {}
            }
            Ok(())
        });
        match found {
            // A table that never had a route does not exist.
            Err(error) if filter.table.is_some() && error.errno == Some(Errno::ENOENT) => Ok(Vec::new()),
            found => found,
        }
    }

    /// Adds a route to its table.
    ///
    /// # Errors
    /// Returns EEXIST for [`Insert::New`] if a route has the key, ENETUNREACH if the gateway is not on-link,
    /// ENODEV, EPERM.
    pub fn add_route(&mut self, route: &Route, insert: Insert) -> Result<(), Error> {
        let message = self.route_message(route)?;
        let flags = match insert {
            Insert::New => NLM_F_CREATE | NLM_F_EXCL,
            Insert::Replace => NLM_F_CREATE | NLM_F_REPLACE,
            Insert::Append => NLM_F_CREATE | NLM_F_APPEND,
        };
        self.change(&format!("add route {route}"), Message::NewRoute(message), flags)
    }

    /// Deletes exactly this route.
    ///
    /// # Errors
    /// Returns ESRCH if there is no such route, EPERM.
    pub fn delete_route(&mut self, route: &Route) -> Result<(), Error> {
        let message = self.route_message(route)?;
        self.change(&format!("delete route {route}"), Message::DelRoute(message), 0)
    }

    fn route_message(&mut self, route: &Route) -> Result<RouteMessage, Error> {
        if let Some(reason) = route.unrestorable.first() {
            return Err(Error::other(format!("write route {route}"), format!("it has {reason}")));
        }
        let mut indices = Vec::with_capacity(route.hops.len());
        for hop in &route.hops {
            indices.push(match &hop.dev {
                Some(dev) => Some(self.index(dev)?),
                None => None,
            });
        }
        Ok(write(route, &indices))
    }
}

pub(super) fn write(route: &Route, indices: &[Option<u32>]) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: family(route.dest.addr()),
        destination_prefix_length: route.dest.prefix_len(),
        tos: route.tos,
        protocol: route.protocol.into(),
        scope: RouteScope::from(route.scope),
        kind: RouteType::from(kind_number(route.kind)),
        ..RouteHeader::default()
    };
    set_table(&mut message, route.table);
    let attributes = &mut message.attributes;
    if route.dest.prefix_len() > 0 {
        attributes.push(RouteAttribute::Destination(route.dest.network().into()));
    }
    if route.metric != 0 {
        attributes.push(RouteAttribute::Priority(route.metric));
    }
    if let Some(source) = route.source {
        attributes.push(RouteAttribute::PrefSource(source.into()));
    }
    if let [hop] = route.hops.as_slice() {
        if let Some(Some(index)) = indices.first() {
            attributes.push(RouteAttribute::Oif(*index));
        }
        attributes.extend(gateway(route, hop));
        message.header.flags.set(RouteFlags::Onlink, hop.onlink);
    } else if !route.hops.is_empty() {
        let hops = route.hops.iter().zip(indices).map(|(hop, index)| {
            let mut next = RouteNextHop::default();
            next.flags.set(RouteNextHopFlags::Onlink, hop.onlink);
            next.hops = hop.weight;
            next.interface_index = index.unwrap_or(0);
            next.attributes.extend(gateway(route, hop));
            next
        });
        attributes.push(RouteAttribute::MultiPath(hops.collect()));
    }
    if !route.metrics.is_empty() {
        attributes.push(RouteAttribute::Metrics(
            route.metrics.iter().filter_map(|(kind, value)| metric(*kind, *value)).collect(),
        ));
    }
    if let Some(preference) = route.preference {
        attributes.push(RouteAttribute::Preference(RoutePreference::from(preference)));
    }
    if let Some((source, destination)) = route.realm {
        attributes.push(RouteAttribute::Realm(RouteRealm { source, destination }));
    }
    message
}

fn gateway(route: &Route, hop: &Hop) -> Option<RouteAttribute> {
    let via = hop.via?;
    let same_family = via.is_ipv6() == matches!(route.dest, IpNet::V6(_));
    Some(if same_family {
        RouteAttribute::Gateway(via.into())
    } else {
        RouteAttribute::Via(RouteVia::from(via))
    })
}

/// Decodes a route; returns `None` for families other than IPv4 and IPv6.
pub(super) fn read(message: &RouteMessage, names: &mut Names) -> Option<Route> {
    let header = &message.header;
    let mut route = Route {
        dest: IpNet::new(unspecified(header.address_family)?, header.destination_prefix_length).ok()?,
        table: u32::from(header.table),
        metric: 0,
        tos: header.tos,
        kind: kind(header.kind),
        scope: header.scope.into(),
        protocol: header.protocol.into(),
        hops: Vec::new(),
        source: None,
        metrics: Vec::new(),
        preference: None,
        realm: None,
        label: None,
        unrestorable: Vec::new(),
    };
    if header.source_prefix_length != 0 {
        route.unrestorable.push("a source prefix".to_owned());
    }
    let mut single = Hop { via: None, dev: None, onlink: false, weight: 0 };
    single.onlink = header.flags.contains(RouteFlags::Onlink);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => {
                route.dest = IpNet::new(ip_address(address)?, header.destination_prefix_length).ok()?;
            }
            RouteAttribute::Table(table) => route.table = *table,
            RouteAttribute::Priority(metric) => route.metric = *metric,
            RouteAttribute::PrefSource(address) => route.source = ip_address(address),
            RouteAttribute::Oif(index) => single.dev = device(names, *index),
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => single.via = via(attribute),
            RouteAttribute::MultiPath(hops) => {
                for hop in hops {
                    read_hop(hop, names, &mut route);
                }
            }
            RouteAttribute::Metrics(metrics) => {
                for metric in metrics {
                    match metric_number(metric) {
                        Some(pair) => route.metrics.push(pair),
                        None => route.unrestorable.push("a metric that has no number".to_owned()),
                    }
                }
            }
            RouteAttribute::Preference(preference) => {
                route.preference = Some(u8::from(*preference)).filter(|number| *number != 0);
            }
            RouteAttribute::Realm(realm) => route.realm = Some((realm.source, realm.destination)),
            RouteAttribute::CacheInfo(info) if info.expires != 0 => {
                route.unrestorable.push("a lifetime".to_owned());
            }
            RouteAttribute::CacheInfo(_) => {}
            RouteAttribute::NhId(id) => route.unrestorable.push(format!("the next-hop object {id}")),
            RouteAttribute::Encap(_) | RouteAttribute::EncapType(_) => {
                route.unrestorable.push("an encapsulation".to_owned());
            }
            other => {
                use netlink_packet_core::Nla;
                route.unrestorable.push(format!("attribute {}", other.kind()));
            }
        }
    }
    if single.dev.is_some() || single.via.is_some() {
        route.hops.push(single);
    }
    route.unrestorable.dedup();
    Some(route)
}

fn read_hop(hop: &RouteNextHop, names: &mut Names, route: &mut Route) {
    let mut read = Hop {
        via: None,
        dev: device(names, hop.interface_index),
        onlink: hop.flags.contains(RouteNextHopFlags::Onlink),
        weight: hop.hops,
    };
    for attribute in &hop.attributes {
        match attribute {
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => read.via = via(attribute),
            _ => route.unrestorable.push("a next hop with more than a gateway".to_owned()),
        }
    }
    if read.dev.is_none() && read.via.is_none() {
        route.unrestorable.push("a next hop without a device and a gateway".to_owned());
    }
    route.hops.push(read);
}

/// Returns the name of a device. The kernel has none with index 0, which stands for no device in a request.
fn device(names: &mut Names, index: u32) -> Option<String> {
    (index != 0).then(|| names.of(index))
}

pub(super) fn read_route_to(
    message: &RouteMessage,
    names: &mut Names,
    asked_from: Option<IpAddr>,
) -> Option<RouteTo> {
    let route = read(message, names)?;
    let hop = route.hops.first()?;
    let mtu = route.metrics.iter().find(|(number, _)| *number == 2).map(|(_, value)| *value);
    Some(RouteTo {
        gateway: hop.via,
        dev: hop.dev.clone()?,
        source: route.source.or(asked_from),
        mtu,
        local: route.kind == Kind::Local,
    })
}

fn matches(filter: &Filter, route: &Route) -> bool {
    filter.ipv6 == matches!(route.dest, IpNet::V6(_))
        && filter.table.is_none_or(|table| table == route.table)
        && filter.dest.is_none_or(|dest| dest == route.dest)
}

/// Returns whether a message that could not be decoded may be to the filter's destination, by its prefix
/// length.
pub(super) fn could_match(filter: &Filter, payload: &[u8]) -> bool {
    let length = payload.get(1).copied();
    filter.dest.is_some_and(|dest| length.is_none_or(|length| length == dest.prefix_len()))
}

fn set_table(message: &mut RouteMessage, table: u32) {
    // Numbers above 255 fit only the attribute; the header then has RT_TABLE_UNSPEC.
    message.header.table = u8::try_from(table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
    message.attributes.push(RouteAttribute::Table(table));
}

fn ip_address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

fn via(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(address) => ip_address(address),
        RouteAttribute::Via(RouteVia::Inet(address)) => Some(IpAddr::V4(*address)),
        RouteAttribute::Via(RouteVia::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet }
}

const fn host_bits(address: IpAddr) -> u8 {
    if address.is_ipv6() { 128 } else { 32 }
}

fn unspecified(family: AddressFamily) -> Option<IpAddr> {
    match family {
        AddressFamily::Inet => Some(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)),
        AddressFamily::Inet6 => Some(IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED)),
        _ => None,
    }
}

fn kind(kind: RouteType) -> Kind {
    match kind {
        RouteType::Unicast => Kind::Unicast,
        RouteType::Local => Kind::Local,
        RouteType::BlackHole => Kind::Blackhole,
        RouteType::Unreachable => Kind::Unreachable,
        RouteType::Prohibit => Kind::Prohibit,
        RouteType::Throw => Kind::Throw,
        other => Kind::Other(other.into()),
    }
}

const fn kind_number(kind: Kind) -> u8 {
    match kind {
        Kind::Unicast => 1,
        Kind::Local => 2,
        Kind::Blackhole => 6,
        Kind::Unreachable => 7,
        Kind::Prohibit => 8,
        Kind::Throw => 9,
        Kind::Other(number) => number,
    }
}

macro_rules! metrics {
    ($($number:literal => $name:ident),* $(,)?) => {
        fn metric(number: u16, value: u32) -> Option<RouteMetric> {
            match number { $($number => Some(RouteMetric::$name(value)),)* _ => None }
        }

        fn metric_number(metric: &RouteMetric) -> Option<(u16, u32)> {
            match metric { $(RouteMetric::$name(value) => Some(($number, *value)),)* _ => None }
        }
    };
}

// RTAX_* of linux/rtnetlink.h, except 16 (RTAX_CC_ALGO), whose value is a name.
metrics! {
    1 => Lock, 2 => Mtu, 3 => Window, 4 => Rtt, 5 => RttVar, 6 => SsThresh, 7 => Cwnd, 8 => Advmss,
    9 => Reordering, 10 => Hoplimit, 11 => InitCwnd, 12 => Features, 13 => RtoMin, 14 => InitRwnd,
    15 => QuickAck, 17 => FastopenNoCookie,
}
