//! What a server's own description suggests (Start-Control-Connection-Reply, RFC 2637 §2.2).

/// Returns what is known about servers of this vendor, `None` if nothing is. The names are free text that anyone
/// can set, so a conclusion from a common one is only probable.
pub(super) fn suggestion(vendor: &str) -> Option<&'static str> {
    let vendor = vendor.to_ascii_lowercase();
    let known = |name: &str| vendor.contains(name);
    if known("microsoft") {
        Some(
            "Windows RRAS: it may want user = \"DOMAIN\\\\name\", and discards GRE that arrives out of order",
        )
    } else if known("mikrotik") {
        Some("RouterOS: whether it encrypts depends on use-encryption in its PPP profile")
    } else if vendor == "linux" {
        Some("probably poptop (pptpd): what it offers is in its pppd's options file")
    } else if vendor == "cananian" {
        Some("probably accel-ppp, which sends this name of pptp-linux")
    } else if vendor.split_whitespace().any(|word| word == "mpd" || word == "mpd5") {
        Some("probably mpd on FreeBSD: MPPE has to be enabled in its bundle")
    } else {
        None
    }
}

/// Returns the description of a server, with what it suggests. `peer` is how the engine words it: vendor,
/// `firmware`, number, host name.
pub(super) fn describe(peer: &str) -> String {
    let vendor = peer.split(" firmware ").next().unwrap_or_default();
    match suggestion(vendor) {
        Some(words) => format!("{peer}; {words}"),
        None => peer.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_vendors_are_recognized_and_others_are_not() {
        for (peer, words) in [
            ("Microsoft firmware 9600 ()", "Windows RRAS"),
            ("MikroTik firmware 1 (MikroTik)", "RouterOS"),
            ("linux firmware 1 (local)", "probably poptop"),
            ("cananian firmware 1 (local)", "probably accel-ppp"),
            ("FreeBSD MPD firmware 1 (gw)", "probably mpd"),
        ] {
            assert!(describe(peer).starts_with(&format!("{peer}; {words}")), "{}", describe(peer));
        }
        for peer in [
            "DrayTek firmware 1 (Vigor)",
            "unnamed firmware 0 ()",
            "linuxbox firmware 1 (x)",
            "empdy firmware 1 ()",
        ] {
            assert_eq!(describe(peer), peer);
        }
    }
}
