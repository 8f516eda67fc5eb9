//! The findings of a dial: one for each phase that has ended well. No I/O.

use super::{finding::Finding, vendor};
use crate::{
    engine::message::{LinkUp, Offers, PathMtu, PathSearchEnd, Statistics},
    failure::Phase,
    profile::{Demand, Profile},
};

/// Returns the findings about the phase that ends where `entered` begins; `detail` is how it ended, in the words of
/// `up`.
pub(super) fn finished(entered: Phase, detail: &str, offers: &Offers, profile: &Profile) -> Vec<Finding> {
    match entered {
        Phase::Control => vec![Finding::ok("connect", detail)],
        Phase::Call => vec![Finding::ok("control", vendor::describe(detail))],
        Phase::Lcp => vec![Finding::ok("call", detail)],
        Phase::Authentication => {
            let mut found = vec![
                Finding::ok("gre", "passes in both directions, as LCP has opened"),
                Finding::ok("lcp", detail),
            ];
            if detail.ends_with("no authentication") {
                found.push(Finding::warning(
                    "authentication",
                    "the server asks for none, so neither side knows who the other is",
                ));
            }
            found
        }
        Phase::Encryption => vec![authentication(detail, offers)],
        Phase::Addresses => vec![encryption(detail, offers, profile)],
        Phase::Resolve | Phase::Connect | Phase::Routes | Phase::Up => Vec::new(),
    }
}

fn authentication(detail: &str, offers: &Offers) -> Finding {
    let proposed = match offers.auth.as_slice() {
        [] => String::new(),
        list => format!("; the server proposed {}", list.join(", ")),
    };
    let words = format!("{detail}{proposed}");
    if detail.starts_with("PAP") {
        return Finding::warning(
            "authentication",
            format!("{words}; the password crossed the network in clear"),
        )
        .next("auth = [\"mschapv2\"], if the server can do that");
    }
    Finding::ok("authentication", words)
}

fn encryption(detail: &str, offers: &Offers, profile: &Profile) -> Finding {
    let offered = match &offers.mppe {
        Some(mppe) => format!("the server offers {mppe}"),
        None => "the server offers no MPPE".to_owned(),
    };
    match (detail, profile.mppe.demand) {
        ("none", Demand::Off) => {
            Finding::warning("encryption", "none, as mppe = \"off\": anyone on the path can read the packets")
        }
        ("none", _) => Finding::warning(
            "encryption",
            format!("none; {offered}: anyone on the path can read the packets"),
        )
        .next("mppe = \"require-128\" refuses such a link"),
        (detail, _) => Finding::ok("encryption", format!("{detail}; {offered}")),
    }
}

/// Returns the finding for the addresses of the link, which are not used.
pub(super) fn addresses(link: &LinkUp) -> Finding {
    let dns: Vec<String> = link.dns.iter().map(ToString::to_string).collect();
    let dns =
        if dns.is_empty() { "no resolvers".to_owned() } else { format!("resolvers {}", dns.join(", ")) };
    let words = format!("{} → {}, MTU {}, {dns}; not used", link.local, link.peer, link.mtu);
    Finding::ok("addresses", words)
}

/// Returns the finding for the path's MTU, if it is not the one that was assumed.
pub(super) fn path(found: &PathMtu) -> Finding {
    let PathMtu { mtu, warning } = found;
    if warning.is_empty() {
        Finding::ok("path", format!("it carries packets for an MTU of {mtu}"))
    } else {
        Finding::warning("path", warning.clone())
            .next(format!("mtu = {mtu} in the profile avoids the search"))
    }
}

/// Returns the finding for a search of the path's MTU that found no other size; `None` if it has not ended in its
/// time.
pub(super) fn path_searched(end: Option<PathSearchEnd>) -> Finding {
    let unknown = |why: &str| {
        Finding::skipped("path", format!("not known whether it drops long packets: {why}"))
            .next("if small transfers work and large ones stall: mtu = 1300 in the profile")
    };
    match end {
        Some(PathSearchEnd::Full) => Finding::ok(
            "path",
            "it carries packets of the full size: the server answered or acknowledged one",
        ),
        // Its size came before.
        Some(PathSearchEnd::Limited) => Finding::ok("path", "it drops long packets"),
        Some(PathSearchEnd::Unanswered) => unknown(
            "the server answers short LCP echoes and no long ones, and acknowledges none of them by itself",
        ),
        Some(PathSearchEnd::Unknown) => unknown("the server does not answer the LCP echoes of the search"),
        None => unknown("the search has not ended in time"),
    }
}

