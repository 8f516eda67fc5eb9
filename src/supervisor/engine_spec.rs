//! Translation of a profile into the engine's specification.

use std::net::SocketAddrV4;

use super::machine::Machine;
use crate::{
    engine::{
        message::LinkUp,
        spec::{AuthProtocol, Limits, Spec},
    },
    profile::{Demand, Mtu, PppBackend, Profile, SandboxMode},
};

/// Returns the specification of one dial. `path_mtu` is the largest IP packet on the path to the server, in
/// bytes; `machine` knows the history of the tunnel.
#[must_use]
pub fn spec(profile: &Profile, server: SocketAddrV4, path_mtu: u16, machine: &Machine) -> Spec {
    let timeouts = &profile.timeouts;
    Spec {
        name: profile.name.as_str().to_owned(),
        // A number, since it is also an argument of the child.
        loglevel: profile.loglevel as u8,
        server,
        call_id: profile.quirks.differences().call_id.unwrap_or_else(random_call_id),
        // `Timeouts` also has the supervisor's limits, and the engine may not import `profile`.
        limits: Limits {
            connect: timeouts.connect,
            control: timeouts.control,
            call: timeouts.call,
            gre: timeouts.gre,
            lcp: timeouts.lcp,
            auth: timeouts.auth,
            network: timeouts.network,
            stop: timeouts.stop,
        },
        quirks: profile.quirks,
        phone: profile.phone.clone(),
        idle_wait: timeouts.idle_wait,
        max_echo_wait: timeouts.max_echo_wait,
        reorder: timeouts.reorder,
        missing_window: profile.missing_window,
        transmit_window: profile.transmit_window,
        user: profile.user.clone(),
        domain: profile.domain.clone(),
        auth: profile.auth.clone(),
        unauthenticated: profile.unauthenticated,
        prefer_stronger: !machine.accepts_weaker_auth(),
        mppe: profile.mppe,
        lcp_echo: profile.ppp.echo,
        mru: profile.ppp.mru,
        mtu_limit: match profile.mtu {
            Mtu::Auto => inner_mtu(path_mtu),
            // The profile gives the device's MTU; MPPE's header is added to it.
            Mtu::Bytes(bytes) => bytes.saturating_add(mppe_overhead(profile)).min(inner_mtu(path_mtu)),
        },
        follow_path: profile.mtu == Mtu::Auto,
        ipv6: profile.ppp.ipv6,
        remembered: None,
        want_dns: true,
        external: profile.ppp.backend != PppBackend::Builtin,
        // Of a host that can do it (`run::kernel_path`).
        kernel: false,
        mss: profile.mss,
        was_up: machine.was_up(),
        best_effort: profile.sandbox == SandboxMode::BestEffort,
        peer_routes: profile.peer_routes,
    }
}

/// Returns another call id to try, after this one was in use on this host; `None` if a quirk sets it.
#[must_use]
pub fn another_call_id(profile: &Profile) -> Option<u16> {
    profile.quirks.differences().call_id.is_none().then(random_call_id)
}

/// Returns a call id that other tunnels to the same server probably do not have; not 0.
fn random_call_id() -> u16 {
    let mut id = [0; 2];
    // The engine does not start without random numbers.
    let _unused = getrandom::fill(&mut id);
    u16::from_be_bytes(id).max(1)
}

/// Returns the note on a password that has crossed the network in clear, if it has.
#[must_use]
pub fn password_note(up: &LinkUp) -> Vec<String> {
    let words = "PAP: the password has crossed the network in clear; auth = [\"mschapv2\"] prevents that, if the server can do it";
    (up.authentication == AuthProtocol::Pap.to_string()).then(|| words.to_owned()).into_iter().collect()
}

/// Returns the largest PPP information field in such a packet: less IPv4 (20), enhanced GRE with sequence and
/// acknowledgement (16), address and control (2), protocol (2).
#[must_use]
pub const fn inner_mtu(path_mtu: u16) -> u16 {
    const HEADERS: u16 = 20 + 16 + 2 + 2;
    let left = path_mtu.saturating_sub(HEADERS);
    if left > 1500 - HEADERS {
        1500 - HEADERS
    } else if left < 128 {
        // No usable path has less; if this one has, the first large packet shows it.
        128
    } else {
        left
    }
}

/// Returns the bytes that MPPE adds to each packet (RFC 3078 §3); 0 if the profile excludes MPPE.
#[must_use]
pub fn mppe_overhead(profile: &Profile) -> u16 {
    if profile.mppe.demand == Demand::Off { 0 } else { 4 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inner_mtu_is_1460_on_ethernet_and_never_more() {
        assert_eq!(inner_mtu(1500), 1460);
        assert_eq!(inner_mtu(9000), 1460);
        assert_eq!(inner_mtu(1492), 1452, "PPPoE");
        assert_eq!(inner_mtu(0), 128);
    }
}
