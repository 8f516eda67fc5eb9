//! `pptpctl demo`, on Linux and FreeBSD; elsewhere a message about what the system lacks and what shows the same.

use super::exit;

/// Runs the command.
#[cfg(any(target_os = "linux", target_os = "freebsd"))]
pub(super) fn main() -> exit::Code {
    use crate::demo::Outcome;
    match crate::demo::main() {
        Outcome::Shown => exit::OK,
        Outcome::NotRoot => exit::NOT_ROOT,
        Outcome::NoTun => exit::NO_TUN,
        Outcome::NoNamespaces => exit::NO_NAMESPACES,
        Outcome::Failed => exit::INTERNAL,
    }
}

/// Runs the command.
#[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
pub(super) fn main() -> exit::Code {
    super::output::complain(refusal(crate::platform::Platform::host()));
    exit::NO_NAMESPACES
}

/// Returns why the command does nothing on a platform, and what to do instead.
#[cfg(any(not(any(target_os = "linux", target_os = "freebsd")), test))]
fn refusal(platform: crate::platform::Platform) -> String {
    use crate::platform::Platform;
    let lack = match platform {
        Platform::Linux => "Linux",
        Platform::FreeBsd => "FreeBSD",
        Platform::OpenBsd => {
            "OpenBSD does not have; a routing domain separates interfaces and routes, but not tun devices, pf rules and \
             files"
        }
        Platform::NetBsd => "NetBSD does not have; nothing there separates interfaces and routes",
    };
    format!(
        "pptpctl demo: it runs a server and a tunnel in network namespaces of Linux or vnet jails of FreeBSD, which {lack}\n  \
         - `pptpctl up --dry-run NAME` shows the steps of a profile and changes nothing\n  \
         - `pptpctl doctor --dial NAME` connects to the profile's server, up to the addresses, and changes nothing"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::Platform;

    #[test]
    fn refusal_names_the_lack_and_what_to_do_instead() {
        for platform in [Platform::OpenBsd, Platform::NetBsd] {
            let text = refusal(platform);
            assert_eq!(text.lines().count(), 3, "{text}");
            assert!(text.contains("BSD does not have; "), "{text}");
            assert!(text.contains("doctor --dial NAME"), "{text}");
        }
    }
}
