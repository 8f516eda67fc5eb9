//! The plans of a tunnel with an external PPP: the steps that the daemon performs itself are replaced.

use std::path::Path;

use ipnet::{IpNet, Ipv4Net};

use super::{
    Step, Symbol, Value,
    default_route::literal_server,
    ppp_daemon::{Daemon, PppStep, device, link_name},
    route::HostRouteStep,
};
use crate::{platform::Platform, profile::Profile};

/// Replaces the step that opens the tun device.
pub(super) fn transport(profile: &Profile, platform: Platform, steps: &mut Vec<Step>) {
    let Some(daemon) = Daemon::of(profile) else { return };
    let link = link_name(profile.name.as_str());
    let start = PppStep::Start { daemon, unit: profile.unit, run: platform.run_dir().into(), link };
    for step in &mut *steps {
        match step {
            Step::OpenTun(_) => *step = Step::Ppp(start.clone()),
            // A daemon adds a route to the peer's address in the tunnel. If that is the server's own address,
            // an earlier host route to the server keeps the tunnel out of itself.
            Step::HostRoute(HostRouteStep { within, .. }) => *within = vec![IpNet::V4(Ipv4Net::default())],
            _ => {}
        }
    }
    if !steps.iter().any(|step| matches!(step, Step::HostRoute(_))) {
        steps.push(Step::HostRoute(HostRouteStep {
            server: literal_server(profile),
            way: Value::Open(Symbol::Gateway),
            within: vec![IpNet::V4(Ipv4Net::default())],
        }));
    }
}

/// Replaces the steps that the daemon does itself by a description of them.
pub(super) fn network(profile: &Profile, run: &Path, steps: &mut Vec<Step>) {
    let Some(daemon) = Daemon::of(profile) else { return };
    steps.retain(|step| {
        !matches!(step, Step::Address(_) | Step::Address6(_) | Step::Up(_) | Step::PidFile(_))
    });
    let does = PppStep::Does {
        daemon,
        tun: device(profile),
        local: Value::Open(Symbol::Local),
        peer: Value::Open(Symbol::Peer),
        run: run.to_owned(),
    };
    steps.insert(0, Step::Ppp(does));
}
