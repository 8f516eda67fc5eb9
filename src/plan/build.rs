//! Decides which steps a profile needs, and their order.
//!
//! `default_route` chooses the mode of the default route; `kill_switch` adds the kill switch and the prefixes
//! that stay outside the tunnel.

use std::path::Path;

use ipnet::IpNet;

use super::{
    Part, Plan, Step, Symbol, Value,
    default_route::{
        default_mode, default_prefix, halves, is_in_netns, literal_server, routing_domain, tunnel_prefixes,
    },
    device::{Address6Step, AddressStep, DomainStep, MtuStep, OpenTunStep, PidFileStep, UpStep},
    dns::DnsStep,
    external_ppp, firewall,
    gre_sysctl::AllowGreStep,
    hook::HookStep,
    kill_switch, peer_routes, ppp_daemon,
    route::{HostRouteStep, RemoveDefaultStep, RouteStep},
};
use crate::{
    platform::Platform,
    profile::{Conntrack, DefaultRoute, Mtu, Profile, Route},
};

/// Returns the plan that is performed before anything is sent to the server.
#[must_use]
pub fn transport(profile: &Profile, platform: Platform) -> Plan {
    let mut steps = kill_switch::first_steps(profile, platform);
    steps.extend(kill_switch::filter_step(profile, platform).map(Step::LeakFilter));
    steps.extend(firewall::helper(profile, platform).map(Step::Firewall));
    steps.push(Step::OpenTun(OpenTunStep { unit: profile.unit }));
    if platform == Platform::OpenBsd && profile.link.gre_allow {
        steps.push(Step::AllowGre(AllowGreStep {}));
    }
    steps.extend(kill_switch::excluded_routes(profile, platform));
    // RFC 2637 runs over IPv4 only, so only IPv4 routes can capture packets to the server.
    let within: Vec<IpNet> = tunnel_prefixes(profile, platform)
        .into_iter()
        .filter(|prefix| matches!(prefix, IpNet::V4(_)))
        .collect();
    // Routes in a separate namespace do not affect the transport.
    if !within.is_empty() && !is_in_netns(profile, platform) {
        steps.push(Step::HostRoute(HostRouteStep {
            server: literal_server(profile),
            way: Value::Open(Symbol::Gateway),
            within,
        }));
    }
    external_ppp::transport(profile, platform, &mut steps);
    let mut notes = kill_switch::notes(profile, platform);
    if profile.conntrack == Conntrack::Helper && platform != Platform::Linux {
        notes.push("conntrack exists on Linux only: it is left out on the BSDs".to_owned());
    }
    let plan = Plan { platform, part: Part::Transport, steps, notes };
    // A literal address may already decide whether the host route is needed.
    plan.resolve(&super::Facts::default())
}

