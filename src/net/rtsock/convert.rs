//! Conversion between a system's route messages and the platform-independent [`Route`].
//!
//! Attributes that [`Route`] cannot represent are listed in `unrestorable`, so that a route is not removed if
//! it cannot be restored. `metric` is OpenBSD's priority, and 0 on the other systems. `protocol` is
//! [`PROTOCOL`] for this program's routes; for others it holds the RTF_PROTO flags and RTF_STATIC, so that
//! these are restored too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::{Action, Gateway, Layout, Request, RouteChange, address::MAX_LABEL};
use crate::net::routes::{Hop, Kind, MAIN_TABLE, PROTOCOL, Route};

/// RTF_* flags that are the same on all systems.
const UP: u32 = 0x1;
const GATEWAY: u32 = 0x2;
const REJECT: u32 = 0x8;
const DYNAMIC: u32 = 0x10;
const STATIC: u32 = 0x800;
const BLACKHOLE: u32 = 0x1000;
const PROTO2: u32 = 0x4000;
const PROTO1: u32 = 0x8000;

/// Linux's number for the MTU of a route (RTAX_MTU), used in [`Route::metrics`].
const METRIC_MTU: u16 = 2;

/// Returns whether packets are refused by a route of the loopback interface with these flags; otherwise it leads to this host.
#[must_use]
pub const fn refuses(layout: &Layout, flags: u32) -> bool {
    flags & (REJECT | BLACKHOLE) != 0 && flags & layout.flags.local == 0
}

/// Converts a route message. Returns `None` for table entries that are not routes (neighbours, clones,
/// broadcast addresses), for others' routes that are down, and for other address families. `main` is the table
/// of this process, `names` returns the name of an interface by index.
pub fn to_route(
    layout: &Layout,
    news: &RouteChange,
    main: u16,
    names: &dyn Fn(u16) -> Option<String>,
) -> Option<Route> {
    let flags = news.flags;
    // OpenBSD keeps the routes of an interface that is down, without RTF_UP. They lead nowhere, but hold their
    // keys and come back with the interface: ours must be found, to be replaced or deleted.
    let down = flags & UP == 0 && protocol(layout, flags) != PROTOCOL;
    if flags & (layout.flags.not_a_route | layout.flags.broadcast) != 0 || down {
        return None;
    }
    let dest = news.dest?;
    let mut reasons = Vec::new();
    if flags & layout.flags.unrestorable != 0 {
        reasons.push("flags that the kernel alone sets".to_owned());
    }
    if flags & DYNAMIC != 0 {
        reasons.push("come from a redirect".to_owned());
    }
    if news.expire != 0 {
        reasons.push("a time at which it ends".to_owned());
    }
    // The decoder replaced bytes that are not UTF-8.
    let as_written =
        |label: &&String| label.len() <= MAX_LABEL && !label.contains(char::REPLACEMENT_CHARACTER);
    let label = news.label.as_ref().filter(as_written).cloned();
    if label.is_none() && news.label.is_some() {
        reasons.push("a label that could not be written again".to_owned());
    }
    let kind = match flags {
        flags if flags & layout.flags.local != 0 => Kind::Local,
        flags if flags & BLACKHOLE != 0 => Kind::Blackhole,
        flags if flags & REJECT != 0 => Kind::Unreachable,
        _ => Kind::Unicast,
    };
    let dev = device(news, names);
    let hop = match news.gateway {
        _ if kind == Kind::Blackhole || kind == Kind::Unreachable => None,
        Some(Gateway::Address(via)) if flags & GATEWAY != 0 => {
            Some(Hop { via: Some(via), dev, onlink: false, weight: 0 })
        }
        // Without RTF_GATEWAY the destination is on the link; OpenBSD gives an address of this host.
        _ => Some(Hop { via: None, dev, onlink: false, weight: 0 }),
    };
    let table =
        if layout.route.tableid.is_some() && news.table != main { news.table.into() } else { MAIN_TABLE };
    let metrics = match u32::try_from(news.mtu) {
        Ok(mtu) if mtu != 0 => vec![(METRIC_MTU, mtu)],
        _ => Vec::new(),
    };
    Some(Route {
        dest: dest.trunc(),
        table,
        metric: news.priority.into(),
        tos: 0,
        kind,
        scope: 0,
        protocol: protocol(layout, flags),
        hops: hop.into_iter().collect(),
        source: None,
        metrics,
        preference: None,
        realm: None,
        label,
        unrestorable: reasons,
    })
}

