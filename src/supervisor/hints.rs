//! What to check after a failure: the likely causes, most likely first, for the person at the hotel. Pure.

use std::net::SocketAddrV4;

use crate::{
    engine::failure::{Failure, FailureKind, NO_COMMON_AUTH, UNIT_TAKEN},
    profile::{MppeMode, Profile},
};

/// The failure with its hints.
#[must_use]
pub fn add(failure: Failure, profile: &Profile, server: Option<SocketAddrV4>) -> Failure {
    let to = server.map_or_else(|| "the server".to_owned(), |server| server.ip().to_string());
    let hints = match failure.kind {
        FailureKind::NameNotResolved => vec![
            "is there a network at all, and does it want a login page first?".to_owned(),
            format!("is the name right? server = {}", servers(profile)),
            "an address in the profile needs no resolver: server = [\"NAME\", \"203.0.113.9\"]".to_owned(),
        ],
        FailureKind::ConnectionRefused => vec![
            format!("{to} is there, but has no PPTP server on this port: is it running, is the port right?"),
        ],
        FailureKind::ConnectTimeout => vec![
            "a firewall, here or on the way, may drop TCP port 1723; many guest networks do".to_owned(),
            format!("is {to} switched on, and the address right?"),
        ],
        FailureKind::NoRoute => vec!["is a network connected? `ip route get` shows what the kernel thinks".to_owned()],
        FailureKind::ControlSilent => vec![
            "something accepts TCP on port 1723 and does not speak PPTP: a captive portal, or a hung server".to_owned(),
        ],
        FailureKind::ControlRefused | FailureKind::CallRefused | FailureKind::CallTimeout => vec![
            "the server may be full, or may want a phone number (phone = \"…\") or a quirk (quirks = \"…\")".to_owned(),
        ],
        FailureKind::GreFiltered => vec![
            format!("on this host: does a firewall drop IP protocol 47 from {to}? (nft list ruleset, pfctl -sr)"),
            "on Linux with a stateful firewall: nf_conntrack_pptp must be loaded and assigned, or GRE accepted by a rule"
                .to_owned(),
            "on OpenBSD: sysctl net.inet.gre.allow=1".to_owned(),
            "on the way: the router must pass PPTP (\"PPTP passthrough\"); many guest networks do not: try another network"
                .to_owned(),
        ],
        FailureKind::LcpFailed => vec!["`pptpctl logs` with loglevel = 2 shows what the two sides asked for".to_owned()],
        FailureKind::AuthenticationFailed if failure.detail.contains(NO_COMMON_AUTH) => common(profile),
        FailureKind::AuthenticationFailed => vec![
            "check user, domain and password; it is not tried again by itself, so that no account gets locked".to_owned(),
            "some servers want the domain: user = \"DOMAIN\\\\name\"".to_owned(),
        ],
        FailureKind::EncryptionRefused => encryption(profile),
        FailureKind::NoAddress => vec!["the server's pool of addresses may be empty: ask its administrator".to_owned()],
        FailureKind::NoTun if failure.detail.contains(UNIT_TAKEN) => taken(profile),
        FailureKind::NoTun => vec![
            "is the tun driver there? (/dev/net/tun; in a container it must be passed in)".to_owned(),
        ],
        FailureKind::LinkStep
        | FailureKind::Interrupted
        | FailureKind::PeerEnded
        | FailureKind::PeerLost
        | FailureKind::Internal => Vec::new(),
    };
    hints.into_iter().fold(failure, Failure::hint)
}

fn servers(profile: &Profile) -> String {
    profile.servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn common(profile: &Profile) -> Vec<String> {
    let accepted: Vec<_> = profile.auth.iter().map(|auth| format!("\"{}\"", auth.name())).collect();
    vec![
        format!("the profile accepts only auth = [{}]", accepted.join(", ")),
        "to accept what the server offers, name it there too; with \"pap\" the password crosses the network in clear"
            .to_owned(),
    ]
}

fn taken(profile: &Profile) -> Vec<String> {
    let Some(unit) = profile.unit else { return Vec::new() };
    vec![
        format!(
            "`pptpctl status` shows whether another tunnel has it; `ip -d link show tun{unit}` shows what it is"
        ),
        format!("without unit = {unit} in the profile a free one is taken"),
    ]
}

fn encryption(profile: &Profile) -> Vec<String> {
    let mut hints = vec![format!("the profile says mppe = \"{}\"", profile.mppe)];
    if profile.mppe.mode == MppeMode::Require {
        if !profile.auth.iter().any(|auth| auth.gives_mppe_keys()) {
            hints.push("MPPE needs MS-CHAP: auth = [\"mschapv2\"]".to_owned());
        }
        hints.push("an old server may only do 40 bits, or stateful mode: mppe = \"require-40\", \"require-128+stateful\"".to_owned());
        hints.push(
            "without encryption anyone on the way can read along; if that is right: mppe = \"off\""
                .to_owned(),
        );
    }
    hints
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::failure::Phase;

    #[test]
    fn each_cause_has_its_own_advice() {
        let said = format!("{NO_COMMON_AUTH}: the peer offered PAP");
        let hints = hints_of(FailureKind::AuthenticationFailed, &said);
        assert!(hints.contains("auth = [\"mschapv2\"]") && hints.contains("\"pap\""), "{hints}");
        assert!(!hints.contains("check user"), "the password was never asked for: {hints}");
        assert!(hints_of(FailureKind::AuthenticationFailed, "error 691").contains("check user"));
        let hints = hints_of(FailureKind::NoTun, &format!("tun7{UNIT_TAKEN}"));
        assert!(hints.contains("tun7") && hints.contains("unit = 7") && !hints.contains("driver"), "{hints}");
        assert!(hints_of(FailureKind::NoTun, "/dev/net/tun is missing").contains("driver"));
    }

    fn hints_of(kind: FailureKind, detail: &str) -> String {
        let text = "[profile.x]\nserver = '192.0.2.1'\nuser = 'u'\npassword.fd = 3\nunit = 7\n";
        let profiles = crate::profile::Profiles::from_text(std::path::Path::new("x"), text, true);
        add(Failure::new(Phase::Connect, kind, detail), profiles.get("x").unwrap(), None).hints.join("\n")
    }
}
