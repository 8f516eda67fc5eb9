//! Hints for the user after a failure: what to check, most likely cause first. No I/O.

use std::net::SocketAddrV4;

use super::path_hints;
use crate::{
    failure::{Failure, FailureKind, Phase, Remedy},
    net::tun,
    platform::Platform,
    profile::{Demand, Profile, mppe_text},
};

/// The command that shows what an interface is; its name follows.
pub const SHOW_DEVICE: &str = if cfg!(target_os = "linux") { "ip -d link show" } else { "ifconfig" };
/// The command that shows the route to an address.
const SHOW_ROUTE: &str = if cfg!(target_os = "linux") { "ip route get" } else { "route -n get" };

/// The beginning of the hint after a refusal of the credentials themselves.
const CHECK_PASSWORD: &str = "check user, domain and password";

/// Returns whether the server has refused user or password, and nothing else, for good.
#[must_use]
pub fn blames_password(failure: &Failure) -> bool {
    failure.kind == FailureKind::AuthenticationFailed
        && failure.undecided_login.is_none()
        && failure.remedy() == Remedy::Nothing
        && failure.hints.iter().any(|hint| hint.starts_with(CHECK_PASSWORD))
}

/// Adds the hints for the failure's kind. A failure that already has hints keeps those: they are more
/// specific.
#[must_use]
pub fn add(failure: Failure, profile: &Profile, server: Option<SocketAddrV4>) -> Failure {
    let to = server.map_or_else(|| "the server".to_owned(), |server| server.ip().to_string());
    if !failure.hints.is_empty() {
        return failure;
    }
    let hints = match failure.kind {
        FailureKind::NameNotResolved => vec![
            "is there a network, and does it require a web login first?".to_owned(),
            format!("is the name right? server = {}", servers(profile)),
            "an address in the profile needs no resolver: server = [\"NAME\", \"203.0.113.9\"]".to_owned(),
        ],
        FailureKind::ConnectionRefused => vec![
            format!("{to} is reachable, but has no PPTP server on this port: is it running, is the port right?"),
        ],
        FailureKind::ConnectTimeout => vec![
            "a firewall, on this host or on the path, may drop TCP port 1723; many guest networks do".to_owned(),
            format!("is {to} switched on, and the address right?"),
        ],
        FailureKind::NoRoute => {
            let to = server.map_or_else(|| "ADDRESS".to_owned(), |server| server.ip().to_string());
            vec![format!("is a network connected? `{SHOW_ROUTE} {to}` shows the kernel's choice")]
        }
        FailureKind::ControlSilent => vec![
            "something accepts TCP on port 1723 and does not speak PPTP: a captive portal, or a hung server".to_owned(),
        ],
        FailureKind::ControlRefused => vec![
            "the server may be full, or allow only known addresses; some need a quirk (quirks = \"…\")".to_owned(),
        ],
        FailureKind::CallRefused | FailureKind::CallTimeout => vec![
            "the server may be full, or may want a phone number (phone = \"…\") or a quirk (quirks = \"…\")".to_owned(),
        ],
        FailureKind::GreFiltered => gre_filtered(&to, Platform::host()),
        FailureKind::LcpFailed => vec!["`pptpctl logs` with loglevel = 2 shows what the two sides asked for".to_owned()],
        // Any host can have sent what ended a link that was up.
        FailureKind::EncryptionFailed | FailureKind::LoginUndecided if failure.phase >= Phase::Routes => {
            Vec::new()
        }
        FailureKind::LoginUndecided => vec![
            "user and password were not refused: the server, or a system behind it, failed before a decision: ask its administrator".to_owned(),
        ],
        FailureKind::EncryptionFailed => {
            vec!["`pptpctl logs` with loglevel = 2 shows what the two sides asked for".to_owned()]
        }
        FailureKind::AuthenticationFailed => vec![
            format!("{CHECK_PASSWORD}; pptpctl does not try again by itself, so that no account gets locked"),
            "some servers want the domain: user = \"DOMAIN\\\\name\"".to_owned(),
        ],
        FailureKind::EncryptionRefused => encryption(profile),
        FailureKind::NoAddress => vec!["the server's settings decide, its pool of addresses may be empty or wrong: ask its administrator".to_owned()],
        FailureKind::NoTun => vec![tun::REMEDY.to_owned()],
        FailureKind::NoPpp => vec![
            "on Linux: install the package ppp, and `modprobe ppp_async`; in a container /dev/ppp must be passed in".to_owned(),
            "ppp.backend = \"builtin\" needs no other program".to_owned(),
        ],
        FailureKind::PppFailed => vec!["`pptpctl logs` shows the messages of the PPP daemon".to_owned()],
        // A link that was up is redialled.
        FailureKind::PeerLost if failure.phase < Phase::Routes => {
            vec!["the server, or the path to it, failed at this point: try again, then ask its administrator".to_owned()]
        }
        FailureKind::LinkStep
        | FailureKind::HostFiles
        | FailureKind::UnsafeFiles
        | FailureKind::Interrupted
        | FailureKind::PeerEnded
        | FailureKind::PeerLost
        | FailureKind::Collision
        | FailureKind::Internal => Vec::new(),
    };
    let shared_address = matches!(failure.kind, FailureKind::CallRefused | FailureKind::GreFiltered)
        .then(|| path_hints::another_client(&to));
    hints.into_iter().chain(shared_address).fold(failure, Failure::hint)
}