/// Returns whether an answer to a lookup is the kernel's own entry for a host on the link, leading where this
/// route would (OpenBSD). The kernel refuses a route to such a host (EINVAL) while it is another route's gateway
/// (RTF_CACHED).
pub fn is_neighbour(
    layout: &Layout,
    answer: &RouteChange,
    route: &Route,
    names: &dyn Fn(u16) -> Option<String>,
) -> bool {
    let [hop] = route.hops.as_slice() else { return false };
    layout.link_routes_by_address
        && hop.via.is_none()
        && route.dest.prefix_len() == route.dest.max_prefix_len()
        && answer.dest == Some(route.dest)
        && answer.flags & layout.flags.not_a_route != 0
        && device(answer, names) == hop.dev
}

/// Returns the request for an operation on a route. `index` returns the index of an interface by name.
///
/// # Errors
/// Returns a description of an attribute that the system does not support, or of a missing interface.
pub fn from_route(
    layout: &Layout,
    action: Action,
    route: &Route,
    main: u16,
    index: &dyn Fn(&str) -> Option<u16>,
) -> Result<Request, String> {
    let mut request = Request::new(action, route.dest.trunc());
    request.flags = flags(layout, route.protocol);
    let localhost = || match route.dest {
        IpNet::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpNet::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    match route.kind {
        Kind::Unicast => {
            let [hop] = route.hops.as_slice() else {
                return Err(format!("a route with {} ways", route.hops.len()));
            };
            if let Some(dev) = &hop.dev {
                request.index = index(dev).ok_or_else(|| format!("there is no interface {dev}"))?;
            }
            request.gateway = match (hop.via, route.source) {
                (Some(via), _) => Some(Gateway::Address(via)),
                (None, Some(own)) if layout.link_routes_by_address => {
                    // The kernel finds the route to delete without its gateway.
                    Some(Gateway::Own(own)).filter(|_| action != Action::Delete)
                }
                (None, _) if layout.link_routes_by_address && action == Action::Delete => None,
                (None, _) => Some(Gateway::Link(request.index)),
            };
        }
        Kind::Blackhole => {
            request.flags |= BLACKHOLE;
            request.gateway = Some(Gateway::Address(localhost()));
        }
        Kind::Unreachable | Kind::Prohibit => {
            request.flags |= REJECT;
            request.gateway = Some(Gateway::Address(localhost()));
        }
        Kind::Local | Kind::Throw | Kind::Other(_) => {
            return Err(format!("a route of the kind {}", route.kind));
        }
    }
    request.source = route.source;
    request.mtu = route.metrics.iter().find(|(metric, _)| *metric == METRIC_MTU).map_or(0, |(_, mtu)| *mtu);
    request.table = match (route.table, layout.route.tableid) {
        (MAIN_TABLE, Some(_)) => main,
        (table, Some(_)) => u16::try_from(table).map_err(|_| format!("table {table}"))?,
        // FreeBSD uses the FIB of the socket; NetBSD has only one table.
        (_, None) => 0,
    };
    if layout.route.priority.is_some() {
        // RTP_MAX is 63; 64 is RTP_ANY, and RTP_DOWN is a flag (0x80).
        request.priority = u8::try_from(route.metric)
            .ok()
            .filter(|priority| *priority < 64)
            .ok_or_else(|| format!("a priority of {}: the greatest is 63", route.metric))?;
    }
    // The kernel finds the route to delete by its other attributes.
    request.label = route.label.clone().filter(|_| layout.labels && action != Action::Delete);
    Ok(request)
}

fn device(news: &RouteChange, names: &dyn Fn(u16) -> Option<String>) -> Option<String> {
    let named = Some(news.interface.name.clone()).filter(|name| !name.is_empty());
    let by_gateway = match news.gateway {
        Some(Gateway::Link(index)) => index,
        _ => 0,
    };
    let by_number = |index: u16| (index != 0).then(|| names(index)).flatten();
    named.or_else(|| by_number(news.interface.index)).or_else(|| by_number(by_gateway))
}

fn protocol(layout: &Layout, flags: u32) -> u8 {
    if flags & layout.flags.own_routes == layout.flags.own_routes {
        return PROTOCOL;
    }
    let bit = |flag: u32, bit: u8| if flag != 0 && flags & flag == flag { bit } else { 0 };
    bit(STATIC, 1) | bit(PROTO1, 2) | bit(PROTO2, 4) | bit(layout.flags.proto3, 8)
}

fn flags(layout: &Layout, protocol: u8) -> u32 {
    if protocol == PROTOCOL {
        return Request::our_flags(layout);
    }
    let flag = |bit: u8, flag: u32| if protocol & bit != 0 { flag } else { 0 };
    flag(1, STATIC) | flag(2, PROTO1) | flag(4, PROTO2) | flag(8, layout.flags.proto3)
}
