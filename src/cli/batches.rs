//! Which profiles `up --autostart` and `down --autostart` may take at the same time. No I/O.

use ipnet::IpNet;

use crate::profile::{Host, Profile};

/// Returns runs of consecutive profiles, in their order. Those of one run may come up in any order: the result is the
/// same. Profiles whose changes to the host depend on the order are in runs of their own.
pub fn batches<'a>(profiles: &[&'a Profile]) -> Vec<Vec<&'a Profile>> {
    let mut batches: Vec<Vec<&'a Profile>> = Vec::new();
    for profile in profiles {
        match batches.last_mut() {
            Some(batch) if batch.iter().chain([profile]).all(|one| !needs_order(one)) => {
                match batch.iter().any(|other| depend(other, profile)) {
                    false => batch.push(profile),
                    true => batches.push(vec![profile]),
                }
            }
            _ => batches.push(vec![profile]),
        }
    }
    batches
}

/// Returns whether a profile has to come up by itself: the later of two default routes and of two lists of resolvers has
/// precedence, a hook may rely on an earlier tunnel, and a password may be asked for at a terminal.
fn needs_order(profile: &Profile) -> bool {
    profile.default_route.is_some()
        || profile.dns.is_wanted()
        || !profile.hooks.up.is_empty()
        || profile.password.waits_for().is_some()
}

/// Returns whether the order of two profiles matters: they have routes to the same addresses, want the same device, or
/// one may need the host route that the other adds.
fn depend(one: &Profile, other: &Profile) -> bool {
    let overlaps = |a: &IpNet, b: &IpNet| a.contains(b) || b.contains(a);
    let routes = one.routes.iter().any(|a| other.routes.iter().any(|b| overlaps(&a.prefix, &b.prefix)));
    let peers = one.peer_routes || other.peer_routes;
    let unit = one.unit.is_some() && one.unit == other.unit;
    let server = shares_server(one, other) && (may_cover_server(one) || may_cover_server(other));
    routes || peers || unit || server
}

fn shares_server(one: &Profile, other: &Profile) -> bool {
    one.servers.iter().any(|a| other.servers.iter().any(|b| a.host == b.host))
}

/// Returns whether the routes of a profile may cover one of its servers, which then gets a host route.
fn may_cover_server(profile: &Profile) -> bool {
    profile.servers.iter().any(|server| match server.host {
        Host::Name(_) => true,
        Host::Address(address) => profile
            .routes
            .iter()
            .any(|route| route.prefix.contains(&IpNet::from(std::net::IpAddr::V4(address)))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profiles;

    fn runs(sections: &[(&str, &str)]) -> Vec<Vec<String>> {
        let text: String = sections
            .iter()
            .map(|(name, rest)| format!("[profile.{name}]\nuser = \"u\"\npassword = \"p\"\n{rest}\n"))
            .collect();
        let profiles = Profiles::from_text(std::path::Path::new("p.toml"), &text, true);
        assert!(profiles.report().errors.is_empty(), "{:?}", profiles.report().errors);
        let all: Vec<&Profile> = profiles.iter().filter_map(|(_, profile)| profile).collect();
        assert_eq!(all.len(), sections.len());
        let name = |profile: &&Profile| profile.name.as_str().to_owned();
        batches(&all).iter().map(|batch| batch.iter().map(name).collect()).collect()
    }

    #[test]
    fn independent_profiles_share_a_batch() {
        let one = |last: u8| format!("server = \"192.0.2.{last}\"\nroutes = [\"10.{last}.0.0/16\"]");
        let [a, b, c] = [1, 2, 3].map(one);
        assert_eq!(runs(&[("a", &a), ("b", &b), ("c", &c)]), [["a", "b", "c"]]);
        // One server without a host route.
        let d = "server = \"192.0.2.1\"\nroutes = [\"10.9.0.0/16\"]";
        assert_eq!(runs(&[("a", &a), ("d", d)]), [["a", "d"]]);
    }

    #[test]
    fn profiles_whose_order_matters_are_apart() {
        let a = "server = \"192.0.2.1\"\nroutes = [\"10.1.0.0/16\"]";
        for b in [
            "server = \"192.0.2.2\"\nroutes = [\"10.1.2.0/24\"]",
            "server = \"192.0.2.2\"\ndefault = { mode = \"replace\" }",
            "server = \"192.0.2.2\"\ndns = \"peer\"",
            "server = \"192.0.2.2\"\npeer-routes = true",
            "server = \"192.0.2.2\"\nhooks = { up = [\"/bin/true\"] }",
            "server = \"192.0.2.1\"\nroutes = [\"192.0.2.0/24\"]",
        ] {
            assert_eq!(runs(&[("a", a), ("b", b)]), [["a"], ["b"]], "{b}");
            assert_eq!(runs(&[("a", b), ("b", a)]), [["a"], ["b"]], "{b}");
        }
        let name = "server = \"vpn.example.org\"";
        assert_eq!(runs(&[("a", name), ("b", name)]), [["a"], ["b"]]);
        // The order of the file is kept, also for those that could come up earlier.
        let default = "server = \"192.0.2.2\"\ndefault = { mode = \"replace\" }";
        let c = "server = \"192.0.2.3\"\nroutes = [\"10.3.0.0/16\"]";
        let d = "server = \"192.0.2.4\"\nroutes = [\"10.4.0.0/16\"]";
        assert_eq!(
            runs(&[("a", a), ("b", default), ("c", c), ("d", d)]),
            [vec!["a".to_owned()], vec!["b".to_owned()], vec!["c".to_owned(), "d".to_owned()]]
        );
    }
}
