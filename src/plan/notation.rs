//! Next hops and destinations as ip(8), route(8) and ifconfig(8) write them.

use ipnet::IpNet;

use super::{NextHop, Value};
use crate::platform::Platform;

pub(super) fn linux_next_hop(way: &Value<NextHop>) -> String {
    match way {
        Value::Known(NextHop::By { gateway: Some(gateway), dev, .. }) => format!("via {gateway} dev {dev}"),
        Value::Known(NextHop::By { gateway: None, dev, .. }) => format!("dev {dev}"),
        Value::Known(NextHop::ThisHost) => "dev lo".to_owned(),
        Value::Open(symbol) => format!("via {symbol}"),
    }
}

pub(super) fn bsd_next_hop(way: &Value<NextHop>, platform: Platform) -> String {
    match way {
        Value::Known(NextHop::By { gateway: Some(gateway), .. }) => gateway.to_string(),
        Value::Known(NextHop::By { gateway: None, dev, .. }) => bsd_device(dev, platform),
        Value::Known(NextHop::ThisHost) => bsd_device("lo0", platform),
        Value::Open(symbol) => symbol.to_string(),
    }
}

/// Returns a device in place of a gateway. `-interface` takes a name on FreeBSD only, elsewhere an address.
pub(super) fn bsd_device(dev: &str, platform: Platform) -> String {
    match platform {
        Platform::OpenBsd | Platform::NetBsd => format!("-link -iface {dev}"),
        Platform::FreeBsd | Platform::Linux => format!("-interface {dev}"),
    }
}

/// Returns the family option of ip(8).
pub(super) const fn dash_6(dest: &IpNet) -> &'static str {
    if matches!(dest, IpNet::V6(_)) { " -6" } else { "" }
}

/// Returns the family option of route(8).
pub(super) const fn dash_inet6(dest: &IpNet) -> &'static str {
    if matches!(dest, IpNet::V6(_)) { " -inet6" } else { "" }
}

/// Returns the word by which ip(8) or route(8) deletes.
pub(super) const fn delete(platform: Platform) -> &'static str {
    match platform {
        Platform::Linux => "del",
        Platform::FreeBsd | Platform::OpenBsd | Platform::NetBsd => "delete",
    }
}

pub(super) fn route_destination(dest: &IpNet) -> String {
    if dest.prefix_len() == 0 { "default".to_owned() } else { dest.to_string() }
}