/// Returns the plan that is performed when the link is up. `run_dir` is the directory of `tunX.pid`.
#[must_use]
pub fn network(profile: &Profile, platform: Platform, run_dir: &Path) -> Plan {
    let tun = || ppp_daemon::device(profile);
    let mtu = match profile.mtu {
        Mtu::Auto => Value::Open(Symbol::Mtu),
        Mtu::Bytes(bytes) => Value::Known(bytes),
    };
    let domain = routing_domain(profile, platform);
    let mut steps: Vec<Step> =
        domain.into_iter().map(|number| Step::Domain(DomainStep { tun: tun(), number })).collect();
    steps.extend([
        Step::Mtu(MtuStep { tun: tun(), mtu }),
        Step::Address(AddressStep {
            tun: tun(),
            local: Value::Open(Symbol::Local),
            peer: Some(Value::Open(Symbol::Peer)),
        }),
    ]);
    if profile.ppp.ipv6 {
        steps.push(Step::Address6(Address6Step {
            tun: tun(),
            local: Value::Open(Symbol::Local6),
            peer: Value::Open(Symbol::Peer6),
        }));
    }
    // The filter rules precede the first packet.
    let (filters, mut notes) = firewall::steps(profile, platform, &tun());
    steps.extend(filters.into_iter().map(Step::Firewall));
    steps.push(Step::Up(UpStep { tun: tun() }));
    // tunX is unique only in its namespace, but all share the run directory.
    if !is_in_netns(profile, platform) {
        steps.push(Step::PidFile(PidFileStep {
            dir: run_dir.to_owned(),
            tun: tun(),
            pid: Value::Open(Symbol::Pid),
        }));
    }

    let route = |dest: IpNet, wanted: Option<&Route>, table: Option<Value<u32>>| {
        Step::Route(RouteStep {
            tun: tun(),
            dest,
            metric: wanted.and_then(|wanted| wanted.metric),
            table: table.or(domain.map(Value::Known)),
            // The routing sockets of the BSDs name the next hop by its address.
            peer: (platform != Platform::Linux && matches!(dest, IpNet::V4(_)))
                .then_some(Value::Open(Symbol::Peer)),
            label: label(profile, platform, wanted),
        })
    };
    let speaks = |dest: &IpNet| profile.ppp.ipv6 || matches!(dest, IpNet::V4(_));
    for wanted in profile.routes.iter().filter(|wanted| speaks(&wanted.prefix)) {
        let table = wanted.table.map(Value::Known);
        let parts = kill_switch::more_specific_than_block(profile, platform, wanted.prefix);
        steps.extend(parts.into_iter().map(|part| route(part, Some(wanted), table.clone())));
    }

    let families: &[bool] = if profile.ppp.ipv6 { &[false, true] } else { &[false] };
    for &ipv6 in families {
        let halved = || {
            let halves = halves(ipv6).into_iter();
            halves.flat_map(|half| kill_switch::more_specific_than_block(profile, platform, half))
        };
        match default_mode(profile, platform) {
            None | Some(DefaultRoute::Auto) => {}
            Some(DefaultRoute::Policy) => {
                steps.push(route(default_prefix(ipv6), None, Some(Value::Open(Symbol::Table))));
            }
            Some(DefaultRoute::Replace) => {
                steps.push(Step::RemoveDefault(RemoveDefaultStep { ipv6 }));
                steps.push(route(default_prefix(ipv6), None, None));
                // The blocking routes are more specific than a default route, so that one added by DHCP has
                // no effect; the tunnel's routes must take precedence over them.
                if kill_switch::is_on(profile, platform) {
                    steps.extend(halved().map(|half| route(half, None, None)));
                }
            }
            Some(DefaultRoute::Halves) => steps.extend(halved().map(|half| route(half, None, None))),
        }
        if kill_switch::has_guard_table(profile, platform) {
            steps.push(route(default_prefix(ipv6), None, Some(Value::Open(Symbol::Table))));
        }
    }
    notes.extend(peer_routes::note(profile, platform));
    if domain.is_some() && profile.dns.is_wanted() {
        notes.push(
            "the resolvers apply to the whole host: they are asked outside the tunnel's routing table"
                .to_owned(),
        );
    }
    if profile.link.netns.is_some() && !is_in_netns(profile, platform) {
        notes.push("link.netns exists on Linux only: it is ignored on the BSDs".to_owned());
    }
    external_ppp::network(profile, run_dir, &mut steps);
    steps.extend(DnsStep::of(profile, platform, tun()).map(Step::Dns));
    // Last: `up` runs after all other steps, `down` before any of them is undone.
    steps.extend(HookStep::of(profile, tun()).map(Step::Hook));
    if !profile.ppp.ipv6 && profile.routes.iter().any(|wanted| matches!(wanted.prefix, IpNet::V6(_))) {
        notes.push("ppp.ipv6 is off: the IPv6 routes are left out".to_owned());
    }
    if matches!(platform, Platform::FreeBsd | Platform::NetBsd)
        && profile.routes.iter().any(|wanted| wanted.metric.is_some())
    {
        notes.push("routes have no metric on this system: `metric` is left out".to_owned());
    }
    Plan { platform, part: Part::Network, steps, notes }
}

/// Returns the label of a route: its own, else `link.rtlabel` (OpenBSD only).
fn label(profile: &Profile, platform: Platform, wanted: Option<&Route>) -> Option<String> {
    let own = wanted.and_then(|wanted| wanted.label.as_ref());
    own.or(profile.link.rtlabel.as_ref()).filter(|_| platform == Platform::OpenBsd).cloned()
}