/// Returns the finding for the packets of the whole dial.
pub(super) fn packets(statistics: &Statistics) -> Finding {
    let count = |name: &str| {
        let counter = statistics.counters.iter().find(|(label, _)| label == name);
        counter.map_or(0, |(_, value)| *value)
    };
    let (sent, received, lost) = (count("gre.tx_sent"), count("gre.rx_accepted"), count("gre.rx_lost"));
    let words = format!("{sent} GRE packets out, {received} back, {lost} lost on the way back");
    if lost > 0 { Finding::warning("packets", words) } else { Finding::ok("packets", words) }
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Severity, *};

    fn profile(text: &str) -> Profile {
        let text = format!("[profile.x]\nserver = '192.0.2.1'\nuser = 'u'\npassword.fd = 3\n{text}\n");
        let profiles = crate::profile::Profiles::from_text(std::path::Path::new("x"), &text, true);
        profiles.get("x").unwrap().clone()
    }

    fn one(entered: Phase, detail: &str, offers: &Offers, profile: &Profile) -> Finding {
        finished(entered, detail, offers, profile).pop().unwrap()
    }

    #[test]
    fn offers_are_named_beside_what_was_agreed() {
        let offers =
            Offers { auth: vec!["EAP".into(), "MS-CHAPv2".into()], mppe: Some("MPPE-40/MPPE-128".into()) };
        let auth = one(Phase::Encryption, "MS-CHAPv2, accepted", &offers, &profile(""));
        assert_eq!(auth.evidence, "MS-CHAPv2, accepted; the server proposed EAP, MS-CHAPv2");
        let mppe = one(Phase::Addresses, "MPPE-128 stateless", &offers, &profile(""));
        assert_eq!(mppe.evidence, "MPPE-128 stateless; the server offers MPPE-40/MPPE-128");
    }

    #[test]
    fn weak_choices_are_warnings() {
        let none = Offers::default();
        let warns = |entered, detail: &str, text: &str| {
            one(entered, detail, &none, &profile(text)).severity == Severity::Warning
        };
        assert!(warns(Phase::Encryption, "PAP, accepted", ""));
        assert!(!warns(Phase::Encryption, "MS-CHAPv2, accepted", ""));
        assert!(warns(Phase::Addresses, "none", "mppe = 'allow'"));
        assert!(warns(Phase::Addresses, "none", "mppe = 'off'"));
        assert!(warns(Phase::Authentication, "MRU 1400, no authentication", ""));
        assert!(!warns(Phase::Authentication, "MRU 1400, MS-CHAPv2", ""));
    }

    #[test]
    fn lost_packets_are_a_warning() {
        let with = |lost| Statistics {
            counters: vec![
                ("gre.tx_sent".into(), 9),
                ("gre.rx_accepted".into(), 8),
                ("gre.rx_lost".into(), lost),
            ],
            ..Statistics::default()
        };
        assert_eq!(packets(&with(0)).evidence, "9 GRE packets out, 8 back, 0 lost on the way back");
        assert_eq!(packets(&with(2)).severity, Severity::Warning);
        let short = PathMtu { mtu: 1300, warning: "the path drops long packets".into() };
        assert_eq!(path(&short).severity, Severity::Warning);
        assert_eq!(path_searched(Some(PathSearchEnd::Full)).severity, Severity::Ok);
        for end in [Some(PathSearchEnd::Unanswered), Some(PathSearchEnd::Unknown), None] {
            let found = path_searched(end);
            assert!(
                found.severity == Severity::Skipped && found.evidence.starts_with("not known"),
                "{found:?}"
            );
        }
        assert!(addresses(&LinkUp::example()).evidence.ends_with("resolvers 192.0.2.53; not used"));
    }
}