/// Returns the hints if this host's own rules are not known.
fn gre_filtered(server: &str, platform: Platform) -> Vec<String> {
    let list = if platform == Platform::Linux { "nft list ruleset" } else { "pfctl -sr" };
    let mut hints =
        vec![format!("on this host: does a firewall drop IP protocol 47 from {server}? ({list})")];
    match platform {
        Platform::Linux => hints.push(
            "with a stateful firewall: conntrack = \"helper\" in the profile, or a rule that accepts GRE"
                .to_owned(),
        ),
        Platform::OpenBsd => hints.push("before OpenBSD 6.3: sysctl net.inet.gre.allow=1".to_owned()),
        Platform::FreeBsd | Platform::NetBsd => {}
    }
    hints.push(path_hints::PASSTHROUGH.to_owned());
    hints
}

fn servers(profile: &Profile) -> String {
    profile.servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn encryption(profile: &Profile) -> Vec<String> {
    let mut hints = vec![format!("the profile says mppe = \"{}\"", mppe_text(profile.mppe))];
    if profile.mppe.demand != Demand::Require {
        hints = vec!["the server requires encryption: mppe = \"require-128\" in the profile".to_owned()];
    } else {
        if !profile.auth.iter().any(|auth| auth.gives_keys()) {
            hints.push("MPPE needs MS-CHAP: auth = [\"mschapv2\"]".to_owned());
        }
        hints.push("an old server may only do 40 bits, or stateful mode: mppe = \"require-40\", \"require-128+stateful\"".to_owned());
        hints.push(
            "without encryption anyone on the path can read the packets; if that is acceptable: mppe = \"off\""
                .to_owned(),
        );
    }
    hints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_public_address_is_a_hint_where_it_can_be_the_cause() {
        let text = "[profile.x]\nserver = '192.0.2.1'\nuser = 'u'\npassword.fd = 3\n";
        let profiles = crate::profile::Profiles::from_text(std::path::Path::new("x"), text, true);
        let profile = profiles.get("x").unwrap();
        for kind in FailureKind::ALL {
            let hints = add(Failure::new(Phase::Call, kind, ""), profile, None).hints;
            let is_there = hints.iter().any(|hint| hint.contains("another device behind the same router"));
            let can_be = matches!(kind, FailureKind::CallRefused | FailureKind::GreFiltered);
            assert_eq!(is_there, can_be, "{kind:?}");
        }
    }

    #[test]
    fn only_a_final_refusal_blames_the_password() {
        let text = "[profile.x]\nserver = '192.0.2.1'\nuser = 'u'\n";
        let profiles = crate::profile::Profiles::from_text(std::path::Path::new("x"), text, true);
        let refused = Failure::new(Phase::Authentication, FailureKind::AuthenticationFailed, "691");
        let blames = |failure| blames_password(&add(failure, profiles.get("x").unwrap(), None));
        assert!(blames(refused.clone()) && blames(refused.clone().confirmed()));
        assert!(!blames(refused.clone().hint("the account is disabled")));
        assert!(!blames(refused.clone().undecided(crate::failure::UndecidedLogin::Refused)));
        assert!(!blames(Failure::new(Phase::Authentication, FailureKind::LoginUndecided, "")));
        assert!(!blames(Failure::new(Phase::Lcp, FailureKind::LcpFailed, "")));
    }

    #[test]
    fn every_kind_has_hints_unless_the_failure_has_its_own() {
        let text = "[profile.x]\nserver = '192.0.2.1'\nuser = 'u'\npassword.fd = 3\n";
        let profiles = crate::profile::Profiles::from_text(std::path::Path::new("x"), text, true);
        let profile = profiles.get("x").unwrap();
        let server = Some("192.0.2.1:1723".parse().unwrap());
        for kind in FailureKind::ALL {
            let hints = add(Failure::new(Phase::Connect, kind, ""), profile, server).hints;
            let needs_no_hint = matches!(
                kind,
                FailureKind::LinkStep
                    | FailureKind::HostFiles
                    | FailureKind::UnsafeFiles
                    | FailureKind::Interrupted
                    | FailureKind::PeerEnded
                    | FailureKind::Collision
                    | FailureKind::Internal
            );
            assert_eq!(hints.is_empty(), needs_no_hint, "{kind:?}");
        }
        let no_route = add(Failure::new(Phase::Connect, FailureKind::NoRoute, ""), profile, server).hints;
        assert!(no_route.iter().any(|hint| hint.contains("get 192.0.2.1`")), "{no_route:?}");
        let own = Failure::new(Phase::Connect, FailureKind::NoTun, "").hint("mine");
        assert_eq!(add(own, profile, server).hints, ["mine"]);
    }
}
